"""enc(x1..xn): each field as u32 length, big endian, and its bytes; a fixed order and no optional fields.

docs/protocol.md, "Encoding". `dec` is its exact inverse: one blob has one reading, or none.
"""

from __future__ import annotations

from vecd.base.errors import Malformed

# Nothing that this protocol sends is larger: a control frame (VEC_CONTROL_MAX) is what carries it.
MESSAGE_MAX = 65536

_LENGTH = 4


def enc(*fields: bytes) -> bytes:
    """The fields as one blob."""
    return b"".join(part for field in fields for part in (u32(len(field)), field))


def spans(blob: bytes | memoryview, n: int) -> tuple[tuple[int, int], ...]:
    """Start and end of each of exactly `n` fields, without a copy of any. Raises Malformed."""
    size = len(blob)
    if size > MESSAGE_MAX:
        raise Malformed(f"a message has {size} bytes", reason=f"at most {MESSAGE_MAX} are allowed")
    found, at = [], 0
    for number in range(1, n + 1):
        if size - at < _LENGTH:
            raise Malformed(f"field {number} of {n} is missing or cut off")
        start = at + _LENGTH
        length = int.from_bytes(blob[at:start], "big")
        if length > size - start:
            raise Malformed(f"field {number} of {n} claims {length} bytes, {size - start} are left")
        at = start + length
        found.append((start, at))
    if at != size:
        raise Malformed(f"{size - at} bytes follow the last of {n} fields")
    return tuple(found)


def dec(blob: bytes, n: int) -> tuple[bytes, ...]:
    """Exactly `n` fields and nothing behind them. Raises Malformed, naming the field."""
    return tuple(bytes(blob[start:end]) for start, end in spans(blob, n))


def u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def u64(value: int) -> bytes:
    """Times in seconds, serial numbers, N_K."""
    return value.to_bytes(8, "big")


def as_u32(field: bytes) -> int:
    return _number(field, 4)


def as_u64(field: bytes) -> int:
    return _number(field, 8)


def _number(field: bytes, size: int) -> int:
    if len(field) != size:
        raise Malformed(f"a number has {len(field)} bytes, not {size}")
    return int.from_bytes(field, "big")
