"""Registration, verification, key loading and attach: pure state machines of the four parties.

`docs/protocol.md` is the text to this package: every message, every check by its number. Nothing here reads a clock, a
file or a socket; time, randomness and bytes are arguments, and a refusal changes nothing.
"""
