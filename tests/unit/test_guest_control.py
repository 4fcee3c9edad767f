"""vecd/guest/control.py, key.py, held.py, identity.py: choosing a card, holding a key, reading an identity."""

import os

import pytest

from vecd.base.errors import ConfigError, Exists, Malformed, Unknown
from vecd.guest import control, identity
from vecd.guest.deadline import Deadline
from vecd.guest.held import Held
from vecd.guest.key import Key

SAID = {
    "instances": [
        {
            "instance": "11" * 16,
            "name": "A.1",
            "cards": [{"name": "c0", "id": "c0" * 16}, {"name": "c1", "id": "c1" * 16}],
        },
        {"instance": "22" * 16, "name": "A.2", "cards": [{"name": "c1", "id": "c1" * 16}]},
    ]
}


@pytest.mark.parametrize(
    ("instance", "card", "found"),
    [
        (None, None, ("A.1", "c0")),
        (None, "c1", ("A.1", "c1")),
        ("A.2", None, ("A.2", "c1")),
        ("22" * 16, b"\xc1" * 16, ("A.2", "c1")),
        (b"\x11" * 16, "c1", ("A.1", "c1")),
    ],
)
def test_names_and_ids_choose_an_instance_and_a_card(instance, card, found):
    place = control.choose(control.places(SAID), instance, card)
    assert place is not None and (place.instance_name, place.card_name) == found


@pytest.mark.parametrize(("instance", "card"), [("A.3", None), (None, "c9"), ("A.2", "c0")])
def test_what_is_not_offered_is_not_chosen(instance, card):
    assert control.choose(control.places(SAID), instance, card) is None


@pytest.mark.parametrize("said", [{}, {"instances": 5}, {"instances": [{}]}, {"instances": [{"instance": "zz"}]}])
def test_an_answer_to_hello_that_makes_no_sense_is_malformed(said):
    with pytest.raises(Malformed):
        control.places(said)


@pytest.mark.parametrize("given", [b"k" * 32, bytearray(b"k" * 32), lambda: b"k" * 32])
def test_a_held_key_is_zero_after_the_block(given):
    with Held(given) as secret:
        view = secret.view
        assert bytes(view) == b"k" * 32
    assert bytes(view) == bytes(32)


def test_a_key_that_is_forgotten_can_load_nothing():
    key = Key(identity.algorithm("AES-256-GCM"), None, b"k" * 32)
    key.number = 9
    key.forget()
    assert key.given is None and key.number == 0


def test_a_named_key_can_load_nothing():
    key = Key(identity.algorithm("AES-256-GCM"), None, b"k" * 32)
    assert key.named(7).number == 7 and key.named(7).given is None


def test_a_key_does_not_print_its_secret():
    assert "6b6b" not in repr(Key(identity.algorithm("AES-256-GCM"), None, b"k" * 32))


def test_an_unknown_algorithm_names_the_known_ones():
    with pytest.raises(Unknown) as error:
        identity.algorithm("DES")
    assert "AES-256-GCM" in error.value.hint


def test_an_identity_that_others_may_read_is_refused(tmp_path):
    path = tmp_path / "identity.json"
    path.write_text("{}")
    os.chmod(path, 0o644)
    with pytest.raises(ConfigError) as error:
        identity.read(path)
    assert "chmod" in error.value.hint


def test_a_drawn_key_never_replaces_one_that_is_there(tmp_path):
    (tmp_path / "id.json.key").write_bytes(b"the only copy")
    with pytest.raises(Exists):
        identity.enrol("unix:/nowhere", {}, tmp_path / "id.json")
    assert (tmp_path / "id.json.key").read_bytes() == b"the only copy"


@pytest.mark.parametrize("said", [b"", b"\xff", b"[" * 60000, b"[]", b"5"])
def test_what_the_broker_says_of_itself_is_json_or_malformed(said):
    link = object.__new__(control.Control)
    link.ask = lambda operation, data, deadline: said
    with pytest.raises(Malformed):
        link.hello(Deadline(1.0))
