"""
Z3 terms, evaluated on many states of vecd.ppm at once.

A term is walked once and becomes a closure. What it gives is sliced: a truth value is a number whose bit n says
whether it is true in state n, any other value is a dict from the values that occur to the states in which they do.
So one evaluation answers for all states, and nothing of a term is left out or rewritten: what is proved is evaluated.
"""

from itertools import product

import z3

from tests.model.induction.terms import LETTERS, TABLES, Thing
from vecd.ppm import state as real

NOTHING = "nothing"
STRANGER = "a stranger"
"""A thing that is in no world."""

DEFAULTS = {"f": 0, "st": real.FREE, "cur": None, "ctx": None, "out": None}
"""What is in a cell that is empty; where it is not in here, False."""

_BOOL = z3.BoolSort()
_ROWS = {"live": "live", "level": "f", "status": "st", "current": "cur", "context": "ctx", "output": "out"}


class States:
    """Some states of one world, in slices. The things are those of the world, nobody (None) and a stranger."""

    def __init__(self, state, name="v"):
        self.count = 0
        self.name = name
        self.things = [*state.world, None, STRANGER]
        self.levels = state.levels
        numbers = range(state.levels.count + 3)
        self.places = {
            table: list(product(*(self.things if sort == Thing else numbers for sort in sorts[:-1])))
            for table, sorts in TABLES.items()
        }
        self.tables = {table: {} for table in TABLES}
        self.fixed = {
            "kind": {(x,): state.world[x].kind if x in state.world else NOTHING for x in self.things},
            "own": {(x,): state.world[x].owner if x in state.world else None for x in self.things},
            "may": {(x, n): x in state.world and n in state.world[x].may for x in self.things for n in numbers},
        }
        self.constants = {"m": real.MANAGER, "nobody": None, "p": state.levels.count}

    @property
    def full(self):
        return (1 << self.count) - 1

    def add(self, state, ghost=()):
        """One more state. `ghost` is pairs of a place in a ghost table, (table, *things), and what is there."""
        bit = 1 << self.count
        self.count += 1
        for table, place, value in values(state):
            self._set(table, place, value, bit)
        for (table, *place), there in ghost:
            for what in there:
                self._set(table, (*place, what), True, bit)

    def _set(self, table, place, value, bit):
        if value is True:
            self.tables[table][place] = self.tables[table].get(place, 0) | bit
        else:
            column = self.tables[table].setdefault(place, {})
            column[value] = column.get(value, 0) | bit

    def cell(self, table, place):
        """What is in a cell, sliced."""
        found = self.tables[table].get(place)
        if table not in DEFAULTS:
            return found or 0
        found = found or {}
        rest = self.full
        for mask in found.values():
            rest &= ~mask
        default = DEFAULTS[table]
        return found if not rest else found | {default: rest | found.get(default, 0)}

    def call(self, name):
        """The function of that name, as a function of places."""
        if name in self.fixed:
            table, full = self.fixed[name], self.full
            if name in ("may", "seen key"):
                return lambda place: full if table.get(place) else 0
            return lambda place: {table[place]: full}
        table = name.removeprefix(f"{self.name}.")
        return lambda place: self.cell(table, place)


def values(state):
    """Every cell of a real state that is not empty, in the tables of `terms`."""
    for table, subject, object, value in state.cells():
        if table in ("M", "b"):
            for n, x in enumerate(LETTERS):
                if value >> n & 1:
                    yield f"{table}.{x}", (subject, object), True
        elif table == "key":
            yield "key", (subject, object), True
        else:
            yield _ROWS[table], (object,), value


def changed(change):
    """A change of vecd.ppm in the tables of `terms`: (table, place, new value)."""
    table, subject, object, old, new = change
    if table in ("M", "b"):
        for n, x in enumerate(LETTERS):
            if (old ^ new) >> n & 1:
                yield f"{table}.{x}", (subject, object), bool(new >> n & 1)
    elif table == "key":
        yield "key", (subject, object), bool(new)
    elif table == "live":
        yield "live", (object,), bool(new)
    else:
        name = _ROWS[table]
        yield name, (object,), DEFAULTS[name] if new is None else new


class Term:
    """A Z3 term as a closure."""

    def __init__(self, term):
        self.run = _compiled(term)

    def on(self, states, **constants):
        """Its value on `states`, where the constants of these names have these values."""
        return self.run(_Place(states, constants), ())


class _Place:
    """Where a term is evaluated."""

    __slots__ = ("calls", "constants", "full", "states", "things")

    def __init__(self, states, constants):
        self.states = states
        self.full = states.full
        self.things = states.things
        self.constants = states.constants | constants
        self.calls = {}

    def call(self, name, place):
        known = self.calls.get((name, place))
        if known is None:
            known = self.calls[name, place] = self.states.call(name)(place)
        return known


def _compiled(term):
    if z3.is_var(term):
        index = z3.get_var_index(term)
        return lambda at, bound: {bound[-1 - index]: at.full}
    if z3.is_quantifier(term):
        return _quantifier(term)
    if z3.is_int_value(term):
        number = term.as_long()
        return lambda at, bound: {number: at.full}
    make = _OPERATORS.get(term.decl().kind())
    if make is None:
        raise ValueError(f"no closure for {term.decl()} in {term}")
    return make(term, [_compiled(child) for child in term.children()])


def _quantifier(term):
    body, count, every = _compiled(term.body()), term.num_vars(), term.is_forall()
    sorts = [term.var_sort(n) for n in range(count)]

    def run(at, bound):
        found = at.full if every else 0
        for new in product(*(at.things if sort == Thing else range(at.constants["p"] + 3) for sort in sorts)):
            value = body(at, bound + new)
            found = found & value if every else found | value
            if found == (0 if every else at.full):
                break
        return found

    return run


def _constant(value):
    return lambda term, children: lambda at, bound: at.full if value else 0


def _and(term, children):
    def run(at, bound):
        found = at.full
        for child in children:
            if not found:
                break
            found &= child(at, bound)
        return found

    return run


def _or(term, children):
    def run(at, bound):
        found = 0
        for child in children:
            if found == at.full:
                break
            found |= child(at, bound)
        return found

    return run


def _not(term, children):
    (child,) = children
    return lambda at, bound: at.full & ~child(at, bound)


def _implies(term, children):
    first, then = children

    def run(at, bound):
        if not (when := first(at, bound)):
            return at.full
        return (at.full & ~when) | then(at, bound)

    return run


def _if(term, children):
    condition, then, otherwise = children
    if term.sort() == _BOOL:

        def run(at, bound):
            when = condition(at, bound)
            return (when & then(at, bound)) | (at.full & ~when & otherwise(at, bound))

        return run

    def choose(at, bound):
        when = condition(at, bound)
        found = {}
        for mask, child in ((when, then), (at.full & ~when, otherwise)):
            if mask:
                for value, where in child(at, bound).items():
                    if where & mask:
                        found[value] = found.get(value, 0) | (where & mask)
        return found

    return choose


def _equal(term, children):
    one, other = children
    if term.arg(0).sort() == _BOOL:
        return lambda at, bound: at.full & ~(one(at, bound) ^ other(at, bound))

    def run(at, bound):
        left, right = one(at, bound), other(at, bound)
        found = 0
        for value, mask in left.items():
            found |= mask & right.get(value, 0)
        return found

    return run


def _distinct(term, children):
    assert len(children) == 2
    equal = _equal(term, children)
    return lambda at, bound: at.full & ~equal(at, bound)


def _compare(holds):
    def make(term, children):
        one, other = children

        def run(at, bound):
            left, right = one(at, bound), other(at, bound)
            found = 0
            for a, mask in left.items():
                for b, also in right.items():
                    if holds(a, b):
                        found |= mask & also
            return found

        return run

    return make


def _arithmetic(compute):
    def make(term, children):
        one, other = children

        def run(at, bound):
            found = {}
            for a, mask in one(at, bound).items():
                for b, also in other(at, bound).items():
                    if mask & also:
                        found[compute(a, b)] = found.get(compute(a, b), 0) | (mask & also)
            return found

        return run

    return make


def _enumerated(term, children):
    value = term.decl().name()
    return lambda at, bound: {value: at.full}


def _called(term, children):
    name, sort = term.decl().name(), term.sort()
    if not children:
        if sort == _BOOL:
            return lambda at, bound: at.full if at.constants[name] else 0
        return lambda at, bound: {at.constants[name]: at.full}
    if sort == _BOOL:

        def holds(at, bound):
            found = 0
            for place, mask in _places(children, at, bound):
                found |= mask & at.call(name, place)
            return found

        return holds

    def run(at, bound):
        found = {}
        for place, mask in _places(children, at, bound):
            for value, where in at.call(name, place).items():
                if where & mask:
                    found[value] = found.get(value, 0) | (where & mask)
        return found

    return run


def _places(children, at, bound):
    for parts in product(*(child(at, bound).items() for child in children)):
        mask = at.full
        for _, where in parts:
            mask &= where
        if mask:
            yield tuple(value for value, _ in parts), mask


_OPERATORS = {
    z3.Z3_OP_TRUE: _constant(True),
    z3.Z3_OP_FALSE: _constant(False),
    z3.Z3_OP_AND: _and,
    z3.Z3_OP_OR: _or,
    z3.Z3_OP_NOT: _not,
    z3.Z3_OP_IMPLIES: _implies,
    z3.Z3_OP_ITE: _if,
    z3.Z3_OP_EQ: _equal,
    z3.Z3_OP_DISTINCT: _distinct,
    z3.Z3_OP_LE: _compare(lambda a, b: a <= b),
    z3.Z3_OP_GE: _compare(lambda a, b: a >= b),
    z3.Z3_OP_ADD: _arithmetic(lambda a, b: a + b),
    z3.Z3_OP_SUB: _arithmetic(lambda a, b: a - b),
    z3.Z3_OP_DT_CONSTRUCTOR: _enumerated,
    z3.Z3_OP_UNINTERPRETED: _called,
}
