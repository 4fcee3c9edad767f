"""
Why, and what would change it: one decision of the reference monitor, for people and as JSON.

The answer is the rule's own, on the state as it is now. For a refusal the plan is found by the rules
themselves: each refusal names one request that removes its cause, which may be refused in turn; on a copy
of the state they are made one after the other until the first one is a yes. So what is advised has been tried.
"""

from typing import Any, NamedTuple

from vecd.ppm.request import Request, step
from vecd.ppm.rules import NO, WHERE, YES, Decision, decide
from vecd.ppm.state import LETTERS, MANAGER, Cell, Key, State, letters
from vecd.ppm.words import text

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
    steps, blocked = plan(state, request) if decision.answer == NO else Plan(())
    reason, advice = decision.reason, decision.next
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
        "reads": [read_json(cell) for cell in dict.fromkeys(decision.reads)],
        "cause": cause_json(state, decision),
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


def read_json(cell: Cell) -> dict[str, Any]:
    """A cell with its value, for programs and, in `text`, for people."""
    table, subject, object, value = cell
    shown = letters(value) if table in ("M", "b") else sorted(value) if table == "may" else value
    return {"cell": table, "subject": subject, "object": object, "value": shown, "text": text(cell)}


def cause_json(state: State, decision: Decision) -> dict[str, Any] | None:
    """
    The cell that decided a refusal: what it is, and what it would have to be. None for a yes, and where the request
    itself is the cause, whatever the cells say.
    """
    if decision.cause is None:
        return None
    table, subject, object, _ = decision.cause
    found = state.world[object].may if table == "may" else state.cell(table, subject, object)
    return {**read_json((table, subject, object, found)), "needs": text(decision.cause).rpartition("= ")[2]}


def change_text(state: State, decision: Decision, number: int) -> str:
    """One change of a yes: "M[a][k] = rac, was ra"."""
    table, subject, object, old, new = decision.changes[number]
    was = text((table, subject, object, old))
    return f"{text((table, subject, object, new))}, was {was.rpartition('= ')[2]}"


_ALAS = {
    NO: "nothing that is asked for changes this answer",
    "?": WHERE,
}
