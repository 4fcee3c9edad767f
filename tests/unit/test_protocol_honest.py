"""What honest parties get: every message, in suites 1, 2 and 3 and between parties of different suites."""

import os

import pytest

from vecd.base.errors import Busy, Malformed, ProtocolRefused
from vecd.protocol import card as card_module
from vecd.protocol.identity import Identity, Invitation, kcv_of
from vecd.protocol.messages import FRESH
from vecd.protocol.user import UserParty

from .protocol_scene import ALG, USAGE, Scene
from .protocol_world import MemoryVault, World


@pytest.mark.parametrize("suite", [1, 2, 3])
def test_a_key_is_loaded_and_attached_in_every_suite(suite):
    w, k = World(suite), os.urandom(32)
    user, card = w.user("A", k), w.card("c0")
    t = w.load(user, card, k)
    assert t.activation.number == t.number == 1
    assert t.activation.id_u == user.identity.id
    assert (t.activation.alg, t.activation.usage) == (ALG, USAGE)
    assert bytes(card._vault.secrets[t.activation.handle]) == k
    assert t.activation.kcv == user.identity.registered[0].kcv
    instance = os.urandom(16)
    owners = {instance: user.identity.id}
    a = t.run.attach(instance, w.tick)
    attached = card.attach(w.relay(user).attach(a.message, w.tick).body, owners, w.tick)
    assert (attached.tag, attached.instance, attached.id_u) == (a.tag, instance, user.identity.id)
    assert (
        card.session_release(*w.relay(user).release(t.run.release(instance), w.tick), owners, w.tick) == attached.id_u
    )


@pytest.mark.parametrize("user_suite, card_suite, ca_suite", [(1, 2, 2), (2, 1, 1), (3, 2, 1), (2, 3, 2), (1, 3, 3)])
def test_parties_of_different_suites_understand_each_other(user_suite, card_suite, ca_suite):
    w, k = World(2, ca_suite=ca_suite), os.urandom(32)
    assert w.load(w.user("A", k, user_suite), w.card("c0", card_suite), k).number == 1


def test_numbers_differ_and_sessions_do_too():
    s = Scene()
    runs = [s.load(s.a, s.c, s.k_a), s.load(s.a, s.c, s.k_a), s.load(s.e, s.c, s.k_e), s.load(s.a, s.x, s.k_a)]
    assert len({t.number for t in runs}) == len({t.sid for t in runs}) == 4


def test_two_users_run_interleaved_on_one_card():
    s = Scene()
    one, two = s.until(7, s.a), s.until(7, s.e)
    for t, user in ((two, s.e), (one, s.a)):
        sid, m8 = s.c.key_load(t.m[7], s.tick)
        both = s.authority.loaded(sid, m8, s.now)
        assert s.c.key_accept(both.to_card, s.now, s.tick).id_u == user.identity.id
        assert t.run.accept_loaded(both.to_user, s.now, s.tick)


def test_a_reconnect_attaches_after_messages_1_to_6_alone():
    s = Scene()
    t = s.verify(s.a, s.c)
    a = t.run.attach(s.i_a, s.tick)
    assert s.c.attach(a.message, s.owners, s.tick).tag == a.tag


def test_an_identity_survives_its_file():
    s = Scene()
    for identity in (s.a.identity, s.c.identity, s.broker.identity):
        assert Identity.from_json(identity.to_json()) == identity


def test_an_identity_file_that_is_not_whole_is_refused_by_field():
    s = Scene()
    text = s.a.identity.to_json()
    cert = s.a.identity.certificate.hex()
    for bad, what in [
        (text[:-10], "not JSON"),
        ("[]", "not an object"),
        (text.replace('"schema": 1', '"schema": 2'), "another schema"),
        (text.replace(f'"id": "{s.a.identity.id.hex()}"', '"id": "00"'), "id has 1 bytes"),
        (text.replace(f'"id": "{s.a.identity.id.hex()}"', f'"id": "{"00" * 16}"'), "not of this party"),
        (text.replace(cert, s.e.identity.certificate.hex()), "not of this party"),
        (text.replace(cert, cert[:-2]), "not this authority's"),
        (text.replace(s.ca.sign_key.hex(), s.stranger().sign_key.hex()), "not this authority's"),
    ]:
        with pytest.raises(Malformed) as e:
            Identity.from_json(bad)
        assert what in str(e.value)
        assert s.a.identity.keys.seal_seed.hex() not in str(e.value)


def test_an_invitation_survives_its_file_nested_and_flat():
    s = Scene()
    i = s.invite("user", "B", card="C")
    assert (i.card_id, i.card_name) == (s.c.identity.id, "C")
    assert Invitation.from_json(i.to_json()) == i
    flat = (
        f'{{"id": "{i.id.hex()}", "token": "{i.token.hex()}", "expires": {i.expires}, "card_id": "{i.card_id.hex()}",'
        f' "ca_sign_key": "{i.ca.sign_key.hex()}", "ca_seal_key": "{i.ca.seal_key.hex()}"}}'
    )
    again = Invitation.from_json(flat, role="user", name="B")
    assert (again.id, again.token, again.ca, again.card_id) == (i.id, i.token, i.ca, i.card_id)
    assert i.token.hex() not in repr(i)


def test_a_refused_message_changes_nothing_and_the_right_one_still_goes():
    s = Scene()
    t, other = s.until(5), s.until(5, s.e)
    for bad in (other.m[6], t.m[5], b"", t.m[6][:-1]):
        with pytest.raises(ProtocolRefused):
            t.run.accept_verification(bad, s.now, s.tick)
    t.run.accept_verification(t.m[6], s.now, s.tick)
    for bad in (t.m[6], b"", t.m[5][:-1]):
        with pytest.raises(ProtocolRefused):
            s.c.verify_accept(bad, s.now, s.tick)
    assert s.c.verify_accept(t.m[5], s.now, s.tick) == t.run.sid


def test_the_authority_forgets_what_it_began_when_it_refuses():
    s = Scene()
    t = s.until(3)
    second = s.until(3)
    mixed = s.message3_of(t.m[1], second.m[2])
    flipped = mixed[:-1] + bytes([mixed[-1] ^ 1])
    with pytest.raises(ProtocolRefused):
        s.authority.verify(flipped, s.now)
    assert s.authority.verify(mixed, s.now).ok
    # Both nonces of the mixed run are spent, so neither honest message 3 goes any more.
    for m3 in (t.m[3], second.m[3]):
        with pytest.raises(ProtocolRefused):
            s.authority.verify(m3, s.now)


# ---- keybad ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"kcv": bytes(32)}, {"alg": "AES-256-CTR"}, {"usage": 7}])
def test_another_key_algorithm_or_usage_than_registered_is_keybad_for_both(change):
    s = Scene()
    t = s.until(9)
    mine = {"kcv": s.a.identity.registered[0].kcv, "alg": ALG, "usage": USAGE} | change
    both = s.authority.loaded(t.sid, s.message9(t.sid, s.a.identity.id, s.c.identity.id, **mine), s.now)
    assert not both.ok and both.number == 0
    (handle,) = s.c._vault.secrets
    assert s.c.key_accept(both.to_card, s.now, s.tick) is None
    assert s.c._vault.dropped == [handle]
    with pytest.raises(ProtocolRefused, match="keybad") as e:
        t.run.accept_loaded(both.to_user, s.now, s.tick)
    assert e.value.rule == "message 12"
    with pytest.raises(ProtocolRefused, match="closed"):
        t.run.accept_loaded(both.to_user, s.now, s.tick)
    with pytest.raises(ProtocolRefused):
        s.authority.loaded(t.sid, t.m[9], s.now)


def test_a_user_cannot_load_a_key_it_has_not_registered():
    s = Scene()
    run = s.verify(s.a, s.c).run
    with pytest.raises(Malformed, match="not the key that was registered"):
        run.load(os.urandom(32), s.a.identity.registered[0], s.tick)


# ---- further keys ------------------------------------------------------------------------------------------------


def _with_second_key(s):
    second = os.urandom(16)
    request = s.a.register_key(second, "AES-128-CTR", 7, "disk 2", s.tick)
    statement = s.authority.key(s.a.identity.id, s.relay(s.a).key(request.message, s.tick), s.now).body
    record = request.accept(statement, s.tick)
    s.a = UserParty(s.a.identity.with_key(record), os.urandom)
    return second, record


def test_a_further_key_is_registered_loaded_and_revoked_on_every_card():
    s = Scene()
    second, record = _with_second_key(s)
    assert record.kcv == kcv_of(second, s.a.identity.id, "AES-128-CTR", 7, record.r_K)
    on_c, on_x = s.load(s.a, s.c, second), s.load(s.a, s.x, second)
    first = s.load(s.a, s.c, s.k_a)
    request = s.a.revoke_key(record, s.tick)
    revocation = s.authority.keyrev(s.a.identity.id, request.message, s.now)
    request.accept(revocation.statement, s.tick)
    assert set(revocation.cards) == {s.c.identity.id, s.x.identity.id}
    assert [k.number for k in s.c.key_destroy(revocation.statement)] == [on_c.number]
    assert [k.number for k in s.x.key_destroy(revocation.statement)] == [on_x.number]
    assert s.c.key_destroy(revocation.statement) == ()
    assert list(s.c.slots) == [first.number]


def test_a_revoked_key_is_keybad_and_never_registered_again():
    s = Scene()
    t = s.until(9)
    record = s.a.identity.registered[0]
    revocation = s.authority.keyrev(s.a.identity.id, s.a.revoke_key(record, s.tick).message, s.now)
    assert not s.authority.loaded(t.sid, t.m[9], s.now).ok
    # The K that waited for message 11 is gone as soon as the card hears of it.
    s.c.key_destroy(revocation.statement)
    assert s.c._vault.secrets == {}
    # Asked again, the same is said again.
    again = s.authority.keyrev(s.a.identity.id, s.a.revoke_key(record, s.tick).message, s.now)
    assert again.statement == revocation.statement


def test_a_record_is_found_by_its_key():
    s = Scene()
    second, record = _with_second_key(s)
    assert s.a.identity.record_of(second) == record
    assert s.a.identity.record_of(s.k_a) == s.a.identity.registered[0]
    assert s.a.identity.record_of(os.urandom(32)) is None
    assert s.a.identity.without_key(record.kcv).record_of(second) is None


# ---- registration ------------------------------------------------------------------------------------------------


def test_registering_again_with_a_new_token_replaces_the_certificate():
    s = Scene()
    old = s.c.identity
    new = s.enrol_card("C", invitation=s.invite("card", "C"))
    assert new.id == old.id and new.keys.sign_key != old.keys.sign_key
    with pytest.raises(ProtocolRefused, match="message 2 is not signed by its card"):
        s.verify(s.a, s.c)
    card = card_module.CardParty(new, MemoryVault(), os.urandom, algs={ALG: 32}, usages=7)
    assert s.load(s.a, card, s.k_a).number


def test_a_revoked_party_may_come_back_with_a_new_token_only():
    s = Scene()
    s.registrar.revoke(s.a.identity.id)
    assert {p.name: p.state for p in s.registrar.list(s.now)}["A"] == "revoked"
    with pytest.raises(ProtocolRefused, match="message 3"):
        s.verify(s.a, s.c)
    s.a = UserParty(s.enrol_user("A", s.k_a, invitation=s.invite("user", "A")), os.urandom)
    assert {p.name: p.state for p in s.registrar.list(s.now)}["A"] == "registered"
    assert s.load(s.a, s.c, s.k_a).number


def test_revoking_voids_an_unused_token_too():
    s = Scene()
    invitation = s.invite("user", "B")
    s.registrar.revoke(invitation.id)
    with pytest.raises(ProtocolRefused, match="registration 2"):
        s.enrol_user("B", s.k_a, invitation=invitation)


# ---- clones, time-outs, limits -----------------------------------------------------------------------------------


def test_a_clone_that_repeats_its_nonce_is_told_so_distinctly():
    s = Scene()
    snapshot = os.urandom(32)
    clone = UserParty(s.a.identity, lambda n: snapshot)
    s.verify(clone, s.c)
    with pytest.raises(ProtocolRefused) as e:
        s.verify(clone, s.c)
    assert e.value.property == FRESH
    assert "draw new randomness" in e.value.hint


@pytest.mark.parametrize("n, event", [(5, "verify_accept"), (7, "key_load"), (11, "key_accept")])
def test_a_card_waits_5_s_in_each_state_and_then_zeroises(n, event):
    s = Scene()
    t = s.until(n)
    args = (t.m[n], s.tick + 5.1) if n == 7 else (t.m[n], s.now, s.tick + 5.1)
    with pytest.raises(ProtocolRefused) as e:
        getattr(s.c, event)(*args)
    assert e.value.rule == f"message {n}"
    assert s.c._vault.secrets == {}
    assert s.c._open == s.c._sessions == {}


@pytest.mark.parametrize("n, event", [(6, "accept_verification"), (12, "accept_loaded")])
def test_a_user_waits_5_s_in_each_state(n, event):
    s = Scene()
    t = s.until(n)
    with pytest.raises(ProtocolRefused, match="timed out"):
        getattr(t.run, event)(t.m[n], s.now, s.tick + 5.1)


def test_a_run_is_alive_for_5_s_in_each_state():
    s = Scene()
    t = s.until(5)
    s.c.verify_accept(t.m[5], s.now, s.tick + 4.9)
    t.run.accept_verification(t.m[6], s.now, s.tick + 4.9)
    s.tick += 9.7
    m7 = t.run.load(s.k_a, s.a.identity.registered[0], s.tick)
    s.c.key_load(m7, s.tick)


def test_a_loaded_run_that_is_not_attached_ends_with_its_statement():
    s = Scene()
    t = s.until(13)
    s.c.expire(s.tick + 299)
    assert s.c.session_release(t.sid, s.i_a, s.owners, s.tick + 299)
    s.c.expire(s.tick + 301)
    with pytest.raises(ProtocolRefused):
        s.c.session_release(t.sid, s.i_a, s.owners, s.tick + 301)
    assert list(s.c.slots) == [t.number]


def test_an_attached_run_stays_until_it_is_forgotten():
    s = Scene()
    t = s.until(13)
    s.c.attach(t.run.attach(s.i_a, s.tick).message, s.owners, s.tick)
    s.c.expire(s.tick + 1e6)
    assert s.c.session_release(t.sid, s.i_a, s.owners, s.tick + 1e6)
    s.c.forget(t.sid)
    s.c.forget(t.sid)
    with pytest.raises(ProtocolRefused):
        s.c.session_release(t.sid, s.i_a, s.owners, s.tick)


def test_one_users_waiting_runs_do_not_keep_another_out():
    s = Scene()
    for _ in range(3 * card_module.WAITING_PER_USER_MAX):
        s.until(3)
    assert len(s.c._open) == card_module.WAITING_PER_USER_MAX
    assert s.load(s.e, s.c, s.k_e).number
    assert s.load(s.a, s.c, s.k_a).number


def test_a_user_whose_runs_are_all_verified_is_told_to_wait():
    s = Scene()
    for _ in range(card_module.WAITING_PER_USER_MAX):
        s.until(7)
    with pytest.raises(Busy):
        s.until(3)
    assert s.load(s.e, s.c, s.k_e).number
    s.tick += 5.1
    assert s.load(s.a, s.c, s.k_a).number


def test_a_user_may_load_many_keys_without_attaching():
    s = Scene()
    numbers = {s.load(s.a, s.c, s.k_a).number for _ in range(card_module.SESSIONS_PER_USER_MAX + 3)}
    assert set(s.c.slots) == numbers
    assert len(s.c._sessions) == card_module.SESSIONS_PER_USER_MAX


def test_a_closed_card_holds_no_staged_key():
    s = Scene()
    s.until(9)
    s.c.close()
    assert s.c._vault.secrets == {}


def test_an_event_out_of_its_turn_names_the_state():
    s = Scene()
    run = s.a.open(s.c.identity.id, s.tick)
    with pytest.raises(ProtocolRefused, match="the run is open") as e:
        run.load(s.k_a, s.a.identity.registered[0], s.tick)
    assert e.value.rule == "message 7"
    with pytest.raises(ProtocolRefused, match="the run is open"):
        run.attach(s.i_a, s.tick)
    with pytest.raises(ProtocolRefused):
        run.release(s.i_a)
    t = s.until(13)
    for again in (
        lambda: t.run.load(s.k_a, s.a.identity.registered[0], s.tick),
        lambda: t.run.accept_verification(t.m[6], s.now, s.tick),
        lambda: t.run.accept_loaded(t.m[12], s.now, s.tick),
    ):
        with pytest.raises(ProtocolRefused, match="the run is loaded"):
            again()
    t.run.attach(s.i_a, s.tick)
    with pytest.raises(ProtocolRefused, match="the run is attached"):
        t.run.attach(s.i_a, s.tick)


def test_the_brokers_relay_takes_one_run_at_a_time_and_recovers():
    s = Scene()
    relay = s.relay(s.a)
    first = s.until(1)
    relay.verify(first.m[1], s.tick)
    with pytest.raises(ProtocolRefused, match="the run is verifying"):
        relay.verify(s.until(1).m[1], s.tick)
    with pytest.raises(ProtocolRefused, match="the run is verifying"):
        relay.certified(b"", b"", s.tick)
    relay.reset(s.tick)
    relay.verify(first.m[1], s.tick)
    assert relay.verify(first.m[1], s.tick + 5.1).id_c == s.c.identity.id
