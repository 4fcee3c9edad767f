"""The card's side: verification 2 and 5, key loading 8 and 11, revocation of a key, attach, release.

docs/protocol.md has each message and, by the numbers that stand behind the lines here, each check. A session is one
run with one user: open -> verified -> loading -> loaded -> attached; verified -> attached after a reconnect. K goes
from HPKE's plaintext into the vault and the plaintext is overwritten at once; nothing here holds K.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from vecd.base.errors import Busy, Malformed, ProtocolRefused, VecError
from vecd.base.secret import wipe

from .checks import require
from .encoding import as_u32, spans
from .identity import Identity
from .machine import Machine
from .messages import (
    CARD,
    ID_SIZE,
    M1,
    M2,
    NONCE_SIZE,
    STATEMENT_MAX_S,
    AttachContext,
    AttachMessage,
    AttachSigned,
    AttachTag,
    K7Context,
    K7Signed,
    K8Inner,
    K8Signed,
    KcvInput,
    KeyRevoked,
    Message7,
    Message8,
    Signed,
    ToParty,
    ToSession,
    Verification,
    context,
    opened,
    pack,
    signed,
    unpack,
)
from .suites import h, labelled, mac, open_, same, seal, sign, verified
from .user import loaded

Random = Callable[[int], bytes]

# Runs that wait for messages 5, 7 or 11: of everybody, more are told to come again; of one user, a fresh one takes
# the place of its oldest that still waits for message 5, which never comes where the authority died in between.
WAITING_MAX = 512
WAITING_PER_USER_MAX = 8
# Sessions of one user in all; the oldest that is not attached gives way.
SESSIONS_PER_USER_MAX = 64
# Released key numbers that are still refused; the authority never gives one twice, this is the card's own look.
RELEASED_MAX = 65536


def _overwrite(plaintext: bytes) -> None:
    """What HPKE handed to Python is zero. One byte is no secret: the interpreter shares such objects."""
    if len(plaintext) > 1:
        wipe(plaintext)


class Vault(Protocol):
    """Where K is kept: cards.api.Card has these three. Handles are small numbers."""

    def stage(self, secret: memoryview) -> int:
        """A handle of a copy that only the card can use."""

    def kcv(self, handle: int, data: bytes) -> bytes:
        """HMAC-SHA256 keyed by the staged secret."""

    def drop(self, handle: int) -> None:
        """The secret is overwritten."""


@dataclass(frozen=True, slots=True)
class Activation:
    """Message 11 was accepted: (N_K, id_u) is a key of this card. `handle` is the caller's now."""

    sid: bytes
    id_u: bytes
    number: int
    handle: int
    alg: str
    usage: int
    kcv: bytes


@dataclass(frozen=True, slots=True)
class Attached:
    """An attach was accepted: the first 32 bytes after READY must be `tag`."""

    sid: bytes
    id_u: bytes
    instance: bytes
    tag: bytes = field(repr=False)


@dataclass(slots=True)
class _Staged:
    """A K between messages 7 and 11."""

    handle: int
    alg: str
    usage: int
    kcv: bytes


class _Session(Machine):
    def __init__(self, id_u: bytes, n_c: bytes, tick: float, vault: Vault) -> None:
        super().__init__("open", tick)
        self.id_u, self.n_c, self._vault = id_u, n_c, vault
        self.v: Verification | None = None
        self.staged: _Staged | None = None
        self.instance: bytes | None = None

    def verification(self) -> Verification:
        assert self.v is not None
        return self.v

    def close(self, why: str) -> None:
        if self.staged is not None:
            self._vault.drop(self.staged.handle)
            self.staged = None
        super().close(why)


class CardParty:
    """A registered card.

    `algs` maps the name of each algorithm to its key size in bytes, `usages` is the mask of operations known here. The
    caller activates, in its own key slots, what `key_accept` returns, and tells with `dropped` when one is no more.
    """

    def __init__(
        self, identity: Identity, vault: Vault, random: Random, *, algs: Mapping[str, int], usages: int
    ) -> None:
        if identity.role != CARD:
            raise Malformed(f"the identity of a {identity.role} is not a card's")
        self.identity = identity
        self._vault, self._random, self._algs, self._usages = vault, random, algs, usages
        self._open: dict[bytes, _Session] = {}  # by n_c, before message 5
        self._sessions: dict[bytes, _Session] = {}  # by sid, after it
        self._slots: dict[int, Activation] = {}  # by N_K
        self._released: deque[int] = deque(maxlen=RELEASED_MAX)

    # ---- verification ----------------------------------------------------------------------------------------

    def verify_open(self, message1: bytes, tick: float) -> bytes:
        """Message 2 as the answer to message 1. Raises Busy when too many runs wait."""
        rule, me = "message 1", self.identity
        self.expire(tick)
        m1 = unpack(M1, unpack(Signed, message1, rule).inner, rule)
        require(m1.id_c == me.id, rule, "it is for another card")  # 1.1
        self._make_way(m1.id_u, rule)
        n_c = self._random(NONCE_SIZE)
        self._open[n_c] = _Session(m1.id_u, n_c, tick, self._vault)
        return signed(me.keys, "v2", M2(me.id, m1.id_u, n_c))

    def _make_way(self, id_u: bytes, rule: str) -> None:
        """There is room for one more run of this user. Raises Busy."""
        sessions = (*self._open.values(), *self._sessions.values())
        waiting = [s.id_u for s in sessions if s.state in ("open", "verified", "loading")]
        if waiting.count(id_u) >= WAITING_PER_USER_MAX:
            oldest = next((n_c for n_c, session in self._open.items() if session.id_u == id_u), None)
            if oldest is None:
                raise Busy(f"{WAITING_PER_USER_MAX} runs of this user wait on this card", rule=rule)
            self._open.pop(oldest).close("a later run of its user took its place")
        elif len(waiting) >= WAITING_MAX:
            raise Busy(f"{WAITING_MAX} runs wait on this card", rule=rule)

    def verify_accept(self, message5: bytes, now: int, tick: float) -> bytes:
        """The sid: the user was verified. Raises ProtocolRefused and stays as it was."""
        rule, me = "message 5", self.identity
        self.expire(tick)
        to = unpack(ToParty, message5, rule)
        require(to.id_x == me.id, rule, "it is for another party")  # 5.1
        try:
            statement = open_(me.keys, "v5", context(me.id), to.blob)  # 5.2
        except VecError:
            require(False, rule, "it is not sealed to this card")
        v = opened(Verification, statement, me.ca.sign_key, "ver", rule)  # 5.3
        require(v.id_c == me.id, rule, "the statement is about another card")  # 5.4
        require(v.pkE_c == me.keys.seal_key, rule, "the statement has another encryption key for this card")  # 5.5
        require(v.pkS_c == me.keys.sign_key, rule, "the statement has another signature key for this card")  # 5.6
        session = self._open.get(v.n_c)
        if session is None:
            raise ProtocolRefused(
                f"{rule} was refused", rule=rule, reason="the nonce is of no open session: replayed, or too late"
            )  # 5.7
        session.expect(rule, tick, "open")
        require(v.id_u == session.id_u, rule, "the statement is about another user")  # 5.8
        require(now < v.exp, rule, "the statement has expired", "compare the clocks")  # 5.9
        require(v.exp - v.iat <= STATEMENT_MAX_S, rule, "the statement is valid for longer than 300 s")  # 5.10
        require(v.sid not in self._sessions, rule, "the session is there already")  # 5.11
        self._make_room(v.id_u)
        del self._open[v.n_c]
        session.v = v
        self._sessions[v.sid] = session
        session.enter("verified", tick)
        return v.sid

    def _make_room(self, id_u: bytes) -> None:
        mine = [(sid, s) for sid, s in self._sessions.items() if s.id_u == id_u]
        idle = [sid for sid, s in mine if s.state == "loaded"]
        if len(mine) >= SESSIONS_PER_USER_MAX:
            if not idle:
                raise Busy(f"this user has {SESSIONS_PER_USER_MAX} sessions on this card", rule="message 5")
            self.forget(idle[0])

    # ---- key loading -----------------------------------------------------------------------------------------

    def key_load(self, message7: bytes, tick: float) -> tuple[bytes, bytes]:
        """The sid, and message 8. K is staged in the vault. Raises ProtocolRefused and stays as it was."""
        rule, me = "message 7", self.identity
        m = unpack(Message7, message7, rule)
        session = self._session(rule, m.sid, tick, "verified")  # 7.1
        v = session.verification()
        require(m.id_u == v.id_u, rule, "it names another user than the session's")  # 7.2
        require(m.id_c == me.id, rule, "it names another card")  # 7.3
        body = pack(K7Signed(m.sid, m.id_u, m.id_c, h(m.ct)))
        require(verified(v.pkS_u, "k7", body, m.s), rule, "it is not signed by the session's user")  # 7.4
        try:
            plaintext = open_(me.keys, "k7", pack(K7Context(v.sid, v.id_u, v.id_c, v.n_u, v.n_c)), m.ct)  # 7.5
        except VecError:
            require(False, rule, "it is not sealed to this card for this session and user")
        try:
            staged = self._stage(v.id_u, plaintext)
        finally:
            _overwrite(plaintext)
        try:
            fields = K8Signed(v.sid, v.id_u, v.id_c, staged.alg, staged.usage, staged.kcv)
            s8 = sign(me.keys, "k8", pack(fields))
            inner = pack(K8Inner(v.id_u, v.id_c, staged.alg, staged.usage, staged.kcv, s8))
            message8 = pack(Message8(v.sid, seal(me.ca.seal_key, "k8", context(v.sid), inner)))
        except BaseException:
            self._vault.drop(staged.handle)
            raise
        session.staged = staged
        session.enter("loading", tick)
        return v.sid, message8

    def _stage(self, id_u: bytes, plaintext: bytes) -> _Staged:
        """K into the vault, from (K, alg, usage, r_K); K itself is looked at in place only."""
        rule = "message 7"
        try:
            secret_at, alg_at, usage_at, r_at = (slice(*span) for span in spans(plaintext, 4))
            alg, usage = plaintext[alg_at].decode("ascii", errors="replace"), as_u32(plaintext[usage_at])
        except VecError:
            # The error's own words could tell of lengths inside the plaintext.
            require(False, rule, "what it carries is not well formed")
        r_k = plaintext[r_at]
        require(len(r_k) == NONCE_SIZE, rule, "what it carries is not well formed")  # 7.6
        require(alg in self._algs, rule, "the key's algorithm is not known to this card")  # 7.7
        require(usage != 0 and usage & ~self._usages == 0, rule, "the key's usage is not known to this card")  # 7.8
        size = secret_at.stop - secret_at.start
        require(size == self._algs[alg], rule, f"the key has not the size of {alg}")  # 7.9
        with memoryview(plaintext) as view, view[secret_at] as secret:
            handle = self._vault.stage(secret)
        try:
            kcv = self._vault.kcv(handle, labelled("kcv", pack(KcvInput(id_u, alg, usage, r_k))))
        except BaseException:
            self._vault.drop(handle)
            raise
        return _Staged(handle, alg, usage, kcv)

    def key_accept(self, message11: bytes, now: int, tick: float) -> Activation | None:
        """The key to activate; None: the authority says "keybad", K is zeroised and the session over.

        Raises ProtocolRefused and stays as it was.
        """
        rule, me = "message 11", self.identity
        to = unpack(ToSession, message11, rule)
        require(to.id_x == me.id, rule, "it is for another party")  # 11.1
        session = self._session(rule, to.sid, tick, "loading")  # 11.2
        v, staged = session.verification(), session.staged
        assert staged is not None
        try:
            statement = open_(me.keys, "k11", context(me.id, v.sid), to.blob)  # 11.3
        except VecError:
            require(False, rule, "it is not sealed to this card for this session")
        good, o = loaded(statement, me.ca.sign_key, rule)  # 11.4
        require(o.sid == v.sid, rule, "the statement is about another session")  # 11.5
        require(o.id_c == me.id, rule, "the statement is about another card")  # 11.6
        require(o.id_u == v.id_u, rule, "the statement is about another user")  # 11.7
        if not good:
            self._end(v.sid, "the authority says keybad")
            return None
        require(same(o.kcv, staged.kcv), rule, "the statement is about another key: kcv differs")  # 11.8
        require(o.alg == staged.alg, rule, "the statement has another algorithm for the key")  # 11.9
        require(o.usage == staged.usage, rule, "the statement has another usage for the key")  # 11.10
        unused = o.N_K != 0 and o.N_K not in self._slots and o.N_K not in self._released
        require(unused, rule, "the key number was used in this card before")  # 11.11
        require(now < o.exp, rule, "the statement has expired", "compare the clocks")  # 11.12
        key = Activation(v.sid, v.id_u, o.N_K, staged.handle, staged.alg, staged.usage, staged.kcv)
        self._slots[o.N_K] = key
        session.staged = None
        # The statement bounds how long the run may wait for its attach; without one it is forgotten.
        session.enter("loaded", tick, max(0.0, min(STATEMENT_MAX_S, v.exp - now)))
        return key

    def key_destroy(self, statement: bytes) -> tuple[Activation, ...]:
        """The keys that the authority's keyrev statement takes away; the caller destroys their key slots.

        A K of that kcv which waits for message 11 is zeroised here. Empty when the card holds none.
        """
        rule = "keyrev"
        a = opened(KeyRevoked, statement, self.identity.ca.sign_key, "keyrev", rule)  # KV.4
        for sid, session in list(self._sessions.items()):
            if session.staged is not None and session.id_u == a.id_u and same(session.staged.kcv, a.kcv):
                self._end(sid, "the key was revoked")
        gone = tuple(k for k in self._slots.values() if k.id_u == a.id_u and same(k.kcv, a.kcv))
        for key in gone:
            self.dropped(key.number)
        return gone

    def dropped(self, number: int) -> None:
        """The key slot N_K is no more; the number stays used."""
        if self._slots.pop(number, None) is not None:
            self._released.append(number)

    @property
    def slots(self) -> Mapping[int, Activation]:
        """The active keys by N_K."""
        return self._slots

    # ---- attach and release ----------------------------------------------------------------------------------

    def attach(self, message: bytes, owners: Mapping[bytes, bytes], tick: float) -> Attached:
        """The connection that comes with this message belongs to this run; once for a sid, ever.

        `owners` maps each instance connected to this card to its user.
        """
        rule, me = "attach", self.identity
        m = unpack(AttachMessage, message, rule)
        session = self._session(rule, m.sid, tick, "verified", "loaded")  # A.1
        v = session.verification()
        require(m.id_u == v.id_u, rule, "it names another user than the session's")  # A.2
        require(m.id_c == me.id, rule, "it names another card")  # A.3
        body = pack(AttachSigned(m.sid, m.id_u, m.id_c, m.i, h(m.ct)))
        require(verified(v.pkS_u, "attach", body, m.s), rule, "it is not signed by the session's user")  # A.4
        require(owners.get(m.i) == v.id_u, rule, "the instance is not this user's, or not connected here")  # A.5
        try:
            plaintext = open_(me.keys, "attach", pack(AttachContext(v.sid, v.id_u, v.id_c, m.i)), m.ct)  # A.6
        except VecError:
            require(False, rule, "it is not sealed to this card for this session and instance")
        try:
            tag = self._tag(plaintext, m)
        finally:
            _overwrite(plaintext)
        session.instance = m.i
        session.enter("attached", tick, None)
        return Attached(v.sid, v.id_u, m.i, tag)

    def _tag(self, plaintext: bytes, m: AttachMessage) -> bytes:
        try:
            ((start, end),) = spans(plaintext, 1)
        except VecError:
            start = end = 0
        require(end - start == NONCE_SIZE, "attach", "what it carries is not well formed")  # A.7
        with memoryview(plaintext) as view, view[start:end] as ck:
            return mac(ck, "attach", pack(AttachTag(m.sid, m.i)))

    def session_release(self, sid: bytes, instance: bytes, owners: Mapping[bytes, bytes], tick: float) -> bytes:
        """id_u: this run's user may let go of this instance's card."""
        rule = "release"
        require(len(instance) == ID_SIZE, rule, "the instance's id has not its length")
        session = self._session(rule, sid, tick, "verified", "loaded", "attached")  # RL.1
        id_u = session.verification().id_u
        require(owners.get(instance) == id_u, rule, "the instance is not this user's, or not connected here")  # RL.2
        require(session.instance in (None, instance), rule, "the run is attached to another instance")  # RL.3
        return id_u

    # ---- the end of things -----------------------------------------------------------------------------------

    def forget(self, sid: bytes) -> None:
        """The run is over (its data connection ended, say); unknown ones are let pass."""
        if sid in self._sessions:
            self._end(sid, "forgotten")

    def expire(self, tick: float) -> None:
        """Runs that stayed too long in one state are closed, staged keys zeroised. Call it now and then."""
        for table in (self._open, self._sessions):
            for key in [key for key, session in table.items() if session.expire(tick)]:
                del table[key]

    def close(self) -> None:
        """All runs are over, staged keys zeroised; active keys are the caller's."""
        for session in (*self._open.values(), *self._sessions.values()):
            session.close("the card stops")
        self._open.clear()
        self._sessions.clear()

    def _session(self, rule: str, sid: bytes, tick: float, *states: str) -> _Session:
        self.expire(tick)
        session = self._sessions.get(sid)
        if session is None:
            raise ProtocolRefused(
                f"{rule} was refused", rule=rule, reason="the session is not open here: replayed, or too late"
            )
        session.expect(rule, tick, *states)
        return session

    def _end(self, sid: bytes, why: str) -> None:
        self._sessions.pop(sid).close(why)
