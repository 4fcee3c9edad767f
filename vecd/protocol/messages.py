"""Every message and statement of the protocol: its fields in order. One table.

docs/protocol.md, "Messages". A class below is a tuple of fields with the names of the document; a field's name says
what it is (fields.py).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .checks import require
from .fields import ID_SIZE, NONCE_SIZE, T, context, pack, unpack
from .suites import Keys, sign, verified

__all__ = ["ID_SIZE", "NONCE_SIZE", "context", "pack", "unpack"]

# The longest time a statement of verification or key loading may be accepted, seconds.
STATEMENT_MAX_S = 300
# A machine waits so long in one state of the protocol, seconds.
STATE_TIMEOUT_S = 5.0

# `property` of the refusal of a nonce that was used before: the library draws new randomness and starts again.
FRESH = "freshness"

USER, CARD, BROKER = "user", "card", "broker"
ROLES = (USER, CARD, BROKER)


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


def signed(keys: Keys, label: str, fields: tuple[Any, ...]) -> bytes:
    """enc(enc(fields), SIG(P, label, fields))."""
    inner = pack(fields)
    return pack(Signed(inner, sign(keys, label, inner)))


def opened(kind: type[T], statement: bytes, sign_key: bytes, label: str, rule: str) -> T:
    """The fields of a signed statement, after its signature. Raises ProtocolRefused(rule)."""
    envelope = unpack(Signed, statement, rule)
    require(verified(sign_key, label, envelope.inner, envelope.s), rule, f"the signature ({label}) does not verify")
    return unpack(kind, envelope.inner, rule)
