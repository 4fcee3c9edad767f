"""Secret bytes: never printed, overwritten when done with.

Python hands us secrets as `bytes`, which it never overwrites. `wipe` writes zeros over the payload of the very
object, through ctypes; every other name of that object sees the zeros, too. It cannot reach copies made before.
"""

from __future__ import annotations

import ctypes
from types import TracebackType

# sys.getsizeof(b"") counts the closing NUL; what precedes the payload is the header, with the cached hash last.
_PAYLOAD = bytes.__basicsize__ - 1
_HASH = _PAYLOAD - ctypes.sizeof(ctypes.c_ssize_t)


def _layout_is_known() -> bool:
    probe = b"\x5a" + bytes(range(31))
    return ctypes.string_at(id(probe) + _PAYLOAD, len(probe)) == probe


# ctypes would write into the wrong place on a Python with another layout: refuse to load there.
if not _layout_is_known():
    raise ImportError("bytes objects have another layout on this Python; vecd cannot overwrite secrets here")


def wipe(data: bytes | bytearray | memoryview) -> None:
    """The object's bytes are zero. For `bytes` that is the object itself, whoever else holds it.

    A one-byte `bytes` is shared by the whole interpreter and raises ValueError, as does a read-only memoryview.
    """
    if isinstance(data, bytes):
        if len(data) == 1:
            raise ValueError("a one-byte bytes object is shared by the interpreter and cannot be wiped")
        if data:
            ctypes.memset(id(data) + _PAYLOAD, 0, len(data))
            # A dictionary must not find the zeros under the hash of the secret.
            ctypes.c_ssize_t.from_address(id(data) + _HASH).value = -1
        return
    view = memoryview(data)
    if view.readonly:
        raise ValueError("a read-only view cannot be wiped; wipe what it looks at")
    if view.nbytes:
        ctypes.memset(ctypes.addressof(ctypes.c_char.from_buffer(view)), 0, view.nbytes)


class Secret:
    """Holds secret bytes in one place until `wipe` (or the end of a `with`); prints as `<secret 32 bytes>`.

    A `bytes` given to it is copied and wiped; a bytearray is taken over as it is. Comparing, hashing and pickling
    are refused: compare with hmac.compare_digest over `view()`.
    """

    __slots__ = ("_data",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, data: bytes | bytearray) -> None:
        if isinstance(data, bytearray):
            self._data = data
        else:
            self._data = bytearray(data)
            if len(data) != 1:
                wipe(data)

    def view(self) -> memoryview:
        """The bytes, in place; the caller releases the view and makes no copy it does not wipe."""
        return memoryview(self._data)

    def wipe(self) -> None:
        """The bytes are zero; may be called again."""
        wipe(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __repr__(self) -> str:
        return f"<secret {len(self._data)} bytes>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        raise TypeError("secrets are compared with hmac.compare_digest")

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")

    def __enter__(self) -> Secret:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.wipe()

    def __del__(self) -> None:
        # __init__ may have failed before there was anything to wipe; the interpreter may be on its way out.
        if (data := getattr(self, "_data", None)) is not None and wipe is not None:
            wipe(data)
