"""The questions of holes.py, asked of the literal table, of a mended one, and of vecd.ppm.rules."""

from functools import lru_cache
from itertools import product
from typing import NamedTuple

from tests.model.literal_rules import goals
from tests.model.literal_rules.holes import CARD, CASES, OWN, USERS, Case, lines, words
from tests.model.literal_rules.language import Interpreter, Table, World, world
from tests.model.literal_rules.search import Found, never, shortest
from tests.model.literal_rules.tables import CORRECTED, mended
from vecd.ppm.levels import Levels
from vecd.ppm.properties import secure
from vecd.ppm.request import Request
from vecd.ppm.rules import Decision, decide

ALL = "R1 R2 R3 R4 R5 R6 R11 loadkey submit process fetch put get"
"""All that can be asked, but who exists and what is in M: that is as it was given, but where a case changes it."""


def requests(table: Table, w: World, rules: str, letters: str = "rwac", cards: bool = False) -> list[Request]:
    """Every request of these rules, in their order; R9 and R10 name whoever and whatever there is."""
    found, things = [], [e for e in w.kind if e != "m"]
    for rule, row in product(rules.split(), table.rows.values()):
        if row.rule != rule:
            continue
        for s, o in product(w.kind, w.kind):
            if w.kind[s] + w.kind[o] not in row.pairs or (cards and w.kind[o] != "K"):
                continue
            if rule == "R6":
                found += [Request("R6", s, o, x) for x in letters if (x == "e") == (s == "m")]
            elif rule in ("R9", "R10"):
                found += [Request(rule, s, o, x, to=t) for t in things for x in letters if t != o]
            elif rule == "R11":
                found += [Request("R11", s, o, level=n) for n in range(2, w.p + 1)]
            elif rule == "R12":
                found += [Request("R12", s, o, next=n) for n in ((None, *w.own) if s == "m" else (None,))]
            elif s != o or rule == "process":
                found.append(Request(rule, s, o))
    return list(dict.fromkeys(found))


def registered(interpreter: Interpreter, connected: bool = True, start: str = "") -> dict:
    """Phase 0 of the life cycle: everybody is live, has r w a c, and users are connected to their instances."""
    w, asked = interpreter.world, []
    for kind in "UIK":
        asked += [
            Request("R7", "m", e, level=w.p if kind == "K" else min(w.may[e])) for e, of in w.kind.items() if of == kind
        ]
    asked += [Request("R5", "m", e) for e in w.kind if e != "m"]
    pairs = [(u, i) for i, u in w.own.items()] + [(i, k) for i in w.own for k, kind in w.kind.items() if kind == "K"]
    asked += [Request("R9", "m", o, x, to=s) for s, o in pairs for x in "rwac"]
    asked += [Request("R1", u, i) for i, u in w.own.items()] if connected else []
    v = interpreter.beginning()
    for one in (*asked, *lines(start)):
        answer, v = interpreter.step(v, one)
        assert answer == "yes", f"{one}: {answer}"
    return v


class Question(NamedTuple):
    """A case, ready to be asked."""

    interpreter: Interpreter
    start: dict
    requests: list[Request]
    goal: goals.Goal


def question(case: Case, *, mends: tuple[str, ...] = (), everything: str = "") -> Question:
    """The case on the literal table with what it is given, and `mends`, mended. `everything`: "", "cards" or "all"."""
    table = mended(*dict.fromkeys((*case.given, *mends)))
    interpreter = Interpreter(
        table, world(table, USERS, OWN, CARD, case.p, {e: frozenset(may) for e, may in case.levels.items()})
    )
    rules, letters, cards = case.rules, case.letters, case.cards
    if everything:
        rules = " ".join(rule for rule in f"{rules} {ALL}".split() if rule not in case.apart.split())
        letters, cards = "rwace", everything == "cards"
    if "R12" in table.rows:
        rules += " R12"
    asked = list(dict.fromkeys((*requests(table, interpreter.world, rules, letters, cards), *lines(case.also))))
    goal = case.goal if case.blocked is None else _blocked(case, asked)
    return Question(interpreter, registered(interpreter, case.connected, case.start), asked, goal)


def _blocked(case: Case, asked: list[Request]) -> goals.Goal:
    who, reach = case.blocked
    theirs = [one for one in asked if who(one)]
    return lambda interpreter, v: case.goal(interpreter, v) and never(interpreter, v, theirs, reach)


def ask(question: Question, case: Case, depth: int | None = None) -> Found:
    within = case.within or goals.anything
    return shortest(question.interpreter, question.start, question.requests, question.goal, within=within, depth=depth)


@lru_cache(None)
def counterexample(name: str) -> Found:
    """The shortest counter-example of a case on the literal rules."""
    return ask(question(CASES[name]), CASES[name])


def wrong(name: str) -> list[str]:
    """What is wrong at the end of it: properties by name, data of another user, and what the case says."""
    found, case = counterexample(name), CASES[name]
    interpreter = question(case).interpreter
    told = goals.wrong(interpreter, found.states[-1]) + goals.foreign(interpreter, found.states[-1])
    return told + ([case.wrong] if case.wrong else [])


class Ours(NamedTuple):
    """The same requests, asked of vecd.ppm.rules: the first refusal, and how it stands at the end."""

    step: int  # 0: nothing was refused
    request: str
    answer: str
    property: str
    helped: int  # how many requests a refusal advised, and got, before that
    secure: bool
    foreign: list[str]


def ours(name: str, *, help: bool = False) -> Ours:
    """
    The requests of a counter-example, one after the other, to the first that is refused.

    With `help` a request that is refused for want of a turn (R12) or of a key gets what the refusal advises, and is
    made again. The ghost follows on CORRECTED, which answers the same (`test_tables.py`).
    """
    case, posed, step, helped = CASES[name], question(CASES[name]), 0, 0
    state, v = posed.interpreter.real(posed.start), posed.start
    # The same world under the corrected rules: f_v of cards is not what H11 has.
    corrected = Interpreter(
        CORRECTED, world(CORRECTED, USERS, OWN, CARD, case.p, posed.interpreter.world.may | _CARD[case.p])
    )

    def made(asked: Request) -> Decision:
        nonlocal v
        decision = decide(state, asked)
        answer, after = corrected.step(v, asked)
        assert answer == decision.answer, f"{asked}: {answer} and {decision.answer}"
        state.apply(decision.changes)
        v = after
        return decision

    state.world[CARD] = state.world[CARD]._replace(may=corrected.world.may[CARD])
    for asked in counterexample(name).trace:
        step += 1
        decision = made(asked)
        while help and not decision and decision.remedy is not None and decision.remedy.rule in ("R12", "loadkey"):
            helped += 1
            assert helped < 9 and made(decision.remedy), decision.reason
            decision = made(asked)
        if not decision:
            break
    else:
        return Ours(0, "", "yes", "", helped, secure(state), goals.foreign(corrected, v))
    told = (step, words(asked), decision.answer, decision.property)
    return Ours(*told, helped, secure(state), goals.foreign(corrected, v))


_CARD = {p: {CARD: Levels(p).card} for p in (4, 5)}
