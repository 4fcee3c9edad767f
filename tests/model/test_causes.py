"""
Every refusal names the one cell that decided it, and what that cell would have to be. The name is held to be true:

In every state that small worlds reach, for every request that is refused there: what the cause says is changed, on a
copy and by force; the answer is then another, or a refusal for another cause, which is changed in turn until the answer
is yes. Then each of these changes is taken back alone, and the refusal with that very cause is there again. So
none of the causes named is a wrong one, and none is named for nothing.

What the decision says it read is all that the refusal depends on: every other cell may have any value.
"""

from collections import Counter

import pytest

from tests.model.explored import come_and_go_alone, every_attribute, five_levels, reached
from tests.model.worlds import entities
from vecd.ppm.rules import NO, RULES, UNCLEAR, YES, decide
from vecd.ppm.state import CONTROL, FREE, IN_USE, INSTANCE, SOMEBODY, Change, default_level

WORLDS = (every_attribute, five_levels, come_and_go_alone)
EVERY = [37, pytest.param(1, marks=(pytest.mark.minutes, pytest.mark.limit(600)))]
# More causes than this in one refusal would be a circle.
MOST = 12

# Refusals whose cause is the request itself: no state answers it with a yes.
OF_THE_REQUEST = {
    ("R7", "status"),  # a card comes to exist at Lp alone
    ("R11", "status"),  # a card is moved to L2 or to the slot owner's level alone
}


def put(state, table, subject, object, value):
    """The cell has the value, by force; what takes it back."""
    if table == "may":
        entity = state.world[object]
        state.world[object] = entity._replace(may=value)
        return lambda: state.world.__setitem__(object, entity)
    changes = [Change(table, subject, object, state.cell(table, subject, object), value)]
    if table == "live" and value and object not in state.level:
        # What is live is at some level.
        changes.append(Change("level", None, object, 0, default_level(state, object)))
    state.apply(changes)
    return lambda: state.undo(changes)


def force(state, cause):
    """The cell is as the refusal wants it."""
    table, subject, object, wanted = cause
    backs = []
    if wanted == SOMEBODY:
        wanted = min(entities(state, INSTANCE), key=lambda i: (i not in state.live, i))
        if wanted not in state.live:
            backs.append(put(state, "live", None, wanted, True))
    backs.append(put(state, table, subject, object, wanted))
    return lambda: [back() for back in reversed(backs)]


def value(state, table, subject, object):
    return state.world[object].may if table == "may" else state.cell(table, subject, object)


def settle(state, request):
    """The causes of a refusal, each forced in turn until the answer is a yes: [(cell, what it was, take back)]."""
    forced = []
    decision = decide(state, request)
    while decision.answer != YES and decision.cause is not None:
        assert decision.cause[:3] not in [cell for cell, *_ in forced], (request, forced)
        was = value(state, *decision.cause[:3])
        assert decision.cause[3] != was, f"{request}: it is so already: {decision.cause}"
        forced.append((decision.cause[:3], was, force(state, decision.cause)))
        assert len(forced) <= MOST
        decision = decide(state, request)
    return forced, decision


@pytest.mark.parametrize("every", EVERY)
@pytest.mark.parametrize("world", WORLDS)
def test_the_named_cause_is_the_real_one(world, every):
    every_cause_is_real(world, every)


@pytest.mark.parametrize(
    ("table", "world"),
    [("M", come_and_go_alone), ("b", every_attribute), ("current", every_attribute), ("status", every_attribute)],
)
def test_a_wrong_cause_is_noticed(table, world, monkeypatch):
    """R1, R2 and R11 name another cell than the one that decided."""
    for name in ("R1", "R2", "R11"):
        right = RULES[name].function

        def wrong(state, request, right=right):
            decision = right(state, request)
            if decision.answer != NO or decision.cause is None or decision.cause[0] != table:
                return decision
            return decision._replace(cause=("output", None, "k", None))

        monkeypatch.setitem(RULES, name, RULES[name]._replace(function=wrong))
    with pytest.raises(AssertionError):
        every_cause_is_real(world, 37)


def every_cause_is_real(world, every):
    _, asked = world()
    found, flipped = reached(world), Counter()
    for number, state in enumerate(found.states()):
        if number % every:
            continue
        before, known = state.snapshot(), dict(state.world)
        for request in asked:
            first = decide(state, request)
            if first.answer == YES:
                continue
            if first.answer == NO:
                assert first.cause is None or first.cause[0] == "may" or first.cause[:3] in {r[:3] for r in first.reads}
            forced, last = settle(state, request)
            assert last or (last.rule, last.property) in OF_THE_REQUEST or last.answer == UNCLEAR, last
            for cell, was, _ in forced if last else ():
                # Taken back alone, while all the others are as they have to be.
                back = put(state, *cell, was)
                again = decide(state, request)
                back()
                assert not again and again.cause is not None and again.cause[:3] == cell, (request, cell, again)
                flipped[first.rule, cell[0]] += 1
            for *_, back in reversed(forced):
                back()
            assert state.snapshot() == before and state.world == known
    assert sum(flipped.values()) > 40_000 // every, flipped


def others(state, cell):
    """Other values that the cell could have."""
    table, _, _, now = cell
    if table in ("M", "b"):
        values = [0, now ^ 8, now ^ 15]
    elif table == "live":
        values = [not now]
    elif table == "level":
        values = range(1, state.levels.count + 1)
    elif table == "status":
        values = (FREE, CONTROL, IN_USE)
    elif table == "key":
        values = [not now]
    else:
        values = [None, *entities(state, INSTANCE)]
    return [other for other in values if other != now]


@pytest.mark.parametrize("every", [97, pytest.param(11, marks=(pytest.mark.prove, pytest.mark.limit(3600)))])
@pytest.mark.parametrize("world", WORLDS)
def test_a_refusal_depends_on_what_it_read_and_on_nothing_else(world, every):
    _, asked = world()
    tried = 0
    for number, state in enumerate(reached(world).states()):
        if number % every:
            continue
        cells = [cell for cell in state.cells() if cell[0] != "live"]
        for request in asked:
            first = decide(state, request)
            if first.answer != NO:
                continue
            read = {cell[:3] for cell in first.reads}
            for cell in cells:
                if cell[:3] in read:
                    continue
                for other in others(state, cell):
                    back = put(state, *cell[:3], other)
                    now = decide(state, request)
                    back()
                    assert (now.answer, now.rule) == (NO, first.rule), (request, cell, other)
                    tried += 1
    assert tried > 100_000 // every
