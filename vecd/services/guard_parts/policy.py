"""The policy as the guard has it: read from etc/vecd/policy.d, tried by the rules, made to hold whole or not at all.

The files are read at `apply`, and at a start without guests; at any other start what holds is what the register says,
so a right that was rescinded does not come back with a restart. What was applied is kept as it was read, in
applied/VERSION.json beside the register, which names the version: it says who is managed, and where a row stands.
"""

import asyncio
import contextlib
import os
import secrets
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from vecd.base import events, folder, log
from vecd.base.durable import sync_folder
from vecd.base.errors import ConfigError, Denied, Exhausted, Failed, VecError
from vecd.base.paths import Paths
from vecd.ppm import policy as policies
from vecd.ppm import policy_change, policy_kept
from vecd.ppm import request as requests
from vecd.ppm.policy import Policy, Problem
from vecd.ppm.policy_change import Plan, Step
from vecd.ppm.state import BITS, INSTANCE, C
from vecd.services.guard_parts.context import CardLink, Guard
from vecd.services.guard_parts.entries import ID_BYTES, Card, Instance, Register
from vecd.services.guard_parts.revoke import clean, withdraw
from vecd.services.guard_parts.seen import observe

SUFFIX = ".toml"
# What one answer lists; the numbers behind it are whole.
ROWS_MAX, PROBLEMS_MAX = 300, 100
RULE = "policy"


# ---- what was applied, on the disk


def _kept(paths: Paths, version: str) -> Path:
    return paths.policy.parent / "applied" / f"{version}.json"


def keep(paths: Paths, policy: Policy) -> None:
    """The policy is on the disk under its version. Raises Failed."""
    path = _kept(paths, policy.version)
    fresh = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(policy_kept.dump(policy))
            file.flush()
            os.fsync(file.fileno())
        os.rename(fresh, path)
        sync_folder(path.parent)
        sync_folder(path.parent.parent)
    except OSError as error:
        raise Failed(
            f"{path} cannot be written: {error.strerror}",
            reason="a policy that would be forgotten is not applied",
            hint=f"make room in {path.parent}",
        ) from None


def forget_others(paths: Paths, version: str) -> None:
    """Of what was applied before nothing is kept."""
    for path in _kept(paths, version).parent.glob("*"):
        if path != _kept(paths, version):
            with contextlib.suppress(OSError):
                path.unlink()


def load(paths: Paths, version: str) -> Policy | None:
    """The policy that the register names; None where it names none. Raises ConfigError for one that is damaged."""
    if not version:
        return None
    path = _kept(paths, version)
    try:
        policy = policy_kept.load(path.read_text(encoding="utf-8"))
        if policy.version != version:
            raise ValueError("it is of another version")
        return policy
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be used: {error}",
            reason="it is the policy that was applied last, and the register names it",
            hint=f"restore {path.parent.parent} from a backup, or move it away to start with no guests at all",
        ) from None


def read(paths: Paths) -> dict[str, bytes]:
    """The files of policy.d, {} where there are none. Raises ConfigError where what they say may not be believed."""
    return folder.read(paths.policy_files, SUFFIX)


def at_start(paths: Paths, register: Register, *, fresh: bool) -> Policy | None:
    """
    The policy with which the guard starts; the register has its version and its number of levels.

    Without guests there is nothing that could have been rescinded, so the files hold as they are now. At a first start
    a policy that is refused ends it; at a later one what was applied holds on, and an alarm says that the files differ.
    """
    if register.users:
        return load(paths, register.policy)
    try:
        files = read(paths)
        policy = policies.require(files) if files else None
        if policy is not None:
            keep(paths, policy)
    except VecError as error:
        if fresh:
            raise ConfigError(error.message, reason=error.reason, hint="vecctl policy check") from None
        log.event(events.POLICY_REFUSED, reason=error)
        return load(paths, register.policy)
    if policy is None and not fresh:
        return load(paths, register.policy)
    if policy is not None and (policy.levels != register.levels):
        # Cards come back by themselves, and are made anew at another number of levels.
        register.cards.clear()
        register.levels = policy.levels
    register.policy = policy.version if policy is not None else ""
    return policy


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
        raise _denied(why, "change the policy: vecctl policy apply", subject, target)


def _denied(message: str, hint: str, subject: str = "", object: str = "") -> Denied:
    """What the policy refuses without a rule being asked; it is on record."""
    log.event(events.POLICY_DENIED, subject=subject, object=object, reason=message)
    return Denied(message, rule=RULE, reason=message, hint=hint, subject=subject, object=object, property="policy")


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


def _planned(guard: Guard, policy: Policy) -> Plan:
    identities = {user.name: user.id for user in guard.book.register.users.values()}
    return policy_change.plan(guard.book.state, policy, guard.policy, identities)


async def diff(guard: Guard) -> dict[str, Any]:
    """What `apply` would do now, request by request, each with its decision; or why the files are refused."""
    files = read(guard.paths)
    # By the side: a large policy takes seconds.
    checked = await asyncio.to_thread(policies.check, files)
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
    counts: dict[str, int] = {}
    for step in plan.steps:
        counts[step.request.rule] = counts.get(step.request.rule, 0) + 1
    return {
        "folder": str(guard.paths.policy_files),
        "version": version,
        "applied": guard.book.register.policy or None,
        "possible": policy is not None and plan.possible,
        "counts": counts,
        "requests": [_row(step) for step in plan.steps[:ROWS_MAX]],
        "problems": [problem_row(one) for one in plan.problems[:PROBLEMS_MAX]],
        "left_out": max(0, len(plan.steps) - ROWS_MAX) + max(0, len(plan.problems) - PROBLEMS_MAX),
        "waiting": plan.waiting,
    }


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
    """A problem as programs read it."""
    return {
        "file": problem.place.file[-200:],
        "line": problem.place.line,
        "message": problem.message[:500],
        "rule": problem.rule,
        "property": problem.property,
        "hint": problem.hint[:300],
    }


async def apply(guard: Guard, *, dry_run: bool) -> dict[str, Any]:
    """
    M, levels and instances are those of the files: every request is a yes on a copy first, then all of them are made in
    one change, then what lost a right is drained as `access rescind` does it. Raises with nothing changed.
    """
    checked = await asyncio.to_thread(policies.check, read(guard.paths))
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
    error = policies.refusal(problems)
    error.hint = f"nothing was changed; {problems[0].hint}; vecctl policy diff has all reasons"
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
    keep(guard.paths, policy)
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
    forget_others(guard.paths, policy.version)
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
            if lost & C and connected:
                notes += await clean(guard, link, instance)
        except VecError as error:
            # The right is gone in M and in the word; what could not be done is said, and the other cards go on.
            notes.append(f"{error.message}: {error.reason}" if error.reason else error.message)
    return notes


# ---- for vecctl status


def status(guard: Guard) -> dict[str, Any]:
    """Which policy holds, and whether the files say something else."""
    version = guard.book.register.policy
    try:
        files = read(guard.paths)
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
