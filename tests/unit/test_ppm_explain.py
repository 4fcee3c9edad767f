"""explain: the rule's own answer, every cell it read, and a way to a yes that has been tried."""

import json

import pytest

from tests.model.worlds import do, made
from vecd.ppm import words
from vecd.ppm.explain import explain, plan
from vecd.ppm.request import Request, append, connect, destroy, move, release, rescind, switch
from vecd.ppm.rules import decide


@pytest.fixture
def state():
    """a in its slot, in using, with a result; b connected."""
    state = made()
    do(
        state,
        connect("a", "k"),
        connect("b", "k"),
        switch("k", "a"),
        append("a", "k"),
        move("a", "k", 2),
        Request("loadkey", "a", "k"),
        Request("process", "k", "k"),
    )
    return state


def texts(answer):
    return [read["text"] for read in answer["reads"]]


def test_a_yes_says_what_it_read_and_what_it_changes(state):
    answer = explain(state, "a", "k", "level", level=3)
    assert (answer["decision"], answer["rule"], answer["next"], answer["plan"]) == ("yes", "R11", "", [])
    assert "st(k) = control, was using" in answer["changes"]
    assert "cur(k) = a" in texts(answer) and "f(a) = L3" in texts(answer)


def test_R1_that_M_does_not_allow_is_explained_with_the_command_that_allows_it(state):
    do(state, rescind("b", "k", "c"))
    answer = explain(state, "b", "k", "c")
    assert (answer["decision"], answer["rule"], answer["property"]) == ("no", "R1", "discretionary")
    assert answer["next"] == "vecctl access give b k c" and texts(answer) == ["M[b][k] = rwa"]
    assert answer["can_change"] and not answer["in_turn"]


def test_R1_without_its_user_is_explained_by_the_chain(state):
    do(state, release("B", "b", "c"))
    answer = explain(state, "b", "k", "connect")
    assert answer["property"] == "chain" and [step["rule"] for step in answer["plan"]] == ["R1"]
    assert "b[B][b] = -" in texts(answer)


def test_R2_that_M_does_not_allow_is_explained_with_all_that_is_missing(state):
    do(state, rescind("b", "k", "a"))
    answer = explain(state, "b", "k", "a")
    assert answer["next"] == "vecctl access give b k a"
    assert [step["rule"] for step in answer["plan"]] == ["R9", "R12"]


def test_R4_out_of_turn_is_explained_as_a_matter_of_turns(state):
    answer = explain(state, "b", "k", "r")
    assert (answer["rule"], answer["property"], answer["in_turn"]) == ("R4", "slot", True)
    assert "cur(k) = a" in texts(answer)


def test_R4_in_using_is_explained_by_the_levels(state):
    answer = explain(state, "a", "k", "r")
    assert answer["property"] == "star" and {"f(a) = L3", "f(k) = L2"} <= set(texts(answer))
    assert [step["rule"] for step in answer["plan"]] == ["R11"]


def test_R6_of_nothing_is_explained_and_cannot_change(state):
    answer = explain(state, "b", "k", "a", operation="release")
    assert (answer["rule"], answer["decision"], answer["can_change"]) == ("R6", "no", False)
    assert "nothing to release" in answer["reason"]


def test_R9_and_R10_of_a_cell_that_cannot_be_are_explained(state):
    for word, rule in (("give", "R9"), ("rescind", "R10")):
        answer = explain(state, "A", "b", "c", operation=word)
        assert (answer["decision"], answer["rule"]) == ("?", rule)
        assert "instance b belongs to user B, not to user A" in answer["reason"] and not answer["can_change"]
        answer = explain(state, "a", "k", "e", operation=word)
        assert answer["decision"] == "?" and "e* is the manager's alone" in answer["reason"]
        assert explain(state, "a", "k", "c", operation=word)["decision"] == "yes"
        # Who asks can be said, too.
        assert explain(state, "A", "k", "c", operation=word, to="a")["decision"] == "?"


def test_R11_with_r_held_is_explained_by_who_holds_it(state):
    do(state, move("a", "k", 3), Request("R4", "a", "k"))
    answer = explain(state, "a", "k", "R11", level=2)
    assert answer["property"] == "star" and answer["plan"][0]["rule"] == "R6" and answer["in_turn"]
    assert "b[a][k] = rac" in texts(answer)


def test_R11_without_the_managers_instruction_names_what_no_instruction_would_change(state):
    do(state, release("m", "k", "e"))
    answer = explain(state, "m", "k", "level", level=1)
    assert answer["property"] == "authority" and "and even then" in answer["reason"]
    assert not answer["can_change"] and answer["next"].startswith("nothing")


def test_R12_of_a_free_card_and_by_another_are_explained(state):
    assert explain(state, "b", "k", "switch")["property"] == "slot"
    do(state, release("a", "k", "c"), release("b", "k", "c"), switch("k", None))
    answer = explain(state, "m", "k", "switch", next="a")
    assert (answer["rule"], answer["property"]) == ("R12", "status") and "st(k) = free" in texts(answer)


def test_R8_is_explained_step_by_step(state):
    answer = explain(state, "m", "a", "destroy")
    assert [step["rule"] for step in answer["plan"]] == ["R6", "R12"]


@pytest.mark.parametrize(
    ("op", "rules"),
    [("loadkey", ["R12", "R2", "R11"]), ("submit", ["R12", "R2", "R11", "loadkey"]), ("fetch", ["R12", "R4"])],
)
def test_data_operations_out_of_turn_are_explained_with_the_whole_turn(state, op, rules):
    answer = explain(state, "b", "k", op)
    assert (answer["decision"], answer["property"]) == ("no", "slot")
    assert [step["rule"] for step in answer["plan"]] == rules


@pytest.mark.parametrize(
    "question",
    [
        ("nobody", "k", "c"),
        ("a", "nowhere", "c"),
        ("a", "k", "x"),
        ("k", "a", "c"),
        (None, None, None),
        ("a", "k", "dance"),
    ],
)
def test_nonsense_is_explained_too(state, question):
    answer = explain(state, *question)
    assert answer["decision"] == "?" and answer["reason"] and answer["next"]
    json.dumps(answer)


def test_explain_changes_nothing_and_is_json(state):
    before = state.snapshot()
    for what in ("c", "a", "w", "r", "submit", "fetch", "loadkey", "release", "switch", "level"):
        for subject in "ab":
            answer = explain(state, subject, "k", what, level=3)
            assert json.loads(json.dumps(answer)) == answer
    assert state.snapshot() == before


@pytest.mark.parametrize(
    ("question", "text", "needs"),
    [
        (("m", "a", "create"), "a is live", "not live"),
        (("b", "k", "c"), "b[B][b] = -", "c"),
        (("n", "k", "c"), "n is not live", "live"),
        (("b", "k", "submit"), "cur(k) = a", "b"),
    ],
)
def test_what_would_have_to_be_is_the_value_alone(state, question, text, needs):
    state.name("n", "instance", "B")
    do(state, release("B", "b", "c"))
    cause = explain(state, *question)["cause"]
    assert (cause["text"], cause["needs"]) == (text, needs)


def test_every_cell_reads_as_what_it_is_and_its_value():
    for table, one, was in (("key", True, "none"), ("key", False, "loaded"), ("live", True, "not live")):
        assert words.value((table, "a", "k", not one)) == was
        assert words.text((table, "a", "k", not one)).endswith(was)


def test_a_plan_that_was_followed_gives_the_yes(state):
    do(state, rescind("A", "a", "c"), rescind("a", "k", "c"))
    for request in (Request("fetch", "a", "k"), Request("submit", "a", "k"), destroy("A")):
        scratch = state.copy()
        do(scratch, *plan(scratch, request).steps)
        assert decide(scratch, request)
