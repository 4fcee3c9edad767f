"""Violations of the checks of messages 1 to 6."""

import os

from vecd.protocol.authority import Authority
from vecd.protocol.messages import (
    M1,
    M2,
    ToParty,
    pack,
    signed,
    unpack,
)

from .protocol_cases import case, other

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
