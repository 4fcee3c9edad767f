"""
The world and the state of the model as Z3 terms.

One uninterpreted sort has every thing there is: how many users, instances and cards, nobody says. A level is an
integer, 1 the highest and 0 none; p, how many there are, is any number from 4. A state is a table of functions;
in the state before a step they are uninterpreted, after it they are terms over those.
"""

import inspect

import z3

from vecd.ppm import state as real

Thing = z3.DeclareSort("Thing")
Kind, (NOTHING, MANAGER, USER, INSTANCE, CARD) = z3.EnumSort(
    "Kind", ["nothing", real.MANAGER, real.USER, real.INSTANCE, real.CARD]
)
Status, (FREE, CONTROL, IN_USE) = z3.EnumSort("Status", [real.FREE, real.CONTROL, real.IN_USE])
Bool, Int = z3.BoolSort(), z3.IntSort()

KINDS = {real.MANAGER: MANAGER, real.USER: USER, real.INSTANCE: INSTANCE, real.CARD: CARD}
"""The kinds by the names that vecd.ppm has for them."""

LETTERS = real.LETTERS

# The world: what is fixed when a thing is named. What is of no kind is in no world.
m = z3.Const("m", Thing)
nobody = z3.Const("nobody", Thing)
kind = z3.Function("kind", Thing, Kind)
own = z3.Function("own", Thing, Thing)
may = z3.Function("may", Thing, Int, Bool)
p = z3.Int("p")

TOP, USING, FIRST_INSTANCE = 1, 2, 3

TABLES = {
    "live": (Thing, Bool),
    "f": (Thing, Int),
    **{f"M.{x}": (Thing, Thing, Bool) for x in LETTERS},
    **{f"b.{x}": (Thing, Thing, Bool) for x in LETTERS},
    "st": (Thing, Status),
    "cur": (Thing, Thing),
    "ctx": (Thing, Thing),
    "out": (Thing, Thing),
    "key": (Thing, Thing, Bool),
    # The ghost: whose data are in the memory of an instance, in the engine, buffers and key slots of a card, and
    # what a user has got.
    "memory": (Thing, Thing, Bool),
    "engine": (Thing, Thing, Bool),
    "buffers": (Thing, Thing, Bool),
    "slot": (Thing, Thing, Thing, Bool),
    "got": (Thing, Thing, Bool),
    # Of which levels the data in the memory of an instance are.
    "label": (Thing, Int, Bool),
}
"""Name of a table to the sorts of its places and of its values."""

GHOST = ("memory", "engine", "buffers", "slot", "got", "label")


def every(body, *where, by=None):
    """
    For all things, named as the parameters of `body`; `where` are sorts other than Thing, for the last ones.

    `by` has no meaning, it is advice to Z3: alternatives of terms, and where all of one are there, the formula is
    looked at. Without it Z3 may follow own(own(own(x))) for ever.
    """
    bound = _bound(body, where)
    looked_at = []
    for terms in by(*bound) if by else ():
        terms = terms if isinstance(terms, tuple) else (terms,)
        # In the state after a step a cell is a term that no pattern can be; there nobody needs one.
        if all(term.num_args() and term.decl().kind() == z3.Z3_OP_UNINTERPRETED for term in terms):
            looked_at.append(z3.MultiPattern(*terms))
    return z3.ForAll(bound, body(*bound), patterns=looked_at)


def some(body):
    """There is a thing."""
    bound = _bound(body, ())
    return z3.Exists(bound, body(*bound))


def _bound(body, sorts):
    names = list(inspect.signature(body).parameters)
    sorts = [Thing] * (len(names) - len(sorts)) + list(sorts)
    return [z3.Const(name, sort) for name, sort in zip(names, sorts, strict=True)]


def any_of(*formulas):
    return z3.Or(*formulas) if len(formulas) > 1 else formulas[0]


def all_of(*formulas):
    return z3.And(*formulas) if len(formulas) > 1 else formulas[0]


def dominates(high, low):
    """f(high) >= f(low) in the order of the model: the smaller number is the higher level."""
    return high <= low


def instance_level(level):
    return z3.And(level >= FIRST_INSTANCE, level <= p - 1)


class State:
    """One state: each table a function from places to a term."""

    def __init__(self, tables):
        self.tables = tables
        for name in TABLES:
            if "." not in name:
                setattr(self, name, tables[name])

    def M(self, s, o, letters):
        """One of the letters is in M[s][o]."""
        return any_of(*(self.tables[f"M.{x}"](s, o) for x in letters))

    def b(self, s, o, letters):
        """One of the letters is in b[s][o]."""
        return any_of(*(self.tables[f"b.{x}"](s, o) for x in letters))

    def maps(self, k, i):
        """i is in map(k), as the rules see it: an instance that holds c on k."""
        return z3.And(kind(i) == INSTANCE, self.b(i, k, "c"))

    def clean(self, k):
        """Neither the engine nor the output buffer is anybody's."""
        return z3.And(self.ctx(k) == nobody, self.out(k) == nobody)


def any_state(name="v"):
    """A state of which nothing is known."""
    return State({table: z3.Function(f"{name}.{table}", *sorts) for table, sorts in TABLES.items()})


_EMPTY = {Bool: z3.BoolVal(False), Int: z3.IntVal(0), Status: FREE, Thing: nobody}


def first_state():
    """The state of a world in which nothing was created: the manager is there, and nothing else."""
    tables = {table: (lambda *_, sort=sorts[-1]: _EMPTY[sort]) for table, sorts in TABLES.items()}
    tables["live"] = lambda x: x == m
    tables["f"] = lambda x: z3.If(x == m, z3.IntVal(TOP), z3.IntVal(0))
    return State(tables)


def started_state():
    """
    What a guard starts with, and what is taken for granted of it: the things of its register are live, at a level that
    they may take; M is what the register lets in, and e*; everything else is empty but for the manager's e*
    (Book._rebuild, and the checks of register.py).
    """
    v = any_state()

    def instructed(s, o):
        return z3.And(s == m, v.live(o), o != m)

    def cell_of_a_register(s, o):
        own_instance = z3.And(kind(o) == INSTANCE, own(o) == s)
        return z3.And(v.live(s), v.live(o), z3.Or(own_instance, z3.And(kind(s) == INSTANCE, kind(o) == CARD)))

    granted = [
        v.live(m),
        every(lambda x: z3.Implies(v.live(x), z3.And(kind(x) != NOTHING, may(x, v.f(x)), v.f(x) != 0))),
        every(lambda x: z3.Implies(z3.Not(v.live(x)), v.f(x) == 0)),
        every(lambda i: z3.Implies(z3.And(kind(i) == INSTANCE, v.live(i)), v.live(own(i))), by=lambda i: [own(i)]),
        every(lambda k: z3.Implies(z3.And(kind(k) == CARD, v.live(k)), v.f(k) == p)),
        every(lambda s, o: z3.Implies(v.M(s, o, "rwac"), cell_of_a_register(s, o))),
    ]
    kept = {table: v.tables[table] for table in ("live", "f", *(f"M.{x}" for x in "rwac"))}
    return State(first_state().tables | kept | {"M.e": instructed, "b.e": instructed}), granted


def world():
    """What State.name lets into a world, and Levels: name to formula."""
    return {
        "at least four levels": p >= 4,
        "one manager": every(lambda x: (kind(x) == MANAGER) == (x == m)),
        "nobody is no thing": kind(nobody) == NOTHING,
        "an instance has a user, and nothing else has": every(
            lambda x: z3.If(kind(x) == INSTANCE, kind(own(x)) == USER, own(x) == nobody), by=lambda x: [own(x)]
        ),
        "f_v of what is in no world": every(lambda x, n: z3.Implies(kind(x) == NOTHING, z3.Not(may(x, n))), Int),
        "f_v of the manager": every(lambda n: may(m, n) == (n == TOP), Int),
        "f_v of users and instances": every(
            lambda x, n: z3.Implies(z3.And(z3.Or(kind(x) == USER, kind(x) == INSTANCE), may(x, n)), instance_level(n)),
            Int,
        ),
        "f_v of cards": every(
            lambda k, n: z3.Implies(kind(k) == CARD, may(k, n) == z3.Or(n == USING, n == p, instance_level(n))),
            Int,
        ),
    }
