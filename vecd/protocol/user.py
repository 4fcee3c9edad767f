"""The user's side: verification 1 and 6, key loading 7 and 12, attach, and further keys.

docs/protocol.md has each message and, by the numbers that stand behind the lines here, each check. A `UserRun` is one
session with one card: open -> verified -> loading -> loaded -> attached; verified -> attached after a reconnect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from vecd.base.errors import Malformed, ProtocolRefused, VecError
from vecd.base.secret import wipe

from .checks import require
from .encoding import enc, u32
from .identity import Identity, KeyRecord, kcv_of
from .machine import Machine
from .messages import (
    ID_SIZE,
    M1,
    NONCE_SIZE,
    STATEMENT_MAX_S,
    USER,
    AttachContext,
    AttachMessage,
    AttachSigned,
    AttachTag,
    FromUser,
    K7Context,
    K7Signed,
    KeyInner,
    KeyRegistered,
    KeyRevoked,
    KeySigned,
    Loaded,
    Message7,
    Release,
    RevokeInner,
    RevokeSigned,
    ToParty,
    ToSession,
    Verification,
    context,
    opened,
    pack,
    signed,
    unpack,
)
from .suites import h, mac, open_, same, seal, sign

Random = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Attachment:
    """What the guest sends to attach, and the 32 bytes it sends first after READY."""

    message: bytes
    tag: bytes = field(repr=False)


class UserParty:
    """A registered user. Holds its identity; every run and every request draws its own randomness."""

    def __init__(self, identity: Identity, random: Random) -> None:
        if identity.role != USER:
            raise Malformed(f"the identity of a {identity.role} is not a user's")
        self.identity = identity
        self.random = random

    def open(self, id_c: bytes, tick: float) -> UserRun:
        """A run with this card, which the caller trusts to be the one it wants; its `message1` is to be sent."""
        return UserRun(self.identity, id_c, self.random, tick)

    def register_key(self, secret: bytes | memoryview, alg: str, usage: int, name: str, tick: float) -> KeyRegistration:
        """A further key; the request's `message` is to be sent, its `accept` gives the record."""
        return KeyRegistration(self.identity, secret, alg, usage, name, self.random, tick)

    def revoke_key(self, record: KeyRecord, tick: float) -> KeyRevocation:
        """A registered key is taken back; every card that holds it will be told."""
        return KeyRevocation(self.identity, record, self.random, tick)


class UserRun(Machine):
    """One session with one card."""

    def __init__(self, identity: Identity, id_c: bytes, random: Random, tick: float) -> None:
        if len(id_c) != ID_SIZE:
            raise Malformed(f"the card's id has {len(id_c)} bytes, not {ID_SIZE}")
        super().__init__("open", tick)
        self._me, self._random, self.id_c = identity, random, id_c
        self._n_u = random(NONCE_SIZE)
        self._v: Verification | None = None
        self._record: KeyRecord | None = None
        #: Message 1.
        self.message1 = signed(identity.keys, "v1", M1(identity.id, id_c, self._n_u))

    @property
    def sid(self) -> bytes:
        """The session's id, known from message 6 on."""
        return self._session("session id").sid

    def accept_verification(self, message6: bytes, now: int, tick: float) -> None:
        """Message 6: the card was verified. Raises ProtocolRefused and stays as it was."""
        rule, me = "message 6", self._me
        self.expect(rule, tick, "open")
        to = unpack(ToParty, message6, rule)
        require(to.id_x == me.id, rule, "it is for another party")  # 6.1
        try:
            statement = open_(me.keys, "v6", context(me.id), to.blob)  # 6.2
        except VecError:
            require(False, rule, "it is not sealed to this user")
        v = opened(Verification, statement, me.ca.sign_key, "ver", rule)  # 6.3
        require(v.id_u == me.id, rule, "the statement is about another user")  # 6.4
        require(v.pkE_u == me.keys.seal_key, rule, "the statement has another encryption key for this user")  # 6.5
        require(v.pkS_u == me.keys.sign_key, rule, "the statement has another signature key for this user")  # 6.6
        require(same(v.n_u, self._n_u), rule, "the statement answers another run: the nonce is not this one's")  # 6.7
        require(v.id_c == self.id_c, rule, "the statement is about another card")  # 6.8
        require(now < v.exp, rule, "the statement has expired", "compare the clocks")  # 6.9
        require(v.exp - v.iat <= STATEMENT_MAX_S, rule, "the statement is valid for longer than 300 s")  # 6.10
        self._v = v
        self.enter("verified", tick)

    def load(self, secret: bytes | memoryview, record: KeyRecord, tick: float) -> bytes:
        """Message 7 with K, which must be the registered key of this record."""
        rule = "message 7"
        self.expect(rule, tick, "verified")
        v = self._session(rule)
        if not record.fits(self._me.id, secret):
            raise Malformed("the secret is not the key that was registered", hint="load the key that the record is of")
        plaintext = enc(secret, record.alg.encode("ascii"), u32(record.usage), record.r_K)  # type: ignore[arg-type]
        ct = seal(v.pkE_c, "k7", pack(K7Context(v.sid, v.id_u, v.id_c, v.n_u, v.n_c)), plaintext)
        wipe(plaintext)
        s = sign(self._me.keys, "k7", pack(K7Signed(v.sid, v.id_u, v.id_c, h(ct))))
        self._record = record
        self.enter("loading", tick)
        return pack(Message7(v.sid, v.id_u, v.id_c, ct, s))

    def accept_loaded(self, message12: bytes, now: int, tick: float) -> int:
        """Message 12: N_K, the number under which the card has the key.

        Raises ProtocolRefused and stays as it was; when the authority itself says "keybad" the run is closed.
        """
        rule, me = "message 12", self._me
        self.expect(rule, tick, "loading")
        v, record = self._session(rule), self._record
        assert record is not None
        to = unpack(ToSession, message12, rule)
        require(to.id_x == me.id, rule, "it is for another party")  # 12.1
        require(to.sid == v.sid, rule, "it is for another session")  # 12.2
        try:
            statement = open_(me.keys, "k12", context(me.id, v.sid), to.blob)  # 12.3
        except VecError:
            require(False, rule, "it is not sealed to this user for this session")
        good, o = loaded(statement, me.ca.sign_key, rule)  # 12.4
        require(o.sid == v.sid, rule, "the statement is about another session")  # 12.5
        require(o.id_u == me.id, rule, "the statement is about another user")  # 12.6
        require(o.id_c == v.id_c, rule, "the statement is about another card")  # 12.7
        if not good:
            self.close("the authority says keybad")
            raise ProtocolRefused(
                f"{rule}: the card holds another key",
                rule=rule,
                reason="keybad: what the card has is not the registered key; it was zeroised",
                hint="register the key first, or load the registered one",
            )
        require(same(o.kcv, record.kcv), rule, "the statement is about another key: kcv differs")  # 12.8
        require(o.alg == record.alg, rule, "the statement has another algorithm for the key")  # 12.9
        require(o.usage == record.usage, rule, "the statement has another usage for the key")  # 12.10
        require(o.N_K != 0, rule, "the statement has no key number")  # 12.11
        require(now < o.exp, rule, "the statement has expired", "compare the clocks")  # 12.12
        self.enter("loaded", tick, None)
        return o.N_K

    def attach(self, instance: bytes, tick: float) -> Attachment:
        """A data connection of this instance to this run's card; once for a run."""
        rule = "attach"
        self.expect(rule, tick, "verified", "loaded")
        v = self._session(rule)
        ck = self._random(NONCE_SIZE)
        plaintext = enc(ck)
        ct = seal(v.pkE_c, "attach", pack(AttachContext(v.sid, v.id_u, v.id_c, instance)), plaintext)
        wipe(plaintext)
        tag = mac(ck, "attach", pack(AttachTag(v.sid, instance)))
        wipe(ck)
        s = sign(self._me.keys, "attach", pack(AttachSigned(v.sid, v.id_u, v.id_c, instance, h(ct))))
        self.enter("attached", tick, None)
        return Attachment(pack(AttachMessage(v.sid, v.id_u, v.id_c, instance, ct, s)), tag)

    def release(self, instance: bytes) -> bytes:
        """This run's instance lets go of its card: enc(sid, i)."""
        return pack(Release(self.sid, instance))

    def _session(self, what: str) -> Verification:
        if self._v is None:
            raise ProtocolRefused(f"{what}: no card is verified", rule="message 6", reason=f"the run is {self.state}")
        return self._v


def loaded(statement: bytes, sign_key: bytes, rule: str) -> tuple[bool, Loaded]:
    """O and whether it is "keyok"; "keybad" has the same fields under its own label."""
    try:
        return True, opened(Loaded, statement, sign_key, "keyok", rule)
    except ProtocolRefused as refusal:
        try:
            return False, opened(Loaded, statement, sign_key, "keybad", rule)
        except ProtocolRefused:
            raise refusal from None


class KeyRegistration(Machine):
    """One request to register a further key: `message`, then `accept`."""

    def __init__(
        self,
        identity: Identity,
        secret: bytes | memoryview,
        alg: str,
        usage: int,
        name: str,
        random: Random,
        tick: float,
    ) -> None:
        super().__init__("open", tick)
        self._me, self._random, r_k = identity, random, random(NONCE_SIZE)
        self._record = KeyRecord(name, alg, usage, kcv_of(secret, identity.id, alg, usage, r_k), r_k)
        self.again(tick)

    def again(self, tick: float) -> KeyRegistration:
        """The same request under a new nonce: for an answer that was lost, or too late. Earlier answers are void."""
        me, mine = self._me, self._record
        self._n_u = self._random(NONCE_SIZE)
        fields = KeySigned(me.id, self._n_u, mine.name, mine.alg, mine.usage, mine.kcv, mine.r_K)
        inner = pack(KeyInner(*fields, sign(me.keys, "key", pack(fields))))
        self.message = pack(FromUser(me.id, seal(me.ca.seal_key, "key", context(me.id), inner)))
        self.enter("open", tick)
        return self

    def accept(self, answer: bytes, tick: float) -> KeyRecord:
        """The record of the key, now registered. Raises ProtocolRefused and stays as it was."""
        rule, mine = "keyreg", self._record
        self.expect(rule, tick, "open")
        a = opened(KeyRegistered, answer, self._me.ca.sign_key, "keyreg", rule)  # KR.1
        require(a.id_u == self._me.id, rule, "the statement is about another user")  # KR.2
        require(same(a.n_u, self._n_u), rule, "the statement answers another request")  # KR.3
        as_asked = (a.name, a.alg, a.usage, a.kcv) == (mine.name, mine.alg, mine.usage, mine.kcv)
        require(as_asked, rule, "the statement is about another key")  # KR.4
        self.enter("done", tick, None)
        return mine


class KeyRevocation(Machine):
    """One request to revoke a key: `message`, then `accept`."""

    def __init__(self, identity: Identity, record: KeyRecord, random: Random, tick: float) -> None:
        super().__init__("open", tick)
        self._me, self._kcv = identity, record.kcv
        fields = RevokeSigned(identity.id, random(NONCE_SIZE), record.kcv)
        inner = pack(RevokeInner(*fields, sign(identity.keys, "keyrev", pack(fields))))
        self.message = pack(FromUser(identity.id, seal(identity.ca.seal_key, "keyrev", context(identity.id), inner)))

    def accept(self, answer: bytes, tick: float) -> None:
        """The key is revoked at the authority; the statement is on its way to the cards."""
        rule = "keyrev"
        self.expect(rule, tick, "open")
        a = opened(KeyRevoked, answer, self._me.ca.sign_key, "keyrev", rule)  # KV.1
        require(a.id_u == self._me.id, rule, "the statement is about another user")  # KV.2
        require(same(a.kcv, self._kcv), rule, "the statement is about another key")  # KV.3
        self.enter("done", tick, None)
