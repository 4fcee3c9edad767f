"""
The same questions with every other request there is: no way to a hole is shorter than the one in docs/model.md. And the
other way round: of our corrections each one alone, left out of our rules, opens something again.
"""

import pytest

from tests.model.literal_rules import goals
from tests.model.literal_rules.asking import ask, counterexample, question, registered, requests
from tests.model.literal_rules.holes import CARD, CASES, OWN, USERS, lines
from tests.model.literal_rules.language import Interpreter, world
from tests.model.literal_rules.search import shortest
from tests.model.literal_rules.tables import CORRECTED, EDITS, LITERAL, ORDER, SLOT, SWITCH, edited

DEEP = ("H1", "H1 alone", "H8")
"""Rights of users on instances as well make these too many for minutes: those are asked for by `make prove`."""

OPEN = [name for name, case in CASES.items() if case.blocked is None]


def as_long(name, everything):
    case, found = CASES[name], counterexample(name)
    whole = ask(question(case, everything=everything), case, depth=len(found.trace))
    assert whole.trace is not None and len(whole.trace) == len(found.trace)
    return whole.seen


@pytest.mark.minutes
@pytest.mark.parametrize("name", [name for name in OPEN if name not in (*DEEP, "H9 another's")])
def test_with_every_request_it_is_as_long(name):
    as_long(name, "all")


@pytest.mark.minutes
@pytest.mark.parametrize("name", DEEP)
def test_with_every_request_on_the_card_it_is_as_long(name):
    assert as_long(name, "cards") > 500


@pytest.mark.prove
@pytest.mark.limit(900)
@pytest.mark.parametrize("name", [*DEEP, "H9 another's"])
def test_with_every_request_there_is_it_is_as_long(name):
    assert as_long(name, "all") > 40_000


def without(edits):
    """Our rules but for these edits."""
    return edited(LITERAL, *(edit for hole in ORDER for edit in EDITS[hole] if edit not in edits))


def anything_wrong(interpreter, v):
    return bool(goals.wrong(interpreter, v) or goals.foreign(interpreter, v) or goals.written_down(interpreter, v))


def search(table, p, rules, goal, depth):
    interpreter = Interpreter(table, world(table, USERS, OWN, CARD, p))
    asked = requests(table, interpreter.world, rules)
    asked += lines("R9 m B a c; R10 m a k c; R10 m a k a; R10 m A a c; R8 m a; R7 m a")
    return shortest(interpreter, registered(interpreter), asked, goal, depth=depth)


EVERY = "R1 R2 R3 R4 R6 R11 R12 loadkey submit process fetch put get"


@pytest.mark.minutes
@pytest.mark.parametrize(
    ("left_out", "p", "length"),
    [
        ("slot", 4, 2),
        ("H3", 4, 6),
        ("H4", 4, 2),
        ("H5", 4, 1),
        ("H6", 5, 6),
        ("H8", 4, 2),
        ("H9", 4, 1),
        ("H10", 4, 2),
        ("H13", 4, 2),
        ("H14", 5, 4),
        ("H15", 4, 6),
    ],
)
def test_each_correction_is_needed_beside_all_the_others(left_out, p, length):
    """One of the ten properties does not hold, data are with another user, or were written down."""
    found = search(without(SLOT if left_out == "slot" else EDITS[left_out]), p, EVERY, anything_wrong, length)
    assert found.trace is not None and len(found.trace) == length


@pytest.mark.minutes
def test_without_R12_nobody_ever_works():
    """Nothing is wrong then, because nothing happens: no instance owns a slot."""

    def works(interpreter, v):
        return goals.using(interpreter, v)

    rules = "R1 R2 R3 R4 R6 R11 loadkey"
    assert search(without(SWITCH), 4, rules, works, None).trace is None
    assert search(CORRECTED, 4, rules + " R12", works, None).trace is not None
