"""
L13: the paper's own proof, in the logic that it uses (Burrows, Abadi, Needham 1989), by forward chaining.

A formula is a tuple: ("believes", P, X), ("sees", P, X), ("said", P, X), ("controls", P, X), ("fresh", X), ("pair",
X, Y), ("key", K, P) for "K is P's public key", ("sealed", P, X) for {X} to P's key, ("signed", P, X) for {X} by P's.
Anything else is a statement without structure. `derived` applies the rules that the paper names (message meaning, nonce
verification, jurisdiction) and those on parts of messages, until nothing is new.
"""

from typing import NamedTuple

Formula = tuple | str


def believes(who: str, what: Formula) -> Formula:
    return ("believes", who, what)


def controls(who: str, what: Formula) -> Formula:
    return ("controls", who, what)


def key_of(who: str) -> Formula:
    return ("key", f"K_{who}", who)


FRESH = ("fresh", "T_CA")


class Part(NamedTuple):
    """One of the paper's analyses: what is assumed, which messages arrive, and what is to follow."""

    assumed: frozenset[Formula]
    messages: tuple[Formula, ...]
    goals: tuple[Formula, ...]


def _arrives(at: str, *fields: Formula) -> Formula:
    """{[.., T_CA]_CA}_at."""
    body = fields[0] if len(fields) == 1 else ("pair", *fields)
    return ("sees", at, ("sealed", at, ("signed", "CA", ("pair", body, "T_CA"))))


_KEYS = (
    believes("user", key_of("CA")), believes("card", key_of("CA")),
    believes("CA", key_of("user")), believes("CA", key_of("card")),
)  # fmt: skip

REGISTRATION = Part(
    frozenset({
        believes("card", key_of("CA")), believes("CA", key_of("card")), believes("CA", "card.cer"),
        believes("card", controls("CA", "card.cer")), believes("card", FRESH),
    }),
    (_arrives("card", "card.cer"),),
    (believes("card", "card.cer"),),
)  # fmt: skip

VERIFICATION = Part(
    frozenset({
        *_KEYS,
        believes("user", controls("CA", "Ver_user")), believes("user", controls("CA", key_of("card"))),
        believes("user", FRESH), believes("card", FRESH),
    }),
    (_arrives("card", "Ver_user"), _arrives("user", "Ver_card", key_of("card"))),
    (believes("user", "Ver_card"), believes("user", key_of("card")), believes("card", "Ver_user")),
)  # fmt: skip

LOADING = Part(
    frozenset({
        *_KEYS,
        believes("user", controls("CA", "N_K")), believes("card", controls("CA", "Ver_K")),
        believes("user", FRESH), believes("card", FRESH),
    }),
    (_arrives("card", "Ver_K"), _arrives("user", "N_K")),
    (believes("card", "Ver_K"), believes("user", "N_K")),
)  # fmt: skip

PARTS = {"registration": REGISTRATION, "verification": VERIFICATION, "key loading": LOADING}

MISTAKEN = believes("user", controls("CA", "Ver_user"))
"""The assumption of the verification that nothing follows from."""

REPAIRED = (believes("card", controls("CA", "Ver_user")), believes("user", controls("CA", "Ver_card")))
"""What has to stand in its place."""


def _following(known: set[Formula], formula: Formula) -> list[Formula]:
    """What one formula, with the others, gives in one step."""
    match formula:
        case ("sees", who, ("sealed", to, what)) if to == who:
            return [("sees", who, what)]
        case ("sees", who, ("signed", by, what)):
            # Who can check a signature can also read what it is over.
            if believes(who, key_of(by)) in known:
                return [believes(who, ("said", by, what)), ("sees", who, what)]
        case ("sees", who, ("pair", *parts)):
            return [("sees", who, part) for part in parts]
        case ("believes", who, ("said", by, what)):
            found = [believes(who, ("said", by, part)) for part in what[1:]] if what[0] == "pair" else []
            # Nonce verification: what is fresh was said now, so it is believed by who said it.
            return found + ([believes(who, believes(by, what))] if _is_fresh(known, who, what) else [])
        case ("believes", who, ("believes", by, ("pair", *parts))):
            return [believes(who, believes(by, part)) for part in parts]
        case ("believes", who, ("believes", by, what)):
            # Jurisdiction.
            return [believes(who, what)] if believes(who, controls(by, what)) in known else []
        case ("believes", who, ("pair", *parts)):
            return [believes(who, part) for part in parts]
    return []


def _is_fresh(known: set[Formula], who: str, what: Formula) -> bool:
    """A message is fresh when a part of it is."""
    if believes(who, ("fresh", what)) in known:
        return True
    return what[0] == "pair" and any(_is_fresh(known, who, part) for part in what[1:])


def derived(assumed: frozenset[Formula], messages: tuple[Formula, ...]) -> frozenset[Formula]:
    """Everything that follows."""
    known, todo = set(assumed), [*assumed, *messages]
    known.update(messages)
    while todo:
        todo = [new for formula in list(known) for new in _following(known, formula) if new not in known]
        known.update(todo)
    return frozenset(known)


def missing(part: Part, *, without: tuple[Formula, ...] = (), more: tuple[Formula, ...] = ()) -> list[Formula]:
    """The goals that do not follow."""
    known = derived((part.assumed - set(without)) | set(more), part.messages)
    return [goal for goal in part.goals if goal not in known]


def shown(goal: Formula) -> str:
    """ "card believes Ver_user"."""
    return f"{goal[1]} believes {goal[2]}"
