"""Every check of every message, violated once: the refusal names the message and the check, and changes nothing.

The numbers are those of docs/protocol.md and of the comments in vecd/protocol; the last tests hold the three equal.
"""

import os
import re
from pathlib import Path

import pytest

import vecd.protocol
from vecd.base.errors import ProtocolRefused
from vecd.pki.profile import Profile
from vecd.protocol import suites
from vecd.protocol.authority import Authority
from vecd.protocol.encoding import enc
from vecd.protocol.messages import (
    M1,
    M2,
    BrokerR,
    CardR,
    Certificate,
    FromUser,
    KeyInner,
    KeyRegistered,
    KeyRevoked,
    KeySigned,
    Reg1,
    Reg2,
    Reg2Inner,
    Reg2Signed,
    RegInner,
    RevokeInner,
    RevokeSigned,
    Signed,
    ToParty,
    UserR,
    opened,
    pack,
    signed,
    unpack,
)
from vecd.protocol.registration import enrol_card, enrol_user
from vecd.protocol.suites import h, mac, open_, seal, sign

from .protocol_scene import ALG, USAGE, Scene

CASES = {}


def case(number, rule, reason):
    """The function violates check `number` and nothing else; it may return what must still work afterwards."""

    def register(function):
        CASES.setdefault(number, []).append((rule, reason, function))
        return function

    return register


def _flat():
    for number, cases in CASES.items():
        for n, (rule, reason, function) in enumerate(cases):
            yield pytest.param(rule, reason, function, id=f"{number}{'abcdefgh'[n] if len(cases) > 1 else ''}")


def other(value):
    """Something of the same form and another value."""
    return value + 1 if isinstance(value, int) else bytes([value[0] ^ 1]) + value[1:]


# ---- registration 1: the broker ----------------------------------------------------------------------------------


class Reg:
    """A registration of a card or user whose parts can be changed."""

    def __init__(self, s, role="card", name="N", keys=None, token=None, broker=None, suite=1):
        self.s, self.role = s, role
        self.invitation = s.invite(role, name)
        self.keys = keys or suites.generate(suite)
        self.token = token or self.invitation.token
        self.broker = broker or s.broker.identity
        self.n = os.urandom(32)
        base = (role, self.invitation.id, self.keys.seal_key, self.keys.sign_key, self.n)
        kinds = {
            "card": lambda: CardR(*base, b""),
            "user": lambda: UserR(*base, ALG, USAGE, os.urandom(32), os.urandom(32)),
            "broker": lambda: BrokerR(*base),
        }
        self.r = kinds[role]()

    def message1(self, r=None, *, signer=None, label="reg", outer=None, t=None, seal_to=None):
        inner = pack(r or self.r)
        t = t or mac(self.token, "regtok", inner)
        body = pack(RegInner(inner, sign(signer or self.keys, label, inner), t))
        if self.role == "user":
            body = seal(seal_to or self.s.ca.seal_key, "reg", enc(b"user", self.invitation.id), body)
        return pack(outer(body) if outer else Reg1(self.role, self.invitation.id, body))

    def message2(self, message1=None, *, id_d=None, inner_id=None, signer=None, signs=None, label="reg2", **more):
        message1 = message1 or self.message1(**more)
        id_d = id_d or self.broker.id
        inner_id = inner_id or id_d
        s = sign(signer or self.broker.keys, label, pack(Reg2Signed(inner_id, h(signs or message1))))
        inner = pack(Reg2Inner(inner_id, message1, s))
        return pack(Reg2(id_d, seal(self.s.ca.seal_key, "reg2", enc(id_d), inner)))

    def ask(self, *args, **more):
        return self.s.authority.register(self.message2(*args, **more), self.s.now)


@case("R1.1", "registration 1", "a card cannot register here")
def _(s):
    s.broker.relay_registration(Reg(s).message1(), "user")


@case("R1.2", "registration 1", "not that of this connection")
def _(s):
    s.broker.relay_registration(Reg(s).message1(), "card", s.c.identity.id)


@case("R2.1", "registration 2", "not sealed to this authority")
def _(s):
    m = unpack(Reg2, Reg(s).message2(), "")
    s.authority.register(pack(m._replace(id_d=other(m.id_d))), s.now)


@case("R2.2", "registration 2", "the broker's id inside is another one")
def _(s):
    Reg(s).ask(inner_id=s.a.identity.id)


@case("R2.3", "registration 2", "not sealed to this authority (reg)")
def _(s):
    Reg(s, "user").ask(seal_to=s.stranger().seal_key)


@case("R2.4", "registration 2", "role or id inside is another one")
def _(s):
    reg = Reg(s)
    reg.ask(r=reg.r._replace(id_x=s.c.identity.id))


@case("R2.4", "registration 2", "role or id inside is another one")
def _(s):
    reg = Reg(s)
    reg.ask(r=reg.r._replace(role="user"))


@case("R2.5", "registration 2", "keys cannot be used")
def _(s):
    reg = Reg(s)
    reg.ask(r=reg.r._replace(pkE_x=suites.generate(3).seal_key))


@case("R2.5", "registration 2", "keys cannot be used")
def _(s):
    reg = Reg(s)
    reg.ask(r=reg.r._replace(pkE_x=b"\x09" + bytes(32)))


@case("R2.6", "registration 2", "keys of suite 3 are not certified here")
def _(s):
    s.authority = Authority(s.store, s.ca_keys, os.urandom, Profile(suites=frozenset({1})))
    Reg(s, suite=3).ask()


@case("R2.7", "registration 2", "the broker has no valid certificate")
def _(s):
    Reg(s).ask(id_d=os.urandom(16))


@case("R2.7", "registration 2", "the broker named is a card")
def _(s):
    Reg(s, broker=s.x.identity).ask()


@case("R2.7", "registration 2", "the broker has no valid certificate")
def _(s):
    s.registrar.revoke(s.broker.identity.id)
    Reg(s).ask()


@case("R2.8", "registration 2", "not signed by the broker")
def _(s):
    Reg(s).ask(signer=s.stranger())


@case("R2.8", "registration 2", "not signed by the broker")
def _(s):
    reg = Reg(s)
    s.authority.register(reg.message2(signs=b"another message 1"), s.now)


@case("R2.8", "registration 2", "not signed by the broker")
def _(s):
    reg = Reg(s)
    s.authority.register(reg.message2(label="reg"), s.now)


@case("R2.9", "registration 2", "no proof of the party's own key")
def _(s):
    reg = Reg(s)
    s.authority.register(reg.message2(reg.message1(signer=s.stranger())), s.now)


@case("R2.9", "registration 2", "no proof of the party's own key")
def _(s):
    reg = Reg(s)
    s.authority.register(reg.message2(reg.message1(label="reg2")), s.now)


@case("R2.10", "registration 2", "the token was used already")
def _(s):
    reg = Reg(s)
    reg.ask()
    reg.ask()


@case("R2.10", "registration 2", "no token was issued for this id")
def _(s):
    reg = Reg(s)
    fresh = os.urandom(16)
    inner = pack(reg.r._replace(id_x=fresh))
    body = pack(RegInner(inner, sign(reg.keys, "reg", inner), mac(reg.token, "regtok", inner)))
    s.authority.register(reg.message2(pack(Reg1("card", fresh, body))), s.now)


@case("R2.11", "registration 2", "the token has expired")
def _(s):
    reg = Reg(s)
    s.authority.register(reg.message2(), reg.invitation.expires)


@case("R2.12", "registration 2", "the token is for a card, not for a broker")
def _(s):
    reg = Reg(s)
    base = reg.r[:5]
    reg.role = "broker"
    reg.ask(r=BrokerR("broker", *base[1:]))


@case("R2.13", "registration 2", "not the one that was issued")
def _(s):
    Reg(s, token=os.urandom(32)).ask()


@case("R2.13", "registration 2", "not the one that was issued")
def _(s):
    reg = Reg(s)
    s.invite("card", "N")  # a newer token makes the older void
    reg.ask()


@case("R2.14", "registration 2", "nothing here can appraise it")
def _(s):
    reg = Reg(s)
    reg.ask(r=reg.r._replace(evidence=b"a quote"))


@case("R2.15", "registration 2", "registered already, or was revoked")
def _(s):
    reg = Reg(s, "user", "A")
    reg.ask(r=reg.r._replace(kcv=s.a.identity.registered[0].kcv))


@case("R3.1", "registration 3", "for another party")
def _(s):
    s.broker.check_certificate(pack(ToParty(s.e.identity.id, b"")), s.a.identity.id)


# ---- registration 4 ----------------------------------------------------------------------------------------------


class Cert:
    """A registration that has come to message 4, and the certificate in it."""

    def __init__(self, s):
        self.s = s
        self.invitation = s.invite("card", "N")
        self.keys = suites.generate(1)
        self.enrolment = enrol_card(self.invitation, self.keys, os.urandom, s.tick)
        self.message4 = s.registered(self.enrolment.message, "card")
        inner2 = unpack(ToParty, self.message4, "")
        # The test knows the party's keys, so it can read n_x from message 1.
        r = unpack(CardR, unpack(RegInner, unpack(Reg1, self.enrolment.message, "").body, "").inner, "")
        self.n = r.n_x
        self.c = opened(
            Certificate,
            open_(self.keys, "cert", enc(self.invitation.id, self.n), inner2.blob),
            s.ca.sign_key,
            "cert",
            "",
        )

    def give(self, c=None, *, keys=None, label="cert", ctx=None, to=None, seal_label="cert", now=None):
        statement = signed(keys or self.s.ca_keys, label, c or self.c)
        blob = seal(self.keys.seal_key, seal_label, ctx or enc(self.invitation.id, self.n), statement)
        message = pack(ToParty(to or self.invitation.id, blob))
        return self.enrolment.accept(message, now or self.s.now, self.s.tick)


@case("R4.1", "registration 4", "for another party")
def _(s):
    Cert(s).give(to=s.c.identity.id)


@case("R4.2", "registration 4", "not sealed to this party for this registration")
def _(s):
    c = Cert(s)
    c.give(ctx=enc(c.invitation.id, other(c.n)))


@case("R4.2", "registration 4", "not sealed to this party for this registration")
def _(s):
    Cert(s).give(seal_label="v6")


@case("R4.3", "registration 4", "the signature (cert) does not verify")
def _(s):
    Cert(s).give(keys=s.stranger())


@case("R4.3", "registration 4", "the signature (cert) does not verify")
def _(s):
    Cert(s).give(label="ver")


for _n, _field, _value, _text in [
    ("R4.4", "role", "user", "another role"),
    ("R4.5", "id_x", None, "another id"),
    ("R4.6", "pkE_x", None, "another encryption key"),
    ("R4.7", "pkS_x", None, "another signature key"),
    ("R4.8", "n_x", None, "another registration"),
]:

    @case(_n, "registration 4", _text)
    def _(s, field=_field, value=_value):
        c = Cert(s)
        c.give(c.c._replace(**{field: value or other(getattr(c.c, field))}))


@case("R4.9", "registration 4", "not valid now")
def _(s):
    c = Cert(s)
    c.give(now=c.c.exp)


@case("R4.9", "registration 4", "not valid now")
def _(s):
    c = Cert(s)
    c.give(now=c.c.nbf - 1)


# ---- messages 1 and 2 --------------------------------------------------------------------------------------------


@case("1.1", "message 1", "for another card")
def _(s):
    s.x.verify_open(s.until(1).m[1], s.tick)


@case("1.2", "message 1", "from another user")
def _(s):
    s.relay(s.e).verify(s.until(1).m[1], s.tick)


def _message2(s, **changes):
    relay = s.relay(s.a)
    message1 = s.until(1).m[1]
    relay.verify(message1, s.tick)
    m2 = M2(s.c.identity.id, s.a.identity.id, os.urandom(32))._replace(**changes)
    relay.card_answered(signed(s.c.identity.keys, "v2", m2), s.tick)


@case("2.1", "message 2", "from another card")
def _(s):
    _message2(s, id_c=s.x.identity.id)


@case("2.2", "message 2", "about another user")
def _(s):
    _message2(s, id_u=s.e.identity.id)


# ---- message 3: the authority ------------------------------------------------------------------------------------


def _ask3(s, m1=None, m2=None, key1=None, key2=None, label1="v1", label2="v2", now=None, **more):
    """Message 3 from honest m1, m2 with changes, signed by the honest keys unless said otherwise."""
    one = M1(s.a.identity.id, s.c.identity.id, os.urandom(32))._replace(**(m1 or {}))
    two = M2(s.c.identity.id, s.a.identity.id, os.urandom(32))._replace(**(m2 or {}))
    first = signed(key1 or s.a.identity.keys, label1, one)
    second = signed(key2 or s.c.identity.keys, label2, two)
    return s.authority.verify(s.message3_of(first, second, **more), now or s.now)


@case("3.1", "message 3", "not sealed to this authority")
def _(s):
    _ask3(s, label="v1")


@case("3.2", "message 3", "different users")
def _(s):
    _ask3(s, m2={"id_u": s.e.identity.id})


@case("3.3", "message 3", "different cards")
def _(s):
    _ask3(s, m2={"id_c": s.x.identity.id}, key2=s.x.identity.keys)


@case("3.4", "message 3", "the broker has no valid certificate")
def _(s):
    _ask3(s, id_d=os.urandom(16))


@case("3.5", "message 3", "the user has no valid certificate")
def _(s):
    s.registrar.revoke(s.a.identity.id)
    _ask3(s)


@case("3.5", "message 3", "the user has no valid certificate")
def _(s):
    # Nobody registered this id.
    ghost = os.urandom(16)
    _ask3(s, m1={"id_u": ghost}, m2={"id_u": ghost})


@case("3.5", "message 3", "the user named is a card")
def _(s):
    _ask3(s, m1={"id_u": s.x.identity.id}, m2={"id_u": s.x.identity.id}, key1=s.x.identity.keys)


@case("3.5", "message 3", "the certificate of the user has expired")
def _(s):
    later = Authority(s.store, s.ca_keys, os.urandom, s.profile)
    s.authority = later
    s.enrol_broker("late", s.invite("broker", "late"))
    _ask3(s, now=s.now + 365 * 86400, id_d=_late_broker(s))


def _late_broker(s):
    """A broker whose certificate is valid when those of the users are no more."""
    now, s.now = s.now, s.now + 1000
    try:
        return s.enrol_broker("later").id
    finally:
        s.now = now


@case("3.6", "message 3", "the card named is a user")
def _(s):
    _ask3(s, m1={"id_c": s.e.identity.id}, m2={"id_c": s.e.identity.id}, key2=s.e.identity.keys)


@case("3.6", "message 3", "the card has no valid certificate")
def _(s):
    s.registrar.revoke(s.c.identity.id)
    _ask3(s)


@case("3.7", "message 3", "message 1 is not signed by its user")
def _(s):
    _ask3(s, key1=s.e.identity.keys)


@case("3.7", "message 3", "message 1 is not signed by its user")
def _(s):
    _ask3(s, label1="v2")


@case("3.8", "message 3", "message 2 is not signed by its card")
def _(s):
    _ask3(s, key2=s.x.identity.keys)


@case("3.8", "message 3", "message 2 is not signed by its card")
def _(s):
    _ask3(s, label2="v1")


@case("3.9", "message 3", "the user's nonce was used before")
def _(s):
    n_u = os.urandom(32)
    _ask3(s, m1={"n_u": n_u})
    _ask3(s, m1={"n_u": n_u})


@case("3.10", "message 3", "the card's nonce was used before")
def _(s):
    n_c = os.urandom(32)
    _ask3(s, m2={"n_c": n_c})
    _ask3(s, m2={"n_c": n_c})


# ---- message 4: the broker ---------------------------------------------------------------------------------------


def _message4(s, to_card, to_user):
    relay = s.relay(s.a)
    t = s.until(1)
    relay.card_answered(s.c.verify_open(relay.verify(t.m[1], s.tick).body, s.tick), s.tick)
    relay.certified(pack(ToParty(to_card, b"")), pack(ToParty(to_user, b"")), s.tick)


@case("4.1", "message 4", "for another card")
def _(s):
    _message4(s, s.x.identity.id, s.a.identity.id)


@case("4.2", "message 4", "for another user")
def _(s):
    _message4(s, s.c.identity.id, s.e.identity.id)


# ---- messages 5 and 6 --------------------------------------------------------------------------------------------


def _give5(s, changes=None, **more):
    t = s.until(5)
    v = s.v_of(t.m[6])
    s.c.verify_accept(s.message5(v._replace(**(changes(v) if changes else {})), **more), s.now, s.tick)


def _give6(s, changes=None, **more):
    t = s.until(5)
    v = s.v_of(t.m[6])
    t.run.accept_verification(s.message6(v._replace(**(changes(v) if changes else {})), **more), s.now, s.tick)


@case("5.1", "message 5", "for another party")
def _(s):
    s.x.verify_accept(s.until(5).m[5], s.now, s.tick)


@case("6.1", "message 6", "for another party")
def _(s):
    t = s.until(5)
    m = unpack(ToParty, t.m[6], "")
    t.run.accept_verification(pack(m._replace(id_x=s.e.identity.id)), s.now, s.tick)


for _n, _give, _rule, _twin in [("5.2", _give5, "message 5", "v6"), ("6.2", _give6, "message 6", "v5")]:

    @case(_n, _rule, "not sealed to this")
    def _(s, give=_give, twin=_twin):
        give(s, label=twin)


for _n, _give, _rule in [("5.3", _give5, "message 5"), ("6.3", _give6, "message 6")]:

    @case(_n, _rule, "the signature (ver) does not verify")
    def _(s, give=_give):
        give(s, keys=s.stranger())

    @case(_n, _rule, "the signature (ver) does not verify")
    def _(s, give=_give):
        give(s, statement="keyok")


_OTHER = {
    "5.4": ("id_c", "another card"),
    "5.5": ("pkE_c", "another encryption key"),
    "5.6": ("pkS_c", "another signature key"),
    "5.7": ("n_c", "of no open session"),
    "5.8": ("id_u", "another user"),
    "6.4": ("id_u", "another user"),
    "6.5": ("pkE_u", "another encryption key"),
    "6.6": ("pkS_u", "another signature key"),
    "6.7": ("n_u", "not this one's"),
    "6.8": ("id_c", "another card"),
}
for _n, (_field, _text) in _OTHER.items():

    @case(_n, f"message {_n[0]}", _text)
    def _(s, field=_field, give=_give5 if _n[0] == "5" else _give6):
        give(s, lambda v: {field: other(getattr(v, field))})


for _n, _give, _rule in [("5.9", _give5, "message 5"), ("6.9", _give6, "message 6")]:

    @case(_n, _rule, "expired")
    def _(s, give=_give):
        give(s, lambda v: {"exp": s.now, "iat": s.now - 300})


for _n, _give, _rule in [("5.10", _give5, "message 5"), ("6.10", _give6, "message 6")]:

    @case(_n, _rule, "longer than 300 s")
    def _(s, give=_give):
        give(s, lambda v: {"exp": v.iat + 301})


@case("5.7", "message 5", "of no open session")
def _(s):
    t = s.until(7)
    s.c.verify_accept(t.m[5], s.now, s.tick)


@case("5.11", "message 5", "there already")
def _(s):
    old = s.until(7)
    t = s.until(5)
    v = s.v_of(t.m[6])
    s.c.verify_accept(s.message5(v._replace(sid=old.sid)), s.now, s.tick)


# ---- message 7: the card, and the broker -------------------------------------------------------------------------


def _verified(s):
    t = s.until(7)
    return t, s.v_of(t.m[6])


def _give7(s, **more):
    t, v = _verified(s)
    s.c.key_load(s.message7(v, s.k_a, **more), s.tick)


def _plain7(s, secret=None, alg=ALG.encode(), usage=enc(b"\0\0\0\3")[4:], r=bytes(32)):
    return enc(s.k_a if secret is None else secret, alg, usage, r)


@case("7.1", "message 7", "the session is not open here")
def _(s):
    t, v = _verified(s)
    s.c.key_load(s.message7(v, s.k_a, sid=os.urandom(32)), s.tick)


@case("7.1", "message 7", "not this message's turn")
def _(s):
    t = s.until(9)
    s.c.key_load(t.m[7], s.tick)


@case("7.2", "message 7", "another user than the session's")
def _(s):
    _give7(s, id_u=s.e.identity.id, user=s.e)


@case("7.3", "message 7", "names another card")
def _(s):
    _give7(s, id_c=s.x.identity.id)


@case("7.4", "message 7", "not signed by the session's user")
def _(s):
    _give7(s, user=s.e)


@case("7.4", "message 7", "not signed by the session's user")
def _(s):
    _give7(s, label="attach")


@case("7.4", "message 7", "not signed by the session's user")
def _(s):
    t, v = _verified(s)
    m = unpack(type(m7 := unpack_message7(t.m[7])), t.m[7], "")
    s.c.key_load(pack(m7._replace(ct=other(m.ct))), s.tick)


def unpack_message7(blob):
    from vecd.protocol.messages import Message7

    return unpack(Message7, blob, "")


for _field in ("sid", "id_u", "id_c", "n_u", "n_c"):

    @case("7.5", "message 7", "not sealed to this card for this session and user")
    def _(s, field=_field):
        from vecd.protocol.messages import K7Context

        t, v = _verified(s)
        ctx = K7Context(v.sid, v.id_u, v.id_c, v.n_u, v.n_c)
        s.c.key_load(s.message7(v, s.k_a, context=ctx._replace(**{field: other(getattr(ctx, field))})), s.tick)


@case("7.6", "message 7", "not well formed")
def _(s):
    _give7(s, plaintext=b"")


@case("7.6", "message 7", "not well formed")
def _(s):
    _give7(s, plaintext=b"\0")


@case("7.6", "message 7", "not well formed")
def _(s):
    _give7(s, plaintext=_plain7(s, r=bytes(31)))


@case("7.6", "message 7", "not well formed")
def _(s):
    _give7(s, plaintext=_plain7(s) + b"\0")


@case("7.6", "message 7", "not well formed")
def _(s):
    _give7(s, plaintext=_plain7(s, usage=bytes(8)))


@case("7.7", "message 7", "algorithm is not known")
def _(s):
    _give7(s, plaintext=_plain7(s, alg=b"ROT-13"))


@case("7.7", "message 7", "algorithm is not known")
def _(s):
    _give7(s, plaintext=_plain7(s, alg=b"\xff\xfe"))


@case("7.8", "message 7", "usage is not known")
def _(s):
    _give7(s, plaintext=_plain7(s, usage=bytes(4)))


@case("7.8", "message 7", "usage is not known")
def _(s):
    _give7(s, plaintext=_plain7(s, usage=b"\0\0\0\x0b"))


@case("7.9", "message 7", "not the size of AES-256-GCM")
def _(s):
    _give7(s, plaintext=_plain7(s, secret=bytes(16)))


@case("7.9", "message 7", "not the size of AES-256-GCM")
def _(s):
    _give7(s, plaintext=_plain7(s, secret=b""))


@case("7.10", "message 7", "from another user")
def _(s):
    s.relay(s.e).load(s.until(7).m[7], s.tick)


# ---- message 8: the broker; message 9: the authority -------------------------------------------------------------


@case("8.1", "message 8", "about another session")
def _(s):
    t = s.until(7)
    relay = s.relay(s.a)
    relay.load(t.m[7], s.tick)
    relay.card_loaded(enc(other(t.sid), b"q"), s.tick)


def _ask9(s, sid=None, at=None, **changes):
    t = s.until(9)
    kcv = changes.pop("kcv", s.a.identity.registered[0].kcv)
    id_u, id_c = changes.pop("id_u", s.a.identity.id), changes.pop("id_c", s.c.identity.id)
    message = s.message9(t.sid, id_u, id_c, kcv, **changes)
    return s.authority.loaded(sid or t.sid, message, at or s.now)


@case("9.1", "message 9", "another session than the call")
def _(s):
    _ask9(s, sid=os.urandom(32))


@case("9.2", "message 9", "not sealed to this authority")
def _(s):
    _ask9(s, ca=s.a.identity.ca.__class__(s.ca.sign_key, s.stranger().seal_key))


@case("9.2", "message 9", "not sealed to this authority")
def _(s):
    _ask9(s, context=os.urandom(32))


@case("9.3", "message 9", "the session is not open")
def _(s):
    sid = os.urandom(32)
    message = s.message9(sid, s.a.identity.id, s.c.identity.id, s.a.identity.registered[0].kcv)
    s.authority.loaded(sid, message, s.now)


@case("9.3", "message 9", "the session is not open")
def _(s):
    _ask9(s, at=s.now + 300)


@case("9.4", "message 9", "loaded its key already")
def _(s):
    t = s.until(11)
    s.authority.loaded(t.sid, t.m[9], s.now)


@case("9.5", "message 9", "another user than the session's")
def _(s):
    _ask9(s, id_u=s.e.identity.id, kcv=s.e.identity.registered[0].kcv)


@case("9.6", "message 9", "another card than the session's")
def _(s):
    _ask9(s, id_c=s.x.identity.id, card=s.x)


def _revoked9(s, id):
    t = s.until(9)
    s.registrar.revoke(id)
    s.authority.loaded(t.sid, t.m[9], s.now)


@case("9.7", "message 9", "the user has no valid certificate")
def _(s):
    _revoked9(s, s.a.identity.id)


@case("9.8", "message 9", "the card has no valid certificate")
def _(s):
    _revoked9(s, s.c.identity.id)


@case("9.9", "message 9", "a certificate of the session was replaced")
def _(s):
    t = s.until(9)
    s.enrol_card("C", invitation=s.invite("card", "C"))
    s.authority.loaded(t.sid, t.m[9], s.now)


@case("9.10", "message 9", "not signed by the session's card")
def _(s):
    _ask9(s, card=s.x)


@case("9.10", "message 9", "not signed by the session's card")
def _(s):
    _ask9(s, label="v2")


# A kcv, algorithm or usage that is not registered is answered, by keybad: test_protocol_honest.py.


# ---- message 10: the broker --------------------------------------------------------------------------------------


def _message10(s, swap):
    t = s.until(7)
    relay = s.relay(s.a)
    _, m8 = s.c.key_load(relay.load(t.m[7], s.tick).body, s.tick)
    both = s.authority.loaded(t.sid, relay.card_loaded(m8, s.tick), s.now)
    if swap:
        relay.confirmed(both.to_user, both.to_card, s.tick)
    relay.confirmed(both.to_card, both.to_card, s.tick)


@case("10.1", "message 10", "its first part")
def _(s):
    _message10(s, True)


@case("10.2", "message 10", "its second part")
def _(s):
    _message10(s, False)


# ---- messages 11 and 12 ------------------------------------------------------------------------------------------


def _give11(s, changes=None, **more):
    t = s.until(11)
    o = s.o_of(t.m[12])
    changed = o._replace(**(changes(o) if changes else {}))
    s.c.key_accept(s.message11(changed, sid=more.pop("sid", t.sid), **more), s.now, s.tick)


def _give12(s, changes=None, **more):
    t = s.until(11)
    o = s.o_of(t.m[12])
    changed = o._replace(**(changes(o) if changes else {}))
    t.run.accept_loaded(s.message12(changed, sid=more.pop("sid", t.sid), **more), s.now, s.tick)


@case("11.1", "message 11", "for another party")
def _(s):
    s.c.key_accept(s.until(11).m[12], s.now, s.tick)


@case("12.1", "message 12", "for another party")
def _(s):
    t = s.until(11)
    t.run.accept_loaded(t.m[11], s.now, s.tick)


@case("11.2", "message 11", "the session is not open here")
def _(s):
    _give11(s, sid=os.urandom(32))


@case("11.2", "message 11", "not this message's turn")
def _(s):
    t = s.until(13)
    s.c.key_accept(t.m[11], s.now, s.tick)


@case("12.2", "message 12", "for another session")
def _(s):
    _give12(s, sid=os.urandom(32))


for _n, _give, _rule, _twin in [("11.3", _give11, "message 11", "k12"), ("12.3", _give12, "message 12", "k11")]:

    @case(_n, _rule, "not sealed to this")
    def _(s, give=_give, twin=_twin):
        give(s, label=twin)


for _n, _give, _rule in [("11.4", _give11, "message 11"), ("12.4", _give12, "message 12")]:

    @case(_n, _rule, "the signature (keyok) does not verify")
    def _(s, give=_give):
        give(s, keys=s.stranger())

    @case(_n, _rule, "the signature (keyok) does not verify")
    def _(s, give=_give):
        give(s, statement="ver")


_OTHER_O = {
    "11.5": ("sid", "another session"),
    "11.6": ("id_c", "another card"),
    "11.7": ("id_u", "another user"),
    "11.8": ("kcv", "kcv differs"),
    "11.10": ("usage", "another usage"),
    "12.5": ("sid", "another session"),
    "12.6": ("id_u", "another user"),
    "12.7": ("id_c", "another card"),
    "12.8": ("kcv", "kcv differs"),
    "12.10": ("usage", "another usage"),
}
for _n, (_field, _text) in _OTHER_O.items():

    @case(_n, f"message {_n[:2]}", _text)
    def _(s, field=_field, give=_give11 if _n[:2] == "11" else _give12):
        give(s, lambda o: {field: other(getattr(o, field))})


for _n, _give in [("11.9", _give11), ("12.9", _give12)]:

    @case(_n, f"message {_n[:2]}", "another algorithm")
    def _(s, give=_give):
        give(s, lambda o: {"alg": "AES-256-CTR"})


@case("11.11", "message 11", "used in this card before")
def _(s):
    first = s.until(13)
    _give11(s, lambda o: {"N_K": first.number})


@case("11.11", "message 11", "used in this card before")
def _(s):
    first = s.until(13)
    s.c.dropped(first.number)
    _give11(s, lambda o: {"N_K": first.number})


@case("11.11", "message 11", "used in this card before")
def _(s):
    _give11(s, lambda o: {"N_K": 0})


@case("12.11", "message 12", "no key number")
def _(s):
    _give12(s, lambda o: {"N_K": 0})


for _n, _give in [("11.12", _give11), ("12.12", _give12)]:

    @case(_n, f"message {_n[:2]}", "expired")
    def _(s, give=_give):
        give(s, lambda o: {"exp": s.now})


# ---- attach and release ------------------------------------------------------------------------------------------


def _attach(s, i=None, owners=None, **more):
    t, v = _verified(s)
    s.c.attach(s.attach_message(v, i or s.i_a, **more), s.owners if owners is None else owners, s.tick)


@case("A.1", "attach", "the session is not open here")
def _(s):
    _attach(s, sid=os.urandom(32))


@case("A.1", "attach", "not this message's turn")
def _(s):
    t, v = _verified(s)
    s.c.attach(s.attach_message(v, s.i_a), s.owners, s.tick)
    s.c.attach(s.attach_message(v, s.i_a), s.owners, s.tick)


@case("A.1", "attach", "not this message's turn")
def _(s):
    t = s.until(9)
    s.c.attach(s.attach_message(s.v_of(t.m[6]), s.i_a), s.owners, s.tick)


@case("A.2", "attach", "another user than the session's")
def _(s):
    _attach(s, id_u=s.e.identity.id, user=s.e)


@case("A.3", "attach", "names another card")
def _(s):
    _attach(s, id_c=s.x.identity.id)


@case("A.4", "attach", "not signed by the session's user")
def _(s):
    _attach(s, user=s.e)


@case("A.4", "attach", "not signed by the session's user")
def _(s):
    _attach(s, label="k7")


@case("A.5", "attach", "not this user's")
def _(s):
    _attach(s, i=s.i_e)


@case("A.5", "attach", "not connected here")
def _(s):
    _attach(s, owners={})


@case("A.6", "attach", "not sealed to this card")
def _(s):
    _attach(s, ctx_i=s.i_e)


@case("A.7", "attach", "not well formed")
def _(s):
    _attach(s, plaintext=enc(bytes(31)))


@case("A.7", "attach", "not well formed")
def _(s):
    _attach(s, plaintext=b"\0")


@case("A.8", "attach", "from another user")
def _(s):
    t, v = _verified(s)
    s.relay(s.e).attach(s.attach_message(v, s.i_a), s.tick)


@case("RL.1", "release", "the session is not open here")
def _(s):
    s.c.session_release(os.urandom(32), s.i_a, s.owners, s.tick)


@case("RL.2", "release", "not this user's")
def _(s):
    s.c.session_release(s.until(13).sid, s.i_e, s.owners, s.tick)


@case("RL.3", "release", "attached to another instance")
def _(s):
    t = s.until(13)
    s.c.attach(t.run.attach(s.i_a, s.tick).message, s.owners, s.tick)
    second = os.urandom(16)
    s.c.session_release(t.sid, second, s.owners | {second: s.a.identity.id}, s.tick)


# ---- further keys ------------------------------------------------------------------------------------------------


def _key(s, *, signer=None, label="key", outer=None, call=None, n_u=None, seal_label="key", **changes):
    me = s.a.identity
    fields = KeySigned(me.id, n_u or os.urandom(32), "disk", ALG, USAGE, os.urandom(32), bytes(32))._replace(**changes)
    inner = pack(KeyInner(*fields, sign(signer or me.keys, label, pack(fields))))
    message = pack(FromUser(outer or me.id, seal(s.ca.seal_key, seal_label, enc(outer or me.id), inner)))
    return s.authority.key(call or me.id, message, s.now)


@case("K.1", "key", "from another user")
def _(s):
    request = s.a.register_key(bytes(32), ALG, USAGE, "disk", s.tick)
    s.relay(s.e).key(request.message, s.tick)


@case("K.2", "key", "another user than the call")
def _(s):
    _key(s, call=s.e.identity.id)


@case("K.3", "key", "not sealed to this authority")
def _(s):
    _key(s, seal_label="keyrev")


@case("K.4", "key", "the user inside is another one")
def _(s):
    _key(s, outer=s.e.identity.id, call=s.e.identity.id)


@case("K.5", "key", "the user has no valid certificate")
def _(s):
    s.registrar.revoke(s.a.identity.id)
    _key(s)


@case("K.6", "key", "not signed by its user")
def _(s):
    _key(s, signer=s.e.identity.keys)


@case("K.6", "key", "not signed by its user")
def _(s):
    _key(s, label="keyrev")


@case("K.7", "key", "nonce was used before")
def _(s):
    n_u = os.urandom(32)
    _key(s, n_u=n_u)
    _key(s, n_u=n_u)


@case("K.8", "key", "registered already, or was revoked")
def _(s):
    _key(s, kcv=s.a.identity.registered[0].kcv)


@case("K.8", "key", "has 2 registered keys")
def _(s):
    s.authority = Authority(s.store, s.ca_keys, os.urandom, Profile(keys_per_user=2))
    _key(s)
    _key(s)


def _keyreg(s, *, keys=None, label="keyreg", **changes):
    request = s.a.register_key(bytes(32), ALG, USAGE, "disk", s.tick)
    statement = s.authority.key(s.a.identity.id, request.message, s.now).body
    a = opened(KeyRegistered, statement, s.ca.sign_key, "keyreg", "")._replace(**changes)
    request.accept(signed(keys or s.ca_keys, label, a), s.tick)


@case("KR.1", "keyreg", "does not verify")
def _(s):
    _keyreg(s, keys=s.stranger())


@case("KR.2", "keyreg", "another user")
def _(s):
    _keyreg(s, id_u=s.e.identity.id)


@case("KR.3", "keyreg", "another request")
def _(s):
    _keyreg(s, n_u=os.urandom(32))


for _field, _value in [("name", "other"), ("alg", "AES-128-GCM"), ("usage", 1), ("kcv", bytes(32))]:

    @case("KR.4", "keyreg", "another key")
    def _(s, field=_field, value=_value):
        _keyreg(s, **{field: value})


def _keyrev(s, *, signer=None, label="keyrev", outer=None, call=None, n_u=None, seal_label="keyrev", kcv=None):
    me = s.a.identity
    fields = RevokeSigned(me.id, n_u or os.urandom(32), kcv or me.registered[0].kcv)
    inner = pack(RevokeInner(*fields, sign(signer or me.keys, label, pack(fields))))
    message = pack(FromUser(outer or me.id, seal(s.ca.seal_key, seal_label, enc(outer or me.id), inner)))
    return s.authority.keyrev(call or me.id, message, s.now)


def _revoked(s, give, *, keys=None, label="keyrev", **changes):
    a = KeyRevoked(s.a.identity.id, s.a.identity.registered[0].kcv, 7)._replace(**changes)
    give(signed(keys or s.ca_keys, label, a))


@case("KV.1", "keyrev", "does not verify")
def _(s):
    _revoked(s, lambda m: s.a.revoke_key(s.a.identity.registered[0], s.tick).accept(m, s.tick), keys=s.stranger())


@case("KV.2", "keyrev", "another user")
def _(s):
    _revoked(s, lambda m: s.a.revoke_key(s.a.identity.registered[0], s.tick).accept(m, s.tick), id_u=s.e.identity.id)


@case("KV.3", "keyrev", "another key")
def _(s):
    _revoked(s, lambda m: s.a.revoke_key(s.a.identity.registered[0], s.tick).accept(m, s.tick), kcv=bytes(32))


@case("KV.4", "keyrev", "does not verify")
def _(s):
    _revoked(s, s.c.key_destroy, keys=s.stranger())


@case("KV.4", "keyrev", "does not verify")
def _(s):
    _revoked(s, s.c.key_destroy, label="keyreg")


@case("KV.5", "keyrev", "another user than the call")
def _(s):
    _keyrev(s, call=s.e.identity.id)


@case("KV.6", "keyrev", "not sealed to this authority")
def _(s):
    _keyrev(s, seal_label="key")


@case("KV.7", "keyrev", "the user inside is another one")
def _(s):
    _keyrev(s, outer=s.e.identity.id, call=s.e.identity.id)


@case("KV.8", "keyrev", "the user has no valid certificate")
def _(s):
    s.registrar.revoke(s.a.identity.id)
    _keyrev(s)


@case("KV.9", "keyrev", "not signed by its user")
def _(s):
    _keyrev(s, signer=s.e.identity.keys)


@case("KV.10", "keyrev", "nonce was used before")
def _(s):
    n_u = os.urandom(32)
    _keyrev(s, n_u=n_u)
    _keyrev(s, n_u=n_u)


@case("KV.11", "keyrev", "no such key")
def _(s):
    _keyrev(s, kcv=s.e.identity.registered[0].kcv)


# ---- the tests ---------------------------------------------------------------------------------------------------


@pytest.fixture
def scene():
    return Scene()


@pytest.mark.parametrize("rule, reason, violate", list(_flat()))
def test_a_violated_check_is_refused_by_its_message(scene, rule, reason, violate):
    staged = len(scene.c._vault.secrets)
    with pytest.raises(ProtocolRefused) as e:
        violate(scene)
    assert (e.value.rule, reason in e.value.reason) == (rule, True), e.value.reason
    assert e.value.status == 18
    # A run that waits for 11 or has its key active holds one secret; a refusal leaves none behind.
    waiting = sum(s.staged is not None for s in scene.c._sessions.values())
    assert len(scene.c._vault.secrets) == staged + waiting + len(scene.c.slots) + len(scene.c._released)


def _numbers(text):
    return set(re.findall(r"\b(?:R[1-4]|KR|KV|RL|[AK]|1[0-2]|[1-9])\.\d+\b", text))


def _in_code():
    found = set()
    for path in Path(vecd.protocol.__path__[0]).glob("*.py"):
        for line in path.read_text().splitlines():
            _, _, comment = line.partition("  # ")
            found |= _numbers(comment) if re.match(r"(?:R[1-4]|[A-Z]{1,2}|\d+)\.\d", comment) else set()
    return found


#: Not a refusal: the authority answers keybad.
ANSWERED = {"9.11"}


def test_every_check_in_the_code_is_violated_here():
    assert _in_code() - ANSWERED - set(CASES) - {"R2.10 - R2.13"} == set()


def test_every_check_in_the_code_is_in_the_document_and_the_other_way_round():
    document = Path(vecd.protocol.__path__[0]).parents[1] / "docs/protocol.md"
    rows = {m for line in document.read_text().splitlines() for m in re.findall(r"^\| ([A-Z0-9]+\.\d+) \|", line)}
    assert rows == _in_code()


@pytest.mark.parametrize("enrol", [enrol_card, enrol_user])
def test_an_enrolment_file_of_another_role_is_refused_at_once(scene, enrol):
    more = {"secret": bytes(32), "alg": ALG, "usage": USAGE} if enrol is enrol_user else {}
    with pytest.raises(Exception, match="this enrolment file is for a broker"):
        enrol(scene.invite("broker", "b2"), suites.generate(1), os.urandom, scene.tick, **more)


def test_signed_is_its_own_fields_and_signature():
    keys = suites.generate(1)
    m = M1(bytes(16), bytes(16), bytes(32))
    assert unpack(Signed, signed(keys, "v1", m), "").inner == pack(m)
