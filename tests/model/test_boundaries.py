"""The boundary cases of docs/model.md, each with its answer. a is A's, b is B's; k is a card; n is named, not live."""

import random

import pytest

from tests.model.worlds import do, empty, made, refused
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
from vecd.ppm.rules import RULES, decide
from vecd.ppm.state import A, C, E, R, W

Q = "?"


@pytest.fixture
def state():
    """Everything live and connected, a in its slot, in control; n is an instance that is not live."""
    state = made("AB", ("aA", "bB"), cards="kl")
    state.name("n", "instance", "A")
    do(state, connect("a", "k"), connect("b", "k"), switch("k", "a"))
    return state


def works(state):
    """a is in using, with a key and a result."""
    do(state, append("a", "k"), move("a", "k", 2), Request("loadkey", "a", "k"), Request("process", "k", "k"))
    return state


# ---- who may be subject and object


@pytest.mark.parametrize("rule", ["R1", "R2", "R3", "R4"])
def test_R1_to_R4_on_a_live_instance_of_another_user_is_no(state, rule):
    decision = refused(state, Request(rule, "A", "b"))
    assert decision.property == "type" and "belongs to user B" in decision.reason and decision.remedy is None


@pytest.mark.parametrize("rule", ["put", "get"])
def test_data_of_another_users_instance_is_no(state, rule):
    assert refused(state, Request(rule, "A", "b")).remedy is None


@pytest.mark.parametrize("attribute", "rwac")
def test_R6_on_a_live_instance_of_another_user_is_no(state, attribute):
    refused(state, release("A", "b", attribute))


@pytest.mark.parametrize("rule", sorted(RULES))
def test_what_is_not_live_or_unknown_is_a_question_mark_before_anything_else(state, rule):
    for ghost in ("n", "nobody", "", None, 7, ("a",), ["a"], True):
        for subject, object in ((ghost, "k"), ("m", ghost), ("a", ghost), (ghost, ghost)):
            if (rule, subject, object) == ("R7", "m", "n"):
                continue
            refused(state, Request(rule, subject, object, "c", to="a", level=3), Q)
        refused(state, give(ghost, "k", "c"), Q)
        refused(state, rescind(ghost, "k", "c"), Q)


@pytest.mark.parametrize("rule", ["R5", "R7", "R8", "R9", "R10"])
def test_what_is_the_managers_is_a_question_mark_for_anybody_else(state, rule):
    for subject in "AabkB":
        refused(state, Request(rule, subject, "k", "c", to="a"), Q)


@pytest.mark.parametrize("rule", ["R1", "R2", "R3", "R4"])
@pytest.mark.parametrize("pair", ["Ak", "aA", "ab", "AA", "ka", "kk", "ma", "mk", "am", "AB", "kl", "mm"])
def test_R1_to_R4_of_the_wrong_kinds_is_a_question_mark(state, rule, pair):
    refused(state, Request(rule, *pair), Q)


def test_the_manager_is_no_object(state):
    for rule in RULES:
        for subject in ("m", "A", "a", "k"):
            refused(state, Request(rule, subject, "m", "c", to="a", level=3), Q)


@pytest.mark.parametrize("rule", [None, "", "R0", "R13", "r1", 1, ["R1"], "encrypt"])
def test_a_rule_that_is_none_is_a_question_mark(state, rule):
    decision = decide(state, Request(rule, "m", "k"))
    assert (decision.answer, decision.rule, decision.changes) == (Q, "", ())


@pytest.mark.parametrize("attribute", ["x", "", "rw", None, 8, ["c"], "C"])
def test_an_attribute_that_is_none_is_a_question_mark(state, attribute):
    for request in (release("a", "k", attribute), give("a", "k", attribute), rescind("a", "k", attribute)):
        refused(state, request, Q)


@pytest.mark.parametrize("level", [None, "2", 2.0, True, [2]])
def test_a_level_that_is_no_whole_number_is_a_question_mark(state, level):
    refused(state, move("a", "k", level), Q)
    if level is not None:
        refused(state, create("n", level), Q)


@pytest.mark.parametrize("level", [-1, 0, 1, 2, 4, 5, 99])
def test_R7_at_a_level_that_may_not_be_taken_is_no(state, level):
    refused(state, create("n", level))


def test_any_request_whatever_is_decided_and_nothing_is_raised(state):
    rng = random.Random(3)
    odd = [
        None,
        "",
        "m",
        "A",
        "a",
        "b",
        "k",
        "n",
        "c",
        "r",
        0,
        1,
        2,
        3,
        4,
        -1,
        2.5,
        True,
        b"k",
        [],
        {},
        (1,),
        {"k"},
        float("nan"),
        "\ud800",
        10**30,
        object(),
    ]
    for _ in range(20_000):
        decision = decide(state, Request(rng.choice([*RULES, *odd]), *(rng.choice(odd) for _ in range(6))))
        assert decision.answer in ("yes", "no", Q) and decision.reason
        assert decision.answer == "yes" or not decision.changes


# ---- asking again


def test_what_is_held_already_is_a_yes_that_changes_nothing(state):
    do(state, append("A", "a"), append("a", "k"), read("a", "k"), instruct("k"))
    for request in (
        connect("A", "a"),
        append("A", "a"),
        connect("a", "k"),
        append("a", "k"),
        read("a", "k"),
        instruct("k"),
        give("a", "k", "c"),
    ):
        decision = decide(state, request)
        assert decision and not decision.changes


# ---- R1 .. R4


def test_R1_refuses_an_instance_whose_user_is_not_connected():
    state = made(connected=False)
    decision = refused(state, connect("a", "k"))
    assert decision.property == "chain" and decision.remedy == connect("A", "a")


def test_R1_refuses_what_M_lacks_and_says_which_command_gives_it(state):
    do(state, rescind("a", "k", "c"))
    decision = refused(state, connect("a", "k"))
    assert decision.property == "discretionary" and decision.next == "vecctl access give a k c"


def test_R1_leaves_the_slot_to_nobody(state):
    do(state, connect("a", "l"))
    assert state.status_of("l") == "control" and "l" not in state.current and state.level["l"] == 3


def test_R1_on_a_card_in_use_changes_nothing_but_b(state):
    works(state)
    do(state, release("b", "k", "c"))
    decision = do(state, connect("b", "k"))
    assert [change.table for change in decision.changes] == ["b"]


@pytest.mark.parametrize("rule", ["R2", "R3", "R4"])
def test_R2_R3_R4_refuse_a_slot_owner_who_is_not_current(state, rule):
    decision = refused(state, Request(rule, "b", "k"))
    assert decision.property == "slot" and decision.remedy == switch("k", "b")


@pytest.mark.parametrize(("rule", "letter"), [("R2", "a"), ("R3", "w"), ("R4", "r")])
def test_R2_R3_R4_refuse_what_M_lacks(state, rule, letter):
    do(state, rescind("a", "k", letter))
    assert refused(state, Request(rule, "a", "k")).remedy == give("a", "k", letter)


@pytest.mark.parametrize("rule", ["R2", "R3", "R4"])
def test_R2_R3_R4_refuse_who_is_not_connected(state, rule):
    assert refused(state, Request(rule, "a", "l")).remedy == connect("a", "l")


def test_R4_and_R3_refuse_a_card_in_using_and_R2_does_not(state):
    works(state)
    do(state, append("a", "k"), release("a", "k", "a"), append("a", "k"))
    for rule in ("R3", "R4"):
        decision = refused(state, Request(rule, "a", "k"))
        assert decision.property == "star" and decision.remedy == move("a", "k", 3)


def test_R2_R3_R4_hold_a_user_and_its_instance_to_their_levels():
    state = made(levels=5)
    do(state, release("A", "a", "c"), move("m", "a", 4), connect("A", "a"))
    # A works at L3, a is at L4, below.
    do(state, read("A", "a"))
    assert refused(state, append("A", "a")).property == "star"
    assert refused(state, Request("R3", "A", "a")).property == "star"


# ---- R5, R6


def test_R5_is_a_yes_on_everything_live(state):
    for thing in "ABabkl":
        assert decide(state, instruct(thing))


@pytest.mark.parametrize("attribute", "rwac")
def test_R6_of_what_is_not_held_is_no(state, attribute):
    assert refused(state, release("a", "l", attribute)).remedy is None


def test_R6_of_the_managers_attribute_by_another_and_of_anothers_by_the_manager_is_a_question_mark(state):
    refused(state, release("a", "k", "e"), Q)
    refused(state, release("A", "a", "e"), Q)
    for attribute in "rwac":
        refused(state, release("m", "k", attribute), Q)


def test_R6_of_the_managers_attribute_that_it_does_not_hold_is_no(state):
    do(state, release("m", "k", "e"))
    refused(state, release("m", "k", "e"))


@pytest.mark.parametrize(("attribute", "left"), [("r", W | A | C), ("w", R | A | C), ("a", R | W | C)])
def test_R6_of_r_w_a_takes_that_alone(state, attribute, left):
    do(state, append("a", "k"), read("a", "k"), Request("R3", "a", "k"), release("a", "k", attribute))
    assert state.holds("a", "k") == left and state.current["k"] == "a"


def test_R6_of_c_takes_rights_key_slot_and_slot_and_leaves_the_engine(state):
    works(state)
    decision = do(state, release("a", "k", "c"))
    assert not state.holds("a", "k") and not state.keys["k"] and "k" not in state.current
    assert (state.status_of("k"), state.level["k"], state.context["k"], state.output["k"]) == ("using", 2, "a", "a")
    assert decision.wipes == (("key slot", "a", "k"),)


def test_R6_of_a_users_c_takes_everything_its_instance_has_on_every_card(state):
    do(state, connect("a", "l"), release("A", "a", "c"))
    assert not any(state.holds("a", k) for k in "kl") and not state.holds("A", "a")
    assert state.status_of("l") == "free" and state.status_of("k") == "control"


def test_R6_of_the_last_c_frees_a_card_that_is_clean(state):
    do(state, release("a", "k", "c"), release("b", "k", "c"))
    assert (state.status_of("k"), state.level["k"]) == ("free", 4)


def test_R6_of_the_last_c_does_not_free_a_card_with_residue(state):
    works(state)
    do(state, release("b", "k", "c"), release("a", "k", "c"))
    assert (state.status_of("k"), state.level["k"]) == ("using", 2)
    do(state, switch("k", None))
    assert (state.status_of("k"), state.level["k"]) == ("free", 4)


# ---- R7, R8


def test_R7_of_what_is_live_is_no(state):
    assert refused(state, create("a")).remedy == destroy("a")


def test_R7_of_an_instance_whose_user_is_not_live_is_no():
    state = empty()
    assert refused(state, create("a")).remedy == create("A")


def test_R7_makes_a_card_at_the_lowest_level_alone():
    state = empty(levels=6)
    for level in range(1, 6):
        refused(state, create("k", level))
    do(state, create("k", 6))
    assert (state.level["k"], state.status_of("k"), state.may("m", "k")) == (6, "free", E)


def test_R7_gives_the_default_level_when_none_is_said():
    state = empty(levels=6)
    do(state, create("A"), create("a"), create("B", 5), create("k"))
    assert {key: state.level[key] for key in "AaBk"} == {"A": 3, "a": 3, "B": 5, "k": 6}


def test_R8_without_the_managers_instruction_is_no(state):
    do(state, create("n"))
    assert refused(state, destroy("n")).remedy == instruct("n")


def test_R8_refuses_a_user_with_a_live_instance(state):
    assert refused(state, destroy("A")).remedy == destroy("a")


def test_R8_refuses_an_instance_that_its_user_holds_anything_on(state):
    assert refused(state, destroy("a")).remedy == release("A", "a", "c")


def test_R8_refuses_an_instance_whose_data_are_in_a_card(state):
    works(state)
    do(state, release("A", "a", "c"))
    assert "engine" in refused(state, destroy("a")).reason or "output" in refused(state, destroy("a")).reason
    do(state, switch("k", None), destroy("a"))
    assert "a" not in state.live


def test_R8_refuses_a_card_that_is_not_free(state):
    assert refused(state, destroy("k")).remedy == release("a", "k", "c")
    do(state, destroy("l"))
    assert not state.granted["a"] & {"l"}


# ---- R9, R10


def test_R9_and_R10_of_a_pair_that_may_not_be_are_question_marks(state):
    for request in (give, rescind):
        for pair in ("Ab", "Ba", "Ak", "ka", "ab", "mk", "kk", "aA"):
            refused(state, request(*pair, "c"), Q)


def test_R9_and_R10_of_the_managers_attribute_are_question_marks(state):
    for request in (give, rescind):
        refused(state, request("a", "k", "e"), Q)
        refused(state, request("A", "a", "e"), Q)


def test_R9_needs_no_instruction_and_gives_nothing_to_hold(state):
    do(state, release("m", "k", "e"), rescind("a", "l", "r"))
    decision = do(state, give("a", "l", "r"))
    assert [change.table for change in decision.changes] == ["M"]


def test_R10_of_what_is_not_there_is_a_yes_that_changes_nothing(state):
    do(state, rescind("b", "l", "c"))
    assert not do(state, rescind("b", "l", "c")).changes


@pytest.mark.parametrize("attribute", "rwa")
def test_R10_of_r_w_a_takes_it_from_M_and_b_and_nothing_else(state, attribute):
    do(state, append("a", "k"), read("a", "k"), Request("R3", "a", "k"), rescind("a", "k", attribute))
    assert attribute not in state_letters(state, "a", "k") and state.current["k"] == "a"
    assert state.holds("a", "k") == state.may("a", "k")


def state_letters(state, s, o):
    return {x for x, bit in {"r": R, "w": W, "a": A, "c": C}.items() if (state.may(s, o) | state.holds(s, o)) & bit}


def test_R10_of_c_keeps_the_other_rights_in_M(state):
    do(state, append("a", "k"), rescind("a", "k", "c"))
    assert state.may("a", "k") == R | W | A and not state.holds("a", "k")


def test_R10_of_a_users_c_goes_down_the_chain(state):
    do(state, rescind("A", "a", "c"))
    assert not state.holds("a", "k") and state.may("a", "k") == R | W | A | C


# ---- R11


def test_R11_by_the_manager_without_its_instruction_is_no(state):
    do(state, release("m", "k", "e"))
    assert refused(state, move("m", "k", 2)).remedy == instruct("k")


def test_R11_by_an_instance_that_is_not_current_is_no(state):
    assert refused(state, move("b", "k", 2)).property == "slot"


def test_R11_by_a_user_is_a_question_mark(state):
    refused(state, move("A", "k", 2), Q)


def test_R11_up_is_no_while_anybody_holds_r_or_w(state):
    for request, attribute in ((read("a", "k"), "r"), (Request("R3", "a", "k"), "w")):
        do(state, request)
        decision = refused(state, move("a", "k", 2))
        assert decision.property == "star" and decision.remedy == release("a", "k", attribute)
        do(state, release("a", "k", attribute))
    do(state, move("a", "k", 2))


def test_R11_up_needs_a_slot_owner_and_control(state):
    do(state, connect("a", "l"))
    assert refused(state, move("m", "l", 2)).property == "slot"
    do(state, move("a", "k", 2))
    assert refused(state, move("a", "k", 2)).property == "status"


@pytest.mark.parametrize("status", ["free", "control", "using"])
@pytest.mark.parametrize("level", [0, 1, 4, 5])
def test_R11_to_the_top_to_free_or_to_no_level_is_never(state, status, level):
    card = "l" if status == "free" else "k"
    if status == "using":
        do(state, move("a", "k", 2))
    refused(state, move("m", card, level))


def test_R11_of_a_free_card_is_no(state):
    for level in range(1, 5):
        refused(state, move("m", "l", level))


def test_R11_down_wipes_the_engine_and_keeps_the_output(state):
    works(state)
    decision = do(state, move("a", "k", 3))
    assert ("engine", "k") in decision.wipes
    assert "k" not in state.context and state.output["k"] == "a" and state.keys["k"] == {"a"}


def test_R11_down_is_no_while_the_card_drains(state):
    works(state)
    do(state, rescind("a", "k", "c"))
    assert refused(state, move("m", "k", 3)).property == "residue"


def test_R11_down_goes_to_the_level_of_the_slot_owner_alone():
    state = made(levels=5)
    do(state, connect("a", "k"), switch("k", "a"), move("a", "k", 2))
    assert refused(state, move("a", "k", 4)).remedy == move("a", "k", 3)
    do(state, move("m", "k", 3))


def test_R11_of_an_instance_is_a_question_mark_with_four_levels_and_by_anybody_but_the_manager(state):
    refused(state, move("m", "a", 3), Q)
    five = made(levels=5)
    refused(five, move("a", "a", 4), Q)
    refused(five, move("A", "a", 4), Q)
    do(five, move("m", "a", 3))


# ---- R12


def test_R12_by_the_manager_without_its_instruction_is_no(state):
    do(state, release("m", "k", "e"))
    assert refused(state, switch("k", "b")).remedy == instruct("k")


def test_R12_by_an_instance_that_is_not_current_is_no(state):
    refused(state, switch("k", None, subject="b"))


def test_R12_by_a_user_is_a_question_mark(state):
    refused(state, switch("k", None, subject="A"), Q)


def test_R12_by_the_slot_owner_may_only_yield(state):
    refused(state, switch("k", "b", subject="a"), Q)
    refused(state, switch("k", "a", subject="a"), Q)
    do(state, switch("k", None, subject="a"))
    assert "k" not in state.current


def test_R12_of_a_free_card_is_no(state):
    refused(state, switch("l", "a"))
    refused(state, switch("l", None))


@pytest.mark.parametrize("follower", ["n", "b"])
def test_R12_to_a_next_that_is_not_live_or_not_connected_counts_as_none(state, follower):
    works(state)
    do(state, release("b", "k", "c"))
    do(state, switch("k", follower))
    assert (state.status_of("k"), state.current.get("k"), state.level["k"]) == ("control", None, 3)


@pytest.mark.parametrize("follower", ["A", "k", "m", "nobody", 7, ["a"]])
def test_R12_to_a_next_that_is_no_instance_is_a_question_mark(state, follower):
    refused(state, switch("k", follower), Q)


def test_R12_strips_and_wipes_everything_but_key_slots(state):
    works(state)
    decision = do(state, switch("k", "b"))
    assert (state.holds("a", "k"), state.holds("b", "k"), state.current["k"]) == (C, C, "b")
    assert "k" not in state.context and "k" not in state.output and state.keys["k"] == {"a"}
    assert set(decision.wipes) == {("engine", "k"), ("buffers", "k")}


def test_R12_to_the_slot_owner_itself_cleans_and_gives_it_again(state):
    works(state)
    do(state, switch("k", "a"))
    assert (state.status_of("k"), state.current["k"], state.holds("a", "k")) == ("control", "a", C)


def test_R12_to_nobody_stands_at_the_lowest_instance_level():
    state = made(levels=6)
    do(state, connect("a", "k"), switch("k", None))
    assert state.level["k"] == 5


# ---- data operations


def test_data_operations_of_the_wrong_kinds_are_question_marks(state):
    for op in ("loadkey", "submit", "fetch", "config"):
        for pair in ("Ak", "mk", "kk", "ab", "Aa"):
            refused(state, Request(op, *pair), Q)
    for op in ("put", "get"):
        for pair in ("ak", "ma", "aa", "Ak"):
            refused(state, Request(op, *pair), Q)
    for pair in ("kl", "ak", "mk"):
        refused(state, Request("process", *pair), Q)


def test_loadkey_and_submit_want_the_slot_a_and_using(state):
    for op in ("loadkey", "submit"):
        assert refused(state, Request(op, "b", "k")).property == "slot"
        assert refused(state, Request(op, "a", "k")).remedy == append("a", "k")
    do(state, append("a", "k"))
    for op in ("loadkey", "submit"):
        assert refused(state, Request(op, "a", "k")).remedy == move("a", "k", 2)
    do(state, move("a", "k", 2))
    assert refused(state, Request("submit", "a", "k")).remedy == Request("loadkey", "a", "k")
    do(state, Request("loadkey", "a", "k"), Request("submit", "a", "k"))
    assert state.context["k"] == "a" and state.keys["k"] == {"a"}


def test_process_wants_using_and_something_in_the_engine(state):
    refused(state, Request("process", "k", "k"))
    do(state, move("a", "k", 2))
    refused(state, Request("process", "k", "k"))


def test_process_in_a_draining_card_leaves_the_result_to_whose_data_it_was(state):
    do(state, append("a", "k"), move("a", "k", 2), Request("loadkey", "a", "k"), release("a", "k", "c"))
    do(state, Request("process", "k", "k"))
    assert state.output["k"] == "a"


def test_fetch_wants_the_slot_control_and_r_or_w(state):
    works(state)
    assert refused(state, Request("fetch", "a", "k")).property == "star"
    do(state, move("a", "k", 3))
    assert refused(state, Request("fetch", "a", "k")).remedy == read("a", "k")
    assert refused(state, Request("fetch", "b", "k")).property == "slot"
    for rule, attribute in (("R4", "r"), ("R3", "w")):
        do(state, Request(rule, "a", "k"), Request("fetch", "a", "k"), release("a", "k", attribute))


def test_config_wants_w_in_control_and_is_the_slot_owners(state):
    do(state, read("a", "k"))
    assert refused(state, Request("config", "a", "k")).remedy == Request("R3", "a", "k")
    do(state, Request("R3", "a", "k"), Request("config", "a", "k"))
    assert state.output["k"] == "a"


def test_put_wants_a_or_w_and_get_wants_r_or_w(state):
    refused(state, Request("put", "A", "a"))
    refused(state, Request("get", "A", "a"))
    do(state, append("A", "a"), Request("put", "A", "a"))
    refused(state, Request("get", "A", "a"))
    do(state, release("A", "a", "a"), read("A", "a"), Request("get", "A", "a"))
    refused(state, Request("put", "A", "a"))
    do(state, Request("R3", "A", "a"), release("A", "a", "r"), Request("put", "A", "a"), Request("get", "A", "a"))
