"""The state: cells, changes that can be undone, a world that names who may come to exist."""

import pytest

from vecd.ppm.levels import Levels, dominates
from vecd.ppm.properties import indexes
from vecd.ppm.request import connect, create, give, instruct
from vecd.ppm.rules import advance, decide
from vecd.ppm.state import CARD, INSTANCE, USER, State, byte_of, letters


@pytest.fixture
def state():
    state = State(Levels(4))
    state.name("A", USER)
    state.name("a", INSTANCE, "A")
    state.name("k", CARD)
    for request in (
        create("A"),
        create("a"),
        create("k"),
        instruct("k"),
        give("A", "a", "c"),
        give("a", "k", "c"),
        connect("A", "a"),
    ):
        state.apply(decide(state, request).changes)
    return state


def test_a_smaller_number_is_a_higher_level():
    assert dominates(1, 2) and dominates(3, 3) and not dominates(4, 3)


def test_levels_follow_from_their_number():
    assert (Levels(4).instance, Levels(4).card, Levels(4).free) == ({3}, {2, 3, 4}, 4)
    assert (Levels(6).instance, Levels(6).card, Levels(6).lowest_instance) == ({3, 4, 5}, {2, 3, 4, 5, 6}, 5)


@pytest.mark.parametrize("count", [3, 0, -1, "4", None, 4.0, True])
def test_fewer_than_four_levels_are_an_error(count):
    with pytest.raises(ValueError, match="at least 4"):
        Levels(count)


def test_every_byte_has_its_letters_and_every_letters_their_byte():
    assert letters(1 | 2 | 4 | 8 | 16) == "rwace" and letters(0) == ""
    assert all(byte_of(letters(byte)) == byte for byte in range(32))
    with pytest.raises(ValueError, match="'x'"):
        byte_of("rx")


def test_undo_gives_back_the_very_state(state):
    before = state.snapshot()
    changes = decide(state, connect("a", "k")).changes
    state.apply(changes)
    assert state.snapshot() != before and state.status_of("k") == "control"
    state.undo(changes)
    assert state.snapshot() == before and not indexes(state)


def test_advance_gives_a_new_state_on_a_yes_and_the_very_state_on_a_refusal(state):
    before = state.snapshot()
    decision, after = advance(state, connect("a", "k"))
    assert decision and after is not state and after.holds("a", "k")
    assert state.snapshot() == before
    decision, same = advance(state, connect("k", "a"))
    assert decision.answer == "?" and same is state


def test_a_copy_shares_nothing(state):
    copy = state.copy()
    assert copy.snapshot() == state.snapshot() and not indexes(copy)
    copy.apply(decide(copy, connect("a", "k")).changes)
    assert not state.holds("a", "k") and not indexes(state)


def test_restore_gives_the_state_that_was_seen(state):
    seen = state.snapshot()
    state.apply(decide(state, connect("a", "k")).changes)
    state.restore(seen)
    assert state.snapshot() == seen and not indexes(state)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("A", USER), "named already"),
        (("x", "guest"), "kind"),
        (("m", USER), "named already"),
        (("x", "m"), "kind"),
        (("x", INSTANCE), "owner"),
        (("x", INSTANCE, "k"), "owner"),
        (("x", INSTANCE, "nobody"), "owner"),
        (("x", USER, "A"), "cannot have an owner"),
        (("x", USER, None, [2]), "levels"),
        (("x", USER, None, []), "levels"),
        (("x", CARD, None, [3]), "levels"),
        ((1.5, USER), "key"),
        ((None, USER), "key"),
    ],
)
def test_a_name_that_cannot_be_is_an_error(state, arguments, says):
    with pytest.raises(ValueError, match=says):
        state.name(*arguments)


def test_what_is_live_or_owns_something_is_not_forgotten(state):
    with pytest.raises(ValueError, match="live"):
        state.forget("a")
    state.name("B", USER)
    state.name("b", INSTANCE, "B")
    with pytest.raises(ValueError, match="owns"):
        state.forget("B")
    state.forget("b")
    state.forget("B")
    assert "B" not in state.world and decide(state, create("B")).answer == "?"


def test_keys_may_be_numbers_and_sentences_use_the_words():
    state = State(Levels(4))
    state.name(7, USER, words="user A")
    state.name(8, INSTANCE, 7, words="instance A.1")
    for request in (create(7), create(8)):
        state.apply(decide(state, request).changes)
    decision = decide(state, connect(7, 8))
    assert decision.reason.startswith("user A may not connect to instance A.1: R1, discretionary: ")
    assert decision.next == "vecctl access give A A.1 c"
