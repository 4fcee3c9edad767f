"""What has to be true in every state, whatever the attacker did.

Claims speak of marks, which the machines leave (machines.py):

    ("sent", run, card, K, sid, alg, usage)             A's run sent message 7
    ("done", run, card, K, sid, N_K)                    A's run took message 12
    ("active", card, handle, user, K, sid, N_K, alg, usage)   the card took message 11
    ("holds", user, K, sid)                             the card has K, staged or active, for this user and session

A claim is a function of the marks and the knowledge that yields what is wrong, in words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

from .knowledge import Knowledge
from .machines import Mark
from .terms import Term, literal

A, C = literal("A"), literal("C")


class Marks:
    """All marks of a state, by kind; `past` are those of a recorded session."""

    def __init__(self, marks: frozenset[Mark], past: frozenset[Mark]) -> None:
        self.past = past
        self.all = marks | past
        self.sent, self.done, self.active, self.holds = (
            [mark[1:] for mark in self.all if mark[0] == kind] for kind in ("sent", "done", "active", "holds")
        )
        #: What A sent to the honest card.
        self.secrets: set[Term] = {key for _, card, key, *_ in self.sent if card is C}


Claim = Callable[[Marks, Knowledge], Iterator[str]]
CLAIMS: dict[str, Claim] = {}


def claim(words: str) -> Callable[[Claim], Claim]:
    def register(function: Claim) -> Claim:
        CLAIMS[words] = function
        return function

    return register


@claim("K that A sent to C is never known to the attacker")
def secrecy(m: Marks, knowledge: Knowledge) -> Iterator[str]:
    yield from (f"the attacker knows {key!r}" for key in sorted(m.secrets) if knowledge.derives(key))


@claim("C has (A, K, sid) active only if A sent exactly that to C")
def card_agrees(m: Marks, _: Knowledge) -> Iterator[str]:
    sent = {tuple(what) for _, *what in m.sent}
    for _card, _handle, user, key, sid, _number, alg, usage in m.active:
        if user is A and (C, key, sid, alg, usage) not in sent:
            yield f"C activated {key!r} for A in {sid!r}, which A did not send"


@claim("A is done with (C, K, sid, N_K) only if C holds K for (A, sid)")
def user_agrees(m: Marks, _: Knowledge) -> Iterator[str]:
    held = {tuple(what) for what in m.holds}
    for mark in m.all - m.past:
        if mark[0] == "done" and mark[2] is C and (A, mark[3], mark[4]) not in held:
            yield f"A is done with {mark[3]!r} in {mark[4]!r}, which C does not hold for it"


@claim("N_K means the same to A and to C")
def number_agrees(m: Marks, _: Knowledge) -> Iterator[str]:
    for _run, card, key, sid, number in m.done:
        for _card, _handle, user, other, elsewhere, theirs, *_ in m.active:
            if card is C and (number == theirs or (user, sid) == (A, elsewhere)):
                if (number, A, key, sid) != (theirs, user, other, elsewhere):
                    yield f"the number of {key!r} in {sid!r} at A is that of {other!r} in {elsewhere!r} at C"


@claim("two runs of A are never done with one session or one number, C never activates one session or number twice")
def injective(m: Marks, _: Knowledge) -> Iterator[str]:
    for one, two in combinations(m.done, 2):
        if one[3] is two[3] or one[4] == two[4]:
            yield f"A is done twice with {one[3]!r}"
    for one, two in combinations(m.active, 2):
        if one[4] is two[4] or one[5] == two[5]:
            yield f"C activated {one[4]!r} twice"


@claim("no card holds A's K for somebody else, let alone activates it")
def nobody_else(m: Marks, _: Knowledge) -> Iterator[str]:
    for user, key, sid in m.holds:
        if user is not A and key in m.secrets:
            yield f"C holds {key!r} for {user!r} in {sid!r}"


def wrong(m: Marks, knowledge: Knowledge) -> list[str]:
    """Everything that does not hold in this state: the claim, and how it fails."""
    return [f"{why} ({words})" for words, check in CLAIMS.items() for why in check(m, knowledge)]
