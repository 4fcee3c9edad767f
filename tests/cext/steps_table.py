"""
The rules as a table that C can walk: each reachable state of a small world, each request, the answer, the state after.

The table is made by asking the real rules (vecd/ppm/rules.py), state by state. Each state is written down as what the
shared memory and the card have to hold when it is the state: the cells of the matrices, the fields of each card
word, and what is in the engine, the output and the key slots. `steps_card.c` holds card.c against it. Little endian:

    "VECSTEPS", u32 x 5: instances, cards, operations, states, bytes of a state
    operation: 8 bytes: kind, instance, card, attribute, next, 3 reserved
    state: per instance user_m user_b; per card: per instance card_m card_b, then held status owner context output keys
    u32 for each state and operation: state after | answer << 24 | causes << 26

Nobody is 0xFF. The causes of a refused take are a bit mask: every condition of the rule that fails, not the first one.
"""

import struct
from collections import deque
from random import Random
from typing import NamedTuple

from tests.model.worlds import entities, made, requests
from vecd.ppm.levels import USING
from vecd.ppm.rules import NO, RULES, YES, decide
from vecd.ppm.state import BITS, CARD, CONTROL, FREE, IN_USE, INSTANCE, MANAGER, WORKING, C, Change

NOBODY = 0xFF
LIMIT = 1 << 24
EMPTY = (0, False, FREE, None)
STATUS = {FREE: 0, CONTROL: 1, IN_USE: 2}

# The order is that of enum kind in steps_card.c.
KINDS = (
    *("take", "write", "give back", "up", "down", "switch", "loadkey", "submit", "fetch", "config", "process"),
    *("connect", "release", "rescind", "give", "user connect", "user release", "user rescind", "user give"),
)
DATA = ("loadkey", "submit", "fetch", "config", "process")


class Table(NamedTuple):
    """What steps_card.c reads, and its scope."""

    data: bytes
    states: int
    operations: int


def operation(state, request):
    """(kind, instance, card, attribute, next) of a request, by name; None if it is not the card's or its guard's."""
    rule, s, o, x = request.rule, request.subject, request.object, request.attribute
    if rule in DATA:
        return rule, (None if rule == "process" else s), o, None, None
    by = None if s == MANAGER else s
    if rule in ("R9", "R10"):
        verb = "give" if rule == "R9" else "rescind"
        return (verb, request.to, o, x, None) if state.kind(o) == CARD else (f"user {verb}", o, None, x, None)
    if state.kind(o) == INSTANCE:
        verb = {"R1": "user connect", "R6": "user release"}.get(rule)
        return verb and (verb, o, None, None, None)
    if rule == "R6":
        return ("release", s, o, None, None) if x == "c" else ("give back", s, o, x, None)
    if rule == "R11":
        verb = {USING: "up", state.levels.lowest_instance: "down"}.get(request.level)
        return verb and (verb, by, o, None, None)
    if rule == "R12":
        return "switch", by, o, None, request.next
    if rule == "R1":
        return "connect", s, o, None, None
    return {"R2": ("take", s, o, "a", None), "R4": ("take", s, o, "r", None), "R3": ("write", s, o, "w", None)}.get(
        rule
    )


def causes(state, request, known):
    """
    Which conditions of R2 or R4 fail: 1 M lacks it, 2 not connected, 4 the slot is not its own, 8 the level.

    The rules name the first; each is asked for alone, with the others mended. `known` keeps the answers by what is
    mended, so each is asked for once.
    """
    s, o = request.subject, request.object
    bit = BITS[{"R2": "a", "R4": "r"}[request.rule]]
    mend = (
        Change("M", s, o, state.may(s, o), state.may(s, o) | bit),
        Change("b", s, o, state.holds(s, o), state.holds(s, o) | C),
        Change("current", None, o, state.current.get(o), s),
        Change("level", None, o, state.level[o], state.level[s]),
    )
    if (request, mend) not in known:
        found = 0
        for which in range(len(mend)):
            others = tuple(change for at, change in enumerate(mend) if at != which and change.old != change.new)
            state.apply(others)
            found |= (decide(state, request).answer == NO) << which
            state.undo(others)
        known[request, mend] = found
    return known[request, mend]


def encode(state, instances, cards):
    """The bytes of a state. What they cannot say must not be: r, w, a are the slot owner's alone, c is in b of it."""

    def at(instance):
        return NOBODY if instance is None else instances.index(instance)

    out = bytearray()
    for i in instances:
        out += bytes((state.may(state.owner(i), i), state.holds(state.owner(i), i)))
    for k in cards:
        owner = state.current.get(k)
        for i in instances:
            assert i == owner or not state.holds(i, k) & WORKING, "only the slot owner's byte fits into a card word"
            out += bytes((state.may(i, k), state.holds(i, k) & C))
        held = 0 if owner is None else state.holds(owner, k)
        keys = sum(1 << at(i) for i in state.keys[k])
        out += bytes(
            (held, STATUS[state.status_of(k)], at(owner), at(state.context.get(k)), at(state.output.get(k)), keys)
        )
    return bytes(out)


def table(state, asked):
    """The table of everything that `asked` leads to from `state`."""
    instances, cards = entities(state, INSTANCE), entities(state, CARD)
    rows = [(request, operation(state, request)) for request in asked]
    rows = [(request, row) for request, row in rows if row]
    state = state.copy()
    # A state's name is the sum of random numbers, one a cell: quickly made from the one before.
    random, cell = Random(20261121), {}

    def cell_name(*what):
        if what not in cell:
            cell[what] = random.getrandbits(128) if what[3] not in EMPTY else 0
        return cell[what]

    number, queue = {0: 0}, deque([(0, state.snapshot())])
    states, answers, known = bytearray(), [], {}
    seen = set()
    while queue:
        name, snapshot = queue.popleft()
        state.restore(snapshot)
        here = len(seen)
        bits = encode(state, instances, cards)
        assert bits not in seen, "two states that the shared memory cannot tell apart"
        seen.add(bits)
        states += bits
        for request, row in rows:
            decision = decide(state, request)
            assert decision.answer in (YES, NO), decision
            after, why = here, 0
            if decision.changes:
                other = name
                for table, s, o, old, new in decision.changes:
                    other ^= cell_name(table, s, o, old) ^ cell_name(table, s, o, new)
                if other not in number:
                    state.apply(decision.changes)
                    number[other] = len(number)
                    queue.append((other, state.snapshot()))
                    state.undo(decision.changes)
                after = number[other]
                assert after < LIMIT
            elif decision.answer == NO and row[0] == "take":
                why = causes(state, request, known)
                assert why, "a refusal without a cause"
            answers.append(after | (decision.answer == YES) << 24 | why << 26)
    head = struct.pack("<8s5I", b"VECSTEPS", len(instances), len(cards), len(rows), len(seen), len(bits))
    body = b"".join(
        bytes(
            (
                KINDS.index(kind),
                NOBODY if i is None else instances.index(i),
                NOBODY if k is None else cards.index(k),
                BITS[x] if x else 0,
                NOBODY if n is None else instances.index(n),
                *(0, 0, 0),
            )
        )
        for _, (kind, i, k, x, n) in rows
    )
    return Table(head + body + bytes(states) + struct.pack(f"<{len(answers)}I", *answers), len(seen), len(rows))


# ---- the worlds


def asked(state, *, without=(), cards="", users="", changing=()):
    """
    What guests, cards and the guard ask in this world.

    changing: the instances whose rights on cards (`cards`) or whose users' rights on them (`users`) come and go.
    """
    found = []
    for r in requests(state, rules=frozenset(RULES) - {"R5", "R7", "R8", "put", "get", *without}):
        on_card = state.kind(r.object) == CARD
        if r.attribute == "e" or (r.rule == "process" and r.subject != r.object):
            continue
        if r.rule in ("R9", "R10"):
            if (
                (r.to in changing and r.attribute in cards)
                if on_card
                else (r.object in changing and r.attribute in users)
            ):
                found.append(r)
        elif on_card or r.rule == "R1" or (r.rule == "R6" and r.attribute == "c"):
            found.append(r)
    return found


def two_instances():
    """2 users, 2 instances, 1 card; c, a, r of the first instance are given and rescinded, c of the second."""
    state = made(rights="rac")
    return state, [
        r
        for r in asked(state, without=("R3", "config"), cards="rac", changing="ab")
        if r.to != "b" or r.attribute == "c"
    ]


def three_instances():
    """2 users, 3 instances, 1 card; every attribute, nothing given or rescinded."""
    state = made("AB", ("aA", "bB", "cA"))
    return state, asked(state)


def three_changing():
    """2 users, 3 instances, 1 card; c, a, r of the first instance and c of its user are given and rescinded."""
    state = made("AB", ("aA", "bB", "cA"), rights="rac")
    return state, asked(state, without=("R3", "config"), cards="rac", users="c", changing="a")


def two_cards():
    """2 users, 2 instances, 2 cards; users come and go, which reaches both cards in one rule."""
    state = made(cards="kl", rights="rac")
    return state, asked(state, without=("R3", "config"), users="", changing="")


def two_cards_changing():
    """2 users, 2 instances, 2 cards; c and a of the first instance are given and rescinded."""
    state = made(cards="kl", rights="ac")
    return state, asked(state, without=("R3", "R4", "config", "fetch"), cards="ac", users="c", changing="a")
