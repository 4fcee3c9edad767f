"""
The same terms over a world of a known size: quantifiers become conjunctions, and Z3 finds states.

What holds for any size is proved in `prove`; here are examples: a secure state in which a transition is enabled, and
the counter-models of planted defects. The world is all there is, so what is found is a model of the terms as they are.
"""

from itertools import product

import z3

from tests.model.induction.observation import CONTEXT, CURRENT, OUTPUT
from tests.model.induction.properties import DATA, GROUPS, SECURE
from tests.model.induction.steps import DEFAULT, LEVEL, NEXT, OBJECT, SUBJECT, TO
from tests.model.induction.terms import (
    CARD,
    INSTANCE,
    MANAGER,
    NOTHING,
    USER,
    Thing,
    any_state,
    kind,
    m,
    may,
    nobody,
    own,
    p,
)
from tests.model.induction.terms import world as axioms
from vecd.ppm import state as real
from vecd.ppm.levels import Levels
from vecd.ppm.request import Request

USERS = {"A": "A", "B": "B"}
INSTANCES = {"a": "A", "b": "B", "c": "B"}
CARDS = ("k", "l")
LEVELS = 5


class Ground:
    """Two users, three instances, two cards; five levels, of which everybody may take all that its kind may."""

    def __init__(self):
        self.things = {"m": m, "nobody": nobody}
        self.things |= {name: z3.Const(name, Thing) for name in (*USERS, *INSTANCES, *CARDS)}
        kinds = {"m": MANAGER, "nobody": NOTHING}
        kinds |= dict.fromkeys(USERS, USER) | dict.fromkeys(INSTANCES, INSTANCE) | dict.fromkeys(CARDS, CARD)
        self.fixed = [(kind(self.things[x]), kinds[x]) for x in self.things]
        self.fixed += [(own(x), self.things[INSTANCES.get(name, "nobody")]) for name, x in self.things.items()]
        self.fixed += [
            (may(x, z3.IntVal(n)), z3.BoolVal(n in self._levels(name)))
            for name, x in self.things.items()
            for n in self.numbers
        ]
        self.fixed += [(p, z3.IntVal(LEVELS))]
        self.fixed += [(x == y, z3.BoolVal(False)) for x, y in product(self.things.values(), repeat=2) if not x.eq(y)]
        self.v = any_state()
        self.solver = z3.Solver()
        self.solver.add(*self._closed(), *(self.of(formula) for formula in axioms().values()))
        self.solver.add(*(self.of(GROUPS[name](self.v)) for name in (*SECURE, *DATA)))

    numbers = range(LEVELS + 2)

    @staticmethod
    def _levels(name):
        if name in ("m", "nobody"):
            return (1,) if name == "m" else ()
        return (2, 3, 4, 5) if name in CARDS else (3, 4)

    def _closed(self):
        """The world is all there is."""
        inside = [SUBJECT, OBJECT, TO, NEXT, CURRENT, CONTEXT, OUTPUT]
        for x in self.things.values():
            inside += [self.v.cur(x), self.v.ctx(x), self.v.out(x)]
        for term in inside:
            yield z3.Or(*(term == x for x in self.things.values()))
        yield z3.Distinct(*self.things.values())
        for number in (LEVEL, *(self.v.f(x) for x in self.things.values())):
            yield z3.And(number >= 0, number < len(self.numbers))
        # Of things a number is a level only if it is one of these.
        for x in self.things.values():
            yield from (may(x, z3.IntVal(n)) == z3.BoolVal(n in self._levels(self._name(x))) for n in self.numbers)
            yield from (kind(x) == value for term, value in self.fixed if term.eq(kind(x)))
            yield from (own(x) == value for term, value in self.fixed if term.eq(own(x)))
        yield p == LEVELS

    def _name(self, thing):
        return next(name for name, x in self.things.items() if x.eq(thing))

    def of(self, term, request=()):
        """The term with every quantifier written out, for a request if it is known."""
        term = z3.substitute(self._written_out(term), *request) if request else self._written_out(term)
        # Twice: kind(own(a)) becomes kind(A) first.
        return z3.simplify(z3.substitute(z3.substitute(term, *self.fixed), *self.fixed))

    def _written_out(self, term):
        if z3.is_quantifier(term):
            body, count = term.body(), term.num_vars()
            choices = [
                list(self.things.values()) if term.var_sort(n) == Thing else [z3.IntVal(n) for n in self.numbers]
                for n in range(count)
            ]
            # Variable 0 is the last that is bound.
            cases = [z3.substitute_vars(body, *reversed(place)) for place in product(*choices)]
            return (z3.And if term.is_forall() else z3.Or)(*(self._written_out(case) for case in cases))
        if z3.is_app(term) and term.num_args():
            children = [self._written_out(child) for child in term.children()]
            if any(not new.eq(old) for new, old in zip(children, term.children(), strict=True)):
                return term.decl()(*children)
        return term

    def find(self, *terms, request=()):
        """A model of the terms in a secure state, or None. Raises ValueError if Z3 does not know."""
        self.solver.push()
        try:
            self.solver.add(*(self.of(term, request) for term in terms), *(name == value for name, value in request))
            answer = self.solver.check()
            if answer == z3.unknown:
                raise ValueError(f"Z3 does not know: {self.solver.reason_unknown()}")
            return self.solver.model() if answer == z3.sat else None
        finally:
            self.solver.pop()

    def enabled(self, transition):
        """A secure state in which the transition is a yes, and the request."""
        return self.find(transition.step(self.v).enabled())

    def broken(self, transition, group):
        """A secure state that the transition leaves for one in which the group does not hold, or None."""
        step = transition.step(self.v)
        for request in self._requests(transition):
            found = self.find(step.enabled(), z3.Not(GROUPS[group](step.after)), request=request)
            if found is not None:
                return found
        return None

    def _requests(self, transition):
        """Who may ask for it on what, up to names: first what is meant, then what is not."""
        names = {"user": "A", "instance": "a", "card": "k", "m": "m"}
        s, o = names[transition.subject], names[transition.object]
        meant = [(s, o, "a" if o == "k" else "A", n) for n in ("nobody", "b")]
        wrong = [("A", "b", "A", "nobody"), (s, o, "c", "nobody"), (s, o, "B", "nobody"), (s, o, "a", "l")]
        wrong += [(s, x, "a" if o == "k" else "A", "nobody") for x in ("a", "A", "b", "m", "k")]
        wrong += [(x, o, s, "nobody") for x in ("b", "A", "m", "l")]
        for chosen in dict.fromkeys([*meant, *wrong]):
            yield [
                (constant, self.things[name])
                for constant, name in zip((SUBJECT, OBJECT, TO, NEXT), chosen, strict=True)
            ]

    def real(self, model, v=None):
        """A state (by default that before the step) and the request, in vecd.ppm, but for rule and attribute."""
        state = real.State(Levels(LEVELS))
        for user in USERS:
            state.name(user, real.USER)
        for instance, user in INSTANCES.items():
            state.name(instance, real.INSTANCE, user)
        for card in CARDS:
            state.name(card, real.CARD)
        state.restore(self._cells(model, v or self.v))
        level = None if z3.is_true(model.eval(DEFAULT)) else model.eval(LEVEL, model_completion=True).as_long()
        keys = {
            name: self._value(model, term) for name, term in (("s", SUBJECT), ("o", OBJECT), ("to", TO), ("next", NEXT))
        }
        return state, Request("", keys["s"], keys["o"], to=keys["to"], level=level, next=keys["next"])

    def _value(self, model, term):
        """What a term is in a model, as vecd.ppm writes it."""
        found = model.eval(term, model_completion=True)
        if found.sort() == Thing:
            name = next(name for name, x in self.things.items() if model.eval(x).eq(found))
            return None if name == "nobody" else name
        if z3.is_int_value(found):
            return found.as_long()
        return z3.is_true(found) if z3.is_bool(found) else str(found)

    def _cells(self, model, v):
        names = [name for name in self.things if name != "nobody"]

        def value(table, *place):
            return self._value(model, v.tables[table](*(self.things[x] for x in place)))

        rows = {"live": "live", "f": "level", "st": "status", "cur": "current", "ctx": "context", "out": "output"}
        for x in names:
            for table, row in rows.items():
                if (table in ("live", "f") or x in CARDS) and value(table, x) not in (False, 0, None, real.FREE):
                    yield row, None, x, value(table, x)
        for s, o in product(names, repeat=2):
            for matrix in "Mb":
                byte = sum(real.BITS[x] for x in real.LETTERS if value(f"{matrix}.{x}", s, o))
                if byte:
                    yield matrix, s, o, byte
            if s in INSTANCES and o in CARDS and value("key", s, o):
                yield "key", s, o, True
