"""
H15 and H16: two defects that a first correction of the model had, each one atom away from ours.

H15 is in a rule: a key slot that nobody is connected for went with the next cleaning, not with c. What B does, yield,
is then seen by A. It is searched for in pairs of states: one with what B does, one without, and a request of A that is
answered differently.

H16 is in a property: residue did not say that engine and output are of one instance. No rule reaches such a state, so
this is a counter-example to induction: of all states that the weaker properties allow, one from which a single step
mixes the data of two users in one buffer.
"""

from functools import lru_cache
from itertools import combinations, product
from typing import NamedTuple

from tests.model.literal_rules.asking import registered, requests
from tests.model.literal_rules.holes import CARD, OWN, USERS, lines
from tests.model.literal_rules.language import REAL, Interpreter, Table, world
from tests.model.literal_rules.search import Differs, interference
from tests.model.literal_rules.tables import CORRECTED, FIRST
from vecd.ppm.properties import PROPERTIES
from vecd.ppm.request import Request
from vecd.ppm.state import BITS, WORKING, byte_of

ASKED = lines(
    "R1 a k; R1 b k; R2 a k; R11 a k 2; R11 a k 3; loadkey a k; submit a k; R6 a k c; "
    "R12 m k a; R12 m k b; R12 m k -; R12 b k -; R12 a k -"
)


def _interpreter(table: Table) -> Interpreter:
    return Interpreter(table, world(table, USERS, OWN, CARD))


def _cells(v: dict) -> dict:
    """The state without the ghost."""
    return {key: value for key, value in v.items() if key[0] in REAL or key[0] == "status"}


@lru_cache(None)
def seen_yield(corrected: bool) -> Differs | int:
    """The shortest trace after which A is answered differently because b yielded; else a number of pairs of states."""
    interpreter = _interpreter(CORRECTED if corrected else FIRST)
    return interference(
        interpreter,
        registered(interpreter),
        ASKED,
        hidden=lambda one: one.subject == "b" and one.rule == "R12",
        watched=lambda one: one.subject == "a",
        cells=_cells,
    )


WHOLE, WEAK = "whole", "weak"
_CLAUSE = "in its engine and of"
"""How residue names the clause that the first correction lacked."""


class Mixed(NamedTuple):
    """A state of the card, in words; the request; whose data one buffer has then."""

    state: str
    request: Request
    users: frozenset


class Induction(NamedTuple):
    """How many states there are that the properties allow, and the first step from one of them that mixes."""

    states: int
    mixed: Mixed | None


def _candidates() -> list[dict]:
    """
    Every state of two instances and a card, everybody live and with all rights in M, users connected; of the rights on
    the card, slot owners and key slots those that properties 8 and 9 do not exclude at once.
    """
    interpreter = _interpreter(CORRECTED)
    base = {
        key: value for key, value in _cells(registered(interpreter)).items() if key[2] != "k" or key[0] in ("M", "live")
    }
    base["b", "m", "k"] = BITS["e"]
    held = [0, *(byte_of("c" + letters) for letters in ("", "a", "r", "ra", "w", "wa", "rw", "rwa"))]
    things = (None, "a", "b")
    found = []
    for a, b, cur, ctx, out in product(held, held, things, things, things):
        if any(byte & WORKING and cur != i or cur == i and not byte for i, byte in (("a", a), ("b", b))):
            continue
        connected = [i for i, byte in (("a", a), ("b", b)) if byte]
        for (status, level), n in product((("free", 4), ("control", 3), ("using", 2)), range(len(connected) + 1)):
            for keys in combinations(connected, n):
                card = {"current": cur, "context": ctx, "output": out, "level": level}
                cells = {(table, None, "k"): value for table, value in card.items()}
                cells |= {("b", "a", "k"): a, ("b", "b", "k"): b, ("status", status, "k"): True}
                cells |= {("key", i, "k"): True for i in keys}
                found.append(base | {key: value for key, value in cells.items() if value})
    return found


@lru_cache(None)
def induction() -> dict[str, Induction]:
    """One step of our rules from every state that the properties allow, with residue whole and in its weaker form."""
    interpreter = _interpreter(CORRECTED)
    asked = requests(CORRECTED, interpreter.world, "R1 R2 R3 R4 R6 R11 R12 loadkey submit process fetch", cards=True)
    count: dict[str, int] = {WEAK: 0, WHOLE: 0}
    mixed: dict[str, Mixed] = {}
    for v in _candidates():
        state = interpreter.real(v)
        wrong = [sentence for predicate in PROPERTIES.values() for sentence in predicate(state)]
        if not all(_CLAUSE in sentence for sentence in wrong):
            continue
        allow = (WEAK,) if wrong else (WEAK, WHOLE)
        for residue in allow:
            count[residue] += 1
        engine, output = v.get(("context", None, "k")), v.get(("output", None, "k"))
        places = (("engine", engine), ("buffers", output))
        ghost = {(place, None, "k"): frozenset({OWN[i]}) for place, i in places if i is not None}
        for one in asked:
            _, after = interpreter.step(v | ghost, one)
            users = after.get(("buffers", None, "k"), frozenset())
            if len(users) > 1:
                status = next(key[1] for key in v if key[0] == "status" and key[2] == "k")
                slot = v.get(("current", None, "k"), "nobody")
                told = f"k is {status}, its slot is of {slot}, its engine of {engine}, its output of {output}"
                for residue in allow:
                    mixed.setdefault(residue, Mixed(told, one, users))
    return {residue: Induction(count[residue], mixed.get(residue)) for residue in (WEAK, WHOLE)}
