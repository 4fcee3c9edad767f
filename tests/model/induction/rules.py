"""
R1 .. R12 and the data operations in Z3, to be held beside vecd/ppm/rules.py: the same order, names and conditions.

A rule is a generator of what it asks and does, in a state v and for a request q:

    Ask      a condition that is decided before the rule's own: if it fails, the answer is `?`.
    Guard    a condition of the rule: if it fails, the answer is no.
    Effect   cells of one table that a yes changes: where, and to what. All are read in the state before.

An answer that is no yes changes nothing. `RULES` is the one table: for a rule the pairs of kinds that it is for, and
its variants there (attributes; up and down). What is not in it is `?`. Effects of the ghost tables say what the
operations move and what `Decision.wipes` overwrites.
"""

from typing import Any, NamedTuple

import z3

from tests.model.induction.terms import (
    CARD,
    CONTROL,
    FIRST_INSTANCE,
    FREE,
    IN_USE,
    INSTANCE,
    LETTERS,
    USER,
    USING,
    all_of,
    dominates,
    every,
    instance_level,
    kind,
    m,
    may,
    nobody,
    own,
    p,
    some,
)
from vecd.ppm import state as real

And, Or, Not, If = z3.And, z3.Or, z3.Not, z3.If


class Ask(NamedTuple):
    words: str
    formula: Any


class Guard(NamedTuple):
    words: str
    formula: Any


class Effect(NamedTuple):
    """Of `table`, every place with where(place) becomes value(place)."""

    words: str
    table: str
    where: Any
    value: Any


class Request(NamedTuple):
    """Who asks whom, as terms, and what the table distinguishes: on_card (the object is a card), by_m, variant."""

    subject: Any
    object: Any
    to: Any
    level: Any
    default: Any
    next: Any
    on_card: bool
    by_m: bool
    variant: str
    object_kind: str


RULES: dict[str, tuple] = {}
"""Rule to (variants by pair of kinds, creates, function)."""


def rule(name, pairs, *, creates=False):
    def register(function):
        RULES[name] = (pairs, creates, function)
        return function

    return register


ON_INSTANCE, ON_CARD = (real.USER, real.INSTANCE), (real.INSTANCE, real.CARD)
BY_M = {kind: (real.MANAGER, kind) for kind in (real.USER, real.INSTANCE, real.CARD)}


def pairs(*which, variants=("",)):
    return dict.fromkeys(which, variants)


# ---- what effects are made of


def cell(words, table, *place, becomes, when=None):
    """One cell, if `when`."""

    def where(*args):
        here = [a == b for a, b in zip(args, place, strict=True)]
        return all_of(*here, *([] if when is None else [when]))

    return Effect(words, table, where, lambda *_: becomes)


def column(words, table, *first, becomes, last=None):
    """The cells at first, whatever comes after it; `last` is a condition on that."""

    def where(*args):
        here = [a == b for a, b in zip(args[: len(first)], first, strict=True)]
        return all_of(*here, *([] if last is None else [last(*args[len(first) :])]))

    return Effect(words, table, where, lambda *args: becomes(*args[len(first) :]))


YES, NO = z3.BoolVal(True), z3.BoolVal(False)


def holds(s, o, x):
    return cell(f"b += {x}", f"b.{x}", s, o, becomes=YES)


def wiped(words, table, *first, when=None):
    """Of the ghost: what was there is overwritten."""
    return column(words, table, *first, becomes=lambda *_: NO, last=None if when is None else lambda *_: when)


def _memory_wiped(words, instance, when=None):
    for table in ("memory", "label"):
        yield wiped(words, table, instance, when=when)


# ---- R1 .. R4: get an attribute


@rule("R1", pairs(ON_INSTANCE, ON_CARD))
def get_control(v, q):
    s, o = q.subject, q.object
    yield Guard("c in M", v.M(s, o, "c"))
    if q.on_card:
        yield Guard("the user of the instance is connected", v.b(own(s), s, "c"))
        yield Guard("the card may take the level", may(o, v.f(s)))
    yield holds(s, o, "c")
    if q.on_card:
        yield cell("from free: control", "st", o, becomes=CONTROL, when=v.st(o) == FREE)
        yield cell("from free: f(k)", "f", o, becomes=v.f(s), when=v.st(o) == FREE)


@rule("R2", pairs(ON_INSTANCE, ON_CARD))
def get_append(v, q):
    yield from _get(v, q, "a", lambda works, label: dominates(label, works))


@rule("R3", pairs(ON_INSTANCE, ON_CARD))
def get_write(v, q):
    yield from _get(v, q, "w", lambda works, label: label == works)


@rule("R4", pairs(ON_INSTANCE, ON_CARD))
def get_read(v, q):
    yield from _get(v, q, "r", lambda works, label: dominates(works, label))


def _get(v, q, x, fits):
    s, o = q.subject, q.object
    yield Guard(f"{x} in M", v.M(s, o, x))
    yield Guard("connected", v.b(s, o, "c"))
    if q.on_card:
        yield Guard("owns the slot", v.cur(o) == s)
    yield Guard("the levels fit", fits(v.f(s), v.f(o)))
    yield holds(s, o, x)


# ---- R5, R6: the manager's attribute, and giving back


@rule("R5", pairs(*BY_M.values()))
def get_instruct(v, q):
    yield holds(q.subject, q.object, "e")


@rule("R6", pairs(ON_INSTANCE, ON_CARD, variants="rwac") | pairs(*BY_M.values(), variants="e"))
def release(v, q):
    s, o, x = q.subject, q.object, q.variant
    yield Guard("it is held", v.b(s, o, x))
    if x != "c":
        yield cell(f"b -= {x}", f"b.{x}", s, o, becomes=NO)
    else:
        yield from _drop(v, s, o) if q.on_card else _drop_user(v, s, o)


# ---- R7, R8: come to exist, and end


@rule("R7", pairs(*BY_M.values()), creates=True)
def create(v, q):
    o = q.object
    level = If(q.default, p if q.on_card else z3.IntVal(FIRST_INSTANCE), q.level)
    yield Guard("not live", Not(v.live(o)))
    if q.on_card:
        yield Guard("at Lp", level == p)
    yield Guard("may take the level", may(o, level))
    if q.object_kind == real.INSTANCE:
        yield Guard("its user is live", v.live(own(o)))
    yield cell("live", "live", o, becomes=YES)
    yield cell("f", "f", o, becomes=level)
    for x in LETTERS:
        yield cell("M[m] is e*", f"M.{x}", m, o, becomes=YES if x == "e" else NO)
    if q.object_kind == real.INSTANCE:
        yield from _memory_wiped("memory wiped", o)


@rule("R8", pairs(*BY_M.values()))
def destroy(v, q):
    o = q.object
    yield Guard("m holds e*", v.b(m, o, "e"))
    yield from _free(v, q)
    for x in LETTERS:
        yield Effect("column of M", f"M.{x}", lambda s, k: k == o, lambda *_: NO)
        yield Effect("column of b", f"b.{x}", lambda s, k: k == o, lambda *_: NO)
        # The rows by an index of M: what is held where nothing may be asked for would stay, and cannot be.
        yield Effect("row of M", f"M.{x}", lambda s, k: And(s == o, v.M(o, k, LETTERS)), lambda *_: NO)
        yield Effect("row of b", f"b.{x}", lambda s, k: And(s == o, v.M(o, k, LETTERS)), lambda *_: NO)
    yield cell("f", "f", o, becomes=z3.IntVal(0))
    yield cell("not live", "live", o, becomes=NO)


def _free(v, q):
    o = q.object
    if q.object_kind == real.USER:
        yield Guard("no live instance", every(lambda i: Not(And(kind(i) == INSTANCE, own(i) == o, v.live(i)))))
    elif q.object_kind == real.INSTANCE:
        yield Guard("its user holds nothing on it", Not(v.b(own(o), o, LETTERS)))
        named = {
            "it holds nothing on a card": lambda k: v.b(o, k, LETTERS),
            "in no engine": lambda k: v.ctx(k) == o,
            "in no output buffer": lambda k: v.out(k) == o,
            "no key slot": lambda k: v.key(o, k),
        }
        for words, there in named.items():
            yield Guard(words, every(_on_no_card(there)))
    else:
        yield Guard("st is free", v.st(o) == FREE)


def _on_no_card(there):
    return lambda k: Not(And(kind(k) == CARD, there(k)))


# ---- R9, R10: what may be asked for


@rule("R9", pairs(BY_M[real.INSTANCE], BY_M[real.CARD], variants="rwac"))
def give(v, q):
    yield from _typed(v, q)
    yield cell(f"M += {q.variant}", f"M.{q.variant}", q.to, q.object, becomes=YES)


@rule("R10", pairs(BY_M[real.INSTANCE], BY_M[real.CARD], variants="rwac"))
def rescind(v, q):
    s, o, x = q.to, q.object, q.variant
    yield from _typed(v, q)
    yield cell(f"M -= {x}", f"M.{x}", s, o, becomes=NO)
    if x != "c":
        yield cell(f"b -= {x}", f"b.{x}", s, o, becomes=NO)
    else:
        yield from _drop(v, s, o) if q.on_card else _drop_user(v, s, o)


def _typed(v, q):
    yield Ask("who gets it is live", v.live(q.to))
    yield Ask("of its kind", kind(q.to) == (INSTANCE if q.on_card else USER))
    if not q.on_card:
        yield Ask("its own instance", own(q.object) == q.to)


# ---- R11, R12: levels, and the turns of a card

UP, DOWN = "up", "down"


@rule("R11", pairs(ON_CARD, BY_M[real.CARD], variants=(UP, DOWN)) | pairs(BY_M[real.INSTANCE]))
def move(v, q):
    if not q.on_card:
        yield from _move_instance(v, q)
        return
    s, k = q.subject, q.object
    yield Ask("the level is L2" if q.variant == UP else "another level", (q.level == USING) == (q.variant == UP))
    yield Guard("m holds e*", v.b(m, k, "e")) if q.by_m else Guard("owns the slot", v.cur(k) == s)
    yield from (_up if q.variant == UP else _down)(v, q)


def _up(v, q):
    k = q.object
    yield Guard("in control", v.st(k) == CONTROL)
    yield Guard("a slot owner", v.cur(k) != nobody)
    yield Guard("nobody holds r or w", every(lambda i: Not(And(kind(i) == INSTANCE, v.b(i, k, "rw")))))
    yield cell("using", "st", k, becomes=IN_USE)
    yield cell("f is L2", "f", k, becomes=z3.IntVal(USING))


def _down(v, q):
    k, works = q.object, v.f(v.cur(q.object))
    yield Guard("an instance level", instance_level(q.level))
    yield Guard("using", v.st(k) == IN_USE)
    yield Guard("a slot owner", v.cur(k) != nobody)
    yield Guard("the level of the slot owner", q.level == works)
    yield cell("ctx is nobody", "ctx", k, becomes=nobody)
    yield cell("control", "st", k, becomes=CONTROL)
    yield cell("f is the slot owner's", "f", k, becomes=works)
    yield wiped("engine wiped", "engine", k)


def _move_instance(v, q):
    i, level = q.object, q.level
    yield Ask("instances have more than one level", p != 4)
    yield Guard("m holds e*", v.b(m, i, "e"))
    yield Guard("may take the level", may(i, level))
    yield Guard("owns no slot", every(lambda k: Not(And(kind(k) == CARD, v.cur(k) == i))))
    above, below = v.f(own(i)), v.f(i)
    for x, fits in (("r", dominates(above, level)), ("w", above == level), ("a", dominates(level, above))):
        yield Guard(f"{x} of its user fits", Or(Not(v.b(own(i), i, x)), fits))
    lowered = And(level != below, dominates(below, level))
    yield Guard("lowered: its user is not connected", Not(And(lowered, v.b(own(i), i, "c"))))
    yield cell("f", "f", i, becomes=level)
    yield from _memory_wiped("lowered: memory wiped", i, when=lowered)


@rule("R12", pairs(ON_CARD, BY_M[real.CARD]))
def switch(v, q):
    s, k = q.subject, q.object
    if q.by_m:
        yield Ask("next is nobody or an instance", Or(q.next == nobody, kind(q.next) == INSTANCE))
        yield Guard("m holds e*", v.b(m, k, "e"))
    else:
        yield Ask("next is nobody", q.next == nobody)
        yield Guard("owns the slot", v.cur(k) == s)
    yield Guard("not free", v.st(k) != FREE)
    follower = If(And(q.next != nobody, v.b(q.next, k, "c")), q.next, nobody)
    for x in "rwa":
        yield Effect(f"nobody holds {x}", f"b.{x}", lambda i, o: And(o == k, kind(i) == INSTANCE), lambda *_: NO)
    yield cell("ctx is nobody", "ctx", k, becomes=nobody)
    yield cell("out is nobody", "out", k, becomes=nobody)
    yield cell("cur is next", "cur", k, becomes=follower)
    stays = Or(follower != nobody, some(lambda i: v.maps(k, i)))
    yield cell("st", "st", k, becomes=If(stays, CONTROL, FREE))
    yield cell("f", "f", k, becomes=If(follower != nobody, v.f(follower), If(stays, p - 1, p)))
    yield wiped("engine wiped", "engine", k)
    yield wiped("buffers wiped", "buffers", k)


# ---- data operations: what a right is good for, checked at the start of each


@rule("loadkey", pairs(ON_CARD))
def load_key(v, q):
    i, k = q.subject, q.object
    yield from _appends(v, q)
    yield cell("key += i", "key", i, k, becomes=YES)
    yield cell("ctx is i", "ctx", k, becomes=i)
    yield cell("the key is in the slot", "slot", i, k, own(i), becomes=YES)
    yield cell("the key is in the engine", "engine", k, own(i), becomes=YES)


@rule("submit", pairs(ON_CARD))
def submit(v, q):
    i, k = q.subject, q.object
    yield from _appends(v, q)
    yield Guard("has a key slot", v.key(i, k))
    yield cell("ctx is i", "ctx", k, becomes=i)
    yield column(
        "data and key into it", "engine", k, becomes=lambda x: Or(v.engine(k, x), v.memory(i, x), v.slot(i, k, x))
    )


@rule("process", pairs((real.CARD, real.CARD)))
def process(v, q):
    k = q.object
    yield Ask("in itself", q.subject == k)
    yield Guard("using", v.st(k) == IN_USE)
    yield Guard("something in the engine", v.ctx(k) != nobody)
    yield cell("out is ctx", "out", k, becomes=v.ctx(k))
    yield column("the result into the buffers", "buffers", k, becomes=lambda x: Or(v.buffers(k, x), v.engine(k, x)))


@rule("config", pairs(ON_CARD))
def configure(v, q):
    i, k = q.subject, q.object
    yield from _in_control(v, q, "w")
    yield cell("out is i", "out", k, becomes=i)
    yield cell("mode and IV into the buffers", "buffers", k, own(i), becomes=YES)


@rule("fetch", pairs(ON_CARD))
def fetch(v, q):
    i, k = q.subject, q.object
    yield from _in_control(v, q, "rw")
    yield column("the result into memory", "memory", i, becomes=lambda x: Or(v.memory(i, x), v.buffers(k, x)))
    # The downgrade of the card has declassified it.
    yield cell("the result is of its level", "label", i, v.f(i), becomes=YES)


@rule("put", pairs(ON_INSTANCE))
def put(v, q):
    yield Guard("a or w is held", v.b(q.subject, q.object, "aw"))
    yield cell("data into memory", "memory", q.object, q.subject, becomes=YES)
    yield cell("the data are of its level", "label", q.object, v.f(q.subject), becomes=YES)


@rule("get", pairs(ON_INSTANCE))
def get(v, q):
    u, i = q.subject, q.object
    yield Guard("r or w is held", v.b(u, i, "rw"))
    yield column("data to the user", "got", u, becomes=lambda x: Or(v.got(u, x), v.memory(i, x)))


def _appends(v, q):
    i, k = q.subject, q.object
    yield Guard("owns the slot", v.cur(k) == i)
    yield Guard("a is held", v.b(i, k, "a"))
    yield Guard("using", v.st(k) == IN_USE)


def _in_control(v, q, letters):
    i, k = q.subject, q.object
    yield Guard("owns the slot", v.cur(k) == i)
    yield Guard("in control", v.st(k) == CONTROL)
    yield Guard(f"{' or '.join(letters)} is held", v.b(i, k, letters))


# ---- what several rules do


def _drop(v, i, k):
    """drop(i,k) and settle(k)."""
    yield from _dropped(v, i, lambda card: card == k)


def _drop_user(v, u, i):
    """dropU(u,i): everything that u has on i, and that i has on any card to which it is connected."""
    for x in LETTERS:
        yield cell("b of the user is empty", f"b.{x}", u, i, becomes=NO)
    yield from _dropped(v, i, lambda card: And(kind(card) == CARD, kind(i) == INSTANCE, v.b(i, card, "c")))


def _dropped(v, i, of):
    """drop(i,card) and settle(card) on every card that is `of` them."""

    def last(k):
        return every(lambda j: z3.Implies(v.maps(k, j), j == i))

    def settles(k):
        return And(of(k), last(k), v.clean(k))

    for x in LETTERS:
        yield Effect("b is empty", f"b.{x}", lambda s, k: And(s == i, of(k)), lambda *_: NO)
    yield Effect("no key slot", "key", lambda s, k: And(s == i, of(k)), lambda *_: NO)
    yield Effect("cur is nobody", "cur", lambda k: And(of(k), v.cur(k) == i), lambda *_: nobody)
    yield Effect("settled: cur", "cur", settles, lambda *_: nobody)
    yield Effect("settled: free", "st", settles, lambda *_: FREE)
    yield Effect("settled: Lp", "f", settles, lambda *_: p)
    yield Effect("key slot wiped", "slot", lambda s, k, x: And(s == i, of(k), v.key(i, k)), lambda *_: NO)
