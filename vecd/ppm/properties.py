"""
The properties that every state must have: the invariants 1 to 10 of the model, each as a predicate.

A predicate returns its violations, each a sentence that names the cells; an empty list is "holds".
`secure` is all of them. They look at the stored cells alone, never at an index, so that a rule
and the index it leans on cannot be wrong together; `indexes` holds the two against each other.
(docs/model.md, "Properties".)
"""

from collections.abc import Callable, Iterable, Iterator

from vecd.ppm.levels import TOP, USING, dominates
from vecd.ppm.state import (
    CARD,
    CONTROL,
    FREE,
    GIVABLE,
    IN_USE,
    INSTANCE,
    MANAGER,
    USER,
    WORKING,
    A,
    C,
    E,
    Key,
    R,
    State,
    W,
    letters,
)

Scope = Iterable[Key] | None
"""The objects whose cells are looked at; None is all of them."""

Property = Callable[..., list[str]]

PROPERTIES: dict[str, Property] = {}
"""Name to predicate, in the order 1 to 10."""


def _property(name: str) -> Callable[[Property], Property]:
    def register(predicate: Property) -> Property:
        PROPERTIES[name] = predicate
        return predicate

    return register


def _held(state: State, scope: Scope) -> Iterator[tuple[Key, Key, int]]:
    """Every cell of b that is not empty."""
    for object in state.b if scope is None else scope:
        for subject, byte in state.b[object].items():
            yield subject, object, byte


def _cards(state: State, scope: Scope) -> Iterator[Key]:
    for key in state.world if scope is None else scope:
        if state.world[key].kind == CARD and key in state.live:
            yield key


def _levels(state: State, scope: Scope) -> Iterator[tuple[Key, int]]:
    for key in state.level if scope is None else scope:
        if key in state.level:
            yield key, state.level[key]


def _map(state: State, card: Key) -> set[Key]:
    """map(k), from b itself."""
    return {s for s, byte in state.b[card].items() if byte & C}


@_property("simple security")
def simple_security(state: State, scope: Scope = None) -> list[str]:
    """1. Who can read is connected, and at or above what it reads."""
    level, found = state.level, []
    for s, o, byte in _held(state, scope):
        if byte & (R | W):
            if not byte & C:
                found.append(f"b[{s}][{o}] has {letters(byte)} without c")
            if not dominates(level.get(s, 99), level.get(o, 0)):
                found.append(
                    f"b[{s}][{o}] has {letters(byte)}, but f({s})=L{level.get(s)} is below f({o})=L{level.get(o)}"
                )
    return found


@_property("star")
def star(state: State, scope: Scope = None) -> list[str]:
    """2. Data go up by a, stay level by w, come from below by r; the manager instructs what it dominates."""
    level, found = state.level, []
    for s, o, byte in _held(state, scope):
        f_s, f_o = level.get(s, 0), level.get(o, 0)
        if byte & WORKING and not byte & C:
            found.append(f"b[{s}][{o}] has {letters(byte)} without c")
        if byte & A and not dominates(f_o, f_s):
            found.append(f"b[{s}][{o}] has a, but f({o})=L{f_o} is below f({s})=L{f_s}")
        if byte & W and f_o != f_s:
            found.append(f"b[{s}][{o}] has w, but f({o})=L{f_o} is not f({s})=L{f_s}")
        if byte & R and not dominates(f_s, f_o):
            found.append(f"b[{s}][{o}] has r, but f({o})=L{f_o} is above f({s})=L{f_s}")
        if byte & E and (s != MANAGER or not dominates(f_s, f_o)):
            found.append(f"b[{s}][{o}] has e*, which is for the manager on what it dominates")
    return found


@_property("discretionary")
def discretionary(state: State, scope: Scope = None) -> list[str]:
    """3. Nothing is held that may not be asked for."""
    return [
        f"b[{s}][{o}] = {letters(byte)} is not within M[{s}][{o}] = {letters(state.may(s, o))}"
        for s, o, byte in _held(state, scope)
        if byte & ~state.may(s, o)
    ]


@_property("type")
def typed(state: State, scope: Scope = None) -> list[str]:
    """4. Rights exist between live things of the right kinds only: e* of the manager, a user on its own, an
    instance on a card; and no instance is without its user."""
    world, live, found = state.world, state.live, []
    for name, matrix in (("M", state.M), ("b", state.b)):
        for o in matrix if scope is None else scope:
            what = world[o]
            for s, byte in matrix[o].items():
                who = world[s]
                if s not in live or o not in live:
                    found.append(f"{name}[{s}][{o}] = {letters(byte)}, and they are not both live")
                if s == MANAGER:
                    fits = byte == E and o != MANAGER
                elif what.kind == INSTANCE:
                    fits = who.kind == USER and what.owner == s and not byte & ~GIVABLE
                else:
                    fits = what.kind == CARD and who.kind == INSTANCE and not byte & ~GIVABLE
                if not fits:
                    found.append(f"{name}[{s}][{o}] = {letters(byte)} is no right of {who.words} on {what.words}")
    for key in live if scope is None else live & set(scope):
        owner = world[key].owner
        if owner is not None and owner not in live:
            found.append(f"{world[key].words} is live, and its owner {state.words(owner)} is not")
    return found


@_property("top")
def top(state: State, scope: Scope = None) -> list[str]:
    """5. L1 is the manager's, and only the manager's."""
    return [
        f"{state.words(key)} is at L{level}"
        for key, level in _levels(state, scope)
        if (level == TOP) != (key == MANAGER)
    ]


@_property("virtual")
def virtual(state: State, scope: Scope = None) -> list[str]:
    """6. Everything live is at a level that it may take, and nothing else has a level."""
    found = [
        f"{state.words(key)} is at L{level}, which it may not take"
        for key, level in _levels(state, scope)
        if level not in state.world[key].may
    ]
    found += [
        f"{state.words(key)} has {'a' if key in state.level else 'no'} level and is "
        f"{'live' if key in state.live else 'not live'}"
        for key in (state.world if scope is None else scope)
        if (key in state.live) != (key in state.level)
    ]
    return found


@_property("status")
def status(state: State, scope: Scope = None) -> list[str]:
    """7. Free is Lp is unconnected and clean; using is L2; in control the slot owner's level is the card's."""
    found = []
    for k in _cards(state, scope):
        st, f, cur = state.status_of(k), state.level.get(k, 0), state.current.get(k)
        empty = not _map(state, k) and k not in state.context and k not in state.output
        if not (st == FREE) == (f == state.levels.free) == empty:
            found.append(
                f"{k} is {st} at L{f}, and {'nobody' if empty else 'somebody'} is on it: free, "
                f"L{state.levels.free} and empty go together"
            )
        if st == FREE and (cur is not None or state.keys[k]):
            found.append(f"{k} is free, and has a slot owner or a key slot")
        if (st == IN_USE) != (f == USING):
            found.append(f"{k} is {st} at L{f}: using and L{USING} go together")
        if st == CONTROL and cur is not None and f != state.level.get(cur):
            found.append(f"{k} is in control of {cur} at L{f}, and not at the level of {cur}")
    found += [
        f"{k} is not live and has a status, slot owner, data or key slots"
        for k in (state.world if scope is None else scope)
        if state.world[k].kind == CARD
        and k not in state.live
        and (k in state.status or k in state.current or k in state.context or k in state.output or state.keys[k])
    ]
    return found


@_property("slot")
def slot(state: State, scope: Scope = None) -> list[str]:
    """8. Only the slot owner holds r, w or a on a card, and the slot owner is connected."""
    found = []
    for k in _cards(state, scope):
        cur = state.current.get(k)
        found += [
            f"b[{s}][{k}] = {letters(byte)}, and the slot of {k} belongs to {cur}"
            for s, byte in state.b[k].items()
            if byte & WORKING and s != cur
        ]
        if cur is not None and not state.holds(cur, k) & C:
            found.append(f"{cur} owns the slot of {k} and is not connected to it")
    return found


@_property("residue")
def residue(state: State, scope: Scope = None) -> list[str]:
    """9. What is left in a card is the slot owner's, private data exist at L2 alone, and key slots go with c."""
    found = []
    for k in _cards(state, scope):
        cur, ctx, out = state.current.get(k), state.context.get(k), state.output.get(k)
        found += [
            f"the {what} of {k} is of {whose}, and the slot is of {cur}"
            for what, whose in (("engine", ctx), ("output", out))
            if cur is not None and whose not in (None, cur)
        ]
        if ctx is not None and state.status_of(k) != IN_USE:
            found.append(f"private data of {ctx} is in {k}, which is {state.status_of(k)} and not using")
        if ctx is not None and out is not None and ctx != out:
            found.append(f"{k} has data of {ctx} in its engine and of {out} in its output buffer")
        found += [
            f"{k} names {whose}, which is no live instance"
            for whose in (ctx, out)
            if whose is not None and (whose not in state.live or state.world[whose].kind != INSTANCE)
        ]
        found += [
            f"{whose} has a key slot in {k} and is not connected to it" for whose in state.keys[k] - _map(state, k)
        ]
    return found


@_property("chain")
def chain(state: State, scope: Scope = None) -> list[str]:
    """10. An instance on a card has its user behind it."""
    found = []
    for k in _cards(state, scope):
        for i in _map(state, k):
            owner = state.world[i].owner
            if owner is None or not state.holds(owner, i) & C:
                found.append(f"{i} is connected to {k}, and its user {owner} is not connected to {i}")
    return found


def violations(state: State, scope: Scope = None) -> list[str]:
    """Everything that is wrong with the state, each with the name of its property."""
    return [f"{name}: {sentence}" for name, predicate in PROPERTIES.items() for sentence in predicate(state, scope)]


def secure(state: State) -> bool:
    """Secure(v): all ten hold."""
    return not any(predicate(state) for predicate in PROPERTIES.values())


def indexes(state: State) -> list[str]:
    """The indexes say what the cells say: empty, or what differs."""
    fresh = State(state.levels)
    for key, entity in sorted(state.world.items(), key=lambda item: item[1].kind == INSTANCE):
        if key != MANAGER:
            fresh.name(key, entity.kind, entity.owner, entity.may, entity.words)
    fresh.restore(state.snapshot())
    return [
        f"the index {name} is {getattr(state, name)}, and the cells say {getattr(fresh, name)}"
        for name in ("granted", "instances", "mapped", "connected", "armed", "turns", "mentioned")
        if getattr(state, name) != getattr(fresh, name)
    ]
