"""What has to be true in every state, whatever the attacker did.

Claims speak of marks, which the machines leave (machines.py); all begin with the machine that left them:

    ("sent", run, user, card, K, sid, alg, usage)                       the user's run sent message 7
    ("done", run, user, card, K, sid, N_K)                              it took message 12
    ("active", machine, card, user, K, sid, N_K, alg, usage, handle)    the card took message 11
    ("holds", machine, card, user, K, sid)                              the card has K, staged or active
    ("asked", run, user, card, sid, i, tag)                             it asked for a connection of instance i
    ("attached", machine, user, card, sid, i, tag)                      the card took that, and waits for the tag
    ("certified", machine, role, id, pkE, pkS)                          the authority's certificate of the id
    ("registered", machine, user, kcv)                                  a key of the user, at the authority
    ("enrolled", machine, role, id, pkE, pkS)                           the party took registration 4

A claim is a function of the marks and the knowledge that yields what is wrong, in words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

from .knowledge import Knowledge
from .machines import Mark
from .terms import Term, literal, name, public

#: Whose private keys the attacker has not.
USERS, CARDS = frozenset(map(literal, "AB")), frozenset(map(literal, "CH"))


_KINDS = ("sent", "done", "active", "holds", "asked", "attached", "certified", "registered", "enrolled")


class Marks:
    """All marks of a state, by kind, without their kind and machine; `past` are those of a recorded session."""

    def __init__(self, marks: frozenset[Mark], past: frozenset[Mark] = frozenset()) -> None:
        whole = marks | past
        of: dict[str, list[Mark]] = {kind: [] for kind in _KINDS}
        for mark in whole:
            of[mark[0]].append(mark[2:])
        self.sent, self.done, self.active, self.holds, self.asked, self.attached, *rest = of.values()
        self.certified, self.registered, self.enrolled = rest
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


@_claim("a card attaches a connection only as its user asked for it, for the user's own instance, and once for a run")
def attaches(m: Marks, _: Knowledge) -> Iterator[str]:
    asked = set(m.asked)
    for mark in m.attached:
        user, card, sid, i, _tag = mark
        if user in USERS and mark not in asked:
            yield f"{card!r} attached {i!r} to {sid!r} of {user!r}, which {user!r} did not ask for"
        if repr(i) != f"i_{user!r}":
            yield f"{card!r} attached {i!r} for {user!r}"
    for one, two in combinations(m.attached, 2):
        if one[2] is two[2]:
            yield f"{one[2]!r} was attached twice"


@_claim("what must follow READY is known to who asked and to the card alone")
def tag_secret(m: Marks, knowledge: Knowledge) -> Iterator[str]:
    for user, card, sid, _i, tag in m.asked:
        if card in CARDS and knowledge.derives(tag):
            yield f"the attacker knows the tag of {user!r} in {sid!r}"


@_claim("a certificate of an honest party names its role and its keys; nobody else's has its signature key")
def bound(m: Marks, _: Knowledge) -> Iterator[str]:
    for role, of, seal, sign in m.certified:
        if of in USERS | CARDS:
            own = literal("user" if of in USERS else "card"), _key(of, "'"), _key(of)
            if (role, seal, sign) != own:
                yield f"{of!r} is certified as a {role!r} with {seal!r} and {sign!r}"
        elif any(sign is _key(honest) for honest in USERS | CARDS):
            yield f"{of!r} is certified with {sign!r}"
        if of is literal("E") and role is not literal("user") or of is literal("X") and role is not literal("card"):
            yield f"{of!r} is certified as a {role!r}"


def _key(of: Term, half: str = "") -> Term:
    return public(name(f"{of!r}{half}"))


@_claim("of an honest user's keys the authority has what the user registered")
def own_keys(m: Marks, _: Knowledge) -> Iterator[str]:
    for user, kcv in m.registered:
        if user in USERS and (kcv.kind != "mac" or repr(kcv.parts[0]) not in _OWN[repr(user)]):
            yield f"{kcv!r} is registered as a key of {user!r}"


_OWN = {"A": "KL", "B": "M"}


@_claim("who is enrolled is certified as just that")
def enrolled(m: Marks, _: Knowledge) -> Iterator[str]:
    yield from (f"{what[1]!r} is enrolled and not certified so" for what in m.enrolled if what not in m.certified)


def wrong(m: Marks, knowledge: Knowledge, claims: dict[str, Claim]) -> list[str]:
    """Everything that does not hold in this state: the claim, and how it fails."""
    return [f"{why} ({words})" for words, check in claims.items() for why in sorted(check(m, knowledge))]
