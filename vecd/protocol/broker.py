"""The broker's side: it relays, and signs what is registered through it. It never sees K, ck or a statement in clear.

docs/protocol.md, "The broker". One `Relay` belongs to one control connection of one guest and lets one run pass at a
time: idle -> verifying -> certifying -> idle, idle -> loading -> confirming -> idle. It refuses early what the card or
the authority would refuse later, and it is trusted by neither for that.
"""

from __future__ import annotations

from dataclasses import dataclass

from vecd.base.errors import Malformed

from .checks import require
from .identity import CaKeys, Identity
from .machine import Machine
from .messages import (
    BROKER,
    M1,
    M2,
    AttachMessage,
    FromUser,
    Message3,
    Message7,
    Message8,
    Reg1,
    Reg2,
    Reg2Inner,
    Reg2Signed,
    Release,
    Sealed3,
    Signed,
    ToParty,
    ToSession,
    context,
    pack,
    unpack,
)
from .suites import Keys, h, seal, sign


@dataclass(frozen=True, slots=True)
class ToCard:
    """For which card a message is. `sid` and `instance` where the message names them."""

    id_c: bytes
    body: bytes
    sid: bytes = b""
    instance: bytes = b""


class BrokerParty:
    """A registered broker."""

    def __init__(self, identity: Identity) -> None:
        if identity.role != BROKER:
            raise Malformed(f"the identity of a {identity.role} is not a broker's")
        self.identity = identity

    def relay_registration(self, message1: bytes, role: str, id_x: bytes | None = None) -> bytes:
        """Registration 2 for this 1, which must come from the role (and id) that is behind this connection."""
        rule = "registration 1"
        m = unpack(Reg1, message1, rule)
        require(m.role == role, rule, f"a {m.role} cannot register here, only a {role}")  # R1.1
        require(id_x is None or m.id_x == id_x, rule, "the id is not that of this connection")  # R1.2
        return registration2(self.identity.id, self.identity.keys, self.identity.ca, message1)

    def check_certificate(self, message4: bytes, id_x: bytes) -> bytes:
        """Registration 3 as it goes on to the party: unchanged."""
        rule = "registration 3"
        require(unpack(ToParty, message4, rule).id_x == id_x, rule, "the answer is for another party")  # R3.1
        return message4

    def relay(self, id_u: bytes, tick: float) -> Relay:
        """The machine of one control connection, whose guest is `id_u`: the listener says so, not the guest."""
        return Relay(self.identity, id_u, tick)


def registration2(id_d: bytes, keys: Keys, ca: CaKeys, message1: bytes) -> bytes:
    """Registration 2: message 1, signed by the broker, sealed to the authority. The broker's own goes this way, too."""
    s = sign(keys, "reg2", pack(Reg2Signed(id_d, h(message1))))
    return pack(Reg2(id_d, seal(ca.seal_key, "reg2", context(id_d), pack(Reg2Inner(id_d, message1, s)))))


class Relay(Machine):
    """One control connection. A refusal changes nothing; `reset` after the far side refused."""

    def __init__(self, identity: Identity, id_u: bytes, tick: float) -> None:
        super().__init__("idle", tick)
        self.enter("idle", tick, None)
        self._me, self.id_u = identity, id_u
        self._message1 = b""
        self._id_c = b""
        self._sid = b""

    def reset(self, tick: float) -> None:
        """The run came to nothing; the guest may begin another."""
        self._message1 = self._id_c = self._sid = b""
        self.enter("idle", tick, None)

    def expire(self, tick: float) -> bool:
        """A run that stalls ends; the connection does not."""
        if self.deadline is not None and tick > self.deadline:
            self.reset(tick)
        return False

    # ---- verification ----------------------------------------------------------------------------------------

    def verify(self, message1: bytes, tick: float) -> ToCard:
        """Message 1 for the card it names."""
        rule = "message 1"
        self.expect(rule, tick, "idle")
        m1 = unpack(M1, unpack(Signed, message1, rule).inner, rule)
        require(m1.id_u == self.id_u, rule, "it is from another user than this connection's")  # 1.2
        self._message1, self._id_c = message1, m1.id_c
        self.enter("verifying", tick)
        return ToCard(m1.id_c, message1)

    def card_answered(self, message2: bytes, tick: float) -> bytes:
        """Message 3 for the authority."""
        rule, me = "message 2", self._me
        self.expect(rule, tick, "verifying")
        signed2 = unpack(Signed, message2, rule)
        m2 = unpack(M2, signed2.inner, rule)
        require(m2.id_c == self._id_c, rule, "it is from another card")  # 2.1
        require(m2.id_u == self.id_u, rule, "it is about another user")  # 2.2
        signed1 = unpack(Signed, self._message1, rule)
        inner = pack(Sealed3(signed1.inner, signed1.s, signed2.inner, signed2.s))
        message3 = pack(Message3(me.id, seal(me.ca.seal_key, "v3", context(me.id), inner)))
        self.enter("certifying", tick)
        return message3

    def certified(self, to_card: bytes, to_user: bytes, tick: float) -> tuple[ToCard, bytes]:
        """Message 5 for the card and message 6 for the user; deliver 5 first, so that the card is ready for 7."""
        rule = "message 4"
        self.expect(rule, tick, "certifying")
        require(unpack(ToParty, to_card, rule).id_x == self._id_c, rule, "its first part is for another card")  # 4.1
        require(unpack(ToParty, to_user, rule).id_x == self.id_u, rule, "its second part is for another user")  # 4.2
        answer = ToCard(self._id_c, to_card), to_user
        self.reset(tick)
        return answer

    # ---- key loading -----------------------------------------------------------------------------------------

    def load(self, message7: bytes, tick: float) -> ToCard:
        """Message 7 for the card it names."""
        rule = "message 7"
        self.expect(rule, tick, "idle")
        m = unpack(Message7, message7, rule)
        require(m.id_u == self.id_u, rule, "it is from another user than this connection's")  # 7.10
        self._id_c, self._sid = m.id_c, m.sid
        self.enter("loading", tick)
        return ToCard(m.id_c, message7, sid=m.sid)

    def card_loaded(self, message8: bytes, tick: float) -> bytes:
        """Message 9 for the authority: message 8 as it is."""
        rule = "message 8"
        self.expect(rule, tick, "loading")
        require(unpack(Message8, message8, rule).sid == self._sid, rule, "it is about another session")  # 8.1
        self.enter("confirming", tick)
        return message8

    def confirmed(self, to_card: bytes, to_user: bytes, tick: float) -> tuple[ToCard, bytes]:
        """Message 11 for the card and message 12 for the user; deliver 11 first, so that the key is there at 12."""
        rule = "message 10"
        self.expect(rule, tick, "confirming")
        first, second = unpack(ToSession, to_card, rule), unpack(ToSession, to_user, rule)
        require((first.id_x, first.sid) == (self._id_c, self._sid), rule, "its first part is for another run")  # 10.1
        require((second.id_x, second.sid) == (self.id_u, self._sid), rule, "its second part is for another run")  # 10.2
        answer = ToCard(self._id_c, to_card, sid=self._sid), to_user
        self.reset(tick)
        return answer

    # ---- what takes one step ---------------------------------------------------------------------------------

    def attach(self, message: bytes, tick: float) -> ToCard:
        """The attach message for the card it names; the descriptor goes with it."""
        rule = "attach"
        self.expect(rule, tick, "idle")
        m = unpack(AttachMessage, message, rule)
        require(m.id_u == self.id_u, rule, "it is from another user than this connection's")  # A.8
        return ToCard(m.id_c, message, sid=m.sid, instance=m.i)

    def key(self, message: bytes, tick: float, rule: str = "key") -> bytes:
        """A key registration (rule "key") or revocation ("keyrev") for the authority, as it is."""
        self.expect(rule, tick, "idle")
        require(unpack(FromUser, message, rule).id_u == self.id_u, rule, "it is from another user")  # K.1
        return message

    def release(self, message: bytes, tick: float) -> Release:
        """Which run lets go of which instance; the card of that run says whether it may."""
        self.expect("release", tick, "idle")
        return unpack(Release, message, "release")
