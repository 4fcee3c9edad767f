"""Every state that the real rules reach in small worlds, and what holds in all of them."""

from collections import defaultdict

import pytest

from tests.model.explored import (
    come_and_go,
    come_and_go_alone,
    every_attribute,
    five_levels,
    reached,
    rights_change,
    three_instances,
    two_cards,
    user_data,
)
from tests.model.worlds import do, entities, full_cycle
from vecd.ppm.explain import plan
from vecd.ppm.properties import indexes, violations
from vecd.ppm.request import connect, instruct, rescind, switch
from vecd.ppm.rules import NO, decide
from vecd.ppm.state import CARD, FREE, INSTANCE, USER, C

# A busy machine may take long; what is held is the answer, not the time.
pytestmark = pytest.mark.limit(900)

WORLDS = (three_instances, rights_change, every_attribute, come_and_go, come_and_go_alone, five_levels)
LARGER = (two_cards, user_data)
ALL = (*WORLDS, *(pytest.param(world, marks=(pytest.mark.prove, pytest.mark.limit(3600))) for world in LARGER))

# Every world has at least so many states: a world that shrinks is a test that looks at less.
SIZES = {
    three_instances: 5614,
    rights_change: 3468,
    every_attribute: 3560,
    come_and_go: 7319,
    come_and_go_alone: 2021,
    five_levels: 2672,
    two_cards: 40000,
    user_data: 19000,
}


@pytest.mark.parametrize("world", ALL)
def test_every_reachable_state_is_secure(world):
    found = reached(world)
    for state in found.states():
        assert not violations(state), state.snapshot()
    assert len(found.snapshots) >= SIZES[world], len(found.snapshots)


@pytest.mark.parametrize("world", ALL)
def test_the_indexes_say_what_the_cells_say_in_every_seventh_state(world):
    for number, state in enumerate(reached(world).states()):
        if number % 7 == 0:
            assert not indexes(state)


@pytest.mark.parametrize("world", ALL)
def test_the_manager_alone_can_free_every_card_from_every_state(world):
    for state in reached(world).states():
        changes = []
        for k in entities(state, CARD):
            if k not in state.live:
                continue
            steps = [instruct(k), *(rescind(i, k, "c") for i in sorted(state.mapped[k]))]
            for request in steps:
                changes += made_by(state, request)
            if state.status_of(k) != FREE:
                changes += made_by(state, switch(k, None))
            assert state.status_of(k) == FREE and not violations(state)
        state.undo(changes)


def made_by(state, request):
    """The changes of a request that has to be a yes, made."""
    decision = decide(state, request)
    assert decision, decision.reason
    state.apply(decision.changes)
    return decision.changes


@pytest.mark.parametrize("world", ALL)
def test_every_connected_instance_can_run_a_full_cycle_from_every_state_once_it_has_its_rights(world):
    ran = 0
    for state in reached(world).states():
        for k in entities(state, CARD):
            for i in sorted(state.mapped[k]):
                changes = []
                for request in full_cycle(state, i, k):
                    changes += made_by(state, request)
                assert state.output[k] == i and not violations(state)
                state.undo(changes)
                ran += 1
    assert ran


@pytest.mark.parametrize("world", ALL)
def test_there_is_no_deadlock_and_from_every_state_the_cards_can_be_free_again_and_connected_again(world):
    found = reached(world)
    assert all(found.edges), "a state in which no request changes anything"
    # Backwards from the first state: whoever is not found cannot come back to it.
    before = defaultdict(list)
    for number, out in enumerate(found.edges):
        for _, after in out:
            before[after].append(number)
    seen, wave = {0}, [0]
    while wave:
        wave = [n for after in wave for n in before[after] if n not in seen and not seen.add(n)]
    assert len(seen) == len(found.snapshots)


@pytest.mark.parametrize("every", [11, pytest.param(1, marks=(pytest.mark.prove, pytest.mark.limit(3600)))])
@pytest.mark.parametrize("world", [every_attribute, five_levels, come_and_go_alone])
def test_what_a_refusal_advises_makes_it_a_yes_in_every_state(world, every):
    """
    Every `no` has a plan that the rules themselves accept, or is one of those that nothing can change.

    Every eleventh state here, every state of these worlds with `-m prove`.
    """
    _, asked = world()
    advised, never = 0, defaultdict(int)
    for number, state in enumerate(reached(world).states()):
        if number % every:
            continue
        before = state.snapshot()
        for request in asked:
            decision = decide(state, request)
            if decision.answer != NO:
                continue
            steps, blocked = plan(state, request)
            assert state.snapshot() == before
            if blocked is not None:
                never[blocked.rule, blocked.property] += 1
                continue
            assert steps
            changes = [change for step in steps for change in made_by(state, step)]
            assert decide(state, request), f"{request} after {steps}"
            state.undo(changes)
            advised += 1
    assert advised > 500
    # What nothing changes: another user's instance, nothing to release, no such level for the thing, nobody who owns
    # the slot or connects to the card, nothing to clean.
    assert set(never) <= {
        ("R1", "type"),
        ("R6", "discretionary"),
        ("R7", "status"),
        ("R7", "virtual"),
        ("R11", "virtual"),
        ("R11", "status"),
        ("R11", "slot"),
        ("R12", "status"),
        ("process", "residue"),
    }, dict(never)


# ---- refusals


@pytest.mark.parametrize("world", [rights_change, come_and_go])
def test_a_refusal_changes_nothing_and_reads_what_is_there(world):
    _, asked = world()
    for number, state in enumerate(reached(world).states()):
        if number % 11:
            continue
        cells = {cell[:3]: cell[3] for cell in state.cells()}
        for request in asked:
            decision = decide(state, request)
            for table, subject, object, value in decision.reads:
                if table == "may":
                    assert value == state.world[object].may
                    continue
                # Not stored is empty: 0, False, free, none.
                assert cells.get((table, subject, object), value) == value or table == "live", decision
                assert (table, subject, object) in cells or value in (0, False, None, FREE), decision
            if not decision:
                assert not decision.changes and not decision.wipes and decision.reason


def test_the_world_of_the_page_has_users_instances_and_cards():
    state = do_nothing()
    assert len(entities(state, USER)) == 2 and len(entities(state, INSTANCE)) == 3 and len(entities(state, CARD)) == 1


def do_nothing():
    state, _ = three_instances()
    do(state, connect("a", "k"))
    assert state.holds("a", "k") == C
    return state
