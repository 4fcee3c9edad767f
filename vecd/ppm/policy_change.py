"""
From a running state to what a policy says: the requests that it takes, in order, each decided by the rules.

Everything is tried on a copy, so a change is known to be possible before any of it is made, and nothing is made
unless all of it is. Rights go first (R10), then levels move (R11), then new instances of guests that live come to
exist (R7), then rights are given (R9). What no rule can change of what lives (f_v, the level of a user, p) is a
Problem that says what to do: remove the guest, apply, add it again.

Whose rights are these? Those of every guest that the policy names, and of every guest that the one before it named:
a guest that is taken out of the files loses what the files gave it. All others are not touched.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from vecd.ppm import request as requests
from vecd.ppm.monitor import Monitor
from vecd.ppm.policy import Policy
from vecd.ppm.policy_text import Place, Problem
from vecd.ppm.request import Request
from vecd.ppm.rules import Decision
from vecd.ppm.state import BITS, CARD, GIVABLE, INSTANCE, USER, Key, State, letters

_KINDS = {USER: "guest", INSTANCE: "instance", CARD: "card"}


class Step(NamedTuple):
    """One request with its decision on the copy, and the row that wants it; None where no row does any more."""

    request: Request
    decision: Decision
    place: Place | None


class Plan(NamedTuple):
    """The steps in order, and why they cannot be made; waiting: rights of what does not live yet."""

    steps: tuple[Step, ...]
    problems: tuple[Problem, ...]
    waiting: int

    @property
    def possible(self) -> bool:
        """Every step is a yes, and nothing stands in the way."""
        return not self.problems


def plan(
    state: State, policy: Policy, before: Policy | None = None, identities: Mapping[str, bytes] | None = None
) -> Plan:
    """
    What it takes that the rights and levels of `state` are those of the policy. Changes nothing.

    before: the policy that was applied last. identities: the ids of the guests that live.
    """
    problems = [*_fixed(state, policy, identities or {}), *_strangers(state, policy)]
    if state.levels.count != policy.levels:
        problems += _another_p(state, policy)
        return Plan((), tuple(problems), 0)
    scratch = Monitor(state.levels.count)
    scratch.state = state.copy()
    steps: list[Step] = []
    for request, place in _requests(scratch, policy, before):
        decision = scratch.ask(request)
        steps.append(Step(request, decision, place))
        if not decision:
            problems.append(
                Problem(
                    place or policy.place(""),
                    decision.reason,
                    decision.next or _again(str(request.object).partition(".")[0]),
                    decision.rule or request.rule,
                    decision.property or "type",
                )
            )
    live = scratch.state.live
    waiting = sum(1 for subject, target in policy.cells if subject not in live or target not in live)
    return Plan(tuple(steps), tuple(problems), waiting)


def target(policy: Policy, subject: Key, object: Key) -> int:
    """M[s][o] as the policy has it, as a byte; 0 for what it does not name."""
    return sum(BITS[letter] for letter in policy.rights(str(subject), str(object)))


# ---- what no request changes


def _another_p(state: State, policy: Policy) -> Iterator[Problem]:
    """The number of levels is that of the matrices, and of the level of every card."""
    guests = [key for key in state.live if state.kind(key) == USER]
    yield Problem(
        policy.place("levels"),
        f"the guard runs with {state.levels.count} levels, and the policy has {policy.levels}",
        "the number of levels changes when the guard starts without guests: "
        + (f"remove {len(guests)} guests, then start it again" if guests else "start it again"),
        "R7",
        "virtual",
    )


def _strangers(state: State, policy: Policy) -> Iterator[Problem]:
    if not policy.closed:
        return
    for key in sorted((one for one in state.live if state.kind(one) == USER), key=str):
        if key not in policy.guests:
            yield Problem(
                policy.place("closed"),
                f"guest {key} lives, and the policy is closed and does not name it",
                f"vecctl guest remove {key}, or name it in [[guest]]",
                "policy",
            )


def _fixed(state: State, policy: Policy, identities: Mapping[str, bytes]) -> Iterator[Problem]:
    """What is fixed for the life of something that lives, and is another thing in the policy."""
    for kind, rows in ((USER, policy.guests), (INSTANCE, policy.instances), (CARD, policy.cards)):
        for name, row in rows.items():
            if name not in state.live:
                continue
            known = state.world[name]
            if known.kind != kind:
                hint = f"give the {_KINDS[kind]} another name"
                yield Problem(row.place("name"), f"{name} is a {_KINDS[known.kind]}, not a {_KINDS[kind]}", hint, "R7")
                continue
            if kind == CARD:
                continue
            yield from _kept(state, name, row, identities.get(name))


def _kept(state: State, name: str, row: Any, identity: bytes | None) -> Iterator[Problem]:
    known = state.world[name]
    guest = known.owner if known.kind == INSTANCE else name
    again = _again(str(guest))
    if known.may != row.may:
        message = f"{known.words} may take {_levels(known.may)} for its life, and the policy says {_levels(row.may)}"
        yield Problem(row.place("may"), message, again, "R7", "virtual")
    elif known.kind == USER and state.level[name] != row.level:
        message = (
            f"{known.words} stands at L{state.level[name]}, the policy says L{row.level}, and no rule moves a user"
        )
        yield Problem(row.place("level"), message, again, "R11", "virtual")
    if known.kind == USER and row.identity is not None and identity is not None and identity != row.identity:
        message = f"{known.words} has the id {identity.hex()}, and the policy says {row.identity.hex()}"
        yield Problem(row.place("id"), message, again, "policy")


def _again(guest: str) -> str:
    """How to change what is fixed for a life."""
    return f"vecctl guest remove {guest}, vecctl policy apply, vecctl guest add {guest}"


def _levels(may: Any) -> str:
    return " ".join(f"L{level}" for level in sorted(may))


# ---- the requests


def _requests(scratch: Monitor, policy: Policy, before: Policy | None) -> Iterator[tuple[Request, Place | None]]:
    state = scratch.state
    users = [key for key in state.live if state.kind(key) == USER]
    ours = sorted((u for u in users if u in policy.guests or (before is not None and u in before.guests)), key=str)
    for user in ours:
        for instance in sorted(state.instances[user], key=str):
            yield from _taken(state, policy, user, instance)
            for card in sorted(state.granted[instance], key=str):
                yield from _taken(state, policy, instance, card)
    for user in ours:
        for row in policy.instances_of(str(user)):
            # One that may never stand there has been told of.
            moves = row.name in state.live and state.level[row.name] != row.level
            if moves and row.level is not None and state.world[row.name].may == row.may:
                yield requests.move("m", row.name, row.level), row.place("level")
    for user in ours:
        for row in policy.instances_of(str(user)):
            if row.name not in state.live:
                scratch.name(row.name, INSTANCE, user, row.may)
                yield requests.create(row.name, row.level), row.place()
                yield requests.instruct(row.name), row.place()
    live = state.live
    for (subject, object), right in policy.cells.items():
        if subject in live and object in live:
            for letter in letters(target(policy, subject, object) & ~state.may(subject, object)):
                yield requests.give(subject, object, letter), right.place


def _taken(state: State, policy: Policy, subject: Key, object: Key) -> Iterator[tuple[Request, Place | None]]:
    """R10 of what the policy does not give. A row that gives less is the place."""
    extra = state.may(subject, object) & GIVABLE & ~target(policy, subject, object)
    right = policy.cells.get((str(subject), str(object)))
    for letter in letters(extra):
        yield requests.rescind(subject, object, letter), right.place if right else None
