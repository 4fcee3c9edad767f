"""
A small language for rules: a rule is a row of data, its conditions and effects are atoms, and this file runs them.

An atom is written as the paper and docs/model.md write it: "c in b[s][o]", "f(o) >= f(s)", "st(o) := control". Names
in it are s and o (who asks for what), t (whom R9 and R10 name), x (the attribute), l (the level), n (the next slot
owner), i and k in a macro. An atom may end in " if ATOM": a condition is then an implication, an effect happens only
then. Level 1 is the highest; ">=" between levels is dominance.

A state is a dictionary of cells (table, subject, object) -> value, empty cells left out. The tables are those of
vecd.ppm.state, so that its properties can be asked of it, and the ghost that follows the data themselves: `engine` and
`buffers` of a card, `memory` of an instance, `got` of a user, `secret` (a key slot), each a set of users; and `was`,
the highest level of what is in an instance's memory.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from vecd.ppm.levels import FIRST_INSTANCE, Levels, dominates
from vecd.ppm.state import BITS, State

STATUSES = ("free", "control", "using")
REAL = ("M", "b", "live", "level", "current", "context", "output", "key")
NOBODY: frozenset = frozenset()


class World(NamedTuple):
    """Who may come to exist: p, the kind of each name, the owner of each instance, f_v of each."""

    p: int
    kind: dict
    own: dict
    may: dict


class Row(NamedTuple):
    """One rule for some pairs of kinds. `when` selects the requests that it is for; what no row is for is `?`."""

    rule: str
    pairs: tuple[str, ...]
    conditions: tuple[str, ...]
    effects: tuple[str, ...]
    when: tuple[str, ...] = ()


class Table(NamedTuple):
    """A whole set of rules. `star` are the clauses of R*, `status` says whether H adds a status or replaces it."""

    rows: dict[str, Row]
    macros: dict[str, tuple[str, ...]]
    star: tuple[tuple[str, str, str], ...]
    status: str
    card_may: tuple[str, ...]


def world(table: Table, users: str, instances: dict, cards: str, p: int = 4, may: dict | None = None) -> World:
    """A world in which f_v of a card is what the table says; of users and instances all instance levels."""
    level = Levels(p)
    names = {"L2": {2}, "Lp": {p}, "IL": set(level.instance)}
    kind = {"m": "m"} | dict.fromkeys(users, "U") | dict.fromkeys(instances, "I") | dict.fromkeys(cards, "K")
    card = frozenset().union(*(names[name] for name in table.card_may))
    found = {e: {"m": frozenset({1}), "K": card}.get(what, level.instance) for e, what in kind.items()}
    return World(p, kind, dict(instances), found | (may or {}))


# ---- names of things and of levels

_THING = r"own\(\w\)|cur\(\w\)|\w"
_LEVEL = rf"f\((?:{_THING})\)|L1|L2|Lp|low|l"


def _thing(words: str) -> Callable:
    if words.startswith("own("):
        inner = words[4]
        return lambda w, v, q: v.get(("own", None, q[inner]), w.own.get(q[inner]))
    if words.startswith("cur("):
        inner = words[4]
        return lambda w, v, q: v.get(("current", None, q[inner]))
    if words == "m":
        return lambda w, v, q: "m"
    return lambda w, v, q: q[words]


def _level(words: str) -> Callable:
    if words.startswith("f("):
        thing = _thing(words[2:-1])
        return lambda w, v, q: v.get(("level", None, thing(w, v, q)), 0)
    fixed = {"L1": lambda w: 1, "L2": lambda w: 2, "Lp": lambda w: w.p, "low": lambda w: w.p - 1}
    if words in fixed:
        return lambda w, v, q: fixed[words](w)
    return lambda w, v, q: q["l"]


_COMPARE = {
    ">=": dominates,
    "<=": lambda f, g: dominates(g, f),
    "=": lambda f, g: f == g,
    "!=": lambda f, g: f != g,
    "<": lambda f, g: f > g,
}
_CELL = {"cur": "current", "ctx": "context", "out": "output"}


def _attribute(words: str) -> Callable:
    if words == "x":
        return lambda q: BITS.get(q["x"], 0)
    byte = sum(BITS[letter] for letter in words)
    return lambda q: byte


# ---- conditions


def mapped(v: dict, k: Any) -> list:
    """map(k)."""
    return [s for (table, s, o), byte in v.items() if table == "b" and o == k and byte & BITS["c"]]


def _clean(v: dict, k: Any) -> bool:
    return ("context", None, k) not in v and ("output", None, k) not in v


def _unused(w: World, v: dict, o: Any) -> bool:
    """Nobody holds anything on it and it holds nothing; a user: without live instances; a card: free."""
    if w.kind[o] == "U":
        owners = {i: v.get(("own", None, i), u) for i, u in w.own.items()}
        return not any(u == o and ("live", None, i) in v for i, u in owners.items())
    if w.kind[o] == "K":
        return ("status", "free", o) in v
    return not any(key[0] == "b" and o in key[1:] and key[1] != "m" for key in v)


def _free(w: World, v: dict, o: Any) -> bool:
    """Unused, and no card has its data or a key slot of it."""
    named = ("context", "output")
    left = any((key[0] in named and value == o) or (key[0] == "key" and key[1] == o) for key, value in v.items())
    return _unused(w, v, o) and not left


def _typed(w: World, v: dict, t: Any, o: Any) -> bool:
    kinds = (w.kind.get(t), w.kind.get(o))
    return ("live", None, t) in v and (kinds == ("U", "I") and w.own[o] == t or kinds == ("I", "K"))


def star(clauses: tuple, v: dict, o: Any, level: int) -> bool:
    """R*: after f(o) := level the clauses hold of every right on o, and of every right that o has."""
    for (table, s, on), byte in v.items():
        if table != "b" or o not in (s, on):
            continue
        for side, letters, compare in clauses:
            if (side == "object") != (on == o) or not any(byte & BITS[x] for x in letters):
                continue
            if not _COMPARE[compare](level, v.get(("level", None, s if on == o else on), 0)):
                return False
    return True


def _rights(match: re.Match) -> Callable:
    letters = sum(BITS[x] for x in match[1].split(" or ")) if match[1] != "x" else None
    matrix, s, o = match[2], _thing(match[3]), _thing(match[4])

    def holds(w: World, v: dict, q: dict, t: Table) -> bool:
        byte = BITS.get(q["x"], 0) if letters is None else letters
        return bool(v.get((matrix, s(w, v, q), o(w, v, q)), 0) & byte)

    return holds


def _levels(match: re.Match) -> Callable:
    one, compare, two = _level(match[1]), _COMPARE[match[2]], _level(match[3])
    return lambda w, v, q, t: compare(one(w, v, q), two(w, v, q))


def _may_take(match: re.Match) -> Callable:
    level, thing = _level(match[1]), _thing(match[2])
    return lambda w, v, q, t: level(w, v, q) in w.may[thing(w, v, q)]


def _status(match: re.Match) -> Callable:
    thing, equal, status = _thing(match[1]), match[2] == "=", match[3]
    return lambda w, v, q, t: (("status", status, thing(w, v, q)) in v) == equal


def _who(match: re.Match) -> Callable:
    table, o, equal = _CELL[match[1]], _thing(match[2]), match[3] == "="
    who = (lambda w, v, q: None) if match[4] == "none" else _thing(match[4])
    return lambda w, v, q, t: (v.get((table, None, o(w, v, q))) == who(w, v, q)) == equal


def _key_slot(match: re.Match) -> Callable:
    i, k = _thing(match[1]), _thing(match[2])
    return lambda w, v, q, t: ("key", i(w, v, q), k(w, v, q)) in v


def _predicate(match: re.Match) -> Callable:
    name, thing = match[1], _thing(match[2])
    function = {
        "live": lambda w, v, e: ("live", None, e) in v,
        "unused": _unused,
        "free": _free,
        "empty": lambda w, v, e: not mapped(v, e) and _clean(v, e),
        "slotless": lambda w, v, e: not any(table == "current" and i == e for (table, _, _), i in v.items()),
        "instance": lambda w, v, e: w.kind.get(e) == "I",
        "manager": lambda w, v, e: e == "m",
        "none": lambda w, v, e: e is None,
    }[name]
    return lambda w, v, q, t: function(w, v, thing(w, v, q))


_ONE_OF = re.compile(r"x (?:in|=) (\w+)")
_CONDITIONS = (
    (re.compile(rf"((?:\w or )*\w) in (M|b)\[({_THING})\]\[({_THING})\]"), _rights),
    (re.compile(rf"({_LEVEL}) (>=|<=|=|!=|<) ({_LEVEL})"), _levels),
    (re.compile(rf"({_LEVEL}) in f_v\(({_THING})\)"), _may_take),
    (re.compile(rf"st\(({_THING})\) (=|!=) (\w+)"), _status),
    (re.compile(rf"(cur|ctx|out)\((\w)\) (=|!=) (none|{_THING})"), _who),
    (re.compile(rf"({_THING}) in key\(({_THING})\)"), _key_slot),
    (re.compile(rf"(live|unused|free|empty|slotless|instance|manager|none)\(({_THING})\)"), _predicate),
    (re.compile(r"R\*"), lambda match: lambda w, v, q, t: star(t.star, v, q["o"], q["l"])),
    (re.compile(r"s = o"), lambda match: lambda w, v, q, t: q["s"] == q["o"]),
    (re.compile(r"p > 4"), lambda match: lambda w, v, q, t: w.p > 4),
    (re.compile(r"typed\(t, o\)"), lambda match: lambda w, v, q, t: _typed(w, v, q["t"], q["o"])),
    (_ONE_OF, lambda match: lambda w, v, q, t: q["x"] in tuple(match[1])),
)


@lru_cache(None)
def condition(atom: str) -> Callable:
    """The atom as a function of world, state, request and table. ValueError when it is none."""
    told, _, given = atom.partition(" if ")
    if given:
        then, first = condition(told), condition(given)
        return lambda w, v, q, t: then(w, v, q, t) or not first(w, v, q, t)
    if told.startswith("not "):
        inner = condition(told[4:])
        return lambda w, v, q, t: not inner(w, v, q, t)
    for pattern, build in _CONDITIONS:
        match = pattern.fullmatch(told)
        if match:
            return build(match)
    raise ValueError(f"no condition: {atom!r}")


# ---- effects


def _store(v: dict, key: tuple, value: Any) -> None:
    if value:
        v[key] = value
    else:
        v.pop(key, None)


def _change_rights(match: re.Match) -> Callable:
    matrix, s, o, how = match[1], _thing(match[2]), _thing(match[3]), match[4]
    byte = (lambda q: 0) if match[5] == "{}" else _attribute(match[5])

    def change(w: World, v: dict, q: dict, t: Table) -> None:
        key = (matrix, s(w, v, q), o(w, v, q))
        old, new = v.get(key, 0), byte(q)
        _store(v, key, {"+=": old | new, "-=": old & ~new, ":=": new}[how])

    return change


def _change_level(match: re.Match) -> Callable:
    thing, level = _thing(match[1]), _level(match[2])
    return lambda w, v, q, t: _store(v, ("level", None, thing(w, v, q)), level(w, v, q))


def _change_status(match: re.Match) -> Callable:
    thing, told = _thing(match[1]), match[2]

    def change(w: World, v: dict, q: dict, t: Table) -> None:
        e = thing(w, v, q)
        status = told
        if told == "of l":
            status = {2: "using", w.p: "free"}.get(q["l"], "control")
        if t.status == "replaces":
            for other in STATUSES:
                v.pop(("status", other, e), None)
        v["status", status, e] = True

    return change


def _change_who(match: re.Match) -> Callable:
    table, o, value = _CELL[match[1]], _thing(match[2]), match[3]

    def change(w: World, v: dict, q: dict, t: Table) -> None:
        who = None
        if value == "ctx(o)":
            who = v.get(("context", None, q["o"]))
        elif value != "none":
            who = _thing(value)(w, v, q)
        _store(v, (table, None, o(w, v, q)), who)

    return change


def _change_key(match: re.Match) -> Callable:
    k, how, i = _thing(match[1]), match[2], _thing(match[3])

    def change(w: World, v: dict, q: dict, t: Table) -> None:
        key = ("key", i(w, v, q), k(w, v, q))
        _store(v, key, how == "+=")
        if how == "-=":
            v.pop(("secret", *key[1:]), None)

    return change


def _change_live(match: re.Match) -> Callable:
    how, thing = match[1], _thing(match[2])

    def change(w: World, v: dict, q: dict, t: Table) -> None:
        e = thing(w, v, q)
        _store(v, ("live", None, e), how == "+=")
        if how == "-=":
            # What is no more has no level and no status.
            for key in (("level", None, e), *(("status", status, e) for status in STATUSES)):
                v.pop(key, None)

    return change


def _data(match: re.Match) -> Callable:
    place, at, how, source = match[1], _thing(match[2]), match[3], match[4]

    def move(w: World, v: dict, q: dict, t: Table) -> None:
        key = (place, None, at(w, v, q))
        if how == ":=":
            v.pop(key, None)
            v.pop(("was", *key[1:]), None)
            return
        where = re.fullmatch(rf"(engine|buffers|memory)\(({_THING})\)", source)
        if where:
            found = v.get((where[1], None, _thing(where[2])(w, v, q)), NOBODY)
        else:
            found = frozenset({_thing(source)(w, v, q)})
        _store(v, key, v.get(key, NOBODY) | found)
        if place == "memory" and found:
            was = ("was", *key[1:])
            v[was] = min(v.get(was, 99), v.get(("level", None, key[2]), 99))

    return move


def _secret(match: re.Match) -> Callable:
    def load(w: World, v: dict, q: dict, t: Table) -> None:
        v["secret", q["s"], q["o"]] = frozenset({_thing("own(s)")(w, v, q)})

    return load


def _stale_keys(match: re.Match) -> Callable:
    def forget(w: World, v: dict, q: dict, t: Table) -> None:
        here = mapped(v, q["o"])
        for key in [key for key in v if key[0] in ("key", "secret") and key[2] == q["o"] and key[1] not in here]:
            del v[key]

    return forget


def _macro(match: re.Match) -> Callable:
    name, first, second = match[1], _thing(match[2]), match[3]

    def run(w: World, v: dict, q: dict, t: Table) -> None:
        if second == "every card":
            cards = [k for k, kind in w.kind.items() if kind == "K" and ("live", None, k) in v]
        else:
            cards = [_thing(second)(w, v, q) if second else None]
        who = first(w, v, q)
        for k in cards:
            bound = q | ({"i": who, "k": k} if second else {"k": who})
            for atom in t.macros[name]:
                effect(atom)(w, v, bound, t)

    return run


def _clear(match: re.Match) -> Callable:
    def clear(w: World, v: dict, q: dict, t: Table) -> None:
        for key in [key for key in v if key[0] in ("M", "b") and q["o"] in key[1:]]:
            del v[key]

    return clear


def _strip(match: re.Match) -> Callable:
    def strip(w: World, v: dict, q: dict, t: Table) -> None:
        for key in [key for key in v if key[0] == "b" and key[2] == q["o"]]:
            _store(v, key, v[key] & ~(BITS["r"] | BITS["w"] | BITS["a"]))

    return strip


def _own(match: re.Match) -> Callable:
    def give(w: World, v: dict, q: dict, t: Table) -> None:
        if q["t"] is not None:
            v["own", None, q["o"]] = q["t"]

    return give


_EFFECTS = (
    (re.compile(rf"(M|b)\[({_THING})\]\[({_THING})\] (\+=|-=|:=) (x|[rwace]+|\{{\}})"), _change_rights),
    (re.compile(rf"f\(({_THING})\) := ({_LEVEL})"), _change_level),
    (re.compile(rf"st\(({_THING})\) := (free|control|using|of l)"), _change_status),
    (re.compile(rf"(cur|ctx|out)\((\w)\) := (none|ctx\(o\)|{_THING})"), _change_who),
    (re.compile(rf"key\(({_THING})\) (\+=|-=) ({_THING})"), _change_key),
    (re.compile(rf"live (\+=|-=) ({_THING})"), _change_live),
    (re.compile(r"(engine|buffers|memory|got)\((\w)\) (\+=|:=) (.+)"), _data),
    (re.compile(r"secret\(s, o\) := own\(s\)"), _secret),
    (re.compile(r"key\(o\) := key\(o\) & map\(o\)"), _stale_keys),
    (re.compile(rf"(drop|settle)\(({_THING})(?:, (every card|{_THING}))?\)"), _macro),
    (re.compile(r"clear\(o\)"), _clear),
    (re.compile(r"strip\(o\)"), _strip),
    (re.compile(r"own\(o\) := t"), _own),
)


@lru_cache(None)
def effect(atom: str) -> Callable:
    """The atom as a function that changes the state. ValueError when it is none."""
    told, _, given = atom.partition(" if ")
    if given:
        then, first = effect(told), condition(given)
        return lambda w, v, q, t: then(w, v, q, t) if first(w, v, q, t) else None
    for pattern, build in _EFFECTS:
        match = pattern.fullmatch(told)
        if match:
            return build(match)
    raise ValueError(f"no effect: {atom!r}")


# ---- the interpreter


def check(table: Table) -> None:
    """Every atom of the table can be read. ValueError names one that cannot."""
    for row in table.rows.values():
        for atom in (*row.when, *row.conditions):
            condition(atom)
        for atom in row.effects:
            effect(atom)
    for atoms in table.macros.values():
        for atom in atoms:
            effect(atom)


class Interpreter:
    """The rules of a table in a world."""

    def __init__(self, table: Table, world: World) -> None:
        self.table, self.world = table, world
        self._ready: dict[Any, tuple] = {}
        self.rows: dict[tuple, list] = {}
        for row in table.rows.values():
            compiled = tuple([build(atom) for atom in atoms] for build, atoms in (
                (condition, row.when), (condition, row.conditions), (effect, row.effects)))  # fmt: skip
            for pair in row.pairs:
                self.rows.setdefault((row.rule, *pair), []).append(compiled)

    def step(self, v: dict, request: Any) -> tuple[str, dict]:
        """The answer, and the state after it: a new one after a yes, otherwise the one it was given."""
        w, t = self.world, self.table
        found = self._ready.get(request)
        if found is None:
            found = self._ready[request] = self._prepare(request)
        rows, live, q = found
        if not all(key in v for key in live):
            return "?", v
        for when, conditions, effects in rows:
            if not all(holds(w, v, q, t) for holds in when):
                continue
            for holds in conditions:
                if not holds(w, v, q, t):
                    return "no", v
            after = dict(v)
            for change in effects:
                change(w, after, q, t)
            return "yes", after
        return "?", v

    def _prepare(self, request: Any) -> tuple:
        """The rows that may be for a request, who has to be live for it, and its names."""
        w, s, o, level = self.world, request.subject, request.object, request.level
        if s not in w.kind or o not in w.kind:
            return (), (), {}
        live = [("live", None, s)] + [("live", None, o)] * (request.rule != "R7")
        if level is None and request.rule == "R7":
            level = w.p if w.kind[o] == "K" else FIRST_INSTANCE
        q = {"s": s, "o": o, "t": request.to, "x": request.attribute, "l": level, "n": request.next}
        return self.rows.get((request.rule, w.kind[s], w.kind[o]), ()), live, q

    def beginning(self) -> dict:
        """Nobody is live but the manager."""
        return {("live", None, "m"): True, ("level", None, "m"): 1}

    def real(self, v: dict) -> State:
        """The same state for the properties of vecd.ppm; what the ghost knows is left out."""
        w = self.world
        state = State(Levels(w.p))
        for e, kind in w.kind.items():
            if kind != "m":
                words = {"U": "user", "I": "instance", "K": "card"}
                state.name(e, words[kind], v.get(("own", None, e), w.own.get(e)))
                state.world[e] = state.world[e]._replace(may=frozenset(w.may[e]))
        state.restore((*key, value) for key, value in self.cells(v))
        return state

    def cells(self, v: dict) -> list:
        """The cells as vecd.ppm has them. Where H only ever adds, the status of a card is the one of its level."""
        found = [(key, value) for key, value in v.items() if key[0] in REAL]
        for k, kind in self.world.kind.items():
            if kind != "K" or ("live", None, k) not in v:
                continue
            if self.table.status == "replaces":
                status = next((s for s in ("control", "using") if ("status", s, k) in v), None)
            else:
                level = v.get(("level", None, k))
                status = {self.world.p: None, 2: "using"}.get(level, "control")
            if status:
                found.append((("status", None, k), status))
        return found
