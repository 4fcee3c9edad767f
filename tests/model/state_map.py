"""The state map of a card, derived: every change of (status, slot owner) in everything that small worlds reach."""

from functools import cache

from tests.model.explored import come_and_go, reached, rights_change, three_instances
from tests.model.worlds import entities
from vecd.ppm.levels import USING
from vecd.ppm.state import CARD, FREE, INSTANCE

WORLDS = (three_instances, rights_change, come_and_go)

# As a card lives; what is not in here comes last.
PLACES = ("free", "control, none", "control, i", "control, j", "using, i", "using, none")
EVENTS = ("R1 c", "R11 up", "R11 down", "R12")


def place(state, k):
    return state.status_of(k), state.current.get(k)


def named(st, cur, owner):
    """A state of the map: i is the owner before, j another."""
    if st == FREE:
        return "free"
    return f"{st}, {'none' if cur is None else 'i' if cur == owner else 'j'}"


def transitions(world):
    """(from, event, to) of every card, over every transition that was reached."""
    found = reached(world)
    state, rows = found.state, set()
    # Its own loop, not an index: the places of every state first.
    cards = entities(state, CARD)
    places = []
    for here in found.states():
        places.append(
            {
                k: (
                    *place(here, k),
                    frozenset(here.mapped[k]),
                    k in here.live,
                    k not in here.context and k not in here.output,
                )
                for k in cards
            }
        )
    for number, out in enumerate(found.edges):
        for which, after in out:
            request = found.requests[which]
            for k in cards:
                (st, cur, mapped, live, clean), (st2, cur2, *_) = places[number][k], places[after][k]
                if not live or (st, cur) == (st2, cur2):
                    continue
                rows.add(
                    (
                        named(st, cur, cur),
                        event(state, request, k, cur, st2, cur2, mapped, clean),
                        named(st2, cur2, cur),
                    )
                )
    return rows


def event(state, request, k, cur, st2, cur2, mapped, clean):
    rule = request.rule
    if rule == "R12":
        if cur2 is None:
            return "R12 to nobody" if mapped else "R12 to nobody, map empty"
        return "R12 to i" if cur2 == cur else "R12 to j"
    if rule == "R11":
        return "R11 up" if request.level == USING else "R11 down"
    if rule in ("R6", "R10") and request.attribute == "c":
        who = request.subject if rule == "R6" else request.to
        gone = {who} if state.kind(who) == INSTANCE else {request.object}
        if mapped <= gone and clean:
            return "last R6 c or R10 c, clean"
        return f"R6 c or R10 c of {'i' if cur in gone else 'j'}"
    return f"{rule} c" if rule == "R1" else rule


def _order(row):
    source, what, target = row
    first = next((n for n, word in enumerate(EVENTS) if what.startswith(word)), len(EVENTS))
    return PLACES.index(source), first, what, PLACES.index(target)


@cache
def derived():
    """Every row, as a card lives."""
    return sorted(set().union(*(transitions(world) for world in WORLDS)), key=_order)


def table():
    """Maker of docs/model.md, "state map"."""
    rows = "\n".join(f"| {' | '.join(row)} |" for row in derived())
    return f"| from | event | to |\n|---|---|---|\n{rows}"


# In the figure i and j are one place: who owns the slot. What leads from i to j stays there.
_FIGURE = {
    "free": ("free", "free"),
    "control, none": ("idle", "control, no slot owner"),
    "control, i": ("owned", "control, slot of i"),
    "control, j": ("owned", "control, slot of i"),
    "using, i": ("using", "using, slot of i"),
    "using, none": ("draining", "using, no slot owner"),
}


def figure():
    """Maker of docs/model.md, "state map figure": the same rows, drawn."""
    arrows = {}
    for source, what, target in derived():
        events = arrows.setdefault((_FIGURE[source][0], _FIGURE[target][0]), [])
        if what not in events:
            events.append(what)
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f'    state "{words}" as {name}' for name, words in dict.fromkeys(_FIGURE.values())]
    lines += ["    [*] --> free: R7", "    free --> [*]: R8"]
    lines += [f"    {a} --> {b}: {'<br/>'.join(events)}" for (a, b), events in arrows.items()]
    return "\n".join([*lines, "```"])
