"""Python's view of the wire: `ops` has the tables of cext/include/vec/wire.h, `codec` turns bytes into frames and back.

No input or output in here: the broker, the guest library and the tests bring the bytes.
"""
