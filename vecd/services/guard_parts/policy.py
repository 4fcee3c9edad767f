"""The policy in the guard: who may be added and given what, what the files say against what holds, and made to hold.

Every request of a change is decided on a copy of the state first; then all of them are made in one change, or none
is, and whoever lost a right is drained as by `access rescind`. (docs/policy.md; what is kept of it: applied.py)
"""

import asyncio
import functools
import json
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from vecd.base import events, log
from vecd.base.errors import ConfigError, Denied, Exhausted, VecError
from vecd.ppm import policy as policies
from vecd.ppm import policy_change
from vecd.ppm import request as requests
from vecd.ppm.policy import Checked, Policy, Problem
from vecd.ppm.policy_change import Plan, Step
from vecd.ppm.state import BITS, INSTANCE, C
from vecd.services.guard_parts import applied
from vecd.services.guard_parts.context import CardLink, Guard
from vecd.services.guard_parts.entries import ID_BYTES, Card, Instance
from vecd.services.guard_parts.revoke import withdraw
from vecd.services.guard_parts.seen import observe

# What one answer has room for of each of its lists, in bytes; the numbers behind it are whole.
ROOM = 80_000
# All slots of a strict round together, as in cext/include/vec/pump.h.
ROUND_US_MAX = 2_000_000
RULE = "policy"


# ---- who may be added, and what may be given


def admits(guard: Guard, name: str, identity: bytes, cards: list[str]) -> Policy | None:
    """
    The policy under which the guest may be added, None for one whose guest it is not. Raises Denied where the
    policy does not let it be added like this, with the row that is in the way.
    """
    policy = guard.policy
    if policy is None:
        return None
    row = policy.guests.get(name)
    if row is None:
        if policy.closed:
            place = policy.place("closed")
            raise _denied(
                f"guest {name} is not named by the policy, and {place} closes it", "name it in [[guest]]", name
            )
        return None
    if row.identity is not None and row.identity != identity:
        place = row.place("id")
        raise _denied(f"guest {name} has another id than this one: {place}", "take the id from its own token", name)
    for card in cards:
        if not any(policy.rights(one.name, card) for one in policy.instances_of(name)):
            raise _denied(
                f"guest {name} may not use card {card}: {row.place()} and its rights do not give it",
                "allow it in the policy, or leave --card out: the policy says which cards",
                name,
                card,
            )
    return policy


def beyond(guard: Guard, subject: str, target: str, attribute: str) -> str:
    """Where the subject is the policy's, and the policy does not give this, the sentence that says so; else ""."""
    policy = guard.policy
    if policy is None or not policy.names(subject) or attribute not in BITS:
        return ""
    if attribute in policy.rights(subject, target):
        return ""
    right = policy.cells.get((subject, target))
    row = policy.row(subject) or policy.row(subject.partition(".")[0])
    place = right.place if right is not None else row.place() if row is not None else ""
    what = f"gives {right.rights!r} there" if right is not None else "gives it nothing there"
    return f"{subject} may not have {attribute} on {target}: {place} {what}"


def permits(guard: Guard, subject: str, target: str, attribute: str) -> None:
    """Raises Denied for what is beyond the policy."""
    if why := beyond(guard, subject, target, attribute):
        raise _denied(why, advice(subject, target, attribute), subject, target)


def advice(subject: str, target: str, attribute: str) -> str:
    """What to do about a right that is beyond the policy."""
    return f'allow {subject} "{attribute}" on {target} in the policy, then vecctl policy apply'


def _denied(message: str, hint: str, subject: str = "", object: str = "") -> Denied:
    """What the policy refuses without a rule being asked; it is on record."""
    log.event(events.POLICY_DENIED, subject=subject, object=object, reason=message)
    return Denied(message, rule=RULE, reason=message, hint=hint, subject=subject, object=object)


def joined(guard: Guard, card: str, before: Mapping[str, int] | None) -> None:
    """
    R9 of what the policy gives on a card that came to exist, inside its change. before: what M had for the card of this
    name that was retired for it, so that nothing comes back that was rescinded; None for a card that is new.
    """
    book, policy = guard.book, guard.policy
    if policy is None:
        return
    for (subject, target), right in policy.cells.items():
        if target != card or subject not in book.state.live:
            continue
        for letter in right.rights:
            if before is None or before.get(subject, 0) & BITS[letter]:
                book.ask(requests.give(subject, target, letter))


def weights(guard: Guard) -> Mapping[str, int]:
    """Of every instance that the policy names, its share of a card's turns."""
    return {} if guard.policy is None else guard.policy.weights


# ---- from what holds to what the files say


_checking = threading.Lock()


def _checked(guard: Guard, files: Mapping[str, bytes]) -> Checked:
    """As policies.check; the same files are checked once, and one set at a time, however many ask."""
    with _checking:
        return _check_once(str(guard.paths.policy_files), tuple(files.items()))


@functools.lru_cache(maxsize=1)
def _check_once(folder: str, files: tuple[tuple[str, bytes], ...]) -> Checked:
    return policies.check(dict(files), folder=folder)


def _planned(guard: Guard, policy: Policy) -> Plan:
    identities = {user.name: user.id for user in guard.book.register.users.values()}
    plan = policy_change.plan(guard.book.state, policy, guard.policy, identities)
    return plan._replace(problems=(*plan.problems, *_rounds(guard, policy)))


def _rounds(guard: Guard, policy: Policy) -> Iterator[Problem]:
    """A problem for every card with fixed turns on which the policy's weights make a round that is too long."""
    for name, link in guard.links.items():
        if link.share != "strict":
            continue
        rows = [
            (one, right.place) for (one, card), right in policy.cells.items() if card == name and "c" in right.rights
        ]
        # Whom the policy does not name has one slot where M lets it connect.
        column = guard.book.state.M.get(name, {})
        others = sum(1 for one, byte in column.items() if byte & C and not policy.names(str(one)))
        slots = others + sum(policy.weights[one] for one, _ in rows)
        if rows and slots * link.slot_us > ROUND_US_MAX:
            yield Problem(
                rows[-1][1],
                f"card {name} has fixed turns, and {slots} slots of {link.slot_us} us are a round of more than "
                f"{ROUND_US_MAX // 1000} ms",
                "lower weights, allow fewer instances there, or shorten the card's slot_us",
                RULE,
            )


async def diff(guard: Guard) -> dict[str, Any]:
    """What `apply` would do now, request by request, each with its decision; or why the files are refused."""
    files = applied.read(guard.paths)
    # By the side: a large policy takes seconds.
    checked = await asyncio.to_thread(_checked, guard, files)
    if checked.policy is None:
        plan = Plan((), checked.problems, 0)
    else:
        async with guard.lock:
            for link in guard.links.values():
                if not link.lock.locked():
                    observe(guard, link)
            plan = _planned(guard, checked.policy)
    return _answer(guard, policies.digest(files) if files else "", checked.policy, plan)


def _answer(guard: Guard, version: str, policy: Policy | None, plan: Plan) -> dict[str, Any]:
    requests = _that_fit(map(_row, plan.steps))
    problems = _that_fit(map(problem_row, plan.problems))
    counts: dict[str, int] = {}
    for step in plan.steps:
        counts[step.request.rule] = counts.get(step.request.rule, 0) + 1
    return {
        "folder": str(guard.paths.policy_files),
        "version": version,
        "applied": guard.book.register.policy or None,
        "possible": policy is not None and plan.possible,
        "counts": counts,
        "requests": requests,
        "problems": problems,
        "left_out": len(plan.steps) - len(requests) + len(plan.problems) - len(problems),
        "waiting": plan.waiting,
    }


def _that_fit(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first rows, as many as there is room for."""
    fit, left = [], ROOM
    for row in rows:
        left -= len(json.dumps(row)) + 2
        if left < 0:
            break
        fit.append(row)
    return fit


def _row(step: Step) -> dict[str, Any]:
    request, decision = step.request, step.decision
    return {
        "rule": request.rule,
        "subject": str(request.to if request.to is not None else request.subject),
        "object": str(request.object),
        "attribute": request.attribute or "",
        "level": request.level,
        "decision": decision.answer,
        "reason": decision.reason,
        "place": str(step.place)[-200:] if step.place else "",
    }


def problem_row(problem: Problem) -> dict[str, Any]:
    """A problem as programs read it, in what an answer has room for."""
    row = problem.row()
    return row | {"file": row["file"][-200:], "message": row["message"][:500], "hint": row["hint"][:300]}


async def apply(guard: Guard, *, dry_run: bool) -> dict[str, Any]:
    """
    M, levels and instances are those of the files: every request is a yes on a copy first, then all of them are made in
    one change, then what lost a right is drained as `access rescind` does it. Raises with nothing changed.
    """
    checked = await asyncio.to_thread(_checked, guard, applied.read(guard.paths))
    policy = checked.policy
    if policy is None:
        raise _refused(checked.problems)
    async with guard.lock:
        users: set[str] = set()
        cards: dict[str, Card] = {}
        while True:
            async with AsyncExitStack() as stack:
                for user in sorted(users):
                    await stack.enter_async_context(guard.user_lock(user))
                links = await stack.enter_async_context(guard.locked(list(cards.values())))
                # What is decided and not yet on the disk is not built upon.
                guard.book.commit()
                for link in links:
                    observe(guard, link)
                plan = _planned(guard, policy)
                theirs, reached = _reached(guard, plan)
                if theirs <= users and reached.keys() <= cards.keys():
                    answer = _answer(guard, policy.version, policy, plan)
                    if not plan.possible:
                        raise _refused(plan.problems)
                    notes = [] if dry_run else await _make(guard, policy, plan, links)
                    return answer | {"dry_run": dry_run, "notes": notes}
            # Somebody was connected while the locks were waited for: all of them again, in their order.
            users, cards = theirs, reached


def _refused(problems: tuple[Problem, ...]) -> VecError:
    error, first = policies.refusal(problems), problems[0]
    error.reason = str(first._replace(hint=""))
    steps = ("nothing was changed", first.hint, "vecctl policy diff has all reasons" if len(problems) > 1 else "")
    error.hint = "; ".join(step for step in steps if step)
    log.event(events.POLICY_DENIED, subject="", object="", reason=error.reason)
    return error


def _reached(guard: Guard, plan: Plan) -> tuple[set[str], dict[str, Card]]:
    """The guests for whom something changes, and the cards on which somebody loses something."""
    book, users, found = guard.book, set[str](), dict[str, Card]()
    for step in plan.steps:
        request = step.request
        instance = str(request.to if request.object in book.register.cards else request.object)
        users.add(instance.partition(".")[0])
        if request.rule == "R10":
            on = [book.card(request.object)] if instance == request.to else book.cards_of(request.object)
            found |= {card.name: card for card in on}
    return users, found


async def _make(guard: Guard, policy: Policy, plan: Plan, links: list[CardLink]) -> list[str]:
    """The locks are held. All of it on the disk, in the state and in the matrices at once; then the cards."""
    book = guard.book
    applied.keep(guard.paths, policy)
    losers = _losers(guard, plan)
    before = {(link.name, one.name): _stands(guard, link, one) for link in links for one in losers}
    created = {step.request.object for step in plan.steps if step.request.rule == "R7"}
    columns = iter(book.free_columns(len(created)))
    with book.change():
        for step in plan.steps:
            request = step.request
            if request.rule == "R7":
                row = policy.instances[request.object]
                column = next(columns, None)
                if column is None or row.level is None or row.may is None:
                    raise Exhausted("there is no room for the policy's instances", hint="remove guests")
                may = tuple(sorted(row.may))
                identity = secrets.token_bytes(ID_BYTES)
                book.create_instance(Instance(row.name, identity, column, row.owner, row.level, may))
            elif request.rule == "R5" and request.object in created:
                # With R7, as ever.
                continue
            elif request.rule == "R11":
                book.move(request.object, request.level)
            else:
                book.ask(request)
        book.adopt(policy.version)
    guard.policy = policy
    applied.forget_others(guard.paths, policy.version)
    for name in guard.links:
        # The weights may be others.
        book.shared(name)
    results = await asyncio.gather(*(_drained(guard, link, losers, before, plan) for link in links))
    what = f"{len(plan.steps)} requests, {len(policy.guests)} guests, {len(policy.cells)} rights"
    log.event(events.POLICY_APPLIED, version=policy.version, what=what)
    return [note for notes in results for note in notes]


def _losers(guard: Guard, plan: Plan) -> list[Instance]:
    """The instances that lose something, or whose guest does on them."""
    names = {
        str(step.request.object if guard.book.state.kind(step.request.object) == INSTANCE else step.request.to)
        for step in plan.steps
        if step.request.rule == "R10"
    }
    return [guard.book.register.instances[name] for name in sorted(names)]


def _stands(guard: Guard, link: CardLink, instance: Instance) -> tuple[int, bool]:
    """What the card may take of the instance's rights, as the matrices say; and whether it is connected there."""
    book = guard.book
    usable = book.matrices.load("card_m", book.card(link.name).index, instance.index)
    return usable, bool(book.state.holds(instance.name, link.name) & C)


async def _drained(
    guard: Guard,
    link: CardLink,
    losers: list[Instance],
    before: Mapping[tuple[str, str], tuple[int, bool]],
    plan: Plan,
) -> list[str]:
    """After this nothing runs, starts or is delivered on the card under a right that went."""
    direct: dict[str, int] = {}
    for step in plan.steps:
        if step.request.rule == "R10" and step.request.object == link.name:
            name = str(step.request.to)
            direct[name] = direct.get(name, 0) | BITS[step.request.attribute]
    notes: list[str] = []
    for instance in losers:
        usable, connected = before[link.name, instance.name]
        left, still = _stands(guard, link, instance)
        # On the card itself the word is changed in any case: a step may stand between its look at M and its swap.
        lost = direct.get(instance.name, 0) | usable & ~left
        if lost & C or (connected and not still):
            lost = C
        if not lost:
            continue
        try:
            notes += await withdraw(guard, link, instance, lost)
        except VecError as error:
            # The right is gone in M and in the word; what could not be done is said, and the other cards go on.
            notes.append(f"{error.message}: {error.reason}" if error.reason else error.message)
    return notes


# ---- for vecctl status


def status(guard: Guard) -> dict[str, Any]:
    """Which policy holds, and whether the files say something else."""
    version = guard.book.register.policy
    try:
        files = applied.read(guard.paths)
        differs = (policies.digest(files) if files else "") != version
        problem = ""
    except ConfigError as error:
        differs, problem = True, str(error)
    return {"applied": version or None, "differs": differs, "problem": problem}


def alarms(said: Mapping[str, Any], where: Path) -> list[str]:
    """What an operator has to know of `status`."""
    if said["problem"]:
        return [f"the policy files cannot be used: {said['problem']}"]
    if not said["differs"]:
        return []
    if not said["applied"]:
        return [f"the policy in {where} was not applied: vecctl policy diff"]
    return [f"the policy in {where} is not the one that was applied: vecctl policy diff"]
