"""
Why, and what would change it: one decision of the reference monitor, for people and as JSON.

The answer is the rule's own, on the state as it is now. For a refusal the plan is found by the rules
themselves: each refusal names one request that removes its cause, which may be refused in turn; on a copy
of the state they are made one after the other until the first one is a yes. So what is advised has been tried.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from vecd.ppm.request import Request, step
from vecd.ppm.rules import NO, UNCLEAR, WHERE, YES, Decision, decide
from vecd.ppm.state import LETTERS, MANAGER, Cell, Key, State, letters
from vecd.ppm.words import text, value

# What people may write for a rule: an attribute stands for getting it.
OPERATIONS = {
    "c": "R1",
    "a": "R2",
    "w": "R3",
    "r": "R4",
    "e": "R5",
    "connect": "R1",
    "append": "R2",
    "write": "R3",
    "read": "R4",
    "instruct": "R5",
    "release": "R6",
    "create": "R7",
    "destroy": "R8",
    "give": "R9",
    "rescind": "R10",
    "level": "R11",
    "switch": "R12",
}

STEPS_MAX = 64

# What happens by itself in the turns of a card; all else is a decision of people or of the guest.
_IN_TURN = frozenset(("R2", "R4", "R6", "R11", "R12", "submit"))


def explain(
    state: State,
    subject: Key,
    object: Key,
    what: str,
    *,
    operation: str = "",
    to: Key | None = None,
    level: int | None = None,
    next: Key | None = None,
) -> dict[str, Any]:
    """
    The decision on one request, its rule and reason, every cell it read, and what would make it a yes.

    `what` is an attribute or an operation (a rule, a word of OPERATIONS, or a data operation); where an operation
    takes an attribute (release, give, rescind) `what` is the attribute. For give and rescind the subject is who
    gets or loses it, unless `to` says so and the subject is who asks. Changes nothing; raises nothing.
    """
    request = question(subject, object, what, operation=operation, to=to, level=level, next=next)
    decision = decide(state, request)
    return _answer(state, [decision], plan(state, request) if decision.answer == NO else Plan(()))


def explain_all(
    state: State, allowed: Iterable[Request], opening: Iterable[Request], wanted: Sequence[Request]
) -> dict[str, Any]:
    """
    As `explain`, for what takes several requests: one answer, and one plan after which all of them are a yes.

    wanted: the requests themselves, made one after the other. opening: what is asked before them. allowed: those of
    which M has to have the right, whoever asks for it and when. What M lacks comes first, all of it.
    """
    found = [decide(state, request) for request in wanted]
    # What makes no sense is the answer before anything else: no step removes it.
    told = sorted(found, key=lambda one: (UNCLEAR, NO, YES).index(one.answer))
    if told[0].answer == UNCLEAR:
        return _answer(state, told[:1], Plan(()))
    lacking = [decision for request in allowed if _gift(decision := decide(state, request)) is not None]
    way = _plan_all(state, [*map(_gift, lacking)], opening, wanted)
    return _answer(state, lacking or told[:1], way)


def _answer(state: State, decisions: Sequence[Decision], way: "Plan") -> dict[str, Any]:
    """The first decision, with what the others lack as well, and the way to a yes."""
    (decision, *others), (steps, blocked) = decisions, way
    request = decision.request
    reason, advice = decision.reason, decision.next
    if lacks := _lacks(others):
        reason += f"; besides, {lacks}"
    if blocked is not None:
        # The first cause could be removed, but not the last one: that is the one to name.
        advice = _ALAS[NO]
        if blocked.reason != reason:
            reason += f"; and even then {blocked.reason}"
    elif decision.answer not in (YES, NO):
        advice = _ALAS[decision.answer]
    answer: dict[str, Any] = {
        "schema": 1,
        "decision": decision.answer,
        "rule": decision.rule or request.rule,
        "property": decision.property,
        "reason": reason,
        "subject": state.words(request.subject),
        "object": state.words(request.object),
        "reads": [read_json(cell) for cell in dict.fromkeys(cell for one in decisions for cell in one.reads)],
        "cause": cause_json(state, *decisions),
        "changes": [change_text(state, decision, n) for n in range(len(decision.changes))],
        "next": advice,
        "plan": [{"rule": s.rule, "step": step(state, s)} for s in steps],
        "can_change": decision.answer == YES or bool(steps),
        "in_turn": bool(steps) and all(s.rule in _IN_TURN and s.attribute != "c" for s in steps),
    }
    return answer


def question(
    subject: Key,
    object: Key,
    what: str,
    *,
    operation: str = "",
    to: Key | None = None,
    level: int | None = None,
    next: Key | None = None,
) -> Request:
    """The request that is meant: `explain` says how."""
    word = operation or what
    rule = OPERATIONS.get(word, word) if type(word) is str else word
    attribute = what if type(what) is str and len(what) == 1 and what in LETTERS else None
    if rule in ("R9", "R10") and to is None:
        subject, to = MANAGER, subject
    return Request(rule, subject, object, attribute, to, level, next)


class Plan(NamedTuple):
    """Requests that make another one a yes, in order; or the refusal that nothing removes."""

    steps: tuple[Request, ...]
    blocked: Decision | None = None


def plan(state: State, request: Request) -> Plan:
    """What has to be asked, by the rules themselves on a copy of the state, so that `request` is a yes."""
    scratch, goals = state.copy(), [request]
    steps: list[Request] = []
    decision = decide(scratch, request)
    for _ in range(STEPS_MAX):
        if decision.answer == YES:
            if len(goals) == 1:
                return Plan(tuple(steps))
            scratch.apply(decision.changes)
            steps.append(goals.pop())
        elif decision.remedy is None or decision.remedy in goals:
            break
        else:
            goals.append(decision.remedy)
        decision = decide(scratch, goals[-1])
    return Plan((), decision)


def _plan_all(
    state: State, gifts: Iterable[Request | None], opening: Iterable[Request], wanted: Iterable[Request]
) -> Plan:
    """What is given, and then whatever it takes that each of the others is a yes, in order and on one copy."""
    scratch = state.copy()
    steps: list[Request] = []

    def make(request: Request) -> bool:
        decision = decide(scratch, request)
        scratch.apply(decision.changes)
        return bool(decision.changes)

    for gift in filter(None, gifts):
        make(gift)
        steps.append(gift)
    before = [*opening]
    for number, request in enumerate((*before, *wanted)):
        more, blocked = plan(scratch, request)
        if blocked is not None:
            return Plan((), blocked)
        for one in more:
            make(one)
        steps += more
        # Who is asked about makes the last ones. An opening that is there already is no step.
        if make(request) and number < len(before):
            steps.append(request)
    return Plan(tuple(steps))


def _gift(decision: Decision) -> Request | None:
    """The R9 that this refusal asks for."""
    return decision.remedy if decision.remedy is not None and decision.remedy.rule == "R9" else None


def _lacks(decisions: Iterable[Decision]) -> str:
    """What M lacks, cell by cell: "M[A][A.1] lacks c r"."""
    cells: dict[tuple[Key, Key], list[str]] = {}
    for gift in filter(None, map(_gift, decisions)):
        cells.setdefault((gift.to, gift.object), []).append(gift.attribute)
    return ", ".join(f"M[{subject}][{object}] lacks {' '.join(many)}" for (subject, object), many in cells.items())


def read_json(cell: Cell) -> dict[str, Any]:
    """A cell with its value, for programs and, in `text`, for people."""
    table, subject, object, value = cell
    shown = letters(value) if table in ("M", "b") else sorted(value) if table == "may" else value
    return {"cell": table, "subject": subject, "object": object, "value": shown, "text": text(cell)}


def cause_json(state: State, decision: Decision, *others: Decision) -> dict[str, Any] | None:
    """
    The cell that decided a refusal: what it is, and what it would have to be, for the others as well. None for a yes,
    and where the request itself is the cause, whatever the cells say.
    """
    if decision.cause is None:
        return None
    table, subject, object, needed = decision.cause
    for other in others:
        if table == "M" and other.cause is not None and other.cause[:3] == decision.cause[:3]:
            needed |= other.cause[3]
    found = state.world[object].may if table == "may" else state.cell(table, subject, object)
    return {**read_json((table, subject, object, found)), "needs": value((table, subject, object, needed))}


def change_text(state: State, decision: Decision, number: int) -> str:
    """One change of a yes: "M[a][k] = rac, was ra"."""
    table, subject, object, old, new = decision.changes[number]
    return f"{text((table, subject, object, new))}, was {value((table, subject, object, old))}"


_ALAS = {
    NO: "nothing that is asked for changes this answer",
    UNCLEAR: WHERE,
}
