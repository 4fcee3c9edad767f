"""The authority's side: registration 2 and 3, verification 3 and 4, key loading 9 and 10, further keys and revocation.

docs/protocol.md has each message and, by the numbers that stand behind the lines here, each check. All it remembers is
in the register, an interface (`Register`); a message is one transaction, committed before it is answered, so that a
refusal, a full disk or a crash leaves nothing half done and no number is given twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from vecd.base.errors import ProtocolRefused, VecError
from vecd.base.secret import wipe

from .checks import require
from .identity import CaKeys
from .messages import (
    BROKER,
    CARD,
    FRESH,
    M1,
    M2,
    NONCE_SIZE,
    R_OF,
    STATEMENT_MAX_S,
    USER,
    CardR,
    CertContext,
    Certificate,
    FromUser,
    K8Inner,
    K8Signed,
    KeyInner,
    KeyRegistered,
    KeyRevoked,
    KeySigned,
    Loaded,
    Message3,
    Message8,
    Reg1,
    Reg2,
    Reg2Inner,
    Reg2Signed,
    RegInner,
    RevokeInner,
    RevokeSigned,
    Sealed3,
    ToParty,
    ToSession,
    UserR,
    Verification,
    context,
    pack,
    signed,
    unpack,
)
from .suites import Keys, check_keys, h, mac, open_, same, seal, verified

Random = Callable[[int], bytes]
# Says why this card's evidence is not accepted; "" when it is.
Appraise = Callable[[CardR], str]


# ---- what the register holds -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Token:
    """An enrolment token that may still be used: `sealed` is SEAL(CA, "token", (role, id), tok)."""

    role: str
    sealed: bytes
    expires: int


@dataclass(frozen=True, slots=True)
class CertificateRow:
    """The one certificate of an id that is neither replaced nor revoked."""

    serial: int
    role: str
    pkE: bytes
    pkS: bytes
    nbf: int
    exp: int

    def valid(self, now: int) -> bool:
        return self.nbf <= now < self.exp


@dataclass(frozen=True, slots=True)
class KeyRow:
    serial: int
    alg: str
    usage: int
    kcv: bytes
    revoked: bool


@dataclass(frozen=True, slots=True)
class SessionRow:
    """What became of a sid; serials are those of the certificates that V was made from."""

    id_u: bytes
    id_c: bytes
    serial_u: int
    serial_c: int
    exp: int
    used: bool


class Transaction(Protocol):
    """One message's view of the register: all of it is kept, or nothing."""

    def token(self, id: bytes) -> Token | None: ...
    def token_issued(self, id: bytes) -> bool: ...
    def use_token(self, id: bytes) -> None: ...
    def next_serial(self) -> int: ...
    def next_key_number(self) -> int: ...
    def certificate(self, id: bytes) -> CertificateRow | None: ...
    def certify(self, c: Certificate, statement: bytes) -> None:
        """The certificate is the only valid one of its id; one before it is replaced."""

    def keys(self, id_u: bytes) -> list[KeyRow]: ...
    def add_key(self, id_u: bytes, name: str, row: KeyRow, r_K: bytes) -> None: ...
    def revoke_key(self, serial: int) -> None: ...
    def spend_nonce(self, id: bytes, nonce: bytes) -> bool:
        """Whether the nonce is new for this id; it is not any more."""

    def add_session(self, sid: bytes, row: SessionRow) -> None: ...
    def session(self, sid: bytes) -> SessionRow | None: ...
    def use_session(self, sid: bytes) -> None: ...
    def prune_sessions(self, now: int) -> None: ...
    def add_holder(self, serial: int, id_c: bytes) -> None: ...
    def holders(self, serial: int) -> list[bytes]: ...


class Register(Protocol):
    def transaction(self) -> AbstractContextManager[Transaction]: ...


class Profile(Protocol):
    """How long things are valid, and how many there may be: vecd.pki.profile.Profile."""

    @property
    def lifetime_s(self) -> Mapping[str, int]: ...
    @property
    def backdate_s(self) -> int: ...
    @property
    def statement_s(self) -> int: ...
    @property
    def keys_per_user(self) -> int: ...
    @property
    def suites(self) -> frozenset[int]: ...


# ---- answers -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Certified:
    """Registration 3, and what it certifies."""

    body: bytes
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class Registered:
    """The keyreg statement, and what it says."""

    body: bytes
    key: KeyRegistered


@dataclass(frozen=True, slots=True)
class Both:
    """Message 4 or 10. `ok` is false where message 10 says "keybad"; `number` is N_K, 0 where none is given."""

    id_c: bytes
    id_u: bytes
    to_card: bytes
    to_user: bytes
    ok: bool = True
    number: int = 0


@dataclass(frozen=True, slots=True)
class Revocation:
    """The keyrev statement, and the cards that may hold the key."""

    statement: bytes
    cards: tuple[bytes, ...]


def no_evidence(card: CardR) -> str:
    """The policy of a machine without a TPM: there is nothing to appraise, so nothing may be claimed."""
    return "" if not card.evidence else "evidence is shown, and nothing here can appraise it"


class Authority:
    """The CA. `now` is its clock in seconds; every method raises ProtocolRefused and then has changed nothing."""

    def __init__(
        self,
        register: Register,
        keys: Keys,
        random: Random,
        profile: Profile,
        *,
        appraise: Appraise = no_evidence,
    ) -> None:
        self._register, self._keys, self._random, self._profile = register, keys, random, profile
        self._appraise = appraise

    def who(self) -> CaKeys:
        return CaKeys(self._keys.sign_key, self._keys.seal_key)

    # ---- registration ----------------------------------------------------------------------------------------

    def register(self, message2: bytes, now: int) -> Certified:
        """Registration 3: the certificate, sealed to the party that registers."""
        rule = "registration 2"
        m2 = unpack(Reg2, message2, rule)
        inner2 = unpack(Reg2Inner, self._open("reg2", context(m2.id_d), m2.blob, rule), rule)  # R2.1
        require(inner2.id_d == m2.id_d, rule, "the broker's id inside is another one")  # R2.2
        m1 = unpack(Reg1, inner2.message, rule)
        body = m1.body
        if m1.role == USER:
            body = self._open("reg", context(m1.role.encode(), m1.id_x), body, rule)  # R2.3
        inner = unpack(RegInner, body, rule)
        r = unpack(R_OF[m1.role], inner.inner, rule)
        require(r.role == m1.role and r.id_x == m1.id_x, rule, "role or id inside is another one")  # R2.4
        try:
            check_keys(r.pkE_x, r.pkS_x)  # R2.5
        except VecError as e:
            require(False, rule, f"the party's keys cannot be used: {e.message}")
        known = r.pkS_x[0] in self._profile.suites
        require(known, rule, f"keys of suite {r.pkS_x[0]} are not certified here")  # R2.6
        with self._register.transaction() as t:
            own = r.role == BROKER and r.id_x == inner2.id_d
            broker_key = r.pkS_x if own else self._certified(t, inner2.id_d, BROKER, now, rule).pkS  # R2.7
            by_broker = pack(Reg2Signed(inner2.id_d, h(inner2.message)))
            require(verified(broker_key, "reg2", by_broker, inner2.s), rule, "it is not signed by the broker")  # R2.8
            require(verified(r.pkS_x, "reg", inner.inner, inner.s), rule, "no proof of the party's own key")  # R2.9
            self._use_token(t, r.role, r.id_x, inner, now, rule)  # R2.10 - R2.13
            if isinstance(r, CardR):
                why_not = self._appraise(r)
                require(not why_not, rule, why_not)  # R2.14
            serial = t.next_serial()
            if isinstance(r, UserR):
                self._add_key(t, r.id_x, "", r.alg, r.usage, r.kcv, r.r_K, rule)  # R2.15
            nbf, exp = now - self._profile.backdate_s, now + self._profile.lifetime_s[r.role]
            c = Certificate(r.role, r.id_x, inner2.id_d, r.pkE_x, r.pkS_x, r.n_x, serial, nbf, exp)
            statement = signed(self._keys, "cert", c)
            t.certify(c, statement)
            sealed = self._seal(r.pkE_x, "cert", pack(CertContext(r.id_x, r.n_x)), statement, rule)
        return Certified(pack(ToParty(r.id_x, sealed)), c)

    def _use_token(self, t: Transaction, role: str, id_x: bytes, inner: RegInner, now: int, rule: str) -> None:
        token = t.token(id_x)
        if token is None:
            why = "the token was used already" if t.token_issued(id_x) else "no token was issued for this id"
            raise _refused(rule, why, "ask the operator for a new one: vecctl token new")  # R2.10
        require(now < token.expires, rule, "the token has expired", "ask for a new one: vecctl token new")  # R2.11
        require(token.role == role, rule, f"the token is for a {token.role}, not for a {role}")  # R2.12
        secret = open_(self._keys, "token", context(token.role.encode(), id_x), token.sealed)
        right = same(mac(secret, "regtok", inner.inner), inner.t)
        wipe(secret)
        require(right, rule, "the token is not the one that was issued for this id")  # R2.13
        t.use_token(id_x)

    def _registered(self, t: Transaction, id_u: bytes, m: KeyInner) -> int | None:
        """The serial of this very key, if it is registered and was not revoked."""
        rows = [row for row in t.keys(id_u) if same(row.kcv, m.kcv) and not row.revoked]
        return next((row.serial for row in rows if (row.alg, row.usage) == (m.alg, m.usage)), None)

    def _add_key(
        self, t: Transaction, id_u: bytes, name: str, alg: str, usage: int, kcv: bytes, r_k: bytes, rule: str
    ) -> int:
        rows = t.keys(id_u)
        require(not any(same(row.kcv, kcv) for row in rows), rule, "this key is registered already, or was revoked")
        living = sum(not row.revoked for row in rows)
        require(living < self._profile.keys_per_user, rule, f"the user has {living} registered keys", "revoke one")
        serial = t.next_serial()
        t.add_key(id_u, name, KeyRow(serial, alg, usage, kcv, False), r_k)
        return serial

    # ---- verification ----------------------------------------------------------------------------------------

    def verify(self, message3: bytes, now: int) -> Both:
        """Message 4: the same V for the card (5) and for the user (6)."""
        rule = "message 3"
        m3 = unpack(Message3, message3, rule)
        m = unpack(Sealed3, self._open("v3", context(m3.id_d), m3.blob, rule), rule)  # 3.1
        m1, m2 = unpack(M1, m.m1, rule), unpack(M2, m.m2, rule)
        require(m1.id_u == m2.id_u, rule, "messages 1 and 2 name different users")  # 3.2
        require(m1.id_c == m2.id_c, rule, "messages 1 and 2 name different cards")  # 3.3
        with self._register.transaction() as t:
            self._certified(t, m3.id_d, BROKER, now, rule)  # 3.4
            user = self._certified(t, m1.id_u, USER, now, rule)  # 3.5
            card = self._certified(t, m1.id_c, CARD, now, rule)  # 3.6
            require(verified(user.pkS, "v1", m.m1, m.s1), rule, "message 1 is not signed by its user")  # 3.7
            require(verified(card.pkS, "v2", m.m2, m.s2), rule, "message 2 is not signed by its card")  # 3.8
            self._fresh(t, m1.id_u, m1.n_u, rule)  # 3.9
            require(
                t.spend_nonce(m1.id_c, m2.n_c), rule, "the card's nonce was used before: message 2 is replayed"
            )  # 3.10
            sid, exp = self._random(NONCE_SIZE), now + self._statement_s()
            v = Verification(m1.id_u, m1.id_c, user.pkE, user.pkS, card.pkE, card.pkS, m1.n_u, m2.n_c, sid, now, exp)
            statement = signed(self._keys, "ver", v)
            t.prune_sessions(now)
            t.add_session(sid, SessionRow(m1.id_u, m1.id_c, user.serial, card.serial, exp, False))
            to_card = self._seal(card.pkE, "v5", context(m1.id_c), statement, rule)
            to_user = self._seal(user.pkE, "v6", context(m1.id_u), statement, rule)
        return Both(m1.id_c, m1.id_u, pack(ToParty(m1.id_c, to_card)), pack(ToParty(m1.id_u, to_user)))

    # ---- key loading -----------------------------------------------------------------------------------------

    def loaded(self, sid: bytes, message9: bytes, now: int) -> Both:
        """Message 10: O for the card (11) and for the user (12), or "keybad" for both."""
        rule = "message 9"
        m9 = unpack(Message8, message9, rule)
        require(m9.sid == sid, rule, "it is about another session than the call")  # 9.1
        inner = self._open("k8", context(sid), m9.q, rule)  # 9.2
        m = unpack(K8Inner, inner, rule)
        with self._register.transaction() as t:
            session = t.session(sid)
            if session is None or now >= session.exp:
                raise _refused(rule, "the session is not open: unknown, or expired")  # 9.3
            require(not session.used, rule, "the session has loaded its key already: replayed")  # 9.4
            require(m.id_u == session.id_u, rule, "it is about another user than the session's")  # 9.5
            require(m.id_c == session.id_c, rule, "it is about another card than the session's")  # 9.6
            user = self._certified(t, m.id_u, USER, now, rule)  # 9.7
            card = self._certified(t, m.id_c, CARD, now, rule)  # 9.8
            same_keys = (user.serial, card.serial) == (session.serial_u, session.serial_c)
            require(same_keys, rule, "a certificate of the session was replaced")  # 9.9
            body = pack(K8Signed(sid, m.id_u, m.id_c, m.alg, m.usage, m.kcv))
            require(verified(card.pkS, "k8", body, m.s), rule, "it is not signed by the session's card")  # 9.10
            key = _find(t.keys(m.id_u), m)  # 9.11
            number = 0
            if key is not None:
                number = t.next_key_number()
                t.add_holder(key.serial, m.id_c)
            t.use_session(sid)
            exp = now + self._statement_s()
            o = Loaded(sid, m.id_u, m.id_c, number, m.alg, m.usage, m.kcv, exp)
            statement = signed(self._keys, "keyok" if key is not None else "keybad", o)
            to_card = self._seal(card.pkE, "k11", context(m.id_c, sid), statement, rule)
            to_user = self._seal(user.pkE, "k12", context(m.id_u, sid), statement, rule)
        first, second = pack(ToSession(m.id_c, sid, to_card)), pack(ToSession(m.id_u, sid, to_user))
        return Both(m.id_c, m.id_u, first, second, key is not None, number)

    # ---- further keys ----------------------------------------------------------------------------------------

    def key(self, id_u: bytes, message: bytes, now: int) -> Registered:
        """The keyreg statement: a further key of this user is registered; asked again (with a new nonce), the same."""
        rule = "key"
        f = unpack(FromUser, message, rule)
        require(f.id_u == id_u, rule, "it is from another user than the call")  # K.2
        m = unpack(KeyInner, self._open("key", context(id_u), f.blob, rule), rule)  # K.3
        require(m.id_u == id_u, rule, "the user inside is another one")  # K.4
        with self._register.transaction() as t:
            user = self._certified(t, id_u, USER, now, rule)  # K.5
            body = pack(KeySigned(*m[:-1]))
            require(verified(user.pkS, "key", body, m.s), rule, "it is not signed by its user")  # K.6
            self._fresh(t, id_u, m.n_u, rule)  # K.7
            # One that was asked for before, and whose answer was lost, is there already.
            serial = self._registered(t, id_u, m)
            if serial is None:
                serial = self._add_key(t, id_u, m.name, m.alg, m.usage, m.kcv, m.r_K, rule)  # K.8
        answer = KeyRegistered(id_u, m.n_u, m.name, m.alg, m.usage, m.kcv, serial)
        return Registered(signed(self._keys, "keyreg", answer), answer)

    def keyrev(self, id_u: bytes, message: bytes, now: int) -> Revocation:
        """The keyrev statement; asked again (with a new nonce), the same is said again."""
        rule = "keyrev"
        f = unpack(FromUser, message, rule)
        require(f.id_u == id_u, rule, "it is from another user than the call")  # KV.5
        m = unpack(RevokeInner, self._open("keyrev", context(id_u), f.blob, rule), rule)  # KV.6
        require(m.id_u == id_u, rule, "the user inside is another one")  # KV.7
        with self._register.transaction() as t:
            user = self._certified(t, id_u, USER, now, rule)  # KV.8
            body = pack(RevokeSigned(*m[:-1]))
            require(verified(user.pkS, "keyrev", body, m.s), rule, "it is not signed by its user")  # KV.9
            self._fresh(t, id_u, m.n_u, rule)  # KV.10
            found = [row for row in t.keys(id_u) if same(row.kcv, m.kcv)]
            require(bool(found), rule, "no such key is registered")  # KV.11
            t.revoke_key(found[0].serial)
            cards = tuple(t.holders(found[0].serial))
        return Revocation(signed(self._keys, "keyrev", KeyRevoked(id_u, m.kcv, found[0].serial)), cards)

    # ---- common ----------------------------------------------------------------------------------------------

    def _open(self, label: str, ctx: bytes, blob: bytes, rule: str) -> bytes:
        try:
            return open_(self._keys, label, ctx, blob)
        except VecError:
            raise _refused(rule, f"it is not sealed to this authority ({label})") from None

    def _seal(self, key: bytes, label: str, ctx: bytes, plaintext: bytes, rule: str) -> bytes:
        try:
            return seal(key, label, ctx, plaintext)
        except VecError as e:
            raise _refused(rule, e.message) from None

    def _certified(self, t: Transaction, id: bytes, role: str, now: int, rule: str) -> CertificateRow:
        """The valid certificate of this id, which has this role."""
        row = t.certificate(id)
        if row is None:
            raise _refused(rule, f"the {role} has no valid certificate: not registered, or revoked")
        require(row.role == role, rule, f"the {role} named is a {row.role}")
        require(row.valid(now), rule, f"the certificate of the {role} has expired", "register again with a new token")
        return row

    def _fresh(self, t: Transaction, id_u: bytes, n_u: bytes, rule: str) -> None:
        """The user's nonce is new; a restored snapshot repeats itself and must draw new randomness."""
        if not t.spend_nonce(id_u, n_u):
            raise ProtocolRefused(
                f"{rule} was refused",
                rule=rule,
                property=FRESH,
                reason="the user's nonce was used before: replayed, or a clone of a guest",
                hint="draw new randomness and start again",
            )

    def _statement_s(self) -> int:
        return min(self._profile.statement_s, STATEMENT_MAX_S)


def _find(rows: list[KeyRow], m: K8Inner) -> KeyRow | None:
    """The registered key with this kcv, algorithm and usage; every row is compared, in constant time."""
    found = None
    for row in rows:
        if same(row.kcv, m.kcv) and not row.revoked and (row.alg, row.usage) == (m.alg, m.usage):
            found = row
    return found


def _refused(rule: str, reason: str, hint: str = "") -> ProtocolRefused:
    return ProtocolRefused(f"{rule} was refused", rule=rule, reason=reason, hint=hint)
