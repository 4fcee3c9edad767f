"""
Transitions: every rule for every pair of kinds and every variant, each with its conditions and the state after it.

`transitions` is all there are. `Transition.step` applies it to a state; an edit of its parts (`without`, `instead`) is
how a test plants a defect.
"""

from typing import Any, NamedTuple

import z3

from tests.model.induction.rules import RULES, Ask, Effect, Guard, Request
from tests.model.induction.terms import KINDS, Bool, Int, State, Thing, kind
from vecd.ppm import state as real

# What is asked, whoever asks: one request, of which a transition takes what it needs.
SUBJECT, OBJECT, TO, NEXT = (z3.Const(name, Thing) for name in ("subject", "object", "to", "next"))
LEVEL, DEFAULT = z3.Const("level", Int), z3.Const("default", Bool)


class Step(NamedTuple):
    """What one transition asks of a state, and the state after a yes."""

    asks: list
    guards: list
    after: State
    touched: frozenset

    def meant(self):
        """The request is well formed for this transition."""
        return z3.And(*(ask.formula for ask in self.asks))

    def enabled(self):
        """The answer is yes."""
        return z3.And(*(part.formula for part in (*self.asks, *self.guards)))


def same(parts):
    return parts


class Transition(NamedTuple):
    """A row: rule, kinds of subject and object, variant. `edit` changes the list of its parts, for planted defects."""

    rule: str
    subject: str
    object: str
    variant: str
    edit: Any = same

    @property
    def name(self):
        return " ".join(filter(None, (self.rule, self.variant, f"{self.subject} on {self.object}")))

    def parts(self, v):
        pairs, creates, function = RULES[self.rule]
        q = Request(
            SUBJECT,
            OBJECT,
            TO,
            LEVEL,
            DEFAULT,
            NEXT,
            on_card=self.object == real.CARD,
            by_m=self.subject == real.MANAGER,
            variant=self.variant,
            object_kind=self.object,
        )
        parts = [
            Ask(f"the subject is of kind {self.subject}", kind(SUBJECT) == KINDS[self.subject]),
            Ask(f"the object is of kind {self.object}", kind(OBJECT) == KINDS[self.object]),
            Ask("the subject is live", v.live(SUBJECT)),
            *([] if creates else [Ask("the object is live", v.live(OBJECT))]),
            *function(v, q),
        ]
        return self.edit(parts)

    def step(self, v):
        return stepped(v, self.parts(v))

    def without(self, *words):
        """The same without the parts of these words."""
        edit = self.edit
        return self._replace(edit=lambda parts: [part for part in edit(parts) if part.words not in words])


def stepped(v, parts):
    effects = [part for part in parts if isinstance(part, Effect)]
    return Step(
        [part for part in parts if isinstance(part, Ask)],
        [part for part in parts if isinstance(part, Guard)],
        after(v, effects),
        frozenset(effect.table for effect in effects),
    )


def transitions():
    return [
        Transition(name, *pair, variant)
        for name, (pairs, _, _) in RULES.items()
        for pair, variants in pairs.items()
        for variant in variants
    ]


def after(v, effects):
    """The state after all effects at once: each reads v."""
    tables = dict(v.tables)
    for effect in effects:
        tables[effect.table] = _updated(tables[effect.table], effect)
    return State({name: _once(table) if table is not v.tables[name] else table for name, table in tables.items()})


def _updated(old, effect):
    def new(*place):
        here, value, before = effect.where(*place), effect.value(*place), old(*place)
        if z3.is_true(value):
            return z3.Or(here, before)
        if z3.is_false(value):
            return z3.And(z3.Not(here), before)
        return z3.If(here, value, before)

    return new


def _once(function):
    """Each term is made once: the same place gives the same term."""
    made = {}

    def remembered(*place):
        key = tuple(term.get_id() for term in place)
        if key not in made:
            # The place is kept as well: an id is only that of a term that is still there.
            made[key] = (function(*place), place)
        return made[key][0]

    return remembered
