"""Violations of the checks of attach, release, further keys."""

import os

from vecd.pki.profile import Profile
from vecd.protocol.authority import Authority
from vecd.protocol.encoding import enc
from vecd.protocol.messages import (
    FromUser,
    KeyInner,
    KeyRegistered,
    KeyRevoked,
    KeySigned,
    RevokeInner,
    RevokeSigned,
    opened,
    pack,
    signed,
)
from vecd.protocol.suites import seal, sign

from .protocol_cases import case
from .protocol_scene import ALG, USAGE

# ---- attach and release ------------------------------------------------------------------------------------------


def _attach(s, i=None, owners=None, **more):
    t = s.until(7)
    v = s.v_of(t.m[6])
    s.c.attach(s.attach_message(v, i or s.i_a, **more), s.owners if owners is None else owners, s.tick)


@case("A.1", "attach", "the session is not open here")
def _(s):
    _attach(s, sid=os.urandom(32))


@case("A.1", "attach", "not this message's turn")
def _(s):
    t = s.until(7)
    v = s.v_of(t.m[6])
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
    t = s.until(7)
    v = s.v_of(t.m[6])
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


@case("K.1", "keyrev", "from another user")
def _(s):
    key = s.a.register_key(bytes(32), ALG, USAGE, "disk", s.tick)
    s.relay(s.e).key(key.message, s.tick, "keyrev")


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
    _key(s, kcv=s.a.identity.registered[0].kcv, usage=USAGE ^ 1)


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
