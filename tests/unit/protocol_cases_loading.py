"""Violations of the checks of messages 7 to 12."""

import os

from vecd.protocol.encoding import enc
from vecd.protocol.messages import (
    K7Context,
    Message7,
    pack,
    unpack,
)

from .protocol_cases import case, other
from .protocol_scene import ALG

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
    m = unpack(Message7, t.m[7], "")
    s.c.key_load(pack(m._replace(ct=other(m.ct))), s.tick)


for _field in ("sid", "id_u", "id_c", "n_u", "n_c"):

    @case("7.5", "message 7", "not sealed to this card for this session and user")
    def _(s, field=_field):
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
