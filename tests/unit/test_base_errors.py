"""Errors travel between processes with their facts, and nothing a peer sends makes one of another kind."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecd.base import errors
from vecd.base.errors import Denied, Failed, Refused, VecError, by_status, from_dict

FACTS = {name: f"the {name}" for name in errors.FACTS if name != "message"}


@pytest.mark.parametrize("cls", errors.ERRORS)
def test_an_error_arrives_as_it_left(cls):
    sent = cls("what happened", **FACTS)
    for got in (from_dict(sent.to_dict()), VecError.from_dict(sent.to_dict()), pickle.loads(pickle.dumps(sent))):
        assert type(got) is cls and got.to_dict() == sent.to_dict()
    assert sent.to_dict()["error"] == cls.__name__


def test_the_text_names_thing_rule_reason_and_next_step():
    error = Denied(
        "guest 7 may not write key 12",
        rule="R4",
        property="star property",
        reason="works at secret, label is restricted",
        hint="ask for it",
    )
    assert str(error) == (
        "guest 7 may not write key 12: R4, star property: works at secret, label is restricted; ask for it"
    )


def test_without_a_message_the_sentence_of_the_status_stands():
    assert str(Denied()) == "refused by the reference monitor"


def test_an_unknown_number_is_a_failure_and_never_a_success():
    for number in (0, -1, 69, 255, 10**9):
        assert by_status(number) is Failed
    assert type(from_dict({})) is Failed
    assert type(from_dict({"status": "5"})) is Failed


def test_every_refusal_is_caught_as_one():
    assert {c.__name__ for c in errors.ERRORS if issubclass(c, Refused)} == {
        "Denied",
        "Caller",
        "WrongUse",
        "ProtocolRefused",
    }


def test_a_peers_text_is_bounded():
    assert len(from_dict({"status": 5, "message": "x" * 10**6, "reason": 5}).message) == errors.TEXT_MAX


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    max_leaves=8,
)
KEYS = st.sampled_from([*errors.FACTS, "status", "error"])


@given(st.dictionaries(KEYS, json_like))
def test_whatever_a_peer_sends_becomes_an_error(data):
    assert isinstance(from_dict(data), VecError)
