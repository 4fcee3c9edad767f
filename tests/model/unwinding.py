"""
Non-interference by unwinding: whatever A does, B sees the same.

Two states look the same to B when everything that B can ever be told is the same in both: `view`. Then, over every
reached state (Rushby's conditions, for a machine whose actions are requests):

    output consistency   to states that look the same, B's requests have the same answers;
    step consistency     what looks the same before a request of B, of the manager, of a card or of the schedule looks
                         the same after it;
    local respect        a request of A changes nothing that B can see.

The first two are statements about all pairs of states. States are put into classes by what B sees; the answer and
what is seen afterwards have to be one value for each class and request, which is the same as comparing every pair.

The turns are the schedule's: a request R12 of the manager. With fixed turns it is the next row of a table whatever
the state is. A schedule that looks at the state is an action of its own: `tick` of `work_conserving`.
"""

from typing import NamedTuple

from vecd.ppm.request import switch
from vecd.ppm.rules import YES, decide
from vecd.ppm.state import CARD, INSTANCE, MANAGER


class Interference(AssertionError):
    """A way for A to be noticed by B; the text is which condition, which request, and both states."""


class Held(NamedTuple):
    """How much was looked at: states, classes of states that look the same, and comparisons made."""

    states: int
    classes: int
    compared: int


def viewer(state, user):
    """
    The function from a state to everything that `user` can be told there: its own cells, its own part of each card,
    whether a turn is its own and what is in the card then, and who exists (R1 on another's instance is `no` when that
    is live, and `?` when it is not). Not: what others hold, and, in another's turn, whose it is and what the card does.
    """
    world = state.world
    own = [i for i, e in world.items() if e.kind == INSTANCE and e.owner == user]
    cards = [k for k, e in world.items() if e.kind == CARD]
    pairs = [(i, k) for i in own for k in cards]

    def view(state):
        level, held, may = state.level, state.holds, state.may
        seen = [frozenset(state.live), level.get(user), held(MANAGER, user)]
        for i in own:
            seen += (level.get(i), held(MANAGER, i), may(user, i), held(user, i))
        for i, k in pairs:
            seen += (may(i, k), held(i, k), i in state.keys[k])
        for k in cards:
            current, context, output = state.current.get(k), state.context.get(k), state.output.get(k)
            seen.append(held(MANAGER, k))
            if current in own:
                seen.append((current, state.status_of(k), level.get(k)))
            seen.append((k, context if context in own else None, output if output in own else None))
        return tuple(seen)

    return view


def of(state, request, user):
    """The request is made by the user or by one of its instances."""
    subject = state.world.get(request.subject)
    return subject is not None and (request.subject == user or subject.owner == user)


def told(decision):
    """What the asker learns: the answer, the rule, and the property that a yes would break."""
    return decision.answer, decision.rule, decision.property


def requested(state, request, decide=decide):
    """One request as an action: what is told, and the changes."""
    decision = decide(state, request)
    return told(decision), decision.changes if decision.answer == YES else ()


def fixed(table):
    """Actions of a schedule with fixed turns: each row of the table, whoever is there."""
    return {f"turn of {i} on {k}": lambda state, i=i, k=k: requested(state, switch(k, i)) for k, i in table}


def work_conserving(cards):
    """A schedule that skips who is not there: the next connected instance in name order after the slot owner."""

    def tick(state, k):
        ring = sorted(state.mapped[k])
        later = [i for i in ring if i > (state.current.get(k) or "")]
        return requested(state, switch(k, (later or ring or [None])[0]))

    return {f"tick of {k}": lambda state, k=k: tick(state, k) for k in cards}


def unwind(reached, requests, *, a="A", b="B", schedule=(), decide=decide, administers=lambda state, request: False):
    """
    Hold the three conditions over every reached state, for what `a` does and `b` sees. Raises Interference.

    requests: all that can be asked; those that `administers` names are left out (what the manager does on purpose
    to everybody). schedule: name -> action. Returns how much was looked at.
    """
    known, compared, states = {}, 0, 0
    classes = set()
    working = reached.state
    view = viewer(working, b)
    mine = [r for r in requests if of(working, r, b)]
    theirs = [r for r in requests if of(working, r, a)]
    others = [r for r in requests if not of(working, r, a) and not of(working, r, b) and not administers(working, r)]
    actions = [(r, r, True) for r in mine] + [(r, r, False) for r in others]
    actions += [(name, act, False) for name, act in dict(schedule).items()]
    for state in reached.states():
        states += 1
        before = view(state)
        classes.add(before)
        for name, action, is_mine in actions:
            answer, changes = action(state) if callable(action) else requested(state, action, decide)
            after = before
            if changes:
                state.apply(changes)
                after = view(state)
                state.undo(changes)
            result = (answer if is_mine else None, after)
            first = known.get((before, name))
            if first is None:
                known[before, name] = (result, states)
                continue
            compared += 1
            if first[0] != result:
                here = state.snapshot()
                there = reached.snapshots[first[1] - 1]
                which = "output consistency" if first[0][0] != result[0] else "step consistency"
                raise Interference(
                    f"{which}: {name}: in two states that look the same to {b}: {first[0]} and {result};\n"
                    f"only in the one: {sorted(map(str, there - here))}\n"
                    f"only in the other: {sorted(map(str, here - there))}"
                )
        for request in theirs:
            _, changes = requested(state, request, decide)
            compared += 1
            if not changes:
                continue
            state.apply(changes)
            after = view(state)
            state.undo(changes)
            if after != before:
                raise Interference(f"local respect: {request}: {b} sees {before} and then {after}")
    return Held(states, len(classes), compared)


def administered(b):
    """R7 and R8 of everything but what is `b`'s: who exists is no secret, and R8 of what is in use is refused."""

    def administers(state, request):
        return request.rule in ("R7", "R8") and not (request.object == b or state.world[request.object].owner == b)

    return administers
