"""
What the guard believes of a card: Monitor.observe_card of vecd/ppm/monitor.py, in Z3.

A card performs R2, R4, R6, R11 and R12 of its slot owner, and its operations, in its own word; the guard takes the
result into the state if no rule forbids it. So this is a transition like the rules: whatever a card shows, what was
secure stays so. The ghost is not looked at: an observation moves no data, it is told what moved.
"""

from typing import Any, NamedTuple

import z3

from tests.model.induction.rules import NO, Ask, Effect, Guard, cell
from tests.model.induction.steps import OBJECT, Transition, same, stepped
from tests.model.induction.terms import (
    CARD,
    FREE,
    IN_USE,
    INSTANCE,
    LETTERS,
    USING,
    Bool,
    Status,
    Thing,
    every,
    instance_level,
    kind,
    nobody,
    p,
    some,
)
from vecd.ppm import state as real

And, Or, Not, Implies, If = z3.And, z3.Or, z3.Not, z3.Implies, z3.If

# What was seen; `held` is the byte of the slot owner.
STATUS = z3.Const("seen status", Status)
CURRENT, CONTEXT, OUTPUT = (z3.Const(f"seen {what}", Thing) for what in ("current", "context", "output"))
HELD = {x: z3.Const(f"seen {x}", Bool) for x in "rwac"}
KEYS_SEEN = z3.Const("keys were looked at", Bool)
KEY = z3.Function("seen key", Thing, Bool)


class Observation(NamedTuple):
    """The transition, as steps.Transition; the object of the request is the card, and the subject is nothing."""

    edit: Any = same
    rule: str = "observation"
    subject: str = real.MANAGER
    object: str = real.CARD
    variant: str = ""
    name: str = "observation of a card"

    def parts(self, v):
        return self.edit(list(_observed(v, OBJECT)))

    def step(self, v):
        return stepped(v, self.parts(v))

    without = Transition.without


def _observed(v, k):
    yield Ask("a card", kind(k) == CARD)
    yield Ask("that is live", v.live(k))
    somebody = CURRENT != nobody
    yield Guard("nobody holds nothing", Implies(Not(somebody), Not(Or(*HELD.values()))))
    yield Guard("the slot owner is connected", Implies(somebody, v.maps(k, CURRENT)))
    yield Guard("the slot owner has c", Implies(somebody, HELD["c"]))
    yield Guard(
        "what it holds is within M",
        Implies(somebody, And(*(Implies(held, v.M(CURRENT, k, x)) for x, held in HELD.items()))),
    )
    yield Guard("no r and no w in using", Implies(And(somebody, STATUS == IN_USE), Not(Or(HELD["r"], HELD["w"]))))
    for what, whose in (("ctx", CONTEXT), ("out", OUTPUT)):
        there = whose != nobody
        yield Guard(f"{what} is a live instance", Implies(there, And(v.live(whose), kind(whose) == INSTANCE)))
        yield Guard(f"{what} is the slot owner", Implies(And(there, somebody), whose == CURRENT))
    yield Guard("ctx in using alone", Implies(CONTEXT != nobody, STATUS == IN_USE))
    yield Guard("ctx and out of one", Implies(CONTEXT != nobody, Or(OUTPUT == nobody, OUTPUT == CONTEXT)))
    yield Guard("key slots of the connected", Implies(KEYS_SEEN, every(lambda i: Implies(KEY(i), v.maps(k, i)))))
    connected = some(lambda i: v.maps(k, i))
    yield Guard(
        "nobody on a free card",
        Implies(STATUS == FREE, And(Not(connected), CURRENT == nobody, OUTPUT == nobody)),
    )

    status = If(And(Not(connected), CONTEXT == nobody, OUTPUT == nobody), FREE, STATUS)
    level = If(
        status == IN_USE,
        z3.IntVal(USING),
        If(
            status == FREE,
            p,
            If(somebody, v.f(CURRENT), If(instance_level(v.f(k)), v.f(k), p - 1)),
        ),
    )
    for x in "rwa":
        yield Effect(
            f"{x} of nobody else",
            f"b.{x}",
            lambda i, o: And(o == k, kind(i) == INSTANCE, i != CURRENT),
            lambda *_: NO,
        )
    for x in LETTERS:
        yield cell("held by the slot owner", f"b.{x}", CURRENT, k, becomes=HELD.get(x, NO), when=somebody)
    yield cell("st", "st", k, becomes=status)
    yield cell("f", "f", k, becomes=level)
    yield cell("cur", "cur", k, becomes=CURRENT)
    yield cell("ctx", "ctx", k, becomes=CONTEXT)
    yield cell("out", "out", k, becomes=OUTPUT)
    yield Effect("key", "key", lambda i, o: And(o == k, KEYS_SEEN), lambda i, o: KEY(i))
