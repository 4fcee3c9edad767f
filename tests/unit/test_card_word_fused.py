"""Several steps of a turn in one change are those steps: on every word that a rule allows, with every cell."""

import itertools

import pytest
from vecd._shm import ffi, lib

from tests.unit.test_card_word_steps import CARD, ONE, TWO, A, C, R, W, World, word
from vecd.shm.layout import CONTROL, FREE, USING, encode

MANY = 1023
NOBODY = lib.VEC_NONE
HELD = [sum(bits) for n in range(5) for bits in itertools.combinations((R, W, A, C), n)]
WORDS = [
    word(held=held, q=q, status=status, inflight=inflight, owner=owner, generation=generation)
    for held, q, status, inflight, owner, generation in itertools.product(
        HELD, (False, True), (FREE, CONTROL, USING), (0, 1, 2, MANY), (ONE, TWO, None), (100, 101)
    )
]
WORDS = [one for one in WORDS if lib.vec_word_check(encode(one), ffi.new("const char **")) == 0]
CELLS = [0, A, R, A | R, C | W]
GENERATION = 100


@pytest.fixture(scope="module")
def world():
    one = World()
    yield one
    one.close()


def enter(world, attribute, n):
    out = ffi.new("uint64_t *", 7)
    return lib.vec_card_enter(world.word, ONE, attribute, n, out), out[0]


def take(world, attribute):
    return lib.vec_card_take(world.word, world.m, CARD, ONE, attribute, ffi.new("uint8_t *"))


def begin_work(world, n, _seen):
    """Of a card in control: take and up by the slot's owner, then enter."""
    r = take(world, A) or lib.vec_card_up(world.word, ONE)
    return (r, 7) if r else enter(world, A, n)


def end_work(world, n, _seen):
    out = ffi.new("uint64_t *", 7)
    r = lib.vec_card_leave(world.word, n, GENERATION) or lib.vec_card_down_begin(world.word, ONE, out)
    return r, out[0]


def begin_reply(world, n, seen):
    r = lib.vec_card_down_end(world.word, seen)
    r = r or take(world, R)
    return (r, 7) if r else enter(world, R, n)


def end_reply(world, n, _seen):
    return lib.vec_card_leave(world.word, n, GENERATION) or lib.vec_card_give_back(world.word, ONE, R), 7


def fused(world, name, n, seen):
    out = ffi.new("uint64_t *", 7)
    arguments = {
        "begin_work": (world.m, CARD, ONE, A, n, out),
        "end_work": (ONE, n, GENERATION, out),
        "begin_reply": (world.m, CARD, n, seen, out),
        "end_reply": (ONE, n, GENERATION),
    }
    return getattr(lib, f"vec_card_{name}")(world.word, *arguments[name]), out[0]


STEPS = {"begin_work": begin_work, "end_work": end_work, "begin_reply": begin_reply, "end_reply": end_reply}
# What the single steps allow as well and a turn has no use for: others' requests in flight beside one's own.
ALONE = {"begin_work", "end_work", "end_reply"}


@pytest.mark.parametrize("name", STEPS)
def test_a_fused_step_is_its_steps_one_after_the_other(world, name):
    did = 0
    assert len(WORDS) > 250
    for before, cell, n in itertools.product(WORDS, CELLS, (0, 1, 2, MANY, MANY + 1)):
        # The single steps are asked for the owner's sake; down_end has none.
        if name == "begin_reply" and before.owner != ONE:
            continue
        world.m.card_m[CARD][ONE] = cell
        world.set(before)
        seen = lib.vec_word_load(world.word)
        r, out = fused(world, name, n, seen)
        after = world.now()
        assert r in (0, 1)
        world.set(before)
        said, told = STEPS[name](world, n, seen)
        if r == 0:
            did += 1
            assert (said, after, out) == (0, world.now(), told), (before, cell, n)
        else:
            assert (after, out) == (before, 7)
            # No refusal of its own: what it does not do, the steps refuse, or others are in flight.
            others = name in ALONE and (before.inflight if name == "begin_work" else before.inflight - n)
            assert said or others, (before, cell, n)
    assert did > 10


def test_a_fused_step_of_nobody_or_of_another_card_is_none(world):
    world.m.card_m[CARD][ONE] = A | R
    world.set(word(held=A | C, owner=ONE))
    for needs in (W, W | A, A | R | C):
        assert lib.vec_card_begin_work(world.word, world.m, CARD, ONE, needs, 1, ffi.new("uint64_t *")) == 1
    for before in WORDS:
        world.set(before)
        out = ffi.new("uint64_t *", 7)
        assert lib.vec_card_begin_work(world.word, world.m, 64, ONE, A, 1, out) == 1
        assert lib.vec_card_begin_work(world.word, world.m, CARD, NOBODY, A, 1, out) == 1
        assert lib.vec_card_begin_reply(world.word, world.m, 64, 1, lib.vec_word_load(world.word), out) == 1
        assert (world.now(), out[0]) == (before, 7)
