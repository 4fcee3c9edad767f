"""
Random states of vecd.ppm: secure ones that no request may lead to, and broken ones.

A proof by induction speaks of every secure state, reachable or not, so the form has to be right in all of them.
"""

from vecd.ppm.levels import FIRST_INSTANCE, TOP, USING, Levels, dominates
from vecd.ppm.request import Request
from vecd.ppm.rules import RULES
from vecd.ppm.state import CARD, CONTROL, FREE, IN_USE, INSTANCE, LETTERS, MANAGER, USER, A, C, E, R, State, W

USERS, INSTANCES, CARDS = "AB", "abc", "kl"


def world(rng, levels=None):
    """A world of two users, three instances and two cards, in which each may take some instance levels."""
    state = State(Levels(levels or rng.choice((4, 4, 5, 6))))
    every = sorted(state.levels.instance)

    def some():
        return rng.sample(every, rng.randint(1, len(every)))

    for user in USERS:
        state.name(user, USER, may=some())
    for instance in INSTANCES:
        state.name(instance, INSTANCE, rng.choice(USERS), may=some())
    for card in CARDS:
        state.name(card, CARD)
    return state


def secure(rng, state):
    """A secure state of this world, as its snapshot: put together property by property, not by requests."""
    state.restore([("live", None, MANAGER, True), ("level", None, MANAGER, TOP)])
    for key, entity in state.world.items():
        if key != MANAGER and rng.random() < 0.92 and (entity.owner is None or entity.owner in state.live):
            state._live(None, key, True)
            state._level(None, key, state.levels.free if entity.kind == CARD else rng.choice(sorted(entity.may)))
            state._M(MANAGER, key, E)
            state._b(MANAGER, key, E if rng.random() < 0.85 else 0)
    for i in INSTANCES:
        if i in state.live:
            u = state.owner(i)
            state._M(u, i, _some(rng, 0.75))
            state._b(u, i, _held(rng, state, u, i, rng.random() < 0.85))
    for k in CARDS:
        if k in state.live:
            _card(rng, state, k)
    return state.snapshot()


def _some(rng, chance):
    return sum(bit for bit in (R, W, A, C) if rng.random() < chance)


def _held(rng, state, s, o, connected):
    """What s may hold on o at the levels that they have."""
    may, high, low = state.may(s, o), state.level[s], state.level[o]
    if not connected or not may & C:
        return 0
    fits = (R * dominates(high, low)) | (W * (high == low)) | (A * dominates(low, high)) | C
    return may & fits & (_some(rng, 0.5) | C)


def _card(rng, state, k):
    live = [i for i in INSTANCES if i in state.live]
    for i in live:
        state._M(i, k, _some(rng, 0.8))
    may = [i for i in live if state.may(i, k) & C and state.holds(state.owner(i), i) & C]
    mapped = [i for i in may if rng.random() < 0.6]
    current = rng.choice([None, *mapped, *mapped])
    status = rng.choice((CONTROL, IN_USE))
    whose = current or (rng.choice(live) if live else None)
    output = whose if rng.random() < 0.5 else None
    context = whose if status == IN_USE and rng.random() < 0.5 else None
    if not mapped and output is None and context is None:
        return
    state._status(None, k, status)
    state._current(None, k, current)
    state._output(None, k, output)
    state._context(None, k, context)
    level = state.level[current] if current else rng.choice(sorted(state.levels.instance))
    state._level(None, k, USING if status == IN_USE else level)
    for i in mapped:
        state._b(i, k, _held(rng, state, i, k, True) if i == current else C)
        if rng.random() < 0.5:
            state._key(i, k, True)


def broken(rng, state):
    """A state of this world with cells that no property minds, as its snapshot: a secure one, a few cells changed."""
    secure(rng, state)
    things = list(state.world)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        s, o, k = rng.choice(things), rng.choice(things), rng.choice(CARDS)
        i = rng.choice(INSTANCES)
        match rng.randrange(10):
            case 0:
                state._M(s, o, rng.randrange(32))
            case 1:
                state._b(s, o, rng.randrange(32))
            case 2:
                state._b(i, k, rng.randrange(32))
            case 3:
                state._b(state.owner(i), i, rng.randrange(32))
            case 4:
                state._live(None, o, o not in state.live)
            case 5:
                state._level(None, o, rng.randrange(state.levels.count + 1))
            case 6:
                state._status(None, k, rng.choice((FREE, CONTROL, IN_USE)))
            case 7:
                # An index knows instances alone: what it cannot take no state can have.
                state._current(None, k, rng.choice([None, *INSTANCES]))
            case 8:
                rng.choice((state._context, state._output))(None, k, rng.choice([None, *INSTANCES]))
            case 9:
                state._key(i, k, rng.random() < 0.5)
    return state.snapshot()


def ghost(rng, state):
    """Somebody's data everywhere, allowed or not, as in tests/model/test_taint.py."""
    places = [("memory", i) for i in INSTANCES] + [(what, k) for what in ("engine", "buffers") for k in CARDS]
    places += [("key", i, k) for i in INSTANCES for k in CARDS] + [("user", u) for u in USERS]
    found = {place: frozenset(u for u in USERS if rng.random() < 0.4) for place in places}
    levels = sorted(state.levels.instance)
    return found | {("label", i): frozenset(n for n in levels if rng.random() < 0.3) for i in INSTANCES}


def observation(rng, state):
    """A card, and what Monitor.observe_card might be told of it: often what is there, with something changed."""
    k = rng.choice(CARDS)
    mapped = sorted(state.mapped[k])
    current = rng.choice([None, *mapped, *mapped, *INSTANCES, state.current.get(k)])
    whose = rng.choice([None, current, current, *INSTANCES])
    held = rng.choice([C, C | A, C | R, state.holds(current, k) if current else 0, rng.randrange(16)])
    return k, {
        "status": rng.choice([FREE, CONTROL, CONTROL, IN_USE, IN_USE, state.status_of(k)]),
        "current": current,
        "held": held if current else rng.choice([0, 0, 0, 0, held]),
        "context": rng.choice([None, whose, state.context.get(k)]),
        "output": rng.choice([None, whose, *INSTANCES]),
        "keys": rng.choice([None, frozenset(x for x in rng.choice((mapped, INSTANCES)) if rng.random() < 0.5)]),
    }


def request(rng, state):
    """Any request at all: of the right kinds for the most part, else of any thing, level and attribute."""
    often = ("R6", "R7", "R8", "R10", "R11", "R12")
    rule = rng.choice([*RULES, *(often * 3)])
    wild = rng.random() < 0.15
    things = [*state.world, None, "zz"]

    def pick(kind):
        return rng.choice(things if wild else [x for x, entity in state.world.items() if entity.kind == kind])

    subject, object = rng.choice(sorted(RULES[rule].pairs))
    s, o = pick(subject), pick(object)
    to = None
    if not wild and rule == "process" and rng.random() < 0.8:
        s = o
    if not wild and (subject, object) == (USER, INSTANCE) and rng.random() < 0.8:
        s = state.owner(o)
    if rule in ("R9", "R10"):
        to = pick(INSTANCE if object == CARD else USER)
        if not wild and object == INSTANCE and rng.random() < 0.8:
            to = state.owner(o)
        if rng.random() < 0.1:
            to = rng.choice(things)
    letters = "eeeec" if subject == MANAGER and rule == "R6" else "rwaccrwaccrwacce"
    level = rng.choice([None, USING, FIRST_INSTANCE, *range(state.levels.count + 2)])
    return Request(
        rng.choice([rule, rule, rule, "R13", None]) if wild else rule,
        s,
        o,
        rng.choice([*LETTERS, "x", None, 3]) if wild or rng.random() < 0.05 else rng.choice(letters),
        to=to,
        level=rng.choice([level, "3", True]) if wild else level,
        next=rng.choice(
            things if wild or rng.random() < 0.1 else [None] if subject == INSTANCE else [None, *INSTANCES]
        ),
    )
