"""
The state v = (b, M, f, H) of the model, with the indexes that keep every rule cheap.

What is stored is a set of *cells*, each with a table, a subject, an object and a value:

    table    subject   object    value
    M, b     s         o         attribute byte: what may be asked for, what is held now
    live     -         any       True
    level    -         any       f, a number; 1 is the highest
    status   -         card      free | control | using
    current  -         card      the instance that owns the slot
    context  -         card      the instance whose private data is in the engine
    output   -         card      the instance whose result is in the output buffer
    key      instance  card      True: the instance has a loaded key slot there

A cell that is not stored has its empty value (0, False, free, none). Rules only read; they return
*changes*, and `State.apply` writes them. A change knows the old value, so a list of changes can be
undone, and is at the same time the journal of what the guard has to publish.

The *world* names who may come to exist: kind, owner and virtual classification are fixed
there, before R7 makes an entity live and after R8 ended it. (docs/model.md, "Elements".)
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from vecd.ppm.levels import FIRST_INSTANCE, TOP, Level, Levels

Key = str | int
"""A small opaque name of an entity. The manager's is MANAGER."""

MANAGER = "m"
USER, INSTANCE, CARD = "user", "instance", "card"

# The five attributes of the model, one bit each; the same byte as in shm.h.
R, W, A, C, E = 1, 2, 4, 8, 16
LETTERS = "rwace"
BITS: Mapping[str, int] = {letter: 1 << n for n, letter in enumerate(LETTERS)}
WORKING = R | W | A
GIVABLE = R | W | A | C

FREE, CONTROL, IN_USE = "free", "control", "using"

_LETTERS = tuple("".join(x for x in LETTERS if byte & BITS[x]) for byte in range(32))


def letters(byte: int) -> str:
    """The attributes of a byte, always in the order r w a c e."""
    return _LETTERS[byte]


def byte_of(attributes: str) -> int:
    """The byte of a string of attributes; raises ValueError for a letter that is not one."""
    byte = 0
    for letter in attributes:
        if letter not in BITS:
            raise ValueError(f"{letter!r} is not an attribute: use letters of {LETTERS!r}")
        byte |= BITS[letter]
    return byte


class Entity(NamedTuple):
    """What never changes about one entity, live or not."""

    kind: str
    owner: Any     # own(i), a Key; None where the kind has no owner
    may: frozenset[Level]
    words: str


class Change(NamedTuple):
    """One cell, before and after."""

    table: str
    subject: Key | None
    object: Key
    old: Any
    new: Any


# One cell that was read, and the value that was found there: table, subject, object, value. The table "may" is f_v.
Cell = tuple[str, Key | None, Key, Any]

SOMEBODY = "*"
"""In a cell that a refusal wants: any instance would do."""


class State:
    """One state of the model. Reading is free; only `apply`, `name` and `forget` write."""

    __slots__ = ("M", "armed", "b", "connected", "context", "current", "granted", "instances", "keys", "level",
                 "levels", "live", "mapped", "mentioned", "output", "status", "turns", "world")

    def __init__(self, levels: Levels) -> None:
        self.levels = levels
        self.world: dict[Key, Entity] = {}
        self.live: set[Key] = set()
        self.level: dict[Key, Level] = {}
        # The matrices by column: M[o][s], so that the column of a card is at hand.
        self.M: dict[Key, dict[Key, int]] = {}
        self.b: dict[Key, dict[Key, int]] = {}
        self.status: dict[Key, str] = {}
        self.current: dict[Key, Key] = {}
        self.context: dict[Key, Key] = {}
        self.output: dict[Key, Key] = {}
        self.keys: dict[Key, set[Key]] = {}
        # Indexes, all derived. A rule costs what it touches, never what there is.
        self.granted: dict[Key, set[Key]] = {}       # s -> objects with M[s][o] not empty
        self.instances: dict[Key, set[Key]] = {}     # u -> its live instances
        self.mapped: dict[Key, set[Key]] = {}        # k -> map(k), the instances that hold c
        self.connected: dict[Key, set[Key]] = {}     # i -> the cards on which it holds c
        self.armed: dict[Key, set[Key]] = {}         # k -> instances that hold r, w or a
        self.turns: dict[Key, set[Key]] = {}         # i -> cards whose slot it owns
        self.mentioned: dict[Key, set[tuple[Key, str]]] = {}   # i -> (k, table) that name it in b, H
        self.name(MANAGER, MANAGER, may={TOP}, words="the manager")
        self._live(None, MANAGER, True)
        self._level(None, MANAGER, TOP)

    # ---- the world

    def name(self, key: Key, kind: str, owner: Key | None = None, may: Iterable[Level] | None = None,
             words: str | None = None) -> None:
        """
        Let `key` be an entity that may come to exist.

        `may` is f_v; by default all instance levels, for a card what every card may take. Raises ValueError when
        the key is taken, the kind unknown, the owner not a user, or f_v not what the model allows for the kind.
        """
        if type(key) not in (str, int):
            raise ValueError(f"{key!r} cannot be a key: use a string or a number")
        if key in self.world:
            raise ValueError(f"{self.world[key].words} is named already: choose another key or forget it first")
        if kind not in (MANAGER, USER, INSTANCE, CARD) or (kind == MANAGER) != (key == MANAGER):
            raise ValueError(f"{key!r} cannot be of kind {kind!r}: use {USER}, {INSTANCE} or {CARD}")
        if kind == INSTANCE:
            if owner not in self.world or self.world[owner].kind != USER:
                raise ValueError(f"instance {key} needs a user as its owner, not {owner!r}: name the user first")
        elif owner is not None:
            raise ValueError(f"{kind} {key} cannot have an owner: only instances have one")
        taken = frozenset(may) if may is not None else (
            self.levels.card if kind == CARD else self.levels.instance)
        if kind == CARD and taken != self.levels.card:
            raise ValueError(f"card {key} must be allowed the levels {sorted(self.levels.card)}")
        if kind in (USER, INSTANCE) and (not taken or not taken <= self.levels.instance):
            raise ValueError(f"{kind} {key} must be allowed some of the levels {sorted(self.levels.instance)}, "
                             f"not {sorted(taken)}")
        self.world[key] = Entity(kind, owner, taken, words or f"{kind} {key}")
        self.M[key] = {}
        self.b[key] = {}
        self.granted[key] = set()
        if kind == USER:
            self.instances[key] = set()
        elif kind == INSTANCE:
            self.connected[key] = set()
            self.turns[key] = set()
            self.mentioned[key] = set()
        elif kind == CARD:
            self.mapped[key] = set()
            self.armed[key] = set()
            self.keys[key] = set()

    def forget(self, key: Key) -> None:
        """`key` is no entity any more. Raises ValueError while it is live, or while a named instance is its own."""
        if key not in self.world:
            raise ValueError(f"{key!r} is not named")
        entity = self.world[key]
        if key in self.live:
            raise ValueError(f"{entity.words} is live: destroy it first (R8)")
        if entity.kind == USER and any(other.owner == key for other in self.world.values()):
            raise ValueError(f"{entity.words} still owns a named instance: forget that first")
        del self.world[key]
        for table in (self.M, self.b, self.granted, self.instances, self.connected, self.turns, self.mentioned,
                      self.mapped, self.armed, self.keys):
            table.pop(key, None)

    def words(self, key: Any) -> str:
        """How a sentence calls the thing: "instance a"; what is not named is quoted and cut short."""
        entity = self.world.get(key) if type(key) in (str, int) else None
        return entity.words if entity else repr(key)[:40]

    def owner(self, instance: Key) -> Key:
        """own(i)."""
        return self.world[instance].owner

    def kind(self, key: Key) -> str:
        return self.world[key].kind

    # ---- reading

    def may(self, subject: Key, object: Key) -> int:
        """M[s][o] as a byte."""
        return self.M[object].get(subject, 0)

    def holds(self, subject: Key, object: Key) -> int:
        """b[s][o] as a byte."""
        return self.b[object].get(subject, 0)

    def status_of(self, card: Key) -> str:
        """st(k)."""
        return self.status.get(card, FREE)

    def cell(self, table: str, subject: Key | None, object: Key) -> Any:
        """One cell by its name, as `cells` has it; what is not stored is empty: 0, False, free, None."""
        if table in ("M", "b"):
            return self.may(subject, object) if table == "M" else self.holds(subject, object)  # type: ignore[arg-type]
        if table == "key":
            return subject in self.keys[object]
        if table == "live":
            return object in self.live
        return getattr(self, table).get(object, _EMPTY.get(table))

    def cells(self) -> Iterator[Cell]:
        """Every cell that is not empty, in no particular order."""
        for key in self.live:
            yield ("live", None, key, True)
        for key, level in self.level.items():
            yield ("level", None, key, level)
        for table, columns in (("M", self.M), ("b", self.b)):
            for object, column in columns.items():
                for subject, byte in column.items():
                    yield (table, subject, object, byte)
        for table, values in (("status", self.status), ("current", self.current),
                              ("context", self.context), ("output", self.output)):
            for card, value in values.items():
                yield (table, None, card, value)
        for card, keys in self.keys.items():
            for instance in keys:
                yield ("key", instance, card, True)

    def snapshot(self) -> frozenset[Cell]:
        """The state as a value: two states of one world are equal exactly when their snapshots are."""
        return frozenset(self.cells())

    # ---- writing

    def apply(self, changes: Iterable[Change]) -> None:
        """Every change is in the state, and in the indexes."""
        store = _STORE
        for table, subject, object, _, new in changes:
            store[table](self, subject, object, new)

    def undo(self, changes: list[Change] | tuple[Change, ...]) -> None:
        """The state before `apply(changes)`, exactly."""
        store = _STORE
        for table, subject, object, old, _ in reversed(changes):
            store[table](self, subject, object, old)

    def restore(self, cells: Iterable[Cell]) -> None:
        """The state that `snapshot` saw. The world stays."""
        wanted, present = frozenset(cells), self.snapshot()
        store = _STORE
        for table, subject, object, _ in present - wanted:
            store[table](self, subject, object, None)
        for table, subject, object, value in wanted - present:
            store[table](self, subject, object, value)

    def copy(self) -> "State":
        """An equal state in an equal world that shares nothing that changes."""
        other = State.__new__(State)
        other.levels = self.levels
        other.world = dict(self.world)
        other.live = set(self.live)
        for name in ("level", "status", "current", "context", "output"):
            setattr(other, name, dict(getattr(self, name)))
        for name in ("M", "b"):
            setattr(other, name, {key: dict(column) for key, column in getattr(self, name).items()})
        for name in ("keys", "granted", "instances", "mapped", "connected", "armed", "turns", "mentioned"):
            setattr(other, name, {key: set(members) for key, members in getattr(self, name).items()})
        return other

    def _M(self, subject: Key, object: Key, byte: int | None) -> None:
        if byte:
            self.M[object][subject] = byte
            self.granted[subject].add(object)
        else:
            self.M[object].pop(subject, None)
            self.granted[subject].discard(object)

    def _b(self, subject: Key, object: Key, byte: int | None) -> None:
        if byte:
            self.b[object][subject] = byte
        else:
            byte = 0
            self.b[object].pop(subject, None)
        mapped = self.mapped.get(object)
        if mapped is None or subject not in self.connected:
            return
        if byte & C:
            mapped.add(subject)
            self.connected[subject].add(object)
        else:
            mapped.discard(subject)
            self.connected[subject].discard(object)
        if byte & WORKING:
            self.armed[object].add(subject)
        else:
            self.armed[object].discard(subject)
        self._mention(subject, object, "b", byte)

    def _live(self, _: None, key: Key, live: bool | None) -> None:
        owned = self.instances.get(self.world[key].owner) if self.world[key].kind == INSTANCE else None
        if live:
            self.live.add(key)
            if owned is not None:
                owned.add(key)
        else:
            self.live.discard(key)
            if owned is not None:
                owned.discard(key)

    def _level(self, _: None, key: Key, level: Level | None) -> None:
        if level:
            self.level[key] = level
        else:
            self.level.pop(key, None)

    def _status(self, _: None, card: Key, status: str | None) -> None:
        if status is None or status == FREE:
            self.status.pop(card, None)
        else:
            self.status[card] = status

    def _current(self, _: None, card: Key, instance: Key | None) -> None:
        before = self.current.pop(card, None)
        if before is not None:
            self.turns[before].discard(card)
        if instance is not None:
            self.current[card] = instance
            self.turns[instance].add(card)

    def _context(self, _: None, card: Key, instance: Key | None) -> None:
        before = self.context.pop(card, None)
        if before is not None:
            self._mention(before, card, "context", False)
        if instance is not None:
            self.context[card] = instance
            self._mention(instance, card, "context", True)

    def _output(self, _: None, card: Key, instance: Key | None) -> None:
        before = self.output.pop(card, None)
        if before is not None:
            self._mention(before, card, "output", False)
        if instance is not None:
            self.output[card] = instance
            self._mention(instance, card, "output", True)

    def _key(self, instance: Key, card: Key, loaded: bool | None) -> None:
        if loaded:
            self.keys[card].add(instance)
        else:
            self.keys[card].discard(instance)
        self._mention(instance, card, "key", bool(loaded))

    def _mention(self, instance: Key, card: Key, table: str, named: int | bool) -> None:
        if named:
            self.mentioned[instance].add((card, table))
        else:
            self.mentioned[instance].discard((card, table))


_EMPTY = {"level": 0, "status": FREE}

_STORE: dict[str, Callable[..., None]] = {
    "M": State._M, "b": State._b, "live": State._live, "level": State._level, "status": State._status,
    "current": State._current, "context": State._context, "output": State._output, "key": State._key,
}


class Look:
    """
    A look at a state that remembers what it saw.

    Rules read through it, so what a decision says it read is what it read.
    """

    __slots__ = ("reads", "state")

    def __init__(self, state: State) -> None:
        self.state = state
        self.reads: list[Cell] = []

    def may(self, subject: Key, object: Key) -> int:
        byte = self.state.M[object].get(subject, 0)
        self.reads.append(("M", subject, object, byte))
        return byte

    def holds(self, subject: Key, object: Key) -> int:
        byte = self.state.b[object].get(subject, 0)
        self.reads.append(("b", subject, object, byte))
        return byte

    def wanting(self, subject: Key, object: Key, bit: int) -> Cell:
        """b[s][o] as it would have to be: with `bit`."""
        return ("b", subject, object, self.state.b[object].get(subject, 0) | bit)

    def live(self, key: Key) -> bool:
        live = key in self.state.live
        self.reads.append(("live", None, key, live))
        return live

    def level(self, key: Key) -> Level:
        level = self.state.level.get(key, 0)
        self.reads.append(("level", None, key, level))
        return level

    def status(self, card: Key) -> str:
        status = self.state.status.get(card, FREE)
        self.reads.append(("status", None, card, status))
        return status

    def current(self, card: Key) -> Key | None:
        instance = self.state.current.get(card)
        self.reads.append(("current", None, card, instance))
        return instance

    def context(self, card: Key) -> Key | None:
        instance = self.state.context.get(card)
        self.reads.append(("context", None, card, instance))
        return instance

    def output(self, card: Key) -> Key | None:
        instance = self.state.output.get(card)
        self.reads.append(("output", None, card, instance))
        return instance

    def virtual(self, key: Key) -> frozenset[Level]:
        """f_v: what the world says, and no rule changes."""
        levels = self.state.world[key].may
        self.reads.append(("may", None, key, levels))
        return levels

    def key(self, instance: Key, card: Key) -> bool:
        loaded = instance in self.state.keys[card]
        self.reads.append(("key", instance, card, loaded))
        return loaded


def default_level(state: State, key: Key) -> Level:
    """Where R7 puts an entity when nothing else is said: L3, a card Lp."""
    return state.levels.free if state.world[key].kind == CARD else FIRST_INSTANCE
