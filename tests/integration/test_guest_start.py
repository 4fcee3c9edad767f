"""The start-up of a guest over the real processes, and everything that must not start: each refusal with its reason."""

import json
import os
import secrets
import socket
import stat
import time

import pytest

from vecd.base.errors import Denied, Malformed, NoKey, ProtocolRefused, Unknown, Unreachable, VecError
from vecd.guest import Card, enrol, read_identity
from vecd.guest.channel import Channel, Request
from vecd.guest.control import Control
from vecd.guest.deadline import Deadline
from vecd.guest.startup import StartUp
from vecd.guest.transport import dial, parse
from vecd.protocol.identity import Identity
from vecd.protocol.user import UserParty
from vecd.wire import ops

MESSAGES = ["R1", *map(str, range(1, 13)), "total"]


@pytest.fixture(scope="module")
def a(cipher_machine):
    return cipher_machine.add("A")


@pytest.fixture(scope="module")
def b(cipher_machine):
    return cipher_machine.add("B")


def deadline():
    return Deadline(10.0)


def start_up(guest):
    return StartUp(parse(guest.address), read_identity(guest.identity), None, None, False)


def ask(guest, operation, data):
    with Control(parse(guest.address), deadline()) as control:
        return control.ask(operation, data, deadline())


def refused(guest, operation, data):
    with pytest.raises(VecError) as error:
        ask(guest, operation, data)
    return error.value


# ---- what works ------------------------------------------------------------------------------------------------


def test_an_identity_file_is_private_and_holds_the_card_of_no_key(a):
    assert stat.S_IMODE(os.stat(a.identity).st_mode) == 0o600
    assert a.key.hex() not in a.identity.read_text()


def test_two_guests_share_one_card_and_each_reads_its_own(a, b):
    with a.connect() as one, b.connect() as two:
        assert one.name == two.name == "c0"
        key_a, key_b = one.load_key(a.key), two.load_key(b.key)
        assert key_a.number != key_b.number
        for text in (b"first", b"second"):
            sealed_a, sealed_b = one.encrypt(key_a, text), two.encrypt(key_b, text)
            assert one.decrypt(key_a, sealed_a) == two.decrypt(key_b, sealed_b) == text


def test_the_times_of_a_start_up_are_told_by_message_number(a):
    with a.connect(measure=True) as card:
        card.load_key(a.key)
        assert list(card.timings) == MESSAGES
        assert 0 < card.timings["total"] < 5000
    with a.connect() as card:
        card.load_key(a.key)
        assert list(card.timings) == ["1", "2-5", "6", "7", "8-11", "12", "total"]


def test_a_drawn_key_lands_beside_the_identity(cipher_machine, tmp_path):
    guest = cipher_machine.add("D", enrolled=False)
    enrol(guest.address, guest.enrolment, tmp_path / "id.json")
    key = (tmp_path / "id.json.key").read_bytes()
    assert len(key) == 32 and stat.S_IMODE(os.stat(tmp_path / "id.json.key").st_mode) == 0o600
    with Card.connect(guest.address, identity=tmp_path / "id.json") as card:
        card.load_key(key)


def test_a_card_is_chosen_by_name_and_only_among_those_that_were_given(cipher_machine):
    guest = cipher_machine.add("E", "c0", "c1")
    with guest.connect(card="c1", instance="E.1") as card:
        assert (card.name, card.instance) == ("c1", "E.1")
        key = card.load_key(guest.key)
        assert card.decrypt(key, card.encrypt(key, b"x")) == b"x"
    with pytest.raises(Unknown):
        guest.connect(card="c7")
    with pytest.raises(Unknown):
        guest.connect(instance="A.1")


def test_a_guest_whose_enrolment_pins_a_card_takes_no_other(cipher_machine, tmp_path):
    token = dict(cipher_machine.authority("token.new", role="user", name="P", card="c1"))
    added = cipher_machine.admin("guest.add", name="P", id=token["id"], cards=["c0", "c1"], uid=os.geteuid())
    address = f"unix:{added['socket']}"
    enrol(address, token, tmp_path / "id.json", key=bytes(32))
    with Card.connect(address, identity=tmp_path / "id.json") as card:
        assert card.name == "c1"
    with pytest.raises(VecError) as error:
        Card.connect(address, identity=tmp_path / "id.json", card="c0")
    assert "pinned" in str(error.value)


def test_release_leaves_the_card_free_and_the_handles_void(cipher_machine, b):
    with b.connect() as card:
        key = card.load_key(b.key)
        card.encrypt(key, b"x")
        card.release()
        with pytest.raises(NoKey):
            card.encrypt(key, b"x")
    cipher_machine.wait_for(lambda: cipher_machine.status()["c0"] == "free", 10, "the card is free again")
    assert cipher_machine.admin("card.show", name="c0")["card"]["residue"] == {
        "context": None,
        "output": None,
        "keys": [],
    }


def test_closing_releases_and_may_be_told_not_to(cipher_machine, b):
    card = b.connect()
    key = card.load_key(b.key)
    number = key.number
    card.close(release=False)
    with b.connect() as again:
        # The key is still in the card: it can be named without being loaded.
        again.encrypt(key.named(number), b"x")
        handle = again.load_key(b.key)
        again.encrypt(handle, b"x")
    cipher_machine.wait_for(lambda: cipher_machine.status()["c0"] == "free", 10, "the card is free again")


# ---- registration ----------------------------------------------------------------------------------------------


def test_a_token_is_good_for_one_registration(cipher_machine, a, tmp_path):
    with pytest.raises(ProtocolRefused) as error:
        enrol(a.address, a.enrolment, tmp_path / "again.json", key=a.key)
    assert error.value.rule == "registration 2" and "used already" in error.value.reason
    assert not (tmp_path / "again.json").exists()


def test_a_token_of_another_guest_is_refused_at_this_guests_door(cipher_machine, a, tmp_path):
    other = cipher_machine.add("F", enrolled=False)
    with pytest.raises(ProtocolRefused) as error:
        enrol(a.address, other.enrolment, tmp_path / "id.json", key=bytes(32))
    assert error.value.rule == "registration 1"
    enrol(other.address, other.enrolment, tmp_path / "id.json", key=bytes(32))


def test_a_guessed_token_is_refused_and_the_right_one_still_works(cipher_machine, tmp_path):
    guest = cipher_machine.add("G", enrolled=False)
    guess = dict(guest.enrolment, token=secrets.token_hex(32))
    with pytest.raises(ProtocolRefused) as error:
        enrol(guest.address, guess, tmp_path / "id.json", key=bytes(32))
    assert "token" in error.value.reason
    enrol(guest.address, guest.enrolment, tmp_path / "id.json", key=bytes(32))


def test_a_file_that_cannot_be_written_is_noticed_before_the_token_is_used(cipher_machine, tmp_path):
    guest = cipher_machine.add("H", enrolled=False)
    with pytest.raises(OSError):
        enrol(guest.address, guest.enrolment, tmp_path / "no such folder" / "id.json", key=bytes(32))
    enrol(guest.address, guest.enrolment, tmp_path / "id.json", key=bytes(32))


# ---- verification ----------------------------------------------------------------------------------------------


def test_a_user_that_never_registered_is_not_verified(cipher_machine, a, tmp_path):
    guest = cipher_machine.add("N", enrolled=False)
    stranger = json.loads(a.identity.read_text())
    party = UserParty(Identity.from_json(json.dumps(stranger)), secrets.token_bytes)
    # A's message 1 at N's door: the broker knows whose door it is.
    card = cipher_machine.admin("card.show", name="c0")["card"]["id"]
    error = refused(guest, "VERIFY", party.open(bytes.fromhex(card), time.monotonic()).message1)
    assert isinstance(error, ProtocolRefused) and error.rule == "message 1"


def test_an_unregistered_user_is_refused_by_the_authority(cipher_machine, tmp_path):
    """It has an id and a door, but no certificate: it signs with keys that it made itself."""
    from dataclasses import replace

    from vecd.protocol import suites

    guest = cipher_machine.add("O", enrolled=False)
    known = cipher_machine.add("Q")
    identity = read_identity(known.identity)
    forged = replace(identity, id=bytes.fromhex(guest.enrolment["id"]), keys=suites.generate())
    card = bytes.fromhex(cipher_machine.admin("card.show", name="c0")["card"]["id"])
    error = refused(guest, "VERIFY", UserParty(forged, secrets.token_bytes).open(card, time.monotonic()).message1)
    assert isinstance(error, ProtocolRefused) and error.rule == "message 3"
    assert "no valid certificate" in error.reason


def test_a_replayed_message_1_is_refused(a):
    run = start_up(a).verify(deadline())
    error = refused(a, "VERIFY", run.user.message1)
    run.control.close()
    assert isinstance(error, ProtocolRefused) and error.rule == "message 3" and "used before" in error.reason


def test_a_clone_that_repeats_its_nonce_draws_another_and_starts_again(a):
    start = start_up(a)
    first = start.verify(deadline())
    first.control.close()
    repeated = [first.user._n_u]
    start.party = UserParty(start.identity, lambda size: repeated.pop() if repeated else secrets.token_bytes(size))
    again = start.verify(deadline())
    again.control.close()
    assert again.user.state == "verified" and not repeated


def test_a_card_that_was_not_given_is_refused_by_the_rule(cipher_machine, a):
    party = UserParty(read_identity(a.identity), secrets.token_bytes)
    card = bytes.fromhex(cipher_machine.admin("card.show", name="c1")["card"]["id"])
    error = refused(a, "VERIFY", party.open(card, time.monotonic()).message1)
    assert isinstance(error, Denied) and error.rule == "R1" and error.reason


def test_a_card_that_nobody_knows_is_unknown(a):
    party = UserParty(read_identity(a.identity), secrets.token_bytes)
    assert isinstance(refused(a, "VERIFY", party.open(bytes(16), time.monotonic()).message1), Unknown)


def test_a_message_1_with_a_changed_bit_is_refused(a):
    start = start_up(a)
    run = start.verify(deadline())
    run.control.close()
    for at in (10, len(run.user.message1) - 1):
        changed = bytearray(start.party.open(run.user.id_c, time.monotonic()).message1)
        changed[at] ^= 1
        assert isinstance(refused(a, "VERIFY", bytes(changed)), ProtocolRefused)


# ---- key loading -----------------------------------------------------------------------------------------------


def load(guest):
    """(the start-up, its run, message 7, N_K) of a key that was loaded."""
    start = start_up(guest)
    run = start.verify(deadline())
    record = start.identity.registered[0]
    message7 = run.user.load(guest.key, record, time.monotonic())
    message12 = run.control.ask("LOAD", message7, deadline())
    number = run.user.accept_loaded(message12, int(time.time()), time.monotonic())
    run.control.close()
    return start, run, message7, number


def test_a_replayed_message_7_is_refused(a):
    _, _, message7, _ = load(a)
    error = refused(a, "LOAD", message7)
    assert isinstance(error, ProtocolRefused) and error.rule == "message 7" and error.reason


def test_a_recorded_message_7_is_refused_in_a_later_session(a):
    _, _, message7, _ = load(a)
    start = start_up(a)
    run = start.verify(deadline())
    with pytest.raises(ProtocolRefused) as error:
        run.control.ask("LOAD", message7, deadline())
    run.control.close()
    assert error.value.rule == "message 7"


def test_message_7_of_one_guest_is_refused_at_anothers_door(a, b):
    start = start_up(a)
    run = start.verify(deadline())
    message7 = run.user.load(a.key, start.identity.registered[0], time.monotonic())
    error = refused(b, "LOAD", message7)
    run.control.close()
    assert isinstance(error, ProtocolRefused) and error.rule == "message 7"


def test_a_key_whose_registration_was_taken_back_is_not_activated(a):
    """The card asks the authority for every key: what it does not know is "keybad", and the card forgets it."""
    secret = secrets.token_bytes(32)
    with a.connect() as card:
        record = card.register_key(secret, "taken back")
        card.revoke_key(record)
        run = card._connection.start.verify(deadline())
        message7 = run.user.load(secret, record, time.monotonic())
        message12 = run.control.ask("LOAD", message7, deadline())
        with pytest.raises(ProtocolRefused) as error:
            run.user.accept_loaded(message12, int(time.time()), time.monotonic())
        run.control.close()
    assert error.value.rule == "message 12" and "keybad" in error.value.reason


def test_the_number_of_anothers_key_names_nothing(a, b):
    with a.connect() as one, b.connect(retry=False) as two:
        key_a, key_b = one.load_key(a.key), two.load_key(b.key)
        with pytest.raises(NoKey) as error:
            two.encrypt(key_b.named(key_a.number), b"whose key is this?")
        assert error.value.reason == ops.REASONS["NO_KEY"].sentence
        assert two.decrypt(key_b, two.encrypt(key_b, b"mine")) == b"mine"
        assert one.decrypt(key_a, one.encrypt(key_a, b"mine")) == b"mine"


def test_without_any_key_nothing_is_served(cipher_machine):
    guest = cipher_machine.add("K")
    with guest.connect(retry=False) as card:
        for ask_for in (lambda: card.random(16), lambda: card.null(b"x"), lambda: card.digest(b"x")):
            with pytest.raises(NoKey) as error:
                ask_for()
            assert error.value.reason == ops.REASONS["ANY_KEY"].sentence


# ---- attach ----------------------------------------------------------------------------------------------------


def attach(address, message):
    channel = Channel(dial(parse(address), deadline()))
    channel.ask(Request(ops.CONTROLS["ATTACH"].number, flags=0, data=message), deadline(), "ATTACH").require()
    return channel


def test_a_run_is_attached_once_ever(a):
    start, run, _, _ = load(a)
    attachment = run.user.attach(start.place.instance, time.monotonic())
    channel = attach(a.address, attachment.message)
    channel.send_raw(attachment.tag)
    with pytest.raises(ProtocolRefused) as error:
        attach(a.address, attachment.message)
    assert error.value.rule == "attach"
    assert channel.ask(Request(ops.OPS["NULL"].number, data=b"x"), deadline(), "null").require().data == b"x"
    channel.close()


def test_somebody_elses_socket_on_this_run_gets_nothing(a):
    """Whoever brings a recorded attach first, as a bad broker could, has not the key of the tag."""
    start, run, _, number = load(a)
    attachment = run.user.attach(start.place.instance, time.monotonic())
    thief = attach(a.address, attachment.message)
    thief.send_raw(secrets.token_bytes(32))
    with pytest.raises(VecError) as error:
        thief.ask(Request(ops.OPS["ENCRYPT"].number, key=number, data=b"x"), deadline(), "encrypt").require()
    assert error.value.reason == ops.REASONS["ATTACH_TAG"].sentence
    assert thief.closed or thief.close() is None


def test_an_attach_of_one_guest_is_refused_at_anothers_door(a, b):
    start, run, _, _ = load(a)
    attachment = run.user.attach(start.place.instance, time.monotonic())
    with pytest.raises(ProtocolRefused) as error:
        attach(b.address, attachment.message)
    assert error.value.rule == "attach"


def test_an_attach_must_be_the_first_frame(a):
    start, run, _, _ = load(a)
    attachment = run.user.attach(start.place.instance, time.monotonic())
    with Control(parse(a.address), deadline()) as control:
        control.hello(deadline())
        with pytest.raises(Malformed):
            control.ask("ATTACH", attachment.message, deadline())


def test_one_guest_cannot_release_anothers_instance(a, b):
    with a.connect() as card:
        key = card.load_key(a.key)
        run = card._connection._last
        error = refused(b, "RELEASE", run.release(card._connection.start.place.instance))
        assert isinstance(error, (ProtocolRefused, Unknown))
        card.encrypt(key, b"x")


def test_a_guest_that_was_removed_has_no_door(cipher_machine):
    guest = cipher_machine.add("R")
    card = guest.connect(timeout=2)
    key = card.load_key(guest.key)
    card.encrypt(key, b"x")
    cipher_machine.admin("guest.remove", name="R")
    with pytest.raises(VecError):
        card.encrypt(key, b"x", timeout=1)
    with pytest.raises(Unreachable):
        guest.connect(timeout=0.5, retry=False)
    card.close()


def test_a_descriptor_that_vanishes_between_two_frames_harms_nobody(a, b):
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(a.address.removeprefix("unix:"))
            sock.send(b"vEC1\x01\x80")
    with a.connect() as card:
        card.load_key(a.key)
