"""
H1 to H14 as questions to a search: where it starts, what may be asked, and which state is a counter-example.

A world is the smallest in which the hole shows (two users, an instance each, one card), and the requests are those of
the rules it is about. With every request there is the answer is as short (`test_minutes.py`). All but H11 and H12 are
asked with these two mended: without the first no card is ever in control, without the second a status never ends.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from tests.model.literal_rules import goals
from vecd.ppm.request import Request

GIVEN = ("H11", "H12")
USERS, OWN, CARD = "AB", {"a": "A", "b": "B"}, "k"


class Case(NamedTuple):
    """One question; the fields that are not plain have a comment."""

    hole: str
    name: str
    says: str
    rules: str
    goal: goals.Goal
    # What is wrong, where it is not one of the ten properties nor data of another user.
    wrong: str = ""
    p: int = 4
    # The attributes that R6, R9 and R10 may name.
    letters: str = "rwac"
    # Requests that come before and do not count; requests that may be made beside those of the rules.
    start: str = ""
    also: str = ""
    given: tuple[str, ...] = GIVEN
    # Users are connected to their instances to begin with; levels that are not L3.
    connected: bool = True
    levels: dict = {}
    # Rights on cards alone are asked for.
    cards: bool = False
    # Rules that break the same property by themselves, and are left out when everything else is asked, too.
    apart: str = ""
    # (who, what): the goal is "and whatever these ask from here, that is never reached".
    blocked: tuple[Callable[[Request], bool], goals.Goal] | None = None
    # What has to hold in every state on the way.
    within: goals.Goal | None = None
    # The holes whose edits mend it; none: its own alone.
    mends: tuple[str, ...] = ()


def request(words: str) -> Request:
    """ "R9 m A a c" as docs/model.md has it: the manager gives A on a the attribute c. "R7 m a B" creates a for B."""
    rule, s, o, *rest = words.split()
    if rule in ("R9", "R10"):
        return Request(rule, s, rest[0], rest[1], to=o)
    if rule == "R6":
        return Request(rule, s, o, rest[0])
    if rule == "R11":
        return Request(rule, s, o, level=int(rest[0]))
    if rule == "R12":
        return Request(rule, s, o, next=None if rest[0] == "-" else rest[0])
    return Request(rule, s, o, to=rest[0] if rest else None)


def lines(words: str) -> list[Request]:
    return [request(line) for line in words.split("; ") if line]


def words(asked: Request) -> str:
    """The inverse of `request`."""
    rest: Iterable = {
        "R6": (asked.object, asked.attribute),
        "R9": (asked.to, asked.object, asked.attribute),
        "R10": (asked.to, asked.object, asked.attribute),
        "R11": (asked.object, asked.level),
        "R12": (asked.object, asked.next or "-"),
        "R7": (asked.object, *([asked.to] if asked.to else ())),
    }.get(asked.rule, (asked.object,))
    return " ".join(map(str, (asked.rule, asked.subject, *rest)))


def _anybody(one: Request) -> bool:
    return True


def _not_b(one: Request) -> bool:
    return one.subject not in ("b", "B")


_USE = "R1 R2 R3 R4 R11 submit process fetch"

CASES: dict[str, Case] = {
    case.name: case
    for case in (
        Case("H1", "H1", "levels do not separate two users: b reads a's result; ss, \\* and ds hold in every state",
             _USE, goals.leaks, within=goals.paper_holds, cards=True),
        Case("H1", "H1 alone", "the same when R1 takes no card down (H3 mended)",
             _USE, goals.leaks, within=goals.paper_holds, cards=True, given=(*GIVEN, "H3")),
        Case("H2", "H2", "nothing cleans or switches: a is gone, its result stays",
             "R1 R2 R11 submit process R6", goals.dirty, "whatever is asked, k is never clean again", letters="c",
             blocked=(_anybody, goals.clean), cards=True, given=(*GIVEN, "H4")),
        Case("H3", "H3", "R1 takes down a card that works: private data come below L2",
             "R1 R2 R11 submit", goals.private_below),
        Case("H3", "H3 levels", "the same, with b at L4: a appends downwards",
             "R1 R2 R11", goals.breaks("star"), p=5, levels={"b": {4}, "B": {4}}, apart="R6"),
        Case("H4", "H4", "R6 of c leaves r w a", "R1 R2 R3 R4 R6", goals.breaks("simple security"), connected=False),
        Case("H5", "H5", "R10 changes M alone", "R1 R2 R3 R4 R10", goals.breaks("discretionary"), connected=False),
        Case("H6", "H6", "R\\* looks away: an instance that may read a card is taken below it",
             "R1 R2 R3 R4 R11", goals.breaks("simple security"), p=5, apart="R6"),
        Case("H7", "H7", "a sharer that holds r or w blocks the card",
             "R1 R2 R3 R4 R6 R11", goals.anything, "whatever anybody but b asks, k is never using", cards=True,
             also="R10 m b k r; R10 m b k w; R10 m b k a; R10 m b k c", blocked=(_not_b, goals.using)),
        Case("H8", "H8", "R11 makes a card free that has a result in it and a reader on it",
             "R1 R2 R11 submit process R6 R4", goals.readable_free, letters="a", cards=True),
        Case("H8", "H8 connected", "R11 makes a connected card free", "R1 R11", goals.free_and_connected),
        Case("H8", "H8 nobody", "R11 takes a free card to using, for nobody", "R1 R11", goals.using_for_nobody),
        Case("H9", "H9", "R9 gives the manager's attribute to anybody", "R9", goals.breaks("type"), letters="e"),
        Case("H9", "H9 another's", "R9 gives rights on another's instance", "R1 R4 get", goals.leaks,
             start="R2 A a; put A a", also="R9 m B a c; R9 m B a r; R9 m A b c; R9 m A b r"),
        Case("H10", "H10", "R8 leaves its cells in M and b", "R6", goals.breaks("type"), also="R8 m a; R8 m b"),
        Case("H10", "H10 again", "an id that is used again, for B, has A's data", "R1 R4 R6 get", goals.leaks,
             letters="rc", start="R2 A a; put A a; R6 A a a", also="R8 m a; R7 m a; R7 m a B"),
        Case("H11", "H11", "f_v of a card excludes control: no instance can connect",
             "R1 R2 R3 R4 R6 R11 submit process", goals.anything, "whatever is asked, k is never in control",
             given=("H12",), blocked=(_anybody, goals.control), cards=True),
        Case("H12", "H12", "H takes up a status and gives none back", "R1 R11", goals.two_statuses,
             "H has k free and in control", given=("H11",)),
        Case("H12", "H12 ended", "so who was ever free is free: R8 ends a connected instance", "R6",
             goals.breaks("type"), given=("H11",), also="R8 m a; R8 m b"),
        Case("H13", "H13", "the user leaves, its instance stays on the card", "R1 R6", goals.breaks("chain"),
             mends=("H4", "H13")),
        Case("H13", "H13 before", "an instance connects without its user", "R1", goals.breaks("chain"),
             connected=False),
        Case("H14", "H14", "an instance is lowered with its data in it", "R2 R6 R11 put", goals.written_down,
             "what came in at L3 lies at L4", p=5),
    )
}  # fmt: skip
"""Of several cases for one hole the first is the hole, the others are forms of it."""

MENDED = {
    "H1": "slot and residue: R2-R4 want cur(k) = i; R12",
    "H2": "R12",
    "H3": "R1 moves the level from free alone",
    "H4": "R6 c takes everything",
    "H5": "b follows",
    "H6": "R\\* over every right, both ways; no slot",
    "H7": "r and w in the own slot alone; R12 strips them",
    "H8": "free by settling alone; up from control, down from using, to the slot owner's level",
    "H9": "typed pairs",
    "H10": "R8 wants everything clean and clears row and column; R7 wipes",
    "H11": "f_v(k) holds the instance levels",
    "H12": "status is one cell; R8 looks at the rights themselves",
    "H13": "R1 wants the user connected; R6 c and R10 c go down the chain",
    "H14": "unconnected alone, and wiped",
    "H15": "the key slot goes with c, at once",
    "H16": "residue: engine and output are never of two instances",
}
