"""
R1 .. R12 and the data operations: who may do what, and which cells change. This is the specification.

A rule is a function from a state and a request to a `Decision`. It has no clock, no log and no file, and
it writes nothing: a yes carries the changes, `State.apply` makes them. A `no` and a `?` carry none.

    ?    malformed, not in the world or not live, of the wrong kind, an attribute that is none, or a subject that
         this request is not for. Decided first, before any condition of the rule.
    no   well formed, but a condition does not hold.

`RULES` is the one table: name, which pairs of kinds may be subject and object, and the function. What is not in
it is `?`. (docs/model.md, "Rules", row by row; the fixes H1..H16 are explained there.)
"""

from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

from vecd.ppm.levels import USING, Level, dominates
from vecd.ppm.request import Request, step
from vecd.ppm.state import (
    BITS,
    CARD,
    CONTROL,
    FREE,
    GIVABLE,
    IN_USE,
    INSTANCE,
    MANAGER,
    SOMEBODY,
    USER,
    A,
    C,
    Cell,
    Change,
    E,
    Key,
    Look,
    R,
    State,
    W,
    default_level,
    letters,
)

YES, NO, UNCLEAR = "yes", "no", "?"

# Names of the properties of docs/model.md, as refusals give them. "authority" is not one: it is who may decide.
SIMPLE, STAR, DISCRETIONARY, TYPE, VIRTUAL = "simple security", "star", "discretionary", "type", "virtual"
STATUS, SLOT, RESIDUE, CHAIN, AUTHORITY = "status", "slot", "residue", "chain", "authority"


class Decision(NamedTuple):
    """
    The answer to one request, and everything it rests on. It is true for a yes alone.

    reason: a sentence with the thing, the rule and why. property: what a yes would break ("" for yes and ?).
    reads: the cells that were looked at, in order, with their values. cause: of a refusal, the cell that decided it,
    with the value that it would have to have instead; None where the request itself is the cause, and no cell.
    changes: what a yes changes. wipes: what
    has to be overwritten before the yes is true: ("engine", card), ("buffers", card), ("key slot", instance, card),
    ("memory", instance). remedy: one request that removes this cause, or None if nothing does. next: that in words,
    or for a ? what makes sense.
    """

    answer: str
    rule: str
    reason: str
    request: Request
    property: str = ""
    reads: tuple[Cell, ...] = ()
    changes: tuple[Change, ...] = ()
    wipes: tuple[tuple[Any, ...], ...] = ()
    remedy: Request | None = None
    next: str = ""
    cause: Cell | None = None

    def __bool__(self) -> bool:
        return self.answer == YES


class Rule(NamedTuple):
    """A row of the table."""

    name: str
    pairs: frozenset[tuple[str, str]]
    verb: str
    creates: bool
    function: Callable[[State, Request], Decision]


RULES: dict[str, Rule] = {}

_KEYS = (str, int)
_OBJECT = "{object}"

_TO_USE = ((USER, INSTANCE), (INSTANCE, CARD))
_ON_CARD = ((INSTANCE, CARD),)
_MANAGER = ((MANAGER, USER), (MANAGER, INSTANCE), (MANAGER, CARD))


def rule(name: str, pairs: Iterable[tuple[str, str]], verb: str, *, creates: bool = False) -> Callable:
    """Put a function into RULES as the rule `name` for these kinds of (subject, object)."""

    def register(function: Callable[[State, Request], Decision]) -> Callable[[State, Request], Decision]:
        if name in RULES:
            raise ValueError(f"{name} is in the table already")
        RULES[name] = Rule(name, frozenset(pairs), verb, creates, function)
        return function

    return register


def decide(state: State, request: Request) -> Decision:
    """The decision on `request` in `state`; neither changes. `?` comes before any condition of the rule."""
    entry = RULES.get(request.rule) if type(request.rule) is str else None
    if entry is None:
        return unclear(state, request, "there is no such rule or operation")
    world, live = state.world, state.live
    subject, object = request.subject, request.object
    who = world.get(subject) if type(subject) in _KEYS else None
    what = world.get(object) if type(object) in _KEYS else None
    if who is None or subject not in live:
        return absent(state, request, "the subject", subject)
    if what is None or (object not in live and not entry.creates):
        return absent(state, request, "the object", object)
    if (who.kind, what.kind) not in entry.pairs:
        return unclear(state, request, f"{request.rule} is not for {who.words} on {what.words}")
    return entry.function(state, request)


def advance(state: State, request: Request) -> tuple[Decision, State]:
    """The decision and the state after it. A refusal returns the very state it was given; a yes a new one."""
    decision = decide(state, request)
    if not decision.changes:
        return decision, state
    after = state.copy()
    after.apply(decision.changes)
    return decision, after


# ---- R1 .. R4: get an attribute


@rule("R1", _TO_USE, "connect to {object}")
def get_control(state: State, request: Request) -> Decision:
    """
    c: a user connects to its instance, an instance to a card. Protects the chain: no card without its user behind it.

    Only a free card takes its level from whom connects (H3); the slot is nobody's until R12 gives it.
    """
    s, o = request.subject, request.object
    look = Look(state)
    if not look.may(s, o) & C:
        return _lacks(look, request, "c")
    if state.world[o].kind == INSTANCE:
        return yes(look, request, _hold(state, s, o, C))
    owner = state.world[s].owner
    if not look.holds(owner, s) & C:
        return no(look, request, CHAIN, f"{state.words(owner)} is not connected to its {state.words(s)}: "
                  f"b[{owner}][{s}] lacks c", look.wanting(owner, s, C), Request("R1", owner, s))
    works = look.level(s)
    if works not in look.virtual(o):
        return no(look, request, VIRTUAL, f"{state.words(o)} may not take level {works} of {state.words(s)}",
                  ("may", None, o, state.world[o].may | {works}))
    changes = _hold(state, s, o, C)
    if look.status(o) == FREE:
        changes += _put("status", None, o, FREE, CONTROL) + _put("level", None, o, look.level(o), works)
    return yes(look, request, changes)


@rule("R2", _TO_USE, "append to {object}")
def get_append(state: State, request: Request) -> Decision:
    """Alter: data go up. The card is at or above the instance, and the instance owns the slot."""
    return _get(state, request, A, "a", lambda works, label: dominates(label, works), "at or above")


@rule("R3", _TO_USE, "write to {object}")
def get_write(state: State, request: Request) -> Decision:
    """Observe and alter: the card is at the very level of the instance, and the instance owns the slot."""
    return _get(state, request, W, "w", lambda works, label: label == works, "at the level of")


@rule("R4", _TO_USE, "read from {object}")
def get_read(state: State, request: Request) -> Decision:
    """Observe: the card is at or below the instance, and the instance owns the slot."""
    return _get(state, request, R, "r", lambda works, label: dominates(works, label), "at or below")


def _get(state: State, request: Request, bit: int, letter: str, fits: Callable[[Level, Level], bool],
         where: str) -> Decision:
    s, o = request.subject, request.object
    look = Look(state)
    if not look.may(s, o) & bit:
        return _lacks(look, request, letter)
    if not look.holds(s, o) & C:
        return no(look, request, SIMPLE, f"it is not connected: b[{s}][{o}] lacks c",
                  look.wanting(s, o, C), Request("R1", s, o))
    card = state.world[o].kind == CARD
    if card and look.current(o) != s:
        return _not_current(look, request)
    works, label = look.level(s), look.level(o)
    if not fits(works, label):
        remedy = (Request("R11", s, o, level=works) if card
                  else Request("R11", MANAGER, o, level=works) if state.levels.count > 4 else None)
        return no(look, request, STAR, f"{state.words(s)} works at L{works}, {state.words(o)} is at L{label} "
                  f"and not {where} that", ("level", None, o, works), remedy)
    return yes(look, request, _hold(state, s, o, bit))


# ---- R5, R6: the manager's attribute, and giving back


@rule("R5", _MANAGER, "instruct {object}")
def get_instruct(state: State, request: Request) -> Decision:
    """e*: the manager may move and clean the thing. It dominates everything, so there is no condition."""
    return yes(Look(state), request, _hold(state, request.subject, request.object, E))


@rule("R6", (*_TO_USE, *_MANAGER), "release {attribute} on {object}")
def release(state: State, request: Request) -> Decision:
    """
    Give back one attribute. c goes last: with it go r, w, a, the key slot and the slot (H4, H15), and with a
    user's c everything its instance has on cards (H13).
    """
    s, o, letter = request.subject, request.object, request.attribute
    bit = BITS.get(letter) if type(letter) is str else None
    if bit is None:
        return unclear(state, request, f"{letter!r:.20} is not an attribute: use one of r w a c e")
    if (bit == E) != (s == MANAGER):
        return unclear(state, request, "e* is the manager's, and the manager has nothing else")
    look = Look(state)
    held = look.holds(s, o)
    if not held & bit:
        return no(look, request, DISCRETIONARY, f"it does not hold {letter}: b[{s}][{o}] lacks it, "
                  "so there is nothing to release", look.wanting(s, o, bit))
    if bit != C:
        return yes(look, request, _put("b", s, o, held, held & ~bit))
    changes, wipes = _drop_user(look, s, o) if state.world[o].kind == INSTANCE else _drop(look, s, o)
    return yes(look, request, changes, wipes)


# ---- R7, R8: come to exist, and end


@rule("R7", _MANAGER, "create {object}", creates=True)
def create(state: State, request: Request) -> Decision:
    """The thing is live, with empty cells but the manager's e*, and clean: nothing is inherited (H10)."""
    o = request.object
    level = default_level(state, o) if request.level is None else request.level
    if type(level) is not int:
        return unclear(state, request, f"{level!r:.20} is not a level")
    look = Look(state)
    entity = state.world[o]
    if look.live(o):
        return no(look, request, TYPE, f"{entity.words} is live already", ("live", None, o, False),
                  Request("R8", MANAGER, o))
    if entity.kind == CARD and level != state.levels.free:
        return no(look, request, STATUS, f"a card comes to exist free, at L{state.levels.free} and not at L{level}",
                  None)
    if level not in look.virtual(o):
        return _not_virtual(look, request, o, level)
    if entity.kind == INSTANCE and not look.live(entity.owner):
        return no(look, request, TYPE, f"its owner {state.words(entity.owner)} is not live",
                  ("live", None, entity.owner, True), Request("R7", MANAGER, entity.owner))
    changes = (_put("live", None, o, False, True) + _put("level", None, o, state.level.get(o, 0), level)
               + _put("M", MANAGER, o, state.may(MANAGER, o), E))
    return yes(look, request, changes, (("memory", o),) if entity.kind == INSTANCE else ())


@rule("R8", _MANAGER, "destroy {object}")
def destroy(state: State, request: Request) -> Decision:
    """The thing is gone, with its row and column: only what is free and clean can end (H10)."""
    o = request.object
    look = Look(state)
    if not look.holds(MANAGER, o) & E:
        return _no_instruction(look, request, o)
    busy = _BUSY[state.world[o].kind](look, o)
    if busy is not None:
        why, cause, remedy = busy
        return no(look, request, TYPE, f"{state.words(o)} is not free: {why}", cause, remedy)
    changes: list[Change] = []
    for table, matrix in (("M", state.M), ("b", state.b)):
        for s, byte in matrix[o].items():
            changes.append(Change(table, s, o, byte, 0))
        for k in state.granted[o]:
            byte = matrix[k].get(o, 0)
            if byte:
                changes.append(Change(table, o, k, byte, 0))
    changes.append(Change("level", None, o, state.level[o], 0))
    changes.append(Change("live", None, o, True, False))
    return yes(look, request, changes)


# Why something is not free: in words, the cell that says so with the value it would need, and the way there.
Busy = tuple[str, Cell, Request]


def _user_busy(look: Look, user: Key) -> Busy | None:
    """free(u): it has no live instance."""
    left = look.state.instances[user]
    if not left:
        return None
    first = min(left, key=str)
    look.live(first)
    return f"its {look.state.words(first)} is live", ("live", None, first, False), Request("R8", MANAGER, first)


def _instance_busy(look: Look, instance: Key) -> Busy | None:
    """free(i): its owner holds nothing on it, and no card names it in b, ctx, out or key."""
    state = look.state
    owner = state.world[instance].owner
    held = look.holds(owner, instance)
    if held:
        letter = "c" if held & C else next(x for x in "rwa" if held & BITS[x])
        return (f"{state.words(owner)} still holds {letter} on it", ("b", owner, instance, 0),
                Request("R6", owner, instance, letter))
    if not state.mentioned[instance]:
        return None
    card, table = min(state.mentioned[instance], key=str)
    if table == "b":
        look.holds(instance, card)
        return f"it is connected to {state.words(card)}", ("b", instance, card, 0), Request("R6", instance, card, "c")
    if table == "key":
        look.key(instance, card)
        return (f"it has a key slot in {state.words(card)}", ("key", instance, card, False),
                Request("R12", MANAGER, card))
    (look.context if table == "context" else look.output)(card)
    return (f"its data is in the {'engine' if table == 'context' else 'output buffer'} of {state.words(card)}",
            (table, None, card, None), Request("R12", MANAGER, card))


def _card_busy(look: Look, card: Key) -> Busy | None:
    """free(k): st(k) = free."""
    status, free = look.status(card), ("status", None, card, FREE)
    if status == FREE:
        return None
    connected = look.state.mapped[card]
    if connected:
        first = min(connected, key=str)
        look.holds(first, card)
        return f"{look.state.words(first)} is connected to it", free, Request("R6", first, card, "c")
    return f"it is {status} and not wiped yet", free, Request("R12", MANAGER, card)


_BUSY = {USER: _user_busy, INSTANCE: _instance_busy, CARD: _card_busy}


# ---- R9, R10: what may be asked for


@rule("R9", ((MANAGER, INSTANCE), (MANAGER, CARD)), "give {to} {attribute} on {object}")
def give(state: State, request: Request) -> Decision:
    """The named pair may ask for the attribute from now on; nobody holds more than before. Never e* (H9)."""
    wrong = _untyped(state, request)
    if wrong:
        return unclear(state, request, wrong)
    look = Look(state)
    may = look.may(request.to, request.object)
    return yes(look, request, _put("M", request.to, request.object, may, may | BITS[request.attribute]))


@rule("R10", ((MANAGER, INSTANCE), (MANAGER, CARD)), "take from {to} {attribute} on {object}")
def rescind(state: State, request: Request) -> Decision:
    """The named pair may not ask for the attribute any more, and does not hold it: b follows M at once (H5)."""
    wrong = _untyped(state, request)
    if wrong:
        return unclear(state, request, wrong)
    s, o = request.to, request.object
    bit = BITS[request.attribute]
    look = Look(state)
    may, held = look.may(s, o), look.holds(s, o)
    changes = _put("M", s, o, may, may & ~bit)
    if bit != C:
        return yes(look, request, changes + _put("b", s, o, held, held & ~bit))
    dropped, wipes = _drop_user(look, s, o) if state.world[o].kind == INSTANCE else _drop(look, s, o)
    return yes(look, request, changes + dropped, wipes)


def _untyped(state: State, request: Request) -> str:
    """Why (to, object, attribute) is not a cell that R9 and R10 may touch, or "": a user on its own instance,
    an instance on a card, and r w a c."""
    letter = request.attribute
    bit = BITS.get(letter) if type(letter) is str else None
    if bit is None:
        return f"{letter!r:.20} is not an attribute: use one of r w a c"
    if not bit & GIVABLE:
        return "e* is the manager's alone and cannot be given or rescinded"
    entity = state.world.get(request.to) if type(request.to) in _KEYS else None
    if entity is None or request.to not in state.live:
        return f"{state.words(request.to)} {'is not live' if entity else 'is unknown'}"
    what = state.world[request.object]
    if (entity.kind, what.kind) not in _TO_USE:
        return f"{entity.words} cannot have rights on {what.words}"
    if what.kind == INSTANCE and what.owner != request.to:
        return f"{what.words} belongs to {state.words(what.owner)}, not to {entity.words}"
    return ""


# ---- R11, R12: levels, and the turns of a card


@rule("R11", ((INSTANCE, CARD), (MANAGER, CARD), (MANAGER, INSTANCE)), "move {object} to L{level}")
def move(state: State, request: Request) -> Decision:
    """
    A card goes up to using while nobody can read it, and down to control with its engine wiped: private
    data exist at L2 alone. Free is reached by settling only (H8). An instance moves while it owns no slot.
    """
    s, o, level = request.subject, request.object, request.level
    if type(level) is not int:
        return unclear(state, request, f"{level!r:.20} is not a level")
    if state.world[o].kind == INSTANCE:
        return _move_instance(state, request)
    look = Look(state)
    current = look.current(o)
    if s == MANAGER:
        if not look.holds(MANAGER, o) & E:
            return _no_instruction(look, request, o)
    elif current != s:
        return _not_current(look, request)
    status = look.status(o)
    if level == USING:
        return _up(look, request, status, current)
    return _down(look, request, status, current)


def _up(look: Look, request: Request, status: str, current: Key | None) -> Decision:
    state, k = look.state, request.object
    if status != CONTROL:
        return no(look, request, STATUS, f"it goes up from control alone, and {state.words(k)} is {status}",
                  ("status", None, k, CONTROL))
    if current is None:
        return no(look, request, SLOT, f"nobody owns the slot of {state.words(k)}", ("current", None, k, SOMEBODY))
    for i in sorted(state.armed[k], key=str):
        held = look.holds(i, k)
        if held & (R | W):
            letter = "r" if held & R else "w"
            return no(look, request, STAR, f"{state.words(i)} holds {letter} on {state.words(k)}, and would read or "
                      "write at L2 what is above it", ("b", i, k, held & ~(R | W)), Request("R6", i, k, letter))
    return yes(look, request, _put("status", None, k, status, IN_USE)
               + _put("level", None, k, look.level(k), USING))


def _down(look: Look, request: Request, status: str, current: Key | None) -> Decision:
    state, k, level = look.state, request.object, request.level
    if level not in state.levels.instance:
        return no(look, request, STATUS, f"a card is never moved to L{level}: free and control follow from "
                  "releases (R6, R10) and from R12", None)
    if status != IN_USE:
        return no(look, request, STATUS, f"it goes down from using alone, and {state.words(k)} is {status}",
                  ("status", None, k, IN_USE))
    if current is None:
        return no(look, request, RESIDUE, f"{state.words(k)} has no slot owner since its last one lost c: it stays "
                  "there until R12 has wiped it", ("current", None, k, SOMEBODY), Request("R12", MANAGER, k))
    works = look.level(current)
    if level != works:
        return no(look, request, STATUS, f"in control it stands at L{works}, the level of the slot owner "
                  f"{state.words(current)}", ("level", None, current, level),
                  Request("R11", request.subject, k, level=works))
    return yes(look, request, _put("context", None, k, look.context(k), None)
               + _put("status", None, k, status, CONTROL) + _put("level", None, k, look.level(k), works),
               (("engine", k),))


def _move_instance(state: State, request: Request) -> Decision:
    i, level = request.object, request.level
    if state.levels.count == 4:
        return unclear(state, request, "with four levels instances have one level and do not move")
    look = Look(state)
    if not look.holds(MANAGER, i) & E:
        return _no_instruction(look, request, i)
    entity = state.world[i]
    if level not in look.virtual(i):
        return _not_virtual(look, request, i, level)
    if state.turns[i]:
        k = min(state.turns[i], key=str)
        look.current(k)
        return no(look, request, SLOT, f"{entity.words} owns the slot of {state.words(k)}",
                  ("current", None, k, None), Request("R12", MANAGER, k))
    owner = entity.owner
    held, above, below = look.holds(owner, i), look.level(owner), look.level(i)
    for letter, fits in (("r", dominates(above, level)), ("w", above == level), ("a", dominates(level, above))):
        if held & BITS[letter] and not fits:
            return no(look, request, STAR, f"{state.words(owner)} at L{above} holds {letter} on {entity.words}",
                      ("b", owner, i, held & ~BITS[letter]), Request("R6", owner, i, letter))
    lowered = level != below and dominates(below, level)
    if lowered and held & C:
        return no(look, request, STAR, f"{state.words(owner)} is connected to {entity.words}, whose data would come "
                  "down with it", ("b", owner, i, held & ~C), Request("R6", owner, i, "c"))
    return yes(look, request, _put("level", None, i, below, level), (("memory", i),) if lowered else ())


@rule("R12", ((INSTANCE, CARD), (MANAGER, CARD)), "clean {object} and give its slot to {next}")
def switch(state: State, request: Request) -> Decision:
    """
    Clean the card and give the slot to the next one, or to nobody: nothing of the last owner is left (H1, H2).

    A next that is not connected counts as none, so what A does never shows in B's turns.
    """
    s, k, follower = request.subject, request.object, request.next
    if follower is not None:
        entity = state.world.get(follower) if type(follower) in _KEYS else None
        if entity is None or entity.kind != INSTANCE:
            return unclear(state, request, f"the next {state.words(follower)} is not an instance")
        if s != MANAGER:
            return unclear(state, request, "an instance may only yield: the manager chooses who is next")
    look = Look(state)
    if s == MANAGER:
        if not look.holds(MANAGER, k) & E:
            return _no_instruction(look, request, k)
    elif look.current(k) != s:
        return _not_current(look, request)
    status = look.status(k)
    if status == FREE:
        return no(look, request, STATUS, f"{state.words(k)} is free: there is nobody to switch and nothing to clean",
                  ("status", None, k, CONTROL))
    if follower is not None and not look.holds(follower, k) & C:
        follower = None
    changes: tuple[Change, ...] = ()
    for i in sorted(state.armed[k], key=str):
        held = look.holds(i, k)
        changes += _put("b", i, k, held, held & ~(R | W | A))
    changes += _put("context", None, k, look.context(k), None)
    changes += _put("output", None, k, look.output(k), None)
    changes += _put("current", None, k, look.current(k), follower)
    if follower is not None:
        status_after, level_after = CONTROL, look.level(follower)
    elif state.mapped[k]:
        status_after, level_after = CONTROL, state.levels.lowest_instance
    else:
        # settle(k): nobody is connected, and it is clean now.
        status_after, level_after = FREE, state.levels.free
    changes += _put("status", None, k, status, status_after)
    changes += _put("level", None, k, look.level(k), level_after)
    return yes(look, request, changes, (("engine", k), ("buffers", k)))


# ---- data operations: what a right is good for, checked at the start of each


@rule("loadkey", _ON_CARD, "load a key into {object}")
def load_key(state: State, request: Request) -> Decision:
    """Messages 7 to 11 went through: the card holds a key slot of this instance, that no other can use."""
    i, k = request.subject, request.object
    look = Look(state)
    refused = _appends(look, request)
    if refused is not None:
        return refused
    return yes(look, request, _put("key", i, k, look.key(i, k), True)
               + _put("context", None, k, look.context(k), i))


@rule("submit", _ON_CARD, "submit data to {object}")
def submit(state: State, request: Request) -> Decision:
    """The private data of the slot owner is in the engine, at L2, for its own key."""
    i, k = request.subject, request.object
    look = Look(state)
    refused = _appends(look, request)
    if refused is not None:
        return refused
    if not look.key(i, k):
        return no(look, request, RESIDUE, f"it has no key slot in {state.words(k)}", ("key", i, k, True),
                  Request("loadkey", i, k))
    return yes(look, request, _put("context", None, k, look.context(k), i))


@rule("process", ((CARD, CARD),), "process data in {object}")
def process(state: State, request: Request) -> Decision:
    """The card made a result, and it belongs to whose data was in the engine."""
    k = request.object
    if request.subject != k:
        return unclear(state, request, "a card processes in itself alone")
    look = Look(state)
    status, context = look.status(k), look.context(k)
    if status != IN_USE:
        return no(look, request, RESIDUE, f"private data exist in using alone, and {state.words(k)} is {status}",
                  ("status", None, k, IN_USE), _raise(look, k))
    if context is None:
        owner = look.current(k)
        return no(look, request, RESIDUE, "there is nothing in its engine", ("context", None, k, SOMEBODY),
                  Request("submit", owner, k) if owner is not None else None)
    return yes(look, request, _put("output", None, k, look.output(k), context))


@rule("config", _ON_CARD, "configure {object}")
def configure(state: State, request: Request) -> Decision:
    """Mode and IV of the next batch are set, in control: they are no private data, but they are this instance's."""
    i, k = request.subject, request.object
    look = Look(state)
    refused = _in_control(look, request, W, "w", "a card is configured")
    if refused is not None:
        return refused
    return yes(look, request, _put("output", None, k, look.output(k), i))


@rule("fetch", _ON_CARD, "fetch the result of {object}")
def fetch(state: State, request: Request) -> Decision:
    """The result goes to the slot owner: it is its own, by the residue property."""
    look = Look(state)
    refused = _in_control(look, request, R | W, "r", "results come out")
    if refused is not None:
        return refused
    look.output(request.object)
    return yes(look, request)


@rule("put", ((USER, INSTANCE),), "put data into {object}")
def put(state: State, request: Request) -> Decision:
    """A user's data go into its instance."""
    return _move_data(state, request, A | W, "a")


@rule("get", ((USER, INSTANCE),), "get data from {object}")
def get(state: State, request: Request) -> Decision:
    """A user's data come out of its instance."""
    return _move_data(state, request, R | W, "r")


def _move_data(state: State, request: Request, bits: int, letter: str) -> Decision:
    u, i = request.subject, request.object
    look = Look(state)
    if not look.holds(u, i) & bits:
        return no(look, request, DISCRETIONARY, f"it holds neither {letter} nor w on {state.words(i)}",
                  look.wanting(u, i, BITS[letter]),
                  Request("R2" if letter == "a" else "R4", u, i) if state.world[i].owner == u else None)
    return yes(look, request)


def _appends(look: Look, request: Request) -> Decision | None:
    """None if the instance holds a, owns the slot, and the card is using; otherwise the refusal."""
    i, k = request.subject, request.object
    state = look.state
    if look.current(k) != i:
        return _not_current(look, request)
    if not look.holds(i, k) & A:
        return no(look, request, DISCRETIONARY, f"it does not hold a: b[{i}][{k}] lacks it", look.wanting(i, k, A),
                  Request("R2", i, k))
    status = look.status(k)
    if status != IN_USE:
        return no(look, request, RESIDUE, f"private data exist in using alone, and {state.words(k)} is {status}",
                  ("status", None, k, IN_USE), Request("R11", i, k, level=USING))
    return None


def _in_control(look: Look, request: Request, bits: int, letter: str, what: str) -> Decision | None:
    """None if the instance holds one of `bits`, owns the slot, and the card is in control; otherwise the refusal."""
    i, k = request.subject, request.object
    state = look.state
    if look.current(k) != i:
        return _not_current(look, request)
    status = look.status(k)
    if status != CONTROL:
        return no(look, request, STAR, f"{what} in control alone, and {state.words(k)} is {status}",
                  ("status", None, k, CONTROL), Request("R11", i, k, level=look.level(i)))
    if not look.holds(i, k) & bits:
        wanted = " or ".join(letters(bits))
        return no(look, request, DISCRETIONARY, f"it does not hold {wanted}: b[{i}][{k}] lacks it",
                  look.wanting(i, k, BITS[letter]), Request("R4" if letter == "r" else "R3", i, k))
    return None


def _raise(look: Look, card: Key) -> Request | None:
    """The request that takes the card up, if somebody owns its slot."""
    owner = look.current(card)
    return Request("R11", owner, card, level=USING) if owner is not None else None


# ---- what several rules do


def _hold(state: State, s: Key, o: Key, bit: int) -> tuple[Change, ...]:
    held = state.holds(s, o)
    return () if held & bit else (Change("b", s, o, held, held | bit),)


def _put(table: str, s: Key | None, o: Key, old: Any, new: Any) -> tuple[Change, ...]:
    """The change of one cell, or none if it has that value already."""
    return () if old == new else (Change(table, s, o, old, new),)


def _drop(look: Look, i: Key, k: Key) -> tuple[tuple[Change, ...], tuple[tuple[Any, ...], ...]]:
    """
    drop(i,k) and settle(k): everything that i has on k goes with c. What is in the engine stays until R12
    wipes it, and the card stays where it is; only a clean card that nobody is connected to becomes free.
    """
    state = look.state
    loaded = look.key(i, k)
    changes = _put("b", i, k, look.holds(i, k), 0) + _put("key", i, k, loaded, False)
    current = look.current(k)
    mapped = state.mapped[k]
    last = not mapped or (len(mapped) == 1 and i in mapped)
    clean = look.context(k) is None and look.output(k) is None
    if current is not None and (current == i or (last and clean)):
        changes += _put("current", None, k, current, None)
    if last and clean:
        changes += (_put("status", None, k, look.status(k), FREE)
                    + _put("level", None, k, look.level(k), state.levels.free))
    return changes, (("key slot", i, k),) if loaded else ()


def _drop_user(look: Look, u: Key, i: Key) -> tuple[tuple[Change, ...], tuple[tuple[Any, ...], ...]]:
    """dropU(u,i): everything that u has on i, and that i has on any card."""
    changes = _put("b", u, i, look.holds(u, i), 0)
    wipes: tuple[tuple[Any, ...], ...] = ()
    for k in sorted(look.state.connected[i], key=str):
        more, slots = _drop(look, i, k)
        changes += more
        wipes += slots
    return changes, wipes


# ---- answers


def yes(look: Look, request: Request, changes: Iterable[Change] = (), wipes: tuple = ()) -> Decision:
    state = look.state
    reason = f"{state.words(request.subject)} may {_deed(state, request)}: {request.rule}"
    return Decision(YES, request.rule, reason, request, "", tuple(look.reads), tuple(changes), wipes)


def no(look: Look, request: Request, property: str, why: str, cause: Cell | None,
       remedy: Request | None = None) -> Decision:
    state = look.state
    reason = (f"{state.words(request.subject)} may not {_deed(state, request)}: {request.rule}, "
              f"{property}: {why}")
    return Decision(NO, request.rule, reason, request, property, tuple(look.reads), remedy=remedy,
                    next=step(state, remedy) if remedy else "", cause=cause)


def _deed(state: State, request: Request) -> str:
    """The request in words: "connect to card k"."""
    verb = RULES[request.rule].verb
    if verb.endswith(_OBJECT) and verb.count("{") == 1:
        return verb[:-len(_OBJECT)] + state.world[request.object].words
    return verb.format(object=state.world[request.object].words, attribute=request.attribute, level=request.level,
                       to=state.words(request.to), next=_follower(state, request))


def _follower(state: State, request: Request) -> str:
    """Who gets the slot in the end: a next that is not connected is nobody."""
    if request.next is None or request.rule != "R12":
        return "nobody"
    words = state.words(request.next)
    return words if state.holds(request.next, request.object) & C else f"nobody, as {words} is not connected"


# The next step of who asked for what makes no sense.
WHERE = "rights stand between a guest and its own instance (A, A.1), and between an instance and a card (A.1, c0)"


def unclear(state: State, request: Request, why: str, cause: Cell | None = None) -> Decision:
    name = request.rule if type(request.rule) is str and request.rule in RULES else ""
    return Decision(UNCLEAR, name, f"{name or repr(request.rule)[:40]} makes no sense here: {why}", request,
                    next=WHERE, cause=cause)


def absent(state: State, request: Request, role: str, key: Any) -> Decision:
    """The ? for who or what is not there."""
    if type(key) not in _KEYS or key not in state.world:
        return unclear(state, request, f"{role} {state.words(key)} is unknown")
    return unclear(state, request, f"{role} {state.words(key)} is not live", ("live", None, key, True))


def _lacks(look: Look, request: Request, letter: str) -> Decision:
    s, o = request.subject, request.object
    state = look.state
    what = state.world[o]
    cause = ("M", s, o, state.may(s, o) | BITS[letter])
    if what.kind == INSTANCE and what.owner != s:
        return no(look, request, TYPE, f"{what.words} belongs to {state.words(what.owner)}", cause)
    return no(look, request, DISCRETIONARY, f"M[{s}][{o}] lacks {letter}", cause,
              Request("R9", MANAGER, o, letter, to=s))


def _not_current(look: Look, request: Request) -> Decision:
    """The slot is somebody else's: the remedy is a turn, for which the instance has to be connected."""
    i, k = request.subject, request.object
    state = look.state
    current = state.current.get(k)
    owner = "nobody owns it" if current is None else f"{state.words(current)} owns it"
    remedy = (Request("R12", MANAGER, k, next=i) if look.holds(i, k) & C else Request("R1", i, k))
    return no(look, request, SLOT, f"the slot of {state.words(k)} is not its own, {owner}",
              ("current", None, k, i), remedy)


def _no_instruction(look: Look, request: Request, o: Key) -> Decision:
    return no(look, request, AUTHORITY, f"the manager does not hold e* on {look.state.words(o)}",
              look.wanting(MANAGER, o, E), Request("R5", MANAGER, o))


def _not_virtual(look: Look, request: Request, o: Key, level: Level) -> Decision:
    entity = look.state.world[o]
    return no(look, request, VIRTUAL, f"{entity.words} may take {_levels(entity.may)}, not L{level}",
              ("may", None, o, entity.may | {level}))


def _levels(may: Collection[Level]) -> str:
    first, last = min(may), max(may)
    if len(may) > 2 and last - first + 1 == len(may):
        return f"L{first} to L{last}"
    return " ".join(f"L{level}" for level in sorted(may))
