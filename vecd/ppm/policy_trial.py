"""
A policy on trial: what it says is done, by the rules, on a state of its own.

Every guest, instance and card is made by R7 and every right given by R9, so what the rules refuse is refused here
for the same reason and with the same words; the state that comes out must be secure. Then each right is used, by
the rules again: a session is opened, data go up, a result comes back. A right that gets nowhere, because
another one is missing or the levels do not fit, is impossible, and a policy that gives it is refused. So "impossible"
is no list of cases; it is what happens.

What a right is used for is the table `_USES`: of the model, but for one thing that is the daemon's. An operation of
vecd puts data in and takes a result out, in one session of the guest (R1, R2 a, R4 r); therefore a and r on a card
are of use together, and c, a and r on the instance with them.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from vecd.ppm import properties
from vecd.ppm import request as requests
from vecd.ppm.levels import TOP, Levels
from vecd.ppm.monitor import Monitor
from vecd.ppm.policy_rows import ALL, Allow, Card, Guest, Instance, Row, Rows
from vecd.ppm.policy_text import Place, Problem
from vecd.ppm.request import Request
from vecd.ppm.rules import YES, Decision, decide
from vecd.ppm.state import BITS, CARD, INSTANCE, MANAGER, USER, A, Change, Key, State, W, letters

# A row that is wrong for many pairs says so for the first ones.
PROBLEMS_A_ROW = 8
STEPS_MAX = 64


class Right(NamedTuple):
    """What one subject may ask for on one object, and the row that says so."""

    rights: str
    place: Place


Pair = tuple[str, str]


@dataclass(slots=True)
class Trial:
    """What the rules made of the rows, and everything that they refused."""

    monitor: Monitor | None = None
    guests: dict[str, Guest] = field(default_factory=dict)
    instances: dict[str, Instance] = field(default_factory=dict)
    cards: dict[str, Card] = field(default_factory=dict)
    cells: dict[Pair, Right] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    # The names of each guest's instances; and what R9 said yes to on cards.
    own: dict[str, list[str]] = field(default_factory=dict)
    given: set[str] = field(default_factory=set)


def run(rows: Rows, start: Place) -> Trial:
    """The trial of these rows; they are possible if it has no problem. start: where what is nobody's line is."""
    trial = Trial()
    if not rows.levels:
        # What p is, is not known, so nothing can be said of levels: `rows` has the problem.
        return trial
    trial.monitor = Monitor(rows.levels)
    broken = set(rows.broken)
    _entities(trial, trial.monitor, rows, broken)
    broken |= rows.twice
    for allow in rows.allows:
        _allow(trial, trial.monitor, allow, broken)
    for violation in properties.violations(trial.monitor.state):
        # R7 and R9 make no such state (docs/model.md), and this is not the place to rely on it.
        trial.problems.append(Problem(start, f"the state would not be secure: {violation}", rule="Secure"))
    trial.problems += _unused(trial, trial.monitor.state)
    return trial


# ---- who comes to exist


def _entities(trial: Trial, monitor: Monitor, rows: Rows, broken: set[str]) -> None:
    for guest in rows.guests.values():
        if _create(trial, monitor, guest, USER, guest.level, guest.may):
            trial.guests[guest.name] = guest
        else:
            broken.add(guest.name)
    for instance in rows.instances.values():
        made = _instance(trial, monitor, instance, broken)
        if made is None:
            broken.add(instance.name)
        else:
            trial.instances[instance.name] = made
            trial.own.setdefault(made.owner, []).append(made.name)
    for card in rows.cards.values():
        if _create(trial, monitor, card, CARD, monitor.state.levels.free):
            trial.cards[card.name] = card
    for guest in trial.guests.values():
        if guest.name not in rows.owners | rows.twice:
            hint = f'add [[instance]] with name = "{guest.name}.1" and owner = "{guest.name}"'
            message = f"guest {guest.name} has no instance, and can never do anything"
            trial.problems.append(Problem(guest.place(), message, hint))


def _instance(trial: Trial, monitor: Monitor, row: Instance, broken: set[str]) -> Instance | None:
    if row.owner in broken:
        return None
    owner = trial.guests.get(row.owner)
    if owner is None:
        message = f"instance {row.name} belongs to {row.owner!r}, which is no guest of this policy"
        hint = f'add [[guest]] with name = "{row.owner}"'
        trial.problems.append(Problem(row.place("owner"), message, hint))
        return None
    level = owner.level if row.level is None else row.level
    may = frozenset([level]) if row.may is None else row.may
    if not _create(trial, monitor, row, INSTANCE, level, may, row.owner):
        return None
    return replace(row, level=level, may=may)


def _create(
    trial: Trial,
    monitor: Monitor,
    row: Row,
    kind: str,
    level: int,
    may: Iterable[int] | None = None,
    owner: Key | None = None,
) -> bool:
    """R7 and R5, as the guard does them; False with a problem."""
    try:
        monitor.name(row.name, kind, owner, may)
    except ValueError as error:
        taken = set(may or ())
        place = row.place("may") if "may" in row.places else row.place("level")
        wanted = " ".join(f"L{one}" for one in sorted(monitor.state.levels.instance))
        hint = f"with {monitor.state.levels.count} levels, guests and instances may take {wanted}"
        if TOP in taken:
            hint = f"L{TOP} is the manager's alone; {hint}"
        trial.problems.append(Problem(place, str(error), hint, "R7", "top" if TOP in taken else "virtual"))
        return False
    decision = monitor.ask(requests.create(row.name, level))
    if not decision:
        hint = "take the level into may, or choose one that is in it"
        trial.problems.append(_refused(row.place("level"), decision, hint))
        monitor.forget(row.name)
        return False
    monitor.ask(requests.instruct(row.name))
    return True


def _refused(place: Place, decision: Decision, hint: str) -> Problem:
    return Problem(place, decision.reason, hint, decision.rule, decision.property or "type")


# ---- who may have what


def _allow(trial: Trial, monitor: Monitor, allow: Allow, broken: set[str]) -> None:
    problems: dict[str, Problem] = {}
    subjects = [one for name in allow.subjects for one in _expanded(trial, allow, name, broken, problems)]
    objects = [one for name in allow.objects for one in _expanded(trial, allow, name, broken, problems)]
    for subject in subjects:
        for target in objects:
            problem = _pair(trial, monitor, allow, subject, target)
            if problem is not None:
                problems.setdefault(problem.message, problem)
    found = list(problems.values())
    trial.problems += found[:PROBLEMS_A_ROW]
    if len(found) > PROBLEMS_A_ROW:
        more = len(found) - PROBLEMS_A_ROW
        message = f"and the same kind of problem {more} times more in this row"
        trial.problems.append(found[0]._replace(message=message, hint="", also=()))


def _expanded(trial: Trial, allow: Allow, name: str, broken: set[str], problems: dict[str, Problem]) -> Iterator[str]:
    """The name, if the policy has it; A.* is every instance of A."""
    guest, dot, own = name.partition(".")
    if name in broken:
        return
    if dot and own == ALL:
        mine = trial.own.get(guest, [])
        yield from mine
        if mine or guest in broken or any(one.startswith(f"{guest}.") for one in broken):
            return
    elif name in trial.guests or name in trial.instances or name in trial.cards or name == MANAGER:
        yield name
        return
    elif guest in broken:
        return
    near = difflib.get_close_matches(name[:64], [*trial.guests, *trial.instances, *trial.cards], 1, 0.6)
    hint = f"did you mean {near[0]!r}? " if near else ""
    message = f"there is no {name[:64]!r} in this policy"
    problems[message] = Problem(allow.place, message, hint + "name it in [[guest]], [[instance]] or [[card]]")


def _pair(trial: Trial, monitor: Monitor, allow: Allow, subject: str, target: str) -> Problem | None:
    before = trial.cells.get((subject, target))
    if before is not None:
        same = set(before.rights) == set(letters(_byte(allow.rights)))
        what = "the same" if same else f"{before.rights!r} and {allow.rights!r}, which contradict each other"
        message = f"{subject} on {target} stands twice: {what}"
        hint = f"it is at {before.place}: keep one of the two"
        return Problem(allow.place, message, hint, also=(before.place,))
    # Between an instance and a card R9 asks for nothing but the kinds: what it said to one pair holds for the others.
    known = subject in trial.instances and target in trial.cards and trial.given.issuperset(allow.rights)
    if known:
        monitor.state.apply((Change("M", subject, target, 0, _byte(allow.rights)),))
    for letter in allow.rights if not known else "":
        decision = monitor.ask(requests.give(subject, target, letter))
        if not decision:
            why = decision.reason.partition(": ")[2]
            message = f"{subject} cannot have {letter} on {target}: {why}"
            hint = "rights stand between a guest and its own instance (A, A.1), and between an instance and a card"
            return Problem(allow.place, message, hint, decision.rule, decision.property or "type")
    if target in trial.cards:
        trial.given.update(allow.rights)
    trial.cells[subject, target] = Right(letters(_byte(allow.rights)), allow.place)
    return None


def _byte(rights: str) -> int:
    return sum(BITS.get(letter, 0) for letter in rights)


# ---- what the rights are good for


def _connects(u: Key, i: Key, k: Key, may: int) -> list[Request]:
    return [requests.connect(i, k)]


def _exchanges(u: Key, i: Key, k: Key, may: int) -> list[Request]:
    """Data go up, are worked on, and the result comes back: a and r, or w in the place of a."""
    up = [Request("config", i, k)] if may & W and not may & A else [Request("submit", i, k), Request("process", k, k)]
    return [*up, Request("fetch", i, k)]


def _configures(u: Key, i: Key, k: Key, may: int) -> list[Request]:
    return [Request("config", i, k), Request("fetch", i, k)]


Use = Callable[[Key, Key, Key, int], list[Request]]

_USES: Mapping[tuple[str, str], Use] = {
    (INSTANCE, "c"): lambda u, i, k, may: [requests.connect(u, i)],
    (INSTANCE, "a"): lambda u, i, k, may: [requests.append(u, i), Request("put", u, i)],
    (INSTANCE, "w"): lambda u, i, k, may: [requests.write(u, i), Request("put", u, i), Request("get", u, i)],
    (INSTANCE, "r"): lambda u, i, k, may: [requests.read(u, i), Request("get", u, i)],
    (CARD, "c"): _connects,
    (CARD, "a"): _exchanges,
    (CARD, "w"): _configures,
    (CARD, "r"): _exchanges,
}


def _session(u: Key, i: Key) -> list[Request]:
    """What the guard asks for when a guest opens a session."""
    return [requests.connect(u, i), requests.append(u, i), requests.read(u, i)]


# Stands for a card where there is none to be used. It is no name of anything.
_NO_CARD = "-"

# What no turn and no guest brings about: only another policy does.
_BY_POLICY = frozenset(("R7", "R8", "R9", "R10"))


def _unused(trial: Trial, state: State) -> Iterator[Problem]:
    """
    A problem for every right that cannot be used.

    What a use reads is the two levels and the two cells, so what went well once needs not be tried again for the
    same four values; a refusal is always tried with its own names.
    """
    good: set[tuple[int, int, int, int, str]] = set()
    said: set[str] = set()
    for (subject, target), right in trial.cells.items():
        kind = state.kind(target)
        instance = target if kind == INSTANCE else subject
        user = state.owner(instance)
        card = target if kind == CARD else _NO_CARD
        may = state.may(instance, target) if kind == CARD else 0
        key = (state.level[user], state.level[instance], state.may(user, instance), may, kind)
        if key in good:
            continue
        refused = next(_tried(state, user, instance, card, kind, right.rights), None)
        if refused is None:
            good.add(key)
            continue
        letter, decision = refused
        # Where no session can be opened it is said once, not for every card.
        what = f"{subject} can never use {letter} on {target}" if letter else f"{instance} can never use any card"
        if letter or what not in said:
            said.add(what)
            message = f"{what}: {decision.reason}"
            yield Problem(right.place, message, _way_out(decision), decision.rule, decision.property or "type")


def _tried(state: State, user: Key, instance: Key, card: Key, kind: str, rights: str) -> Iterator[tuple[str, Decision]]:
    """The rights that cannot be used with the first refusal on the way; "" for the session in which they would be."""
    world = _small(state, user, instance, card)
    if kind == CARD:
        refused = _done(world, _session(user, instance))
        if refused is not None:
            yield "", refused
            return
    for letter in rights:
        again = world.copy()
        may = again.may(instance, card)
        refused = _done(again, _USES[kind, letter](user, instance, card, may))
        if refused is not None:
            yield letter, refused


def _small(state: State, user: Key, instance: Key, card: Key) -> State:
    """The part of the state that these three are."""
    monitor = Monitor(state.levels.count)
    levels = Levels(state.levels.count)
    monitor.name(user, USER, may=state.world[user].may)
    monitor.name(instance, INSTANCE, user, state.world[instance].may)
    monitor.name(card, CARD, may=levels.card)
    for key in (user, instance, card):
        monitor.require(requests.create(key, state.level.get(key, levels.free)))
        monitor.require(requests.instruct(key))
    for subject, target in ((user, instance), (instance, card)):
        for letter in letters(state.may(subject, target)) if target in state.live else "":
            monitor.require(requests.give(subject, target, letter))
    return monitor.state


def _done(state: State, wanted: Iterable[Request]) -> Decision | None:
    """
    None if the requests can be brought about one after the other, with whatever the rules ask for in between;
    otherwise the refusal that only another policy removes.
    """
    for request in wanted:
        goals = [request]
        for _ in range(STEPS_MAX):
            decision = decide(state, goals[-1])
            if decision.answer == YES:
                state.apply(decision.changes)
                goals.pop()
                if not goals:
                    break
                continue
            remedy = decision.remedy
            moves = remedy is not None and remedy.rule == "R11" and state.kind(remedy.object) == INSTANCE
            if remedy is None or remedy in goals or remedy.rule in _BY_POLICY or moves:
                return decision
            goals.append(remedy)
        else:
            return decision
    return None


def _way_out(refused: Decision) -> str:
    remedy = refused.remedy
    if remedy is not None and remedy.rule == "R9":
        return f'allow {remedy.to} "{remedy.attribute}" on {remedy.object} too, or take this right out'
    if refused.property == "star":
        return "give guest and instance the same level, or take this right out"
    return "take this right out"
