"""What a field of a message may be, by its name, and how a message is written and read.

docs/protocol.md, "Fields". `pack` writes enc(x1..xn), `unpack` reads exactly that or refuses, naming the message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from vecd.base.errors import Malformed, VecError

from .checks import require
from .encoding import as_u32, as_u64, dec, enc, u32, u64

ID_SIZE = 16
NONCE_SIZE = 32
ALG_MAX = 32
NAME_MAX = 64


def _sized(size: int) -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
    def check(field: bytes) -> bytes:
        if len(field) != size:
            raise Malformed(f"has {len(field)} bytes, not {size}")
        return field

    return check, check


def _any(field: bytes) -> bytes:
    return field


def _role(field: bytes) -> str:
    if field not in (b"user", b"card", b"broker"):
        raise Malformed("is no role")
    return field.decode()


def _alg(field: bytes) -> str:
    if not 1 <= len(field) <= ALG_MAX or not all(0x21 <= c <= 0x7E for c in field):
        raise Malformed(f"is not 1 to {ALG_MAX} printable ASCII characters")
    return field.decode("ascii")


def _name(field: bytes) -> str:
    if len(field) > NAME_MAX:
        raise Malformed(f"is longer than {NAME_MAX} bytes")
    try:
        text = field.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("is not UTF-8") from None
    if not all(c.isprintable() for c in text):
        raise Malformed("has characters that cannot be printed")
    return text


def _put_alg(value: str) -> bytes:
    field = value.encode("ascii", errors="replace")
    _alg(field)
    return field


def _put_name(value: str) -> bytes:
    field = value.encode()
    _name(field)
    return field


_ID, _NONCE = _sized(ID_SIZE), _sized(NONCE_SIZE)
_U32, _U64, _BLOB = (u32, as_u32), (u64, as_u64), (_any, _any)

# Field name: (to bytes, from bytes). A name that is not here cannot be sent.
_KINDS: dict[str, tuple[Callable[[Any], bytes], Callable[[bytes], Any]]] = {
    **dict.fromkeys(("id_x", "id_u", "id_c", "id_d", "i"), _ID),
    **dict.fromkeys(("n_x", "n_u", "n_c", "sid", "r_K", "kcv", "h", "t", "ck"), _NONCE),
    **dict.fromkeys(("serial", "nbf", "iat", "exp", "N_K"), _U64),
    **dict.fromkeys(("pkE_x", "pkS_x", "pkE_u", "pkS_u", "pkE_c", "pkS_c"), _BLOB),
    **dict.fromkeys(("s", "ct", "q", "blob", "body", "inner", "message", "evidence", "m1", "s1", "m2", "s2"), _BLOB),
    "role": (str.encode, _role),
    "alg": (_put_alg, _alg),
    "name": (_put_name, _name),
    "usage": _U32,
}

T = TypeVar("T", bound="tuple[Any, ...]")


def pack(message: tuple[Any, ...]) -> bytes:
    """enc of the message's fields."""
    names = message._fields  # type: ignore[attr-defined]
    return enc(*(_KINDS[name][0](value) for name, value in zip(names, message, strict=True)))


def unpack(kind: type[T], blob: bytes, rule: str) -> T:
    """The message of this kind that the blob is. Raises ProtocolRefused(rule) naming the field that is wrong."""
    names = kind._fields  # type: ignore[attr-defined]
    at = ""
    try:
        fields = []
        for name, raw in zip(names, dec(blob, len(names)), strict=True):
            at = f"{name} "
            fields.append(_KINDS[name][1](raw))
    except VecError as e:
        reason = f"it is not well formed: {at}{e.message}"
        require(False, rule, reason)
    return kind(*fields)


def context(*fields: bytes) -> bytes:
    """enc(ctx) of a SEAL whose context is a few plain byte fields."""
    return enc(*fields)
