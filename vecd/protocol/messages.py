"""Every message and statement of the protocol: its fields in order, their sizes, its label. One table.

docs/protocol.md, "Messages". A class below is a tuple of fields with the names of the document; `pack` writes
enc(x1..xn), `unpack` reads exactly that or refuses, naming the message. A field's name says what it is (`_KINDS`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from vecd.base.errors import Malformed, VecError

from .checks import require
from .encoding import as_u32, as_u64, dec, enc, u32, u64
from .suites import PrivateKeys, sign, verified

ID_SIZE = 16
NONCE_SIZE = 32
ALG_MAX = 32
NAME_MAX = 64
# The longest time a statement of verification or key loading may be accepted, seconds.
STATEMENT_MAX_S = 300
# A machine waits so long in one state of the protocol, seconds.
STATE_TIMEOUT_S = 5.0

# `property` of the refusal of a nonce that was used before: the library draws new randomness and starts again.
FRESH = "freshness"

USER, CARD, BROKER = "user", "card", "broker"
ROLES = (USER, CARD, BROKER)


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


# ---- registration ------------------------------------------------------------------------------------------------


class UserR(NamedTuple):
    """R of a user: its first key goes with it."""

    role: str
    id_x: bytes
    pkE_x: bytes
    pkS_x: bytes
    n_x: bytes
    alg: str
    usage: int
    kcv: bytes
    r_K: bytes


class CardR(NamedTuple):
    """R of a card; evidence is empty for a card that shows none."""

    role: str
    id_x: bytes
    pkE_x: bytes
    pkS_x: bytes
    n_x: bytes
    evidence: bytes


class BrokerR(NamedTuple):
    role: str
    id_x: bytes
    pkE_x: bytes
    pkS_x: bytes
    n_x: bytes


R_OF: dict[str, type[UserR] | type[CardR] | type[BrokerR]] = {USER: UserR, CARD: CardR, BROKER: BrokerR}


class RegInner(NamedTuple):
    """(R, s, t): `inner` is enc(R)."""

    inner: bytes
    s: bytes
    t: bytes


class Reg1(NamedTuple):
    """Registration 1 on the way: body is enc(RegInner), for a user sealed to the authority."""

    role: str
    id_x: bytes
    body: bytes


class Reg2Inner(NamedTuple):
    id_d: bytes
    message: bytes
    s: bytes


class Reg2(NamedTuple):
    id_d: bytes
    blob: bytes


class Reg2Signed(NamedTuple):
    """What the broker signs: h is SHA-256 of registration 1 as it came."""

    id_d: bytes
    h: bytes


class ToParty(NamedTuple):
    """Registration 3 and 4, messages 5 and 6: for whom, and the sealed statement."""

    id_x: bytes
    blob: bytes


class CertContext(NamedTuple):
    id_x: bytes
    n_x: bytes


# ---- verification ------------------------------------------------------------------------------------------------


class M1(NamedTuple):
    id_u: bytes
    id_c: bytes
    n_u: bytes


class M2(NamedTuple):
    id_c: bytes
    id_u: bytes
    n_c: bytes


class Signed(NamedTuple):
    """Messages 1 and 2, and every statement of the authority: enc of the signed fields, and the signature."""

    inner: bytes
    s: bytes


class Sealed3(NamedTuple):
    """What is sealed in message 3; m1 and m2 are enc(M1) and enc(M2)."""

    m1: bytes
    s1: bytes
    m2: bytes
    s2: bytes


class Message3(NamedTuple):
    id_d: bytes
    blob: bytes


# ---- key loading -------------------------------------------------------------------------------------------------


class Message7(NamedTuple):
    sid: bytes
    id_u: bytes
    id_c: bytes
    ct: bytes
    s: bytes


class K7Context(NamedTuple):
    sid: bytes
    id_u: bytes
    id_c: bytes
    n_u: bytes
    n_c: bytes


class K7Signed(NamedTuple):
    sid: bytes
    id_u: bytes
    id_c: bytes
    h: bytes


class Message8(NamedTuple):
    """Messages 8 and 9."""

    sid: bytes
    q: bytes


class K8Inner(NamedTuple):
    id_u: bytes
    id_c: bytes
    alg: str
    usage: int
    kcv: bytes
    s: bytes


class K8Signed(NamedTuple):
    sid: bytes
    id_u: bytes
    id_c: bytes
    alg: str
    usage: int
    kcv: bytes


class ToSession(NamedTuple):
    """Messages 11 and 12."""

    id_x: bytes
    sid: bytes
    blob: bytes


class KcvInput(NamedTuple):
    """What K authenticates to become kcv."""

    id_u: bytes
    alg: str
    usage: int
    r_K: bytes


# ---- more keys, attach -------------------------------------------------------------------------------------------


class KeyInner(NamedTuple):
    id_u: bytes
    n_u: bytes
    name: str
    alg: str
    usage: int
    kcv: bytes
    r_K: bytes
    s: bytes


class KeySigned(NamedTuple):
    id_u: bytes
    n_u: bytes
    name: str
    alg: str
    usage: int
    kcv: bytes
    r_K: bytes


class RevokeInner(NamedTuple):
    id_u: bytes
    n_u: bytes
    kcv: bytes
    s: bytes


class RevokeSigned(NamedTuple):
    id_u: bytes
    n_u: bytes
    kcv: bytes


class FromUser(NamedTuple):
    """A key registration or revocation on the way."""

    id_u: bytes
    blob: bytes


class AttachMessage(NamedTuple):
    sid: bytes
    id_u: bytes
    id_c: bytes
    i: bytes
    ct: bytes
    s: bytes


class AttachContext(NamedTuple):
    sid: bytes
    id_u: bytes
    id_c: bytes
    i: bytes


class AttachSigned(NamedTuple):
    sid: bytes
    id_u: bytes
    id_c: bytes
    i: bytes
    h: bytes


class AttachInner(NamedTuple):
    ck: bytes


class AttachTag(NamedTuple):
    sid: bytes
    i: bytes


class Release(NamedTuple):
    sid: bytes
    i: bytes


# ---- statements of the authority ---------------------------------------------------------------------------------


class Certificate(NamedTuple):
    """C: these two keys are this party's, in this role, from nbf until before exp."""

    role: str
    id_x: bytes
    id_d: bytes
    pkE_x: bytes
    pkS_x: bytes
    n_x: bytes
    serial: int
    nbf: int
    exp: int


class Verification(NamedTuple):
    """V: these two may talk in session sid, until before exp."""

    id_u: bytes
    id_c: bytes
    pkE_u: bytes
    pkS_u: bytes
    pkE_c: bytes
    pkS_c: bytes
    n_u: bytes
    n_c: bytes
    sid: bytes
    iat: int
    exp: int


class Loaded(NamedTuple):
    """O ("keyok") and its opposite ("keybad", N_K 0)."""

    sid: bytes
    id_u: bytes
    id_c: bytes
    N_K: int
    alg: str
    usage: int
    kcv: bytes
    exp: int


class KeyRegistered(NamedTuple):
    id_u: bytes
    n_u: bytes
    name: str
    alg: str
    usage: int
    kcv: bytes
    serial: int


class KeyRevoked(NamedTuple):
    id_u: bytes
    kcv: bytes
    serial: int


def signed(keys: PrivateKeys, label: str, fields: tuple[Any, ...]) -> bytes:
    """enc(enc(fields), SIG(P, label, fields))."""
    inner = pack(fields)
    return pack(Signed(inner, sign(keys, label, inner)))


def opened(kind: type[T], statement: bytes, sign_key: bytes, label: str, rule: str) -> T:
    """The fields of a signed statement, after its signature. Raises ProtocolRefused(rule)."""
    envelope = unpack(Signed, statement, rule)
    require(verified(sign_key, label, envelope.inner, envelope.s), rule, f"the signature ({label}) does not verify")
    return unpack(kind, envelope.inner, rule)


def context(*fields: bytes) -> bytes:
    """enc(ctx) of a SEAL whose context is a few plain byte fields."""
    return enc(*fields)
