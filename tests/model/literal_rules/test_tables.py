"""The literal rules with every correction made are what the guard runs; what is no rule cannot be read."""

import random

import pytest

from tests.model import worlds
from tests.model.literal_rules.holes import lines
from tests.model.literal_rules.language import REAL, Interpreter, Row, check, condition, effect, star, world
from tests.model.literal_rules.tables import CORRECTED, EDITS, FIRST, LITERAL, ORDER, Edit, edited, mended
from vecd.ppm.rules import decide
from vecd.ppm.state import BITS


def compare(states, p=4, users="AB", own=None, cards="k", begin="made", seed=1, table=CORRECTED):
    """
    Answers and cells after them, of a table and of vecd.ppm.rules, in states that random requests lead to.

    They begin where nobody is live, where everybody is registered, or where the card works for a. Returns how many
    answers of each kind were equal; AssertionError where two differ.
    """
    own = own or {"a": "A", "b": "B"}
    interpreter = Interpreter(table, world(table, users, own, cards, p))
    make = worlds.empty if begin == "empty" else worlds.made
    state = make(users, tuple(i + u for i, u in own.items()), cards, levels=p)
    if begin == "working":
        worlds.do(state, *lines("R1 a k; R12 m k a; R2 a k; R11 a k 2; loadkey a k"))
    asked, chance = worlds.requests(state), random.Random(seed)
    v = {cell[:3]: cell[3] for cell in state.cells()}
    v = {key: value for key, value in v.items() if key[0] != "status"}
    v |= {("status", state.status_of(e), e): True for e in state.live if e != "m"}
    seen, waiting, count = {frozenset(v.items())}, [v], {"yes": 0, "no": 0, "?": 0}
    for _ in range(states):
        if not waiting:
            break
        v = waiting.pop(chance.randrange(len(waiting)))
        state.restore((*key, value) for key, value in interpreter.cells(v))
        for request in asked:
            decision, (answer, after) = decide(state, request), interpreter.step(v, request)
            assert answer == decision.answer, (request, decision)
            count[answer] += 1
            if answer != "yes":
                continue
            state.apply(decision.changes)
            assert state.snapshot() == frozenset((*key, value) for key, value in interpreter.cells(after)), request
            state.undo(decision.changes)
            following = {key: value for key, value in after.items() if key[0] in REAL or key[0] == "status"}
            frozen = frozenset(following.items())
            if frozen not in seen:
                seen.add(frozen)
                waiting.append(following)
    return count


@pytest.mark.parametrize(
    "given",
    [
        {"states": 80},
        {"states": 80, "begin": "working"},
        {"states": 60, "begin": "empty"},
        {"states": 100, "p": 5, "users": "A", "own": {"a": "A"}},
    ],
)
def test_every_correction_made_is_vecd(given):
    count = compare(**given)
    assert min(count.values()) > 50 and sum(count.values()) > 5_000


@pytest.mark.minutes
@pytest.mark.parametrize(
    "given",
    [
        {"states": 500},
        {"states": 700, "begin": "working"},
        {"states": 500, "begin": "empty", "seed": 2},
        {"states": 400, "p": 5, "begin": "working"},
        {"states": 300, "cards": "kl"},
    ],
)
def test_every_correction_made_is_vecd_in_more_states(given):
    count = compare(**given)
    assert min(count.values()) > 100 and sum(count.values()) > 50_000


@pytest.mark.minutes
@pytest.mark.parametrize("hole", [hole for hole in ORDER if hole not in ("H11", "H12")])
def test_a_correction_that_is_left_out_is_noticed(hole):
    """So the comparison can fail. What stands on H11 and H12 cannot be written without them."""
    table = mended(*(other for other in ORDER if other != hole))
    with pytest.raises(AssertionError):
        for begin in ("made", "working", "empty"):
            compare(400, p=5, users="A", own={"a": "A"}, begin=begin, table=table)


def test_every_atom_can_be_read():
    for table in (LITERAL, CORRECTED, FIRST, *(mended("H12", hole) for hole in EDITS if hole != "H12")):
        check(table)


@pytest.mark.parametrize("atom", ["c in N[s][o]", "f(o) > f(s)", "f(o) >= f(s) if maybe", "true"])
def test_a_condition_that_is_none_is_refused(atom):
    with pytest.raises(ValueError, match="no condition"):
        condition(atom)


def test_an_effect_that_is_none_is_refused():
    with pytest.raises(ValueError, match="no effect"):
        effect("b[s][o] := everything")


def test_an_edit_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="R6 i k has no"):
        edited(LITERAL, Edit("R6 i k", "then", "b[s][o] := {}", old="M[s][o] := {}"))


def test_a_row_that_is_not_for_the_request_is_no_answer():
    table = LITERAL._replace(rows={"R1": Row("R1", ("IK",), (), ("b[s][o] += c",), ("x in r",))})
    interpreter = Interpreter(table, world(table, "A", {"a": "A"}, "k"))
    v = interpreter.beginning() | {("live", None, "a"): True, ("live", None, "k"): True}
    assert interpreter.step(v, worlds.Request("R1", "a", "k"))[0] == "?"
    assert interpreter.step(v, worlds.Request("R1", "a", "k", "r"))[0] == "yes"


def test_the_literal_star_looks_at_what_a_subject_reads_one_sidedly():
    """H6 in one line: a at L3 reads k at L3; taken to L4 it would read up, and the literal R* does not mind."""
    v = {("b", "a", "k"): BITS["c"] | BITS["r"], ("level", None, "a"): 3, ("level", None, "k"): 3}
    assert star(LITERAL.star, v, "a", 4)
    assert not star(CORRECTED.star, v, "a", 4)
