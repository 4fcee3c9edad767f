"""
The Z3 form against vecd.ppm: every request in every given state, the answer of three and the whole next state.

Of the form the very terms of the proof are evaluated (`finite`); of vecd.ppm, `decide` and what its decisions change.
"""

import itertools
from collections import Counter

import z3

from tests.model.induction import observation, scrambled
from tests.model.induction.finite import DEFAULTS, STRANGER, States, Term, changed, values
from tests.model.induction.properties import PROPERTIES
from tests.model.induction.steps import transitions
from tests.model.induction.terms import GHOST, TABLES, any_state
from tests.model.test_taint import moved
from vecd.base.errors import Integrity
from vecd.ppm import properties, rules
from vecd.ppm.monitor import Monitor
from vecd.ppm.rules import UNCLEAR, YES
from vecd.ppm.state import BITS

_VARIANTS = ("R6", "R9", "R10")

# The ghost of tests/model/test_taint.py by our tables.
_GHOSTS = {"memory": "memory", "engine": "engine", "buffers": "buffers", "key": "slot", "user": "got", "label": "label"}


def _cell(state, table):
    """The term of any cell of a table; its place is constants."""
    *sorts, _ = TABLES[table]
    return Term(state.tables[table](*(z3.Const(f"place {n}", sort) for n, sort in enumerate(sorts))))


class Row:
    """A transition, walked once."""

    def __init__(self, transition):
        v = any_state()
        step = transition.step(v)
        self.name = transition.name
        self.meant = Term(step.meant())
        self.enabled = Term(step.enabled())
        self.after = {table: _cell(step.after, table) for table in sorted(step.touched)}


class Form:
    """The table of transitions, walked; and how often each was a yes when it was compared."""

    def __init__(self):
        self.rows = {}
        self.enabled = Counter()
        for transition in transitions():
            key = transition.rule, transition.variant if transition.rule in _VARIANTS else ""
            self.rows.setdefault(key, []).append(Row(transition))

    def rows_of(self, request):
        """The rows that may be meant, or none: then the answer is `?`, whatever the state."""
        levelled = request.rule in ("R7", "R11")
        default = request.rule == "R7" and request.level is None
        if type(request.rule) is not str or (levelled and not default and type(request.level) is not int):
            return ()
        variant = request.attribute if request.rule in _VARIANTS else ""
        return self.rows.get((request.rule, variant), ()) if type(variant) is str else ()


def constants(states, request):
    """The request, as the constants of the terms."""
    known = set(states.things)

    def thing(key):
        return key if type(key) in (str, int, type(None)) and key in known else STRANGER

    level = request.level if type(request.level) is int else 0
    return {
        "subject": thing(request.subject),
        "object": thing(request.object),
        "to": thing(request.to),
        "next": thing(request.next),
        "level": level,
        "default": request.level is None,
    }


class Answers:
    """What vecd.ppm said to one request, in slices."""

    def __init__(self):
        self.yes = self.unclear = self.failed = 0
        self.cells = {}

    def add(self, decision, bit, cells):
        if decision.answer == YES:
            self.yes |= bit
            for table, place, value in cells:
                column = self.cells.setdefault((table, place), {})
                column[value] = column.get(value, 0) | bit
        elif decision.answer == UNCLEAR:
            self.unclear |= bit
            assert not decision.changes


def ask_all(state, snapshots, requests, ghosts=itertools.repeat(None), decide=rules.decide):
    """All requests in all of the states. Returns the states in slices and an `Answers` for each request."""
    states, answers = States(state), [Answers() for _ in requests]
    for snapshot, ghost in zip(snapshots, ghosts, strict=False):
        bit = 1 << states.count
        state.restore(snapshot)
        states.add(state, ghosted(ghost))
        for request, answer in zip(requests, answers, strict=True):
            try:
                decision = decide(state, request)
            except (KeyError, StopIteration):
                # R8 where something live has no level, or a user e*: it finds no old value or no letter to name.
                assert request.rule == "R8" and not properties.secure(state)
                answer.failed |= bit
                continue
            cells = [cell for change in decision.changes for cell in changed(change)]
            assert len({cell[:2] for cell in cells}) == len(set(cells)), f"{decision} gives a cell two values"
            if ghost is not None and decision:
                cells += ghost_changes(state, ghost, request, decision.wipes)
            answer.add(decision, bit, cells)
    return states, answers


def ghosted(ghost):
    return [((_GHOSTS[what], *where), tuple(there)) for (what, *where), there in (ghost or {}).items()]


def ghost_changes(state, ghost, request, wipes):
    """What an operation moves and a wipe overwrites, by tests/model/test_taint.py, and of which level it is."""
    before = {(place, what) for place, there in ghosted(ghost) for what in there}
    then = labelled(state, moved(state, ghost, request, wipes), request, wipes)
    then = {(place, what) for place, there in ghosted(then) for what in there}
    for (table, *place), what in before ^ then:
        yield table, (*place, what), ((table, *place), what) in then


def labelled(state, ghost, request, wipes):
    """Data are of the level of who put them in, a result of that to which the card came down: its instance's."""
    filled = {"put": request.object, "fetch": request.subject}.get(request.rule)
    if filled is not None:
        key = ("label", filled)
        ghost = ghost | {key: ghost.get(key, frozenset()) | {state.level.get(request.subject, 0)}}
    return {place: there for place, there in ghost.items() if place[0] != "label" or ("memory", place[1]) not in wipes}


def differences(form, states, requests, answers, *, ghost=False):
    """Every request for which the form and vecd.ppm differ, each a sentence."""
    return [
        f"{request}: {wrong}"
        for request, answer in zip(requests, answers, strict=True)
        for wrong in _differs(form, states, request, answer, ghost)
    ]


def _differs(form, states, request, answer, ghost):
    here = constants(states, request)
    asked = states.full & ~answer.failed
    meant = yes = 0
    for row in form.rows_of(request):
        fits = row.meant.on(states, **here)
        if fits & meant:
            yield f"{row.name} and another row are meant by it"
        meant |= fits
        enabled = row.enabled.on(states, **here) & asked
        yes |= enabled
        if enabled:
            form.enabled[row.name] += enabled.bit_count()
            yield from _next_differs(row, states, here, enabled, answer, ghost)
    if (asked & ~meant) ^ answer.unclear:
        yield f"is ? in other states: {_first(states, (asked & ~meant) ^ answer.unclear)}"
    if yes ^ answer.yes:
        yield f"is a yes in other states: {_first(states, yes ^ answer.yes)}"


def _next_differs(row, states, here, enabled, answer, ghost):
    for (table, place), column in answer.cells.items():
        if table not in row.after and any(mask & enabled for mask in column.values()):
            yield f"{row.name} does not write {table}{place}"
    for table, term in row.after.items():
        if table in GHOST and not ghost:
            continue
        for place in states.places[table]:
            new = term.on(states, **here, **{f"place {n}": x for n, x in enumerate(place)})
            old, column = states.cell(table, place), answer.cells.get((table, place), {})
            touched = 0
            for mask in column.values():
                touched |= mask
            if isinstance(new, int):
                wrong = new ^ ((old & ~touched) | column.get(True, 0))
            else:
                wrong = 0
                for value in {*new, *old, *column}:
                    wrong |= new.get(value, 0) ^ ((old.get(value, 0) & ~touched) | column.get(value, 0))
            if wrong & enabled:
                yield f"{row.name} makes another {table}{place}: {_first(states, wrong & enabled)}"
                return


def _first(states, mask):
    number = (mask & -mask).bit_length() - 1
    cells = [
        f"{table}{place}={value}"
        for table in TABLES
        for place, found in states.tables[table].items()
        for value, where in (found.items() if isinstance(found, dict) else [(True, found)])
        if where >> number & 1
    ]
    return f"state {number}: {' '.join(cells)}"


def property_differences(states, each):
    """
    Where a property in Z3 and the predicate of vecd.ppm differ on `states`; `each` gives the real states again, in the
    same order. Returns the names, and the number of states that are secure.
    """
    real = dict.fromkeys(PROPERTIES, 0)
    for number, state in enumerate(each):
        for name in real:
            if not properties.PROPERTIES[name](state):
                real[name] |= 1 << number
    v = any_state()
    found = {name: Term(formula(v)).on(states) for name, formula in PROPERTIES.items()}
    secure = states.full
    for mask in found.values():
        secure &= mask
    wrong = [f"{name}: {_first(states, found[name] ^ real[name])}" for name in PROPERTIES if found[name] ^ real[name]]
    return wrong, secure.bit_count()


def observe_all(rng, count):
    """
    Random observations of cards in random secure states: the form and Monitor.observe_card agree whether it is
    believed, and on every cell. Returns how many are believed and how many not; AssertionError when they differ.
    """
    v = any_state()
    step = observation.Observation().step(v)
    enabled = Term(step.enabled())
    after = {table: _cell(step.after, table) for table in sorted(step.touched)}
    believed = 0
    for number in range(count):
        if number % 100 == 0:
            world = scrambled.world(rng)
        monitor = Monitor(world.levels.count)
        monitor.state = world.copy()
        monitor.state.restore(scrambled.secure(rng, monitor.state))
        states = States(monitor.state)
        states.add(monitor.state)
        before = {(table, place): value for table, place, value in values(monitor.state)}
        k, seen = scrambled.observation(rng, monitor.state)
        if k not in monitor.state.live:
            continue
        here = _seen(seen, k)
        states.fixed["seen key"] = {(x,): x in (seen["keys"] or ()) for x in states.things}
        try:
            keys = {} if seen["keys"] is None else {"keys": seen["keys"]}
            changes = monitor.observe_card(k, **{name: value for name, value in seen.items() if name != "keys"}, **keys)
        except Integrity:
            assert not enabled.on(states, **here), f"believed in Z3 alone: {seen} in {before}"
            continue
        believed += 1
        assert enabled.on(states, **here), f"believed by vecd alone: {seen} in {before}"
        written = {cell[:2]: cell[2] for change in changes for cell in changed(change)}
        assert {table for table, _ in written} <= set(after)
        for table, term in after.items():
            for place in states.places[table]:
                new = term.on(states, **here, **{f"place {n}": x for n, x in enumerate(place)})
                value = bool(new) if isinstance(new, int) else next(iter(new))
                old = before.get((table, place), DEFAULTS.get(table, False))
                assert value == written.get((table, place), old), f"{table}{place} of {seen} in {before}"
    return believed, count - believed


def _seen(seen, k):
    """The constants of an observation."""
    held = {f"seen {x}": bool(seen["held"] & BITS[x]) for x in "rwac"}
    return held | {
        "object": k,
        "seen status": seen["status"],
        "seen current": seen["current"],
        "seen context": seen["context"],
        "seen output": seen["output"],
        "keys were looked at": seen["keys"] is not None,
    }
