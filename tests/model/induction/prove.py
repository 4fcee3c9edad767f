"""
The obligations: no transition leaves what is secure.

For a transition and a group of properties: World, Secure(v), what is asked and the guards, and not group(v'), and Z3
says that there is no such state. Where group(v') is the very same term as group(v), nothing has to be asked.
"""

from typing import NamedTuple

import z3

from tests.model.induction.properties import DATA, GROUPS, SECURE
from tests.model.induction.steps import OBJECT, SUBJECT
from tests.model.induction.terms import any_state, world

LIMIT = 20_000_000
"""
How much Z3 may do for one obligation, in its own units, which are the same on a busy machine. Most need a thousandth
of it; what needs more is not proved.
"""

PROVED, SAME, FAILED, UNKNOWN = "proved", "same", "failed", "unknown"


class Obligation(NamedTuple):
    transition: str
    group: str
    result: str
    model: object = None


def assumed(v, group=""):
    """What may be assumed of the state before."""
    return [*world().values(), *(GROUPS[name](v) for name in (*SECURE, *([group] if group in DATA else [])))]


def solver(v, group="", limit=LIMIT):
    found = z3.Solver()
    found.set("smt.mbqi", False)
    found.set("auto_config", False)
    found.set("rlimit", limit)
    found.add(*assumed(v, group))
    return found


def obligations(transition, groups=GROUPS, limit=LIMIT):
    """Every obligation of one transition, decided."""
    v = any_state()
    step = transition.step(v)
    asked = {group: solver(v, group, limit) for group in ("", *DATA)}
    for every in asked.values():
        every.add(step.enabled(), *_mentioned(v))
    for name in groups:
        before, then = GROUPS[name](v), GROUPS[name](step.after)
        if then.eq(before):
            yield Obligation(transition.name, name, SAME)
            continue
        yield Obligation(transition.name, name, *_valid(asked[name if name in DATA else ""], then))


def _mentioned(v):
    """The cell c of the request is called by a name, so that Z3 has that term to look at: this assumes nothing."""
    return [z3.Bool("c is held") == v.b(SUBJECT, OBJECT, "c")]


def _valid(asked, formula):
    asked.push()
    asked.add(z3.Not(formula))
    answer = asked.check()
    model = asked.model() if answer == z3.sat else None
    asked.pop()
    return PROVED if answer == z3.unsat else FAILED if answer == z3.sat else UNKNOWN, model
