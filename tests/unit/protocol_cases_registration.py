"""Violations of the checks of registration 1 to 4."""

import os

from vecd.pki.profile import Profile
from vecd.protocol import suites
from vecd.protocol.authority import Authority
from vecd.protocol.encoding import enc
from vecd.protocol.messages import (
    BrokerR,
    CardR,
    Certificate,
    Reg1,
    Reg2,
    Reg2Inner,
    Reg2Signed,
    RegInner,
    ToParty,
    UserR,
    opened,
    pack,
    signed,
    unpack,
)
from vecd.protocol.registration import enrol_card
from vecd.protocol.suites import h, mac, open_, seal, sign

from .protocol_cases import case, other
from .protocol_scene import ALG, USAGE

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
