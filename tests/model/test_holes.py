"""H1 to H16: what the literal rules of the paper allow, and ours refuse or handle."""

import pytest

from tests.model.worlds import do, empty, made, refused
from vecd.ppm.properties import secure, star
from vecd.ppm.request import (
    Request,
    append,
    connect,
    create,
    destroy,
    give,
    instruct,
    move,
    read,
    release,
    rescind,
    switch,
)
from vecd.ppm.state import Change


@pytest.fixture
def state():
    """a and b connected to k, which nobody works on."""
    state = made()
    do(state, connect("a", "k"), connect("b", "k"))
    return state


def result_of_a(state):
    """a's result is in the output buffer, the card in control of a."""
    do(
        state,
        switch("k", "a"),
        append("a", "k"),
        move("a", "k", 2),
        Request("loadkey", "a", "k"),
        Request("submit", "a", "k"),
        Request("process", "k", "k"),
        move("a", "k", 3),
    )


def test_H1_b_cannot_read_the_result_of_a(state):
    refused(state, append("a", "k"))
    result_of_a(state)
    for request in (read("b", "k"), Request("R3", "b", "k"), Request("fetch", "b", "k")):
        assert refused(state, request).property == "slot"
    do(state, switch("k", "b"), read("b", "k"), Request("fetch", "b", "k"))
    assert "k" not in state.output


def test_H2_R12_cleans_the_card_before_it_goes_to_the_next(state):
    result_of_a(state)
    assert set(do(state, switch("k", "b")).wipes) == {("engine", "k"), ("buffers", "k")}
    assert "k" not in state.context and "k" not in state.output


def test_H3_R1_does_not_take_down_a_card_that_works_for_another(state):
    do(
        state,
        release("b", "k", "c"),
        switch("k", "a"),
        append("a", "k"),
        move("a", "k", 2),
        Request("loadkey", "a", "k"),
        connect("b", "k"),
    )
    assert (state.status_of("k"), state.level["k"], state.context["k"]) == ("using", 2, "a")


def test_H4_R6_of_c_leaves_no_r_w_a(state):
    do(state, switch("k", "a"), append("a", "k"), read("a", "k"), Request("R3", "a", "k"), release("a", "k", "c"))
    assert state.holds("a", "k") == 0


def test_H5_R10_takes_from_b_what_it_takes_from_M(state):
    do(state, switch("k", "a"), append("a", "k"), rescind("a", "k", "a"))
    assert not state.holds("a", "k") & ~state.may("a", "k")
    do(state, rescind("a", "k", "c"))
    assert state.holds("a", "k") == 0


def test_H6_an_instance_that_holds_r_on_a_card_is_not_moved():
    state = made(levels=5)
    do(state, connect("a", "k"), switch("k", "a"), read("a", "k"))
    assert refused(state, move("m", "a", 4)).property == "slot"
    # What the literal rule would have made.
    state.apply([Change("level", None, "a", 3, 4)])
    assert star(state)


def test_H7_a_sharer_cannot_hold_r_and_block_the_card(state):
    do(state, switch("k", "b"), read("b", "k"))
    do(state, switch("k", "a"), append("a", "k"), move("a", "k", 2))
    assert state.status_of("k") == "using"


def test_H8_R11_takes_no_card_to_free(state):
    result_of_a(state)
    for subject in ("a", "m"):
        refused(state, move(subject, "k", 4))


def test_H9_R9_gives_neither_the_managers_attribute_nor_rights_on_anothers_instance(state):
    refused(state, give("a", "k", "e"), "?")
    refused(state, give("A", "b", "r"), "?")


def test_H10_who_comes_again_under_an_old_id_inherits_nothing(state):
    result_of_a(state)
    do(state, release("A", "a", "c"), switch("k", None), destroy("a"))
    assert not any("a" in (s, o) for table, s, o, _ in state.cells())
    do(state, create("a"), instruct("a"))
    assert state.may("A", "a") == 0 and state.may("a", "k") == 0 and not state.keys["k"]
    assert ("memory", "a") in do(empty_with_user(), create("a")).wipes


def empty_with_user():
    state = empty()
    do(state, create("A"))
    return state


def test_H10_what_is_named_by_a_card_is_not_destroyed(state):
    result_of_a(state)
    do(state, release("A", "a", "c"))
    refused(state, destroy("a"))


def test_H11_a_card_may_be_in_control(state):
    assert state.level["k"] in state.world["k"].may and state.status_of("k") == "control"


def test_H12_a_card_has_one_status_at_a_time(state):
    result_of_a(state)
    assert [cell for cell in state.cells() if cell[0] == "status"] == [("status", None, "k", "control")]


def test_H13_an_instance_does_not_stay_on_a_card_without_its_user(state):
    do(state, release("A", "a", "c"))
    assert state.holds("a", "k") == 0
    assert refused(state, connect("a", "k")).property == "chain"


def test_H14_a_connected_instance_is_not_lowered_and_a_lowered_one_is_wiped():
    state = made(levels=5)
    assert refused(state, move("m", "a", 4)).property == "star"
    do(state, release("A", "a", "c"))
    assert do(state, move("m", "a", 4)).wipes == (("memory", "a"),)
    assert do(state, move("m", "a", 3)).wipes == ()
    assert secure(state)


def test_H15_a_key_slot_goes_with_c_and_not_with_anothers_turn(state):
    result_of_a(state)
    decision = do(state, rescind("a", "k", "c"))
    assert not state.keys["k"] and ("key slot", "a", "k") in decision.wipes
    before = set(state.keys["k"])
    do(state, switch("k", "b"), switch("k", None, subject="b"))
    assert state.keys["k"] == before


def test_H16_a_draining_card_holds_data_of_one_instance_alone(state):
    do(
        state,
        switch("k", "a"),
        append("a", "k"),
        move("a", "k", 2),
        Request("loadkey", "a", "k"),
        release("a", "k", "c"),
    )
    assert (state.status_of("k"), state.context["k"]) == ("using", "a")
    for request in (append("b", "k"), Request("loadkey", "b", "k"), Request("config", "b", "k"), move("b", "k", 3)):
        refused(state, request)
    do(state, switch("k", "b"))
    assert "k" not in state.context and "k" not in state.output
