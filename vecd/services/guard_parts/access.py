"""vecctl access: R9 and R10 with all that follows from them, and why."""

from collections.abc import Iterator, Mapping
from typing import Any

from vecd.base import events, log
from vecd.base.errors import Failed, Malformed, VecError
from vecd.base.ipc import Reply
from vecd.ppm import explain as ppm_explain
from vecd.ppm import request as requests
from vecd.ppm.rules import RULES, Decision
from vecd.ppm.state import BITS, CARD, MANAGER, C, Change, State, W, letters
from vecd.services.guard_parts import policy
from vecd.services.guard_parts.cards import opening
from vecd.services.guard_parts.context import CardLink, Guard
from vecd.services.guard_parts.entries import Card, Instance, User
from vecd.services.guard_parts.pages import page
from vecd.services.guard_parts.revoke import Passed, pass_by, pass_on, withdraw
from vecd.services.guard_parts.seen import observe, observed_at_rest

# Each needs a to put its data in and r to take its result out, as wire.h has it.
DATA_OPERATIONS = ("encrypt", "decrypt", "sha256", "random", "null")
# Nobody can say which level is meant.
WITH_LEVEL = ("R11", "level")
# What may be explained: a data operation, a rule, or a word for one.
OPERATIONS = (
    *DATA_OPERATIONS,
    *(word for word in (*ppm_explain.OPERATIONS, *RULES) if word not in BITS and word not in WITH_LEVEL),
)


def _known(guard: Guard, name: str) -> User | Instance | Card | str:
    """What has this name, the manager's included. Raises Unknown."""
    return MANAGER if name == MANAGER else guard.book.entity(name)


def give(guard: Guard, subject: str, target: str, attribute: str, reply: Reply) -> bool:
    """R9; there is nothing to wait for but the disk."""
    _known(guard, subject), _known(guard, target)
    request = requests.give(subject, target, attribute)

    def begin() -> None:
        # What no policy may give is refused by its rule: another policy would not help.
        if guard.policy is not None and guard.book.monitor.check(request):
            try:
                policy.permits(guard, subject, target, attribute)
            except VecError as error:
                reply(error)
                return
        guard.book.propose(request, done)

    def done(outcome: Decision | VecError, _: str) -> None:
        if isinstance(outcome, Decision):
            log.event(events.ACCESS_GIVEN, subject=subject, object=target, attribute=attribute)
        reply(_answer(outcome))

    guard.soon(begin)
    return True


def rescind_at_once(guard: Guard, subject: str, target: str, attribute: str, reply: Reply) -> bool:
    """
    R10 where no card has to be waited for: nobody is connected by way of this cell, and no step of the card is under
    way. False, and nothing was done, where it is otherwise.
    """
    _known(guard, subject)
    what, book = _known(guard, target), guard.book
    instance = book.register.instances.get(subject)
    link = guard.link(what.name) if isinstance(what, Card) else None
    if not _at_rest(guard, instance, what):
        return False

    def begin() -> None:
        if _at_rest(guard, instance, what):
            book.propose(requests.rescind(subject, target, attribute), done, must_store=False)
        else:
            guard.spawn(slowly())

    async def slowly() -> None:
        try:
            reply(await rescind(guard, subject, target, attribute))
        except VecError as error:
            reply(error)

    def done(outcome: Decision | VecError, warning: str) -> None:
        if not isinstance(outcome, Decision):
            reply(outcome)
            return
        warnings = [warning] if warning else []
        if link is not None and link.word is not None and instance is not None:
            # The word is changed in any case: a step may stand between its look at M and its swap.
            passed = pass_by(link.word, instance, BITS[attribute])
            if passed is not Passed.WHOLLY:
                guard.spawn(later(outcome, warnings, link, instance, passed))
                return
        reply(_rescinded(subject, target, attribute, outcome, [], warnings))

    async def later(
        decision: Decision, warnings: list[str], link: CardLink, instance: Instance, passed: Passed
    ) -> None:
        """The card began a step in the very moment, or somebody entered: it is waited for."""
        try:
            notes = await pass_on(guard, link, instance, BITS[attribute], passed)
        except VecError as error:
            reply(error)
        else:
            reply(_rescinded(subject, target, attribute, decision, notes, warnings))

    guard.soon(begin)
    return True


def _at_rest(guard: Guard, instance: Instance | None, what: User | Instance | Card | str) -> bool:
    """Nobody is connected by way of the cell, nothing is being decided about it, and its card is in no step."""
    state = guard.book.state
    if isinstance(what, Card):
        link = guard.link(what.name)
        if link.lock.locked() or link.out or (instance is not None and state.holds(instance.name, what.name)):
            return False
        return link.word is None or observed_at_rest(guard, link)
    if isinstance(what, Instance):
        return not guard.busy_with(what.owner) and not state.connected.get(what.name)
    return True


def _answer(outcome: Decision | VecError) -> Mapping[str, Any] | VecError:
    if not isinstance(outcome, Decision):
        return outcome
    return {"decision": outcome.answer, "rule": outcome.rule, "reason": outcome.reason, "notes": []}


def _rescinded(
    subject: str, target: str, attribute: str, decision: Decision, notes: list[str], warnings: list[str]
) -> Mapping[str, Any] | VecError:
    """The answer to a rescind that holds, and whether it will after a restart."""
    log.event(events.ACCESS_RESCINDED, subject=subject, object=target, attribute=attribute)
    if warnings:
        return Failed(
            f"{attribute} of {subject} on {target} is rescinded, but only until the guard starts again",
            rule=decision.rule,
            reason="; ".join([*warnings, *notes]),
            hint="make room on the disk and rescind it once more",
        )
    return {"decision": decision.answer, "rule": decision.rule, "reason": decision.reason, "notes": notes}


async def rescind(guard: Guard, subject: str, target: str, attribute: str) -> dict[str, Any]:
    """R10. After the answer nothing runs, starts or is delivered under the old right, on any card."""
    _known(guard, subject)
    what = _known(guard, target)
    if isinstance(what, Card):
        async with guard.locked([what]) as links:
            return await _rescind(guard, subject, target, attribute, links)
    owner = what.owner if isinstance(what, Instance) else target
    async with guard.user_lock(owner), guard.reached([what] if isinstance(what, Instance) else []) as links:
        return await _rescind(guard, subject, target, attribute, links)


async def _rescind(guard: Guard, subject: str, target: str, attribute: str, links: list[CardLink]) -> dict[str, Any]:
    """The locks are held. M and b first, on disk and in the matrices, then each card."""
    book = guard.book
    instance = book.register.instances.get(target) or book.register.instances.get(subject)
    for link in links:
        observe(guard, link)
    before = {link.name: _usable(guard, link.name, instance) for link in links}
    with book.change(must_store=False) as warnings:
        decision = book.ask(requests.rescind(subject, target, attribute))
    notes: list[str] = []
    for link in links:
        # On the card itself the word is changed in any case: a step may stand between its look at M and its swap.
        lost = BITS[attribute] if link.name == target else before[link.name] & ~_usable(guard, link.name, instance)
        if BITS[attribute] & C:
            lost = C
        if instance is None or not lost:
            continue
        notes += await withdraw(guard, link, instance, lost)
    answer = _rescinded(subject, target, attribute, decision, notes, warnings)
    if isinstance(answer, VecError):
        raise answer
    return dict(answer)


def _usable(guard: Guard, card: str, instance: Instance | None) -> int:
    """What the card may take of this instance's rights, as the matrices say."""
    if instance is None or card not in guard.book.register.cards:
        return 0
    return guard.book.matrices.load("card_m", guard.book.card(card).index, instance.index)


def show(guard: Guard, after: str | None = None) -> dict[str, Any]:
    """M and b with the levels, cell by cell, for a square array: one page, in the order of objects and subjects."""
    state = guard.book.state
    if after is None:
        for link in guard.links.values():
            if not link.lock.locked():
                observe(guard, link)
    cells, more = page(_cells(guard, *(after or "").partition(" ")[::2]), _size)
    # Everything that lives has a cell, the manager's e*, and so its level on the page where its cells begin.
    levels = {str(one["object"]): state.level[one["object"]] for one in cells}
    if after is None:
        levels[MANAGER] = state.level[MANAGER]
    shown = {"manager": MANAGER, "p": state.levels.count, "levels": levels, "cells": cells}
    return shown | ({"next": more} if more is not None else {})


def _size(cell: Mapping[str, str]) -> int:
    """Of one cell in a packet, at most; names are ASCII."""
    return 64 + len(cell["subject"]) + len(cell["object"])


def _cells(guard: Guard, target_after: str, subject_after: str) -> Iterator[tuple[str, dict[str, Any]]]:
    state = guard.book.state
    for target in sorted(map(str, state.live)):
        if target < target_after:
            continue
        for subject in sorted({*map(str, state.M[target]), *map(str, state.b[target])}):
            if target == target_after and subject <= subject_after:
                continue
            may, held = letters(state.may(subject, target)), letters(state.holds(subject, target))
            row = {"subject": subject, "object": target, "allowed": may, "held": held}
            yield f"{target} {subject}", row


async def explain(guard: Guard, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What the monitor would say now, by which rule, from which cells; with names as vecctl knows them."""
    subject, target, attribute = arguments["subject"], arguments["object"], arguments["attribute"]
    operation = arguments.get("operation") or ""
    if operation in WITH_LEVEL:
        raise Malformed(
            f"what {operation} would do hangs on a level, and explain has no way to name one",
            hint="vecctl policy diff says whether the levels of the files can be; vecctl model replay tries any",
        )
    if operation and operation not in OPERATIONS:
        raise Malformed(f"there is no operation {operation[:64]!r}", hint=f"one of: {', '.join(OPERATIONS)}")
    _known(guard, subject)
    what = _known(guard, target)
    instances = [what] if isinstance(what, Instance) else []
    async with guard.locked([what]) if isinstance(what, Card) else guard.reached(instances) as links:
        for link in links:
            observe(guard, link)
        if operation in DATA_OPERATIONS:
            answer = _explained_whole(guard, subject, target)
        else:
            answer = _explained(guard, subject, target, attribute, operation)
        return _for_people(guard, answer, subject, target, attribute) | ({"operation": operation} if operation else {})


def _explained(guard: Guard, subject: str, target: str, attribute: str, operation: str) -> dict[str, Any]:
    book = guard.book
    card, instance = book.register.cards.get(target), book.register.instances.get(subject)
    state = _with_keys(book.state, subject, target)
    answer = ppm_explain.explain(state, subject, target, attribute, operation=operation)
    bit = 0 if operation else BITS.get(attribute, 0)
    if _allowed(answer) and card and instance and bit and not _usable(guard, card.name, instance) & bit:
        # Data go through the instance: what its user may not do there the card does not do for it.
        return _explained(guard, instance.owner, subject, attribute, operation)
    return answer


def _explained_whole(guard: Guard, subject: str, target: str) -> dict[str, Any]:
    """Of a data operation: everything that it takes, from the user's session to the result, in one answer."""
    state, instance = guard.book.state, guard.book.register.instances.get(subject)
    wanted = [requests.append(subject, target), requests.read(subject, target)]
    if instance is None or target not in guard.book.register.cards:
        return ppm_explain.explain_all(state, [requests.connect(subject, target), *wanted], [], wanted)
    user = instance.owner
    session = [*opening(user, subject), requests.connect(subject, target)]
    if state.holds(subject, target) & C:
        # The session is open: what counts is what may go through the instance, and for that w does as well.
        through = state.may(user, subject)
        session = [] if through & W else [one for one in session if one.object == subject]
        return ppm_explain.explain_all(state, [*session, *wanted], [], wanted)
    return ppm_explain.explain_all(state, [*session, *wanted], session, wanted)


def _allowed(answer: Mapping[str, Any]) -> bool:
    """A yes that only waits for the card's next turn is one, for people who ask whether something may be done."""
    return answer["decision"] == "yes" or answer["in_turn"]


def _with_keys(state: State, instance: str, card: str) -> State:
    """
    Which key slots a card has is the card's to know. Where the instance could have one it is taken to have it, and
    `_for_people` says that nobody here knows.
    """
    if not state.holds(instance, card) & C or state.kind(card) != CARD:
        return state
    taken = state.copy()
    taken.apply([Change("key", instance, card, False, True)])
    return taken


def _for_people(guard: Guard, answer: dict[str, Any], subject: str, target: str, attribute: str) -> dict[str, Any]:
    """With what the rules do not know: the state of the card, its key slots, and what the policy lets anybody give."""
    notes = []
    if target in guard.book.register.cards:
        link = guard.link(target)
        if why := guard.quarantined(target):
            notes.append(f"card {target} is in quarantine: {why}; vecctl card readmit {target}")
        elif link.out:
            notes.append(f"card {target} is out of service: {link.out}")
        elif link.word is None:
            notes.append(f"card {target} has no process at the moment")
    for read in answer["reads"]:
        if read["cell"] == "key":
            unknown = f"whether {read['subject']} has a key slot in {read['object']} is for the card to know"
            read |= {"value": None, "text": f"{unknown}: vecctl card show {read['object']}"}
    changes = [
        change.replace("was loaded", "if there was one") if change.startswith("key slot") else change
        for change in answer["changes"]
    ]
    for step in answer["plan"]:
        # What somebody would have to give may be more than the policy lets anybody give.
        if step["rule"] == "R9" and (why := policy.beyond(guard, *(given := step["step"].split()[-3:]))):
            notes.append(why)
            advice = policy.advice(*given)
            answer["next"] = advice if answer["next"] == step["step"] else answer["next"]
            step["step"] = advice
    more = {"subject": subject, "object": target, "attribute": attribute, "changes": changes, "notes": notes}
    return {**answer, **more, "allowed": _allowed(answer)}
