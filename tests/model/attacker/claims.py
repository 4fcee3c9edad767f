"""What has to be true in every state, whatever the attacker did.

Claims speak of marks, which the machines leave (machines.py); all begin with the machine that left them:

    ("sent", run, user, card, K, sid, alg, usage)                       the user's run sent message 7
    ("done", run, user, card, K, sid, N_K)                              it took message 12
    ("active", machine, card, user, K, sid, N_K, alg, usage, handle)    the card took message 11
    ("holds", machine, card, user, K, sid)                              the card has K, staged or active

A claim is a function of the marks and the knowledge that yields what is wrong, in words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

from .knowledge import Knowledge
from .machines import Mark
from .terms import Term, literal

#: Whose private keys the attacker has not.
USERS, CARDS = frozenset(map(literal, "AB")), frozenset(map(literal, "CH"))


class Marks:
    """All marks of a state, by kind, without their kind and machine; `past` are those of a recorded session."""

    def __init__(self, marks: frozenset[Mark], past: frozenset[Mark] = frozenset()) -> None:
        whole = marks | past
        self.sent, self.done, self.active, self.holds = (
            [mark[2:] for mark in whole if mark[0] == kind] for kind in ("sent", "done", "active", "holds")
        )
        self.done_now = [mark[2:] for mark in marks - past if mark[0] == "done"]
        #: What honest users sent to honest cards, and who did.
        self.owners: dict[Term, Term] = {key: user for user, card, key, *_ in self.sent if card in CARDS}


Claim = Callable[[Marks, Knowledge], Iterator[str]]
CLAIMS: dict[str, Claim] = {}


def _claim(words: str) -> Callable[[Claim], Claim]:
    def register(function: Claim) -> Claim:
        CLAIMS[words] = function
        return function

    return register


@_claim("a K that was sent to an honest card is never known to the attacker")
def secret(m: Marks, knowledge: Knowledge) -> Iterator[str]:
    yield from (f"the attacker knows {key!r}" for key in sorted(m.owners) if knowledge.derives(key))


@_claim("a card activates (A, K, sid) only if A sent exactly that to this card")
def card_agrees(m: Marks, _: Knowledge) -> Iterator[str]:
    sent = set(m.sent)
    for card, user, key, sid, _number, alg, usage, _handle in m.active:
        if user in USERS and (user, card, key, sid, alg, usage) not in sent:
            yield f"{card!r} activated {key!r} for {user!r} in {sid!r}, which {user!r} did not send"


@_claim("A is done with (C, K, sid, N_K) only if C holds K for (A, sid)")
def user_agrees(m: Marks, _: Knowledge) -> Iterator[str]:
    held = set(m.holds)
    for user, card, key, sid, _number in m.done_now:
        if card in CARDS and (card, user, key, sid) not in held:
            yield f"{user!r} is done with {key!r} in {sid!r}, which {card!r} does not hold for it"


@_claim("N_K means the same to the user and to the card")
def number_agrees(m: Marks, _: Knowledge) -> Iterator[str]:
    for user, card, key, sid, number in m.done:
        for where, whose, other, elsewhere, theirs, *_ in m.active:
            meant, means = (user, card, key, sid, number), (whose, where, other, elsewhere, theirs)
            if card in CARDS and (number == theirs or (user, sid) == (whose, elsewhere)) and meant != means:
                yield f"the number of {key!r} in {sid!r} at {user!r} is that of {other!r} in {elsewhere!r} at {where!r}"


@_claim("no two runs are done with one session or number, and no session or number is activated twice")
def injective(m: Marks, _: Knowledge) -> Iterator[str]:
    for one, two in combinations(m.done, 2):
        if one[3] is two[3] or one[4] == two[4]:
            yield f"{one[0]!r} is done twice with {one[3]!r}, or with its number"
    for one, two in combinations(m.active, 2):
        if one[3] is two[3] or one[4] == two[4]:
            yield f"{one[3]!r}, or its number, was activated twice"


@_claim("no card activates K for somebody else than who sent it")
def nobody_else(m: Marks, _: Knowledge) -> Iterator[str]:
    for card, user, key, *_rest in m.active:
        if m.owners.get(key, user) is not user:
            yield f"{card!r} activated {key!r} for {user!r}"


@_claim("no card so much as stages K for somebody else")
def nobody_elses(m: Marks, _: Knowledge) -> Iterator[str]:
    for card, user, key, sid in m.holds:
        if m.owners.get(key, user) is not user:
            yield f"{card!r} holds {key!r} for {user!r} in {sid!r}"


def wrong(m: Marks, knowledge: Knowledge, claims: dict[str, Claim]) -> list[str]:
    """Everything that does not hold in this state: the claim, and how it fails."""
    return [f"{why} ({words})" for words, check in claims.items() for why in check(m, knowledge)]
