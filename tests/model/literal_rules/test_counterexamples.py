"""The searches find what docs/model.md says of the literal rules, nothing shorter does, and each correction ends it."""

import pytest

from tests.model.literal_rules import goals
from tests.model.literal_rules.asking import ask, counterexample, ours, question, registered, requests, wrong
from tests.model.literal_rules.holes import CARD, CASES, GIVEN, MENDED, OWN, USERS, lines, words
from tests.model.literal_rules.language import Interpreter, world
from tests.model.literal_rules.search import never, without_repeats
from tests.model.literal_rules.tables import EDITS, edited, mended
from vecd.ppm.state import BITS

EXPECTED = {
    # How many requests, which of the ten properties do not hold then, and the first refusal by ours: step, property.
    "H1": (8, {"slot", "residue"}, (2, "slot")),
    "H1 alone": (9, {"slot"}, (3, "slot")),
    "H2": (7, set(), (2, "slot")),
    "H3": (5, {"slot", "residue"}, (2, "slot")),
    "H3 levels": (3, {"star", "slot"}, (2, "slot")),
    "H4": (3, {"simple security", "star"}, (0, "")),
    "H5": (2, {"discretionary"}, (0, "")),
    "H6": (3, {"simple security", "star", "slot"}, (2, "slot")),
    "H7": (2, {"slot"}, (2, "slot")),
    "H8": (8, {"status", "slot"}, (2, "slot")),
    "H8 connected": (2, {"status"}, (2, "status")),
    "H8 nobody": (1, {"status"}, (1, "status")),
    "H9": (1, {"type"}, (1, "")),
    "H9 another's": (5, {"type"}, (1, "")),
    "H10": (2, {"star", "type"}, (0, "")),
    "H10 again": (3, {"type"}, (0, "")),
    "H11": (0, set(), (0, "")),
    "H12": (1, set(), (0, "")),
    "H12 ended": (1, {"star", "type"}, (1, "type")),
    "H13": (2, {"chain"}, (0, "")),
    "H13 before": (1, {"chain"}, (1, "chain")),
    "H14": (4, set(), (4, "star")),
}


def test_every_hole_is_asked_for():
    assert set(EXPECTED) == set(CASES)
    assert {case.hole for case in CASES.values()} == {f"H{n}" for n in range(1, 15)}
    assert set(MENDED) == {f"H{n}" for n in range(1, 17)}


@pytest.mark.parametrize("name", CASES)
def test_the_shortest_counterexample(name):
    length, properties, _ = EXPECTED[name]
    found = counterexample(name)
    assert found.trace is not None and len(found.trace) == length
    interpreter = question(CASES[name]).interpreter
    assert set(goals.wrong(interpreter, found.states[-1])) == properties
    assert wrong(name)


@pytest.mark.parametrize("name", CASES)
def test_the_counterexample_is_a_run_of_the_literal_rules(name):
    asked = question(CASES[name])
    v = asked.start
    for request, state in zip(counterexample(name).trace, counterexample(name).states[1:], strict=True):
        answer, v = asked.interpreter.step(v, request)
        assert answer == "yes" and v == state
    assert asked.goal(asked.interpreter, v)


@pytest.mark.parametrize("name", [name for name, expected in EXPECTED.items() if 1 < expected[0] < 4])
def test_nothing_shorter_leads_there(name):
    """Found another way: by every sequence of requests, without a memory of states."""
    length, _, _ = EXPECTED[name]
    asked = question(CASES[name])
    assert without_repeats(asked.interpreter, asked.start, asked.requests, asked.goal, length - 1) == 0


@pytest.mark.parametrize("name", CASES)
def test_our_correction_of_the_data_ends_it(name):
    """Within as many requests as the counter-example has; what goes on for ever has no bound."""
    case, found = CASES[name], counterexample(name)
    corrected = ask(question(case, mends=case.mends or (case.hole,)), case, depth=len(found.trace))
    assert corrected.trace is None, words(corrected.trace[-1])


@pytest.mark.parametrize(
    ("hole", "left_out", "names"),
    [
        ("H1", "cur(o) = s", ("H1", "H1 alone")),
        ("H3", "f(o) := f(s) if st(o) = free", ("H3", "H3 levels")),
        ("H6", ("subject", "wr", ">="), ("H6",)),
        ("H9", "typed(t, o)", ("H9 another's",)),
        ("H10", "clear(o)", ("H10",)),
        ("H10", "memory(o) := {}", ("H10 again",)),
        ("H14", "memory(o) := {} if l < f(o)", ("H14",)),
    ],
)
def test_half_a_correction_does_not(hole, left_out, names):
    half = tuple(edit for edit in EDITS[hole] if edit.new != left_out)
    assert len(half) < len(EDITS[hole])
    for name, case in CASES.items():
        if case.hole != hole and name not in names:
            continue
        asked = question(case, mends=())
        table = edited(asked.interpreter.table, *half)
        if hole == "H1":
            asked = question(case, mends=("H2",))
            table = edited(mended(*case.given), *half)
        interpreter = Interpreter(table, asked.interpreter.world)
        found = ask(asked._replace(interpreter=interpreter), case, depth=len(counterexample(name).trace) + 1)
        assert (found.trace is not None) == (name in names), name


def test_H1_levels_do_not_separate_two_users():
    """ss, * and ds hold in every state on the way, and b has a's result at its end; also when H3 is mended."""
    for name in ("H1", "H1 alone"):
        found, interpreter = counterexample(name), question(CASES[name]).interpreter
        assert all(goals.paper_holds(interpreter, v) for v in found.states)
        assert goals.foreign(interpreter, found.states[-1]) == ["b of B has data of A"]
        assert found.trace[-1].rule == "fetch"
        assert not any(goals.foreign(interpreter, v) for v in found.states[:-1])


def test_H2_no_rule_takes_anything_out_of_the_buffers():
    """By reading: of all effects of the literal table none does; the search says the same of what can be reached."""
    effects = [effect for row in question(CASES["H2"]).interpreter.table.rows.values() for effect in row.effects]
    assert not [effect for effect in effects if effect.startswith(("buffers(o) :=", "out(o) := none", "cur("))]


def test_H7_who_works_with_w_never_reaches_using():
    """As the paper has it, who receives and outputs data holds w: then no state is using while it is held."""
    table = mended(*GIVEN)
    interpreter = Interpreter(table, world(table, USERS, OWN, CARD))
    asked = requests(table, interpreter.world, "R1 R3 R6 R11 submit process fetch", cards=True)
    start = registered(interpreter)

    def with_w(interpreter, v):
        return goals.using(interpreter, v) and bool(v.get(("b", "a", "k"), 0) & BITS["w"])

    assert never(interpreter, start, asked, with_w)
    assert not never(interpreter, start, asked, goals.using)


@pytest.mark.parametrize("name", CASES)
def test_ours_refuse_the_same_requests_or_are_secure_after_them(name):
    found = ours(name)
    assert (found.step, found.property) == EXPECTED[name][2]
    assert found.secure and not found.foreign


@pytest.mark.parametrize("name", CASES)
def test_ours_are_secure_too_when_every_refusal_gets_what_it_advises(name):
    """A turn, a key: then most traces go through, and nobody has data of another at their end."""
    found = ours(name, help=True)
    assert found.secure and not found.foreign
    assert found.step == 0 or found.answer != "yes"


def test_requests_are_written_as_they_are_read():
    told = "R1 a k; R6 a k c; R7 m a B; R7 m A; R9 m A a c; R10 m a k r; R11 m k 2; R12 m k a; R12 b k -; process k k"
    assert "; ".join(map(words, lines(told))) == told
