"""Two users, two cards and a run stopped at any message: the stage of the tests that violate checks and of the attacks.

A is the honest user, C the honest card; E is a registered user and X a registered card whose keys the attacker has.
The attacker is also the broker's whole side: it sees, keeps, changes and sends every message.
"""

from __future__ import annotations

import os

from vecd.protocol import suites
from vecd.protocol.encoding import enc
from vecd.protocol.messages import (
    AttachContext,
    AttachMessage,
    AttachSigned,
    K7Context,
    K7Signed,
    K8Inner,
    K8Signed,
    Loaded,
    Message3,
    Message7,
    Message8,
    Sealed3,
    Signed,
    ToParty,
    ToSession,
    Verification,
    opened,
    pack,
    signed,
    unpack,
)
from vecd.protocol.suites import h, open_, seal, sign
from vecd.protocol.user import UserParty

from .protocol_world import ALG, NOW, USAGE, Trace, World


class Scene(World):
    def __init__(self, suite=1):
        super().__init__(suite)
        self.k_a, self.k_e = os.urandom(32), os.urandom(32)
        self.a, self.e = self.user("A", self.k_a), self.user("E", self.k_e)
        self.c, self.x = self.card("C"), self.card("X")
        self.i_a, self.i_e = os.urandom(16), os.urandom(16)
        self.owners = {self.i_a: self.a.identity.id, self.i_e: self.e.identity.id}

    def until(self, n: int, user: UserParty | None = None, card=None) -> Trace:
        """An honest run whose messages below `n` were delivered; n and its twin (5, 6; 11, 12) are there."""
        user, card = user or self.a, card or self.c
        relay = self.relay(user)
        run = user.open(card.identity.id, self.tick)
        t = Trace(run)
        t.m[1] = run.message1
        if n == 1:
            return t
        t.m[2] = card.verify_open(relay.verify(t.m[1], self.tick).body, self.tick)
        t.m[3] = relay.card_answered(t.m[2], self.tick)
        if n <= 3:
            return t
        both = self.authority.verify(t.m[3], self.now)
        to_card, t.m[6] = relay.certified(both.to_card, both.to_user, self.tick)
        t.m[5] = to_card.body
        if n <= 6:
            return t
        t.sid = card.verify_accept(t.m[5], self.now, self.tick)
        run.accept_verification(t.m[6], self.now, self.tick)
        t.m[7] = run.load(self.key_of(user), user.identity.registered[0], self.tick)
        if n == 7:
            return t
        _, t.m[8] = card.key_load(relay.load(t.m[7], self.tick).body, self.tick)
        t.m[9] = relay.card_loaded(t.m[8], self.tick)
        if n <= 9:
            return t
        both = self.authority.loaded(t.sid, t.m[9], self.now)
        to_card, t.m[12] = relay.confirmed(both.to_card, both.to_user, self.tick)
        t.m[11] = to_card.body
        if n <= 12:
            return t
        t.activation = card.key_accept(t.m[11], self.now, self.tick)
        t.number = run.accept_loaded(t.m[12], self.now, self.tick)
        return t

    def key_of(self, user):
        return self.k_a if user is self.a else self.k_e

    # ---- messages as the attacker, or a broken party, would make them -----------------------------------------

    def v_of(self, message6, user=None) -> Verification:
        user = user or self.a
        blob = unpack(ToParty, message6, "").blob
        statement = open_(user.identity.keys, "v6", enc(user.identity.id), blob)
        return opened(Verification, statement, self.ca.sign_key, "ver", "")

    def o_of(self, message12, user=None) -> Loaded:
        user = user or self.a
        m = unpack(ToSession, message12, "")
        statement = open_(user.identity.keys, "k12", enc(user.identity.id, m.sid), m.blob)
        return opened(Loaded, statement, self.ca.sign_key, "keyok", "")

    def message5(self, v, *, card=None, label="v5", statement="ver", keys=None):
        """V as the authority (or `keys`) would send it to the card."""
        card = card or self.c
        me = card.identity
        blob = seal(me.keys.seal_key, label, enc(me.id), signed(keys or self.ca_keys, statement, v))
        return pack(ToParty(me.id, blob))

    def message6(self, v, *, user=None, label="v6", statement="ver", keys=None):
        me = (user or self.a).identity
        blob = seal(me.keys.seal_key, label, enc(me.id), signed(keys or self.ca_keys, statement, v))
        return pack(ToParty(me.id, blob))

    def message11(self, o, *, sid=None, label="k11", statement="keyok", keys=None, card=None):
        me = (card or self.c).identity
        sid = sid or o.sid
        blob = seal(me.keys.seal_key, label, enc(me.id, sid), signed(keys or self.ca_keys, statement, o))
        return pack(ToSession(me.id, sid, blob))

    def message12(self, o, *, sid=None, label="k12", statement="keyok", keys=None):
        me, sid = self.a.identity, sid or o.sid
        blob = seal(me.keys.seal_key, label, enc(me.id, sid), signed(keys or self.ca_keys, statement, o))
        return pack(ToSession(me.id, sid, blob))

    def message3(self, m1, s1, m2, s2, *, id_d=None, label="v3"):
        id_d = id_d or self.broker.identity.id
        inner = pack(Sealed3(m1, s1, m2, s2))
        return pack(Message3(id_d, seal(self.ca.seal_key, label, enc(id_d), inner)))

    def message3_of(self, message1, message2, **more):
        one, two = unpack(Signed, message1, ""), unpack(Signed, message2, "")
        return self.message3(one.inner, one.s, two.inner, two.s, **more)

    def message7(self, v, secret, *, user=None, record=None, plaintext=None, ct=None, context=None, sid=None, **named):
        """Message 7 by any user's signature, over any ciphertext, in any context."""
        me = (user or self.a).identity
        record = record or (user or self.a).identity.registered[0]
        if ct is None:
            if plaintext is None:
                plaintext = enc(secret, record.alg.encode(), record.usage.to_bytes(4, "big"), record.r_K)
            ctx = context or K7Context(v.sid, v.id_u, v.id_c, v.n_u, v.n_c)
            ct = seal(v.pkE_c, "k7", pack(ctx), plaintext)
        sid, id_u, id_c = sid or v.sid, named.get("id_u", v.id_u), named.get("id_c", v.id_c)
        s = sign(me.keys, named.get("label", "k7"), pack(K7Signed(sid, id_u, id_c, h(ct))))
        return pack(Message7(sid, id_u, id_c, ct, s))

    def message9(self, sid, id_u, id_c, kcv, *, card=None, alg=ALG, usage=USAGE, label="k8", ca=None, context=None):
        """Message 9 (or 8) by any card's signature."""
        me = (card or self.c).identity
        s = sign(me.keys, label, pack(K8Signed(sid, id_u, id_c, alg, usage, kcv)))
        inner = pack(K8Inner(id_u, id_c, alg, usage, kcv, s))
        return pack(Message8(sid, seal((ca or self.ca).seal_key, "k8", enc(context or sid), inner)))

    def attach_message(self, v, i, *, user=None, ctx_i=None, plaintext=None, sid=None, label="attach", **named):
        me = (user or self.a).identity
        ck = enc(os.urandom(32)) if plaintext is None else plaintext
        ct = seal(v.pkE_c, "attach", pack(AttachContext(v.sid, v.id_u, v.id_c, ctx_i or i)), ck)
        sid, id_u, id_c = sid or v.sid, named.get("id_u", v.id_u), named.get("id_c", v.id_c)
        s = sign(me.keys, label, pack(AttachSigned(sid, id_u, id_c, i, h(ct))))
        return pack(AttachMessage(sid, id_u, id_c, i, ct, s))

    def stranger(self):
        """Keys that nobody certified."""
        return suites.generate(self.suite)


__all__ = ["ALG", "NOW", "USAGE", "Scene"]
