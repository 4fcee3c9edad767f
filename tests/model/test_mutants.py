"""The tests can fail: one effect or one guard of a rule is taken out, and the exploration has to find it."""

import pytest

from tests.model.explore import explore
from tests.model.explored import five_levels, on_cards
from tests.model.worlds import made, requests
from vecd.ppm import rules
from vecd.ppm.properties import violations
from vecd.ppm.rules import decide
from vecd.ppm.state import CARD, C, Look


class Found(Exception):
    """A state that is not secure; the text is everything that is wrong."""


def look(state):
    wrong = violations(state)
    if wrong:
        raise Found("\n".join(wrong))


def world():
    state = made(rights="rac")
    return state, on_cards(state)


def with_revocation():
    state, asked = world()
    return state, asked + requests(state, rules=("R10",), attributes="rc")


def hunt(decide, world):
    """Everything that is wrong in the first state that is not secure; "" when all are."""
    try:
        explore(*world(), check=look, decide=decide, limit=100_000)
    except Found as found:
        return str(found)
    return ""


def without_effect(name, table):
    """The rule forgets the changes of one table."""

    def mutant(state, request):
        decision = decide(state, request)
        if request.rule != name:
            return decision
        return decision._replace(changes=tuple(c for c in decision.changes if c.table != table))

    return mutant


@pytest.mark.parametrize(
    ("name", "table", "broken"),
    [
        ("R1", "status", "status"),
        ("R1", "level", "status"),
        ("R6", "b", "status"),
        ("R6", "key", "residue"),
        ("R6", "current", "slot"),
        ("R6", "status", "status"),
        ("R6", "level", "status"),
        ("R10", "b", "discretionary"),
        ("R10", "key", "residue"),
        ("R10", "current", "slot"),
        ("R10", "status", "status"),
        ("R10", "level", "status"),
        ("R11", "context", "residue"),
        ("R11", "status", "status"),
        ("R11", "level", "status"),
        ("R12", "b", "slot"),
        ("R12", "context", "residue"),
        ("R12", "output", "residue"),
        ("R12", "status", "status"),
        ("R12", "level", "status"),
    ],
)
def test_a_rule_that_forgets_an_effect_is_found(name, table, broken):
    assert f"{broken}: " in hunt(without_effect(name, table), with_revocation if name == "R10" else world)


# What the guard is, which look it takes, whose it is, and what it sees in place of what is there.
LIES = {
    "R1 does not ask for M": ("may", ("R1",), lambda seen, request: seen | C),
    "R1 does not ask whether the user is connected": ("holds", ("R1",), lambda seen, request: seen | C),
    "R1 takes every card for a free one": ("status", ("R1",), lambda seen, request: "free"),
    "R2 does not ask for M": ("may", ("R2",), lambda seen, request: seen | 4),
    "R2 and R4 do not ask who owns the slot": ("current", ("R2", "R4"), lambda seen, request: request.subject),
    "R4 takes every card for one in control": ("level", ("R4",), lambda seen, request: 3),
    "R11 does not look for r": ("holds", ("R11",), lambda seen, request: seen & ~3),
    "R12 does not ask whether the next is connected": ("holds", ("R12",), lambda seen, request: seen | C),
    "loadkey does not ask for using": ("status", ("loadkey",), lambda seen, request: "using"),
}

# Guards that another one implies: taken out, nothing is found. They stay, because each says what it means.
IMPLIED = {
    "R2 and R4 do not ask for c: the slot owner holds it": ("holds", ("R2", "R4"), lambda seen, request: seen | C),
    "loadkey does not ask who owns the slot: only the slot owner holds a": (
        "current",
        ("loadkey",),
        lambda seen, request: request.subject,
    ),
}


def lying(monkeypatch, method, names, seen):
    """`decide`, where one look of some rules sees what they want."""
    true = getattr(Look, method)
    asked = []

    def mutant(self, *cell):
        value = true(self, *cell)
        return seen(value, asked[-1]) if asked and asked[-1].rule in names else value

    def decide_by_mutant(state, request):
        asked.append(request)
        try:
            return decide(state, request)
        finally:
            asked.pop()

    monkeypatch.setattr(Look, method, mutant)
    return decide_by_mutant


def few_rights():
    """a may have c alone, its user everything; b may have everything."""
    state = made(rights="c")
    return state, on_cards(state)


def no_rights():
    state = made(rights="", connected=False)
    return state, on_cards(state)


@pytest.mark.parametrize("lie", LIES)
def test_a_rule_whose_guard_sees_what_it_wants_is_found(lie, monkeypatch):
    where = {"R1 does not ask for M": no_rights, "R2 does not ask for M": few_rights}.get(lie, world)
    assert hunt(lying(monkeypatch, *LIES[lie]), where)


@pytest.mark.parametrize("lie", IMPLIED)
def test_a_guard_that_another_one_implies_is_not_missed(lie, monkeypatch):
    assert not hunt(lying(monkeypatch, *IMPLIED[lie]), world)


def test_R11_that_moves_an_instance_with_a_slot_is_found_with_five_levels():
    def mutant(state, request):
        decision = decide(state, request)
        i = request.object
        if request.rule == "R11" and state.kind(i) != CARD and decision.property == "slot":
            return rules.yes(Look(state), request, rules._put("level", None, i, state.level[i], request.level))
        return decision

    assert hunt(mutant, five_levels)
