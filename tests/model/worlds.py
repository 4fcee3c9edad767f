"""Small worlds, and every request that means something in one of them."""

from itertools import product

from vecd.ppm.levels import USING, Levels
from vecd.ppm.request import Request, append, connect, create, give, instruct, move, read, switch
from vecd.ppm.rules import RULES, decide
from vecd.ppm.state import CARD, INSTANCE, MANAGER, USER, State

M = MANAGER


def empty(users="AB", instances=("aA", "bB"), cards="k", levels=4):
    """A world where nothing is live but the manager. An instance is its name and its owner's."""
    state = State(Levels(levels))
    for user in users:
        state.name(user, USER)
    for name, owner in instances:
        state.name(name, INSTANCE, owner)
    for card in cards:
        state.name(card, CARD)
    return state


def do(state, *requests):
    """Make the requests; every one has to be a yes. Returns the last decision."""
    decision = None
    for request in requests:
        decision = decide(state, request)
        assert decision, f"{request}: {decision.reason}"
        state.apply(decision.changes)
    return decision


def refused(state, request, answer="no", rule=None):
    """The decision on a request that has to be refused, and that leaves the state as it is."""
    before = state.snapshot()
    decision = decide(state, request)
    assert decision.answer == answer, f"{request}: {decision.answer}: {decision.reason}"
    assert decision.rule == (rule or request.rule)
    assert not decision.changes and state.snapshot() == before
    return decision


def full_cycle(state, i, k):
    """One cycle of i on k, asked from any state in which i is connected: slot, key, data up, down, the result out."""
    return (
        give(i, k, "a"),
        give(i, k, "r"),
        instruct(k),
        switch(k, i),
        append(i, k),
        move(i, k, USING),
        Request("loadkey", i, k),
        Request("submit", i, k),
        Request("process", k, k),
        move(i, k, state.level[i]),
        read(i, k),
        Request("fetch", i, k),
    )


def entities(state, kind):
    return [key for key, entity in state.world.items() if entity.kind == kind]


def pairs(state):
    """Who may have rights on what."""
    users = [(state.owner(i), i) for i in entities(state, INSTANCE)]
    return users + list(product(entities(state, INSTANCE), entities(state, CARD)))


def made(*args, rights="rwac", connected=True, **kwargs):
    """A world where everything is live, has its rights, and users are connected: phase 0 of the life cycle."""
    state = empty(*args, **kwargs)
    for kind in (USER, INSTANCE, CARD):
        do(state, *(create(key) for key in entities(state, kind)))
    do(state, *(instruct(key) for kind in (USER, INSTANCE, CARD) for key in entities(state, kind)))
    do(state, *(give(s, o, x) for s, o in pairs(state) for x in rights))
    if connected:
        do(state, *(connect(state.owner(i), i) for i in entities(state, INSTANCE)))
    return state


def requests(state, *, rules=None, attributes="rwace", levels=None):
    """Every request of the given rules (all) whose subject and object are of kinds that the rule is for."""
    found = []
    wanted = set(RULES if rules is None else rules)
    things = list(state.world)
    instances = entities(state, INSTANCE)
    for name, s, o in product(RULES, things, things):
        if name not in wanted or (state.kind(s), state.kind(o)) not in RULES[name].pairs:
            continue
        if name == "R6":
            found += [Request(name, s, o, x) for x in attributes if (x == "e") == (s == M)]
        elif name in ("R9", "R10"):
            found += [
                Request(name, s, o, x, to=to) for to, on in pairs(state) if on == o for x in attributes if x != "e"
            ]
        elif name == "R11":
            found += [Request(name, s, o, level=n) for n in levels or range(1, state.levels.count + 1)]
        elif name == "R12":
            found += [Request(name, s, o, next=i) for i in [None, *(instances if s == M else ())]]
        elif s != o or name == "process":
            found.append(Request(name, s, o))
    return found


STATIC = frozenset(RULES) - {"R7", "R8", "R9", "R10"}
"""All but what changes M and who is live."""
