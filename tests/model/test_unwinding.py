"""Whatever one user does, another one sees the same while the turns are fixed: docs/model.md, "Non-interference"."""

import pytest

from tests.model.explore import explore
from tests.model.explored import (
    come_and_go,
    five_levels,
    on_cards,
    reached,
    rights_change,
    three_instances,
    two_cards,
)
from tests.model.unwinding import Interference, administered, fixed, of, unwind, work_conserving
from tests.model.worlds import STATIC, entities, made, requests
from vecd.ppm import rules
from vecd.ppm.request import Request
from vecd.ppm.rules import decide
from vecd.ppm.state import CARD, INSTANCE, USER, Change

minutes = (pytest.mark.minutes, pytest.mark.limit(900))
larger = (pytest.mark.prove, pytest.mark.limit(3600))


def user_data_of_two():
    """What users hold on their instances moves as well; one instance each, no w."""
    state = made(rights="rac")
    return state, [r for r in requests(state, rules=STATIC, attributes="rac") if r.rule not in ("R3", "config")]


# World, and the floor of comparisons: a world that shrinks is a test that looks at less.
WORLDS = [
    pytest.param(rights_change, 100_000),
    pytest.param(three_instances, 200_000, marks=minutes),
    pytest.param(come_and_go, 200_000, marks=minutes),
    pytest.param(five_levels, 100_000, marks=minutes),
    pytest.param(user_data_of_two, 250_000, marks=larger),
    pytest.param(two_cards, 1_000_000, marks=larger),
]


@pytest.mark.parametrize("b", "AB")
@pytest.mark.parametrize(("world", "floor"), WORLDS)
def test_with_fixed_turns_nothing_that_one_user_does_is_seen_by_another(world, floor, b):
    state, asked = world()
    table = [(k, i) for k in entities(state, CARD) for i in (*entities(state, INSTANCE), None)]
    a = next(u for u in entities(state, USER) if u != b)
    held = unwind(reached(world), asked, a=a, b=b, schedule=fixed(table), administers=administered(b))
    print(f"{world.__name__}, {b}: {held}")
    assert held.compared >= floor, held
    # One class would compare everything with everything, as many as states nothing with anything.
    assert 20 < held.classes < held.states, held


def test_a_schedule_that_skips_who_is_not_there_is_seen():
    with pytest.raises(Interference, match="step consistency: tick of k"):
        unwind(reached(rights_change), rights_change()[1], schedule=work_conserving("k"))


def test_what_is_destroyed_only_when_it_is_not_in_use_is_seen():
    """Why R7 and R8 of others are left out above: whether they are a yes depends on others, and who exists shows."""
    with pytest.raises(Interference, match="step consistency: .*R8"):
        unwind(reached(come_and_go), come_and_go()[1])


# ---- defects that the conditions find; none of them breaks a property of 1 to 3


def small():
    state = made(rights="rac")
    return state, on_cards(state)


def see(mutant, world=small):
    """Explore and unwind with a rule that is wrong."""
    state, asked = world()
    unwind(explore(state, asked, decide=mutant), asked, decide=mutant)


def changed(name, change):
    """The rule `name`, whose decision goes through `change`."""

    def mutant(state, request):
        decision = decide(state, request)
        return change(state, request, decision) if request.rule == name else decision

    return mutant


def test_H15_a_key_slot_that_somebody_elses_yield_erases_is_seen():
    """The key slot stays when c goes, and the next wipe of the card takes it, whoever's turn that is."""

    def mutant(state, request):
        decision = decide(state, request)
        if request.rule == "R6":
            return decision._replace(changes=tuple(c for c in decision.changes if c.table != "key"))
        if request.rule == "R12" and decision:
            stale = [i for i in sorted(state.keys[request.object]) if i not in state.mapped[request.object]]
            gone = tuple(Change("key", i, request.object, True, False) for i in stale)
            return decision._replace(changes=decision.changes + gone)
        return decision

    with pytest.raises(Interference):
        see(mutant)


def test_a_yield_that_names_its_follower_is_seen():
    def mutant(state, request):
        if request.rule == "R12" and request.subject != "m" and state.current.get(request.object) == request.subject:
            return decide(state, request._replace(subject="m", next="b"))
        return decide(state, request)

    with pytest.raises(Interference, match="local respect"):
        see(mutant)


def test_a_card_that_is_moved_by_who_does_not_own_the_slot_is_seen():
    def mutant(state, request):
        owner = state.current.get(request.object) if request.object == "k" else None
        if request.rule == "R11" and request.subject != "m" and owner is not None:
            return decide(state, request._replace(subject=owner))
        return decide(state, request)

    with pytest.raises(Interference):
        see(mutant)


def test_a_turn_that_an_unconnected_follower_leaves_as_it_is_is_seen():
    """R12 to somebody who is not connected has to be R12 to nobody: refused, it would leave the slot to its owner."""

    def mutant(state, request):
        if request.rule == "R12" and request.next and not state.holds(request.next, request.object) & 8:
            return rules.no(rules.Look(state), request, "slot", "the next is not connected", None)
        return decide(state, request)

    with pytest.raises(Interference, match="step consistency"):
        see(mutant)


def test_a_connection_that_resets_the_card_is_seen():
    """H3: R1 takes the card to control, whatever it does for another."""

    def reset(state, request, decision):
        k = request.object
        if not decision or k != "k" or state.status_of(k) != "using":
            return decision
        down = (Change("status", None, k, "using", "control"), Change("level", None, k, 2, 3))
        return decision._replace(changes=decision.changes + down)

    with pytest.raises(Interference, match="local respect"):
        see(changed("R1", reset))


def test_who_asks_is_whose_request_it_is():
    state, _ = small()
    assert of(state, Request("R1", "a", "k"), "A") and of(state, Request("R1", "A", "a"), "A")
    assert not of(state, Request("R12", "m", "k", next="a"), "A") and not of(state, Request("process", "k", "k"), "A")
