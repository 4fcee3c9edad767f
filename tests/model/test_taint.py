"""
No user gets data of another: a ghost follows the data themselves, whatever ctx and out say.

The ghost knows who had a hand in what is in each engine, each output buffer and each instance. Data go where an
operation moves them, and go away where something is really overwritten: by `Decision.wipes`, not by the cells.
"""

from collections import deque

import pytest

from tests.model.explored import on_cards
from tests.model.worlds import do, made
from vecd.ppm.request import Request, append, read
from vecd.ppm.rules import decide
from vecd.ppm.state import CARD, IN_USE, State


def moved(state: State, ghost: dict, request, wipes) -> dict:
    """The ghost after a yes. A key is (place, thing), the value a set of users."""
    after = dict(ghost)

    def into(place, users):
        after[place] = after.get(place, frozenset()) | users

    s, o = request.subject, request.object
    match request.rule:
        case "put":
            into(("memory", o), {s})
        case "get":
            into(("user", s), after.get(("memory", o), frozenset()))
        case "loadkey":
            into(("engine", o), {state.owner(s)})
            into(("key", s, o), {state.owner(s)})
        case "submit":
            into(("engine", o), after.get(("memory", s), frozenset()) | after.get(("key", s, o), frozenset()))
        case "process":
            into(("buffers", o), after.get(("engine", o), frozenset()))
        case "config":
            into(("buffers", o), {state.owner(s)})
        case "fetch":
            into(("memory", s), after.get(("buffers", o), frozenset()))
    for what, *where in wipes:
        after.pop({"key slot": ("key", *where)}.get(what, (what, *where)), None)
    return after


def foreign(state: State, ghost: dict) -> list:
    """
    Data of somebody else in an instance or with a user, of two users in one card; in an engine below L2; a key that
    stayed when its instance was disconnected.
    """
    found = []
    for (place, *thing), users in ghost.items():
        allowed = {
            "memory": lambda i: {state.owner(i)},
            "user": lambda u: {u},
            "key": lambda i, _: {state.owner(i)},
        }.get(place)
        below = place == "engine" and state.status_of(*thing) != IN_USE
        stayed = place == "key" and thing[0] not in state.mapped[thing[1]]
        if allowed and users - allowed(*thing) or len(users) > 1 or below or stayed:
            found.append((place, thing, users))
    return found


def reach(state, requests, decide=decide):
    """How many states with their ghosts are reached; AssertionError where data of another are found."""
    # Everybody has put data in, and got data back: what is looked for is somebody else's.
    ghost = {(place, thing): frozenset({u}) for u, i in OWN for place, thing in (("memory", i), ("user", u))}
    start = (state.snapshot(), frozenset(ghost.items()))
    seen, queue = {start}, deque([start])
    while queue:
        snapshot, ghost = queue.popleft()
        state.restore(snapshot)
        assert not foreign(state, dict(ghost)), (foreign(state, dict(ghost)), snapshot)
        for request in requests:
            decision = decide(state, request)
            if not decision:
                continue
            after = frozenset(moved(state, dict(ghost), request, decision.wipes).items())
            state.apply(decision.changes)
            found = (state.snapshot(), after)
            state.undo(decision.changes)
            if found not in seen:
                seen.add(found)
                queue.append(found)
    return len(seen)


OWN = ("Aa", "Bb", "Ac")


def world():
    state = made("AB", ("aA", "bB", "cA"))
    for u, i in OWN:
        do(state, append(u, i), read(u, i))
    moves = [Request(op, u, i) for op in ("put", "get") for u in "AB" for _, i in OWN]
    return state, moves + [
        r
        for r in on_cards(state)
        if r.rule != "R5"
        and r.attribute != "e"
        and (state.kind(r.object) == CARD or r.rule == "R6" and r.subject == "A")
    ]


def test_no_user_ever_gets_data_of_another():
    state, asked = world()
    assert reach(state, asked) > 2000


@pytest.mark.parametrize("rule", ["R11", "R12"])
def test_the_ghost_notices_a_card_that_is_not_wiped(rule):
    def unwiped(state, request):
        decision = decide(state, request)
        return decision._replace(wipes=()) if request.rule == rule else decision

    state, asked = world()
    with pytest.raises(AssertionError):
        reach(state, asked, unwiped)
