"""Whether rules are as they must be: the proofs of this directory, asked one after the other, of any `decide`."""

from functools import cache, lru_cache
from itertools import product

from tests.model import explored, test_taint
from tests.model.explore import explore
from tests.model.unwinding import Interference, administered, unwind
from tests.model.worlds import STATIC, do, empty, entities, full_cycle, made, pairs, requests
from vecd.ppm.levels import USING
from vecd.ppm.properties import violations
from vecd.ppm.request import Request, connect, create, give, instruct, move, release, rescind, switch
from vecd.ppm.rules import RULES, YES, decide
from vecd.ppm.state import CARD, FREE, MANAGER

LIMIT = 30_000


class Found(Exception):
    """Something that must not be; the text is what."""


# ---- worlds: small, and each with something that the others do not have


def little_is_allowed():
    """a may have c alone, b nothing but what its user gives; nobody is connected."""
    state = made(rights="c", connected=False)
    return state, explored.on_cards(state)


def two_levels():
    """A user at L4, and its instance that moves between L3 and L4, whatever is held."""
    state = empty("A", ("aA",), levels=5)
    do(state, create("A", 4), create("a"), create("k"), *(instruct(key) for key in "Aak"))
    do(state, *(give(s, o, x) for s, o in pairs(state) for x in "rwac"), connect("A", "a"))
    asked = [r for r in requests(state, rules=STATIC) if r.rule not in ("put", "get", "R5", "config")]
    return state, [r for r in asked if r.attribute != "e"]


WORLDS = (explored.rights_change, little_is_allowed, two_levels, explored.come_and_go_alone)


def strange(state):
    """Requests of every form: anybody on anything, dead, unknown, of the wrong kind, with attributes and levels that
    are none."""
    things = [*state.world, "nobody", 7]
    found = []
    for name, s, o in product([*RULES, "R99"], things, things):
        found.append(Request(name, s, o, "c", to=o, level=USING))
    for s, o in [(MANAGER, o) for o in things]:
        found += [Request(name, s, o, x, to=to) for name in ("R9", "R10") for x in ("e", "x", None) for to in things]
        found += [Request(name, s, o, x, to=to) for name in ("R9", "R10") for x in "rc" for to in things]
        found += [Request(name, s, o, level=n) for name in ("R7", "R11") for n in (*range(7), None, "3")]
        found += [Request("R12", s, o, next=n) for n in things]
    for s, o in product(things, things):
        found += [Request("R6", s, o, x) for x in ("r", "e", "x", None)]
        found += [Request("R12", s, o, next=n) for n in ("a", "k", "nobody")]
    return list(dict.fromkeys(found))


# ---- what is asked of the rules, in this order


@cache
def _sample(world):
    """Some states of the real rules, with every request that means something there and every strange one."""
    state, asked = world()
    snapshots = explored.reached(world).snapshots
    return state, snapshots[:: max(1, len(snapshots) // 40)], asked + strange(state)


@lru_cache(len(WORLDS) + 2)
def _reached(world, decide):
    """What these rules reach; every state has the ten properties."""

    def look(state):
        wrong = violations(state)
        if wrong:
            raise Found(wrong[0])

    state, asked = world()
    return explore(state, asked, check=look, decide=decide, limit=LIMIT)


def secure(decide):
    """Every reachable state has the ten properties, and whatever form a request has, so has the state after it."""
    for world in WORLDS:
        state, snapshots, asked = _sample(world)
        for snapshot in snapshots:
            state.restore(snapshot)
            for request in asked:
                decision = decide(state, request)
                if decision.answer == YES and decision.changes:
                    state.apply(decision.changes)
                    wrong = violations(state)
                    state.undo(decision.changes)
                    if wrong:
                        raise Found(wrong[0])
    for world in WORLDS:
        _reached(world, decide)


def wiped(decide):
    """No user gets data of another, by what is really overwritten."""
    state, asked = test_taint.world()
    try:
        test_taint.reach(state, asked, decide)
    except AssertionError as found:
        raise Found(f"taint: {found}"[:200]) from None


def alive(decide):
    """The manager alone can free every card, and so can its instances by letting go; a connected instance that has its
    rights can run a full cycle, and another one after it."""

    def must(state, request):
        decision = decide(state, request)
        if not decision:
            raise Found(f"liveness: {request.rule} is refused: {decision.reason}")
        state.apply(decision.changes)
        return list(decision.changes)

    for world in WORLDS:
        for state in _reached(world, decide).states():
            for k in entities(state, CARD):
                if k not in state.live:
                    continue
                connected = sorted(state.mapped[k])
                for i in connected:
                    cycle(state, i, k, must)
                for who, leave in (("the manager freed it", rescind), ("everybody let go", release)):
                    changes = must(state, instruct(k))
                    for i in connected:
                        changes += must(state, leave(i, k, "c"))
                        if leave is rescind and decide(state, connect(i, k)):
                            raise Found(f"liveness: {i} connects to {k} after its right was rescinded")
                    if state.status_of(k) != FREE:
                        changes += must(state, switch(k, None))
                    if state.status_of(k) != FREE:
                        raise Found(f"liveness: {k} is not free after {who}")
                    state.undo(changes)
                for u, i in ((state.owner(i), i) for i in connected):
                    changes = must(state, release(u, i, "c"))
                    if state.holds(u, i) or state.holds(i, k):
                        raise Found(f"liveness: {u} let go of {i}, and something is held yet")
                    state.undo(changes)


def cycle(state, i, k, must):
    """A full cycle of i on k and the data of a second one. Everything is taken back."""
    changes = []
    for request in (
        *full_cycle(state, i, k),
        release(i, k, "r"),
        move(i, k, USING),
        Request("submit", i, k),
        Request("process", k, k),
        move(i, k, state.level[i]),
    ):
        changes += must(state, request)
    if state.output.get(k) != i:
        raise Found("liveness: a full cycle has no result")
    state.undo(changes)


def silent(decide):
    """With fixed turns nothing that one user does is seen by another."""
    for world in (explored.rights_change, explored.five_levels):
        _, asked = world()
        for a, b in ("AB", "BA"):
            try:
                unwind(_reached(world, decide), asked, a=a, b=b, decide=decide, administers=administered(b))
            except Interference as found:
                raise Found(f"non-interference: {str(found).splitlines()[0]}"[:200]) from None


def as_specified(other):
    """Answers, changes and wipes are those of the rules. Not a proof: which rules are meant is written, not derived."""
    for world in WORLDS:
        _, meant = world()
        state, snapshots, asked = _sample(world)
        for state in explored.reached(world).states():
            _same(state, meant, other)
        for snapshot in snapshots:
            state.restore(snapshot)
            _same(state, asked, other)


def _same(state, asked, other):
    for request in asked:
        right, found = decide(state, request), other(state, request)
        if (right.answer, right.rule) != (found.answer, found.rule):
            raise Found(f"specification: {request.rule} is {found.answer}, {right.answer} is meant")
        if sorted(right.changes, key=str) != sorted(found.changes, key=str) or right.wipes != found.wipes:
            raise Found(f"specification: {request.rule} does not do what is meant")
        if (right.property, right.cause) != (found.property, found.cause):
            raise Found(f"specification: {request.rule} is refused for another reason")


# The order in which most mutants are noticed soonest.
PROOFS = (secure, alive, wiped, silent)


def noticed(decide, proofs=PROOFS):
    """What a proof says against these rules; "" when all of them hold."""
    for proof in proofs:
        try:
            proof(decide)
        except Found as found:
            return str(found)
        except Exception as failed:
            # A rule that fails where the rules answer is noticed at once, by everybody.
            return f"{type(failed).__name__} in a rule: {failed}"[:200]
    return ""
