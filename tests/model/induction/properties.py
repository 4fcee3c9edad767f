"""
The ten properties of vecd/ppm/properties.py in Z3, in its order and by its names; what else is kept; what follows.

Equal to the predicates on every state of vecd.ppm, secure or not: tests/model/induction/test_differential.py.
"""

import z3

from tests.model.induction.terms import (
    CARD,
    CONTROL,
    FREE,
    IN_USE,
    INSTANCE,
    LETTERS,
    NOTHING,
    TOP,
    USER,
    USING,
    Int,
    dominates,
    every,
    kind,
    m,
    may,
    nobody,
    own,
    p,
    some,
)

And, Or, Not, Implies, If = z3.And, z3.Or, z3.Not, z3.Implies, z3.If


def live_card(v, k):
    return And(kind(k) == CARD, v.live(k))


def simple_security(v):
    """1."""
    return every(lambda s, o: Implies(v.b(s, o, "rw"), And(v.b(s, o, "c"), v.f(s) != 0, dominates(v.f(s), v.f(o)))))


def star(v):
    """2."""
    return every(
        lambda s, o: And(
            Implies(v.b(s, o, "rwa"), v.b(s, o, "c")),
            Implies(v.b(s, o, "a"), dominates(v.f(o), v.f(s))),
            Implies(v.b(s, o, "w"), v.f(o) == v.f(s)),
            Implies(v.b(s, o, "r"), dominates(v.f(s), v.f(o))),
            Implies(v.b(s, o, "e"), And(s == m, dominates(v.f(s), v.f(o)))),
        )
    )


def discretionary(v):
    """3."""
    return every(lambda s, o: And(*(Implies(v.b(s, o, x), v.M(s, o, x)) for x in LETTERS)))


def typed(v):
    """4."""

    def fits(matrix, s, o):
        return And(
            v.live(s),
            v.live(o),
            If(
                s == m,
                And(Not(matrix(s, o, "rwac")), o != m),
                And(
                    Not(matrix(s, o, "e")),
                    If(
                        kind(o) == INSTANCE,
                        And(kind(s) == USER, own(o) == s),
                        And(kind(o) == CARD, kind(s) == INSTANCE),
                    ),
                ),
            ),
        )

    return And(
        every(lambda s, o: Implies(v.M(s, o, LETTERS), fits(v.M, s, o))),
        every(lambda s, o: Implies(v.b(s, o, LETTERS), fits(v.b, s, o))),
        every(lambda i: Implies(And(kind(i) == INSTANCE, v.live(i)), v.live(own(i))), by=lambda i: [own(i)]),
    )


def top(v):
    """5."""
    return every(lambda x: Implies(v.f(x) != 0, (v.f(x) == TOP) == (x == m)))


def virtual(v):
    """6."""
    return every(lambda x: And(Implies(v.f(x) != 0, may(x, v.f(x))), v.live(x) == (v.f(x) != 0)))


def status(v):
    """7."""

    def fits(k):
        st, f, cur = v.st(k), v.f(k), v.cur(k)
        somebody = Or(some(lambda s: v.b(s, k, "c")), Not(v.clean(k)))
        return And(
            (st != FREE) == (f != p),
            (st != FREE) == somebody,
            Implies(st == FREE, cur == nobody),
            (st == IN_USE) == (f == USING),
            Implies(And(st == CONTROL, cur != nobody), And(v.f(cur) != 0, f == v.f(cur))),
        )

    def empty(k):
        return And(v.st(k) == FREE, v.cur(k) == nobody, v.clean(k))

    return And(
        every(
            lambda k: Implies(kind(k) == CARD, If(v.live(k), fits(k), empty(k))),
            by=lambda k: [v.st(k), v.cur(k), v.ctx(k), v.out(k)],
        ),
        every(lambda i, k: Implies(And(kind(k) == CARD, Or(Not(v.live(k)), v.st(k) == FREE)), Not(v.key(i, k)))),
    )


def slot(v):
    """8."""
    return And(
        every(lambda s, k: Implies(And(live_card(v, k), v.b(s, k, "rwa")), s == v.cur(k))),
        every(
            lambda k: Implies(And(live_card(v, k), v.cur(k) != nobody), v.b(v.cur(k), k, "c")),
            by=lambda k: [v.cur(k)],
        ),
    )


def residue(v):
    """9."""

    def fits(k):
        cur, ctx, out = v.cur(k), v.ctx(k), v.out(k)
        return And(
            Implies(cur != nobody, And(Or(ctx == nobody, ctx == cur), Or(out == nobody, out == cur))),
            Implies(ctx != nobody, v.st(k) == IN_USE),
            Implies(And(ctx != nobody, out != nobody), ctx == out),
            *(Implies(whose != nobody, And(v.live(whose), kind(whose) == INSTANCE)) for whose in (ctx, out)),
        )

    return And(
        every(lambda k: Implies(live_card(v, k), fits(k)), by=lambda k: [v.st(k), v.cur(k), v.ctx(k), v.out(k)]),
        every(lambda i, k: Implies(And(live_card(v, k), v.key(i, k)), v.b(i, k, "c"))),
    )


def chain(v):
    """10."""
    return every(
        lambda i, k: Implies(And(live_card(v, k), v.b(i, k, "c")), And(kind(i) == INSTANCE, v.b(own(i), i, "c"))),
        by=lambda i, k: [(own(i), v.b(i, k, "c"))],
    )


PROPERTIES = {
    "simple security": simple_security,
    "star": star,
    "discretionary": discretionary,
    "type": typed,
    "top": top,
    "virtual": virtual,
    "status": status,
    "slot": slot,
    "residue": residue,
    "chain": chain,
}
"""Secure(v), by the names of vecd.ppm.properties."""


def shape(v):
    """What `State` cannot do otherwise: the manager is live, and what is live is in the world."""
    return And(v.live(m), every(lambda x: Implies(v.live(x), kind(x) != NOTHING)))


def instruction(v):
    """
    The manager may instruct what is live: R5 does not ask, so without this a secure state need not stay secure. R7
    makes it so, and R9 and R10 touch no e*.
    """
    return every(lambda x: Implies(And(v.live(x), x != m), v.M(m, x, "e")), by=lambda x: [v.M(m, x, "e")])


def taint(v):
    """
    Whose data are where, whatever the cells say: an instance, its user and its key slots have its user's data alone,
    and what is in an engine or an output buffer is of the user of whom ctx and out name.
    """
    return And(
        every(lambda u, x: Implies(v.got(u, x), u == x)),
        every(lambda i, x: Implies(v.memory(i, x), own(i) == x)),
        every(lambda i, k, x: Implies(v.slot(i, k, x), And(own(i) == x, v.key(i, k)))),
        every(lambda k, x: Implies(v.engine(k, x), And(v.ctx(k) != nobody, own(v.ctx(k)) == x))),
        every(lambda k, x: Implies(v.buffers(k, x), And(v.out(k) != nobody, own(v.out(k)) == x))),
    )


def labels(v):
    """No data in an instance are of a level above its own: nothing is written down, and nothing comes down with it."""
    return every(
        lambda i, n: Implies(And(kind(i) == INSTANCE, v.live(i), v.label(i, n)), dominates(v.f(i), n)),
        Int,
    )


GROUPS = PROPERTIES | {"shape": shape, "instruction": instruction, "taint": taint, "labels": labels}
"""Every group of an obligation: name to the formula of a state."""

SECURE = (*PROPERTIES, "shape", "instruction")
"""What an obligation may assume; a group of `DATA` assumes itself as well."""

DATA = ("taint", "labels")
"""What is said of the ghost."""


# What follows from Secure, state by state: docs/model.md, "Induction".
CONSEQUENCES = {
    "in using, only the slot owner holds anything but c, and at most c and a": lambda v: every(
        lambda s, k: Implies(
            And(live_card(v, k), v.st(k) == IN_USE, s != m),
            And(Not(v.b(s, k, "rwe")), Implies(v.b(s, k, "a"), s == v.cur(k))),
        )
    ),
    "at most one instance holds r, w or a on a card": lambda v: every(
        lambda s, t, k: Implies(And(kind(k) == CARD, v.b(s, k, "rwa"), v.b(t, k, "rwa")), s == t)
    ),
    "who can read a card finds its own data there alone, and never in the engine": lambda v: every(
        lambda s, k: Implies(
            And(kind(k) == CARD, v.b(s, k, "rw")),
            And(v.ctx(k) == nobody, Implies(v.out(k) != nobody, v.out(k) == s)),
        )
    ),
    "on a free card nobody holds anything, but the manager e*": lambda v: every(
        lambda s, k: Implies(
            And(live_card(v, k), v.st(k) == FREE),
            And(Not(v.b(s, k, "rwac")), Implies(v.b(s, k, "e"), s == m)),
        )
    ),
    "what is not live is in no cell": lambda v: every(
        lambda x, y: Implies(
            And(Not(v.live(x)), x != nobody),
            And(
                v.f(x) == 0,
                *(Not(matrix(*cell, LETTERS)) for matrix in (v.M, v.b) for cell in ((x, y), (y, x))),
                Implies(kind(x) == CARD, And(v.st(x) == FREE, v.cur(x) == nobody, v.clean(x), Not(v.key(y, x)))),
                Implies(kind(y) == CARD, And(v.cur(y) != x, v.ctx(y) != x, v.out(y) != x, Not(v.key(x, y)))),
            ),
        )
    ),
    "who reads a card gets data of its own user alone": lambda v: every(
        lambda s, k, x: Implies(And(kind(k) == CARD, v.b(s, k, "rw"), Or(v.engine(k, x), v.buffers(k, x))), own(s) == x)
    ),
    "no user has got data of another": lambda v: every(lambda u, x: Implies(v.got(u, x), u == x)),
    "who can get data out of an instance is at or above what is in it": lambda v: every(
        lambda u, i, n: Implies(
            And(kind(i) == INSTANCE, v.b(u, i, "rw"), v.label(i, n)),
            dominates(v.f(u), n),
        ),
        Int,
    ),
}
"""Sentence to formula. The last three are of the ghost."""
