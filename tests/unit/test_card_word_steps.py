"""The card word: its encoding, the words no rule allows, and every refusal of every step."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vecd._shm import ffi, lib

from vecd.base.errors import Busy, Denied, Integrity, Internal, Malformed
from vecd.shm import layout, writer
from vecd.shm.layout import CONTROL, FREE, USING, Word

R, W, A, C, E = lib.VEC_R, lib.VEC_W, lib.VEC_A, lib.VEC_C, lib.VEC_E
OK, EBUSY, EDENIED, EMALFORMED, EINTEGRITY = (
    0,
    -lib.VEC_EBUSY,
    -lib.VEC_EDENIED,
    -lib.VEC_EMALFORMED,
    -lib.VEC_EINTEGRITY,
)
CARD, ONE, TWO = 5, 3, 4
GEN = 100
LAST = 2**34 - 1


def word(held=0, q=False, status=CONTROL, inflight=0, owner=None, generation=GEN):
    return Word(held, q, status, inflight, owner, generation)


class World:
    """One word and one set of matrices; `set` puts any word there, through the descriptor."""

    def __init__(self):
        fd, mapping = ffi.new("int *"), ffi.new("vec_card_word **")
        assert lib.vec_word_create(GEN, fd, mapping) == 0
        self.fd, self.word = fd[0], mapping[0]
        self.matrices = writer.Matrices.create(1)
        self.m = self.matrices._map

    def set(self, value):
        os.pwrite(self.fd, layout.encode(value).to_bytes(8, "little"), 0)

    def now(self):
        return layout.decode(lib.vec_word_load(self.word))

    def step(self, name, *args):
        """The step, and its output where it has one."""
        if name in ("take",):
            out = ffi.new("uint8_t *", 255)
            return lib.vec_card_take(self.word, self.m, *args, out), out[0]
        out = ffi.new("uint64_t *")
        return getattr(lib, f"vec_card_{name}")(self.word, *args, out), out[0]

    def close(self):
        lib.vec_word_unmap(self.word)
        os.close(self.fd)
        self.matrices.close()


@pytest.fixture
def world():
    made = World()
    made.matrices.store("card_m", CARD, ONE, value=R | W | A | C)
    made.matrices.store("card_b", CARD, ONE, value=C)
    made.matrices.store("card_m", CARD, TWO, value=C)
    made.matrices.store("card_b", CARD, TWO, value=C)
    yield made
    made.close()


# ---- encoding ----

words = st.builds(
    Word,
    st.integers(0, 31),
    st.booleans(),
    st.integers(0, 3),
    st.integers(0, 1023),
    st.one_of(st.none(), st.integers(0, 4094)),
    st.integers(0, LAST),
)


@given(words)
def test_a_word_comes_back_as_it_was(value):
    assert layout.decode(layout.encode(value)) == value


@given(st.integers(0, 2**64 - 1))
def test_every_64_bits_are_a_word(bits):
    assert layout.encode(layout.decode(bits)) == bits


def test_the_fields_stand_where_the_document_says():
    assert layout.encode(word(A, False, FREE, 0, 0, 0)) == 4
    assert layout.encode(word(0, True, FREE, 0, 0, 0)) == 1 << 5
    assert layout.encode(word(0, False, USING, 0, 0, 0)) == 2 << 6
    assert layout.encode(word(0, False, FREE, 1, 0, 0)) == 1 << 8
    assert layout.encode(word(0, False, FREE, 0, 1, 0)) == 1 << 18
    assert layout.encode(word(0, False, FREE, 0, 0, 1)) == 1 << 30
    assert layout.encode(word(0, False, FREE, 0, None, 0)) == 0xFFF << 18


@pytest.mark.parametrize(
    "bad", [word(held=32), word(status=4), word(inflight=1024), word(owner=4096), word(generation=2**34)]
)
def test_a_field_that_does_not_fit_is_our_own_mistake(bad):
    with pytest.raises(Internal):
        layout.encode(bad)


IMPOSSIBLE = {
    "status 3 is none of free, control and using": word(status=3),
    "e* is the manager's and never held by an instance": word(C | E, owner=ONE),
    "attributes are held, but nobody owns the slot": word(A),
    "the slot owner does not hold c": word(A, owner=ONE),
    "a free card has a slot owner": word(C, status=FREE, owner=ONE),
    "a free card has requests in flight": word(status=FREE, inflight=1, q=True),
    "r or w is held while the card is using": word(C | R, status=USING, owner=ONE),
    "requests are in flight without the attribute they need": word(C | A, inflight=1, owner=ONE),
}


@pytest.mark.parametrize("why", IMPOSSIBLE)
def test_an_impossible_word_is_named(why):
    with pytest.raises(Integrity) as caught:
        layout.check(layout.encode(IMPOSSIBLE[why]))
    assert caught.value.reason == why


@pytest.mark.parametrize(
    "bad",
    [
        word(E, owner=ONE),
        word(C, owner=ONE, status=USING, inflight=1),
        word(inflight=1),
        word(C | W, status=USING, owner=ONE),
        word(q=True, held=A),
        word(owner=ONE),
        word(status=FREE, held=C),
    ],
)
def test_more_impossible_words(bad):
    with pytest.raises(Integrity):
        layout.check(layout.encode(bad))


@pytest.mark.parametrize(
    "good",
    [
        word(status=FREE),
        word(status=FREE, q=True),
        word(),
        word(q=True),
        word(status=USING),
        word(status=USING, q=True, inflight=5),
        word(C, owner=0),
        word(C | R | W | A, owner=4094, inflight=1023, generation=LAST),
        word(C | A, status=USING, owner=ONE, inflight=64),
        word(C, status=USING, owner=ONE, inflight=64, q=True),
    ],
)
def test_a_word_that_some_rule_allows_is_allowed(good):
    assert layout.check(layout.encode(good)) == good


# ---- steps: from a word, the answer, and the word after (None: unchanged) ----

OWNED = word(C, owner=ONE)
ARMED = word(C | A, owner=ONE)
UP = word(C | A, status=USING, owner=ONE)
BUSY_UP = word(C | A, status=USING, owner=ONE, inflight=2)
QUIET = word(C | A, status=USING, owner=ONE, q=True)
READING = word(C | A | R, owner=ONE)

STEPS = {
    # R2 and R4
    "take a": (("take", CARD, ONE, A), OWNED, OK, ARMED),
    "take a in using": (("take", CARD, ONE, A), word(C, status=USING, owner=ONE), OK, UP),
    "take a twice": (("take", CARD, ONE, A), ARMED, OK, None),
    "take a while requests are in flight": (("take", CARD, ONE, A), BUSY_UP, OK, None),
    "take r": (("take", CARD, ONE, R), ARMED, OK, READING),
    "take r in using": (("take", CARD, ONE, R), UP, EDENIED, None),
    "take w": (("take", CARD, ONE, W), OWNED, EMALFORMED, None),
    "take c": (("take", CARD, ONE, C), OWNED, EMALFORMED, None),
    "take two": (("take", CARD, ONE, R | A), OWNED, EMALFORMED, None),
    "take on no card": (("take", 64, ONE, A), OWNED, EMALFORMED, None),
    "take without the slot": (("take", CARD, TWO, A), OWNED, EDENIED, None),
    "take for nobody": (("take", CARD, 0xFFF, A), word(), EDENIED, None),
    "take beyond all": (("take", CARD, 0xFFFFFFFF, A), word(), EDENIED, None),
    "take while quiesced": (("take", CARD, ONE, A), word(C, owner=ONE, q=True), EBUSY, None),
    "take what M lacks": (("take", CARD, TWO, A), word(C, owner=TWO), EDENIED, None),
    "take r that M lacks": (("take", CARD, TWO, R), word(C, owner=TWO), EDENIED, None),
    # R6
    "give back a": (("give_back", ONE, A), ARMED, OK, OWNED),
    "give back r": (("give_back", ONE, R), READING, OK, ARMED),
    "give back what is not held": (("give_back", ONE, R), ARMED, EDENIED, None),
    "give back c": (("give_back", ONE, C), ARMED, EMALFORMED, None),
    "give back without the slot": (("give_back", TWO, A), ARMED, EDENIED, None),
    "give back under way": (("give_back", ONE, A), BUSY_UP, EBUSY, None),
    "give back while quiesced": (("give_back", ONE, A), QUIET, EBUSY, None),
    # R11 up
    "up": (("up", ONE), ARMED, OK, UP),
    "up without a": (("up", ONE), OWNED, OK, word(C, status=USING, owner=ONE)),
    "up with r": (("up", ONE), READING, EDENIED, None),
    "up with w": (("up", ONE), word(C | W, owner=ONE), EDENIED, None),
    "up twice": (("up", ONE), UP, EDENIED, None),
    "up without the slot": (("up", TWO), ARMED, EDENIED, None),
    "up while quiesced": (("up", ONE), word(C | A, owner=ONE, q=True), EBUSY, None),
    "up of nobody": (("up", 0xFFF), word(), EDENIED, None),
    # R11 down
    "down begin": (("down_begin", ONE), UP, OK, QUIET),
    "down begin in control": (("down_begin", ONE), ARMED, EDENIED, None),
    "down begin without the slot": (("down_begin", TWO), UP, EDENIED, None),
    "down begin under way": (("down_begin", ONE), BUSY_UP, EBUSY, None),
    "down begin while quiesced": (("down_begin", ONE), QUIET, EBUSY, None),
    # R12
    "switch begin": (("switch_begin",), UP, OK, word(status=USING, q=True)),
    "switch begin in control": (("switch_begin",), READING, OK, word(q=True)),
    "switch begin of a free card": (("switch_begin",), word(status=FREE), EDENIED, None),
    "switch begin under way": (("switch_begin",), BUSY_UP, EBUSY, None),
    "switch begin while quiesced": (("switch_begin",), QUIET, EBUSY, None),
    # enter
    "enter a": (("enter", ONE, A, 2), UP, OK, BUSY_UP),
    "enter a in control": (("enter", ONE, A, 1), ARMED, EDENIED, None),
    "enter r": (("enter", ONE, R, 1), READING, OK, word(C | A | R, owner=ONE, inflight=1)),
    "enter w": (("enter", ONE, W, 1), word(C | W, owner=ONE), OK, word(C | W, owner=ONE, inflight=1)),
    "enter r not held": (("enter", ONE, R, 1), ARMED, EDENIED, None),
    "enter a not held": (("enter", ONE, A, 1), word(C, status=USING, owner=ONE), EDENIED, None),
    "enter c": (("enter", ONE, C, 1), UP, EMALFORMED, None),
    "enter nothing": (("enter", ONE, A, 0), UP, EMALFORMED, None),
    "enter too many": (("enter", ONE, A, 1024), UP, EMALFORMED, None),
    "enter when full": (("enter", ONE, A, 1022), BUSY_UP, EBUSY, None),
    "enter to the brim": (("enter", ONE, A, 1021), BUSY_UP, OK, word(C | A, status=USING, owner=ONE, inflight=1023)),
    "enter without the slot": (("enter", TWO, A, 1), UP, EDENIED, None),
    "enter while quiesced": (("enter", ONE, A, 1), QUIET, EBUSY, None),
    # revocation
    "begin a": (("revoke_begin", ONE, A), BUSY_UP, OK, word(C, status=USING, owner=ONE, inflight=2, q=True)),
    "begin c": (("revoke_begin", ONE, C), BUSY_UP, OK, word(status=USING, inflight=2, q=True)),
    "begin of another": (("revoke_begin", TWO, C), UP, OK, QUIET),
    "begin of what is not held": (("revoke_begin", ONE, R), UP, OK, QUIET),
    "begin on a free card": (("revoke_begin", ONE, A), word(status=FREE), OK, word(status=FREE, q=True)),
    "begin in a step of the card": (("revoke_begin", ONE, A), QUIET, EBUSY, None),
    "begin of nothing": (("revoke_begin", ONE, 0), UP, EMALFORMED, None),
    "begin of e*": (("revoke_begin", ONE, E), UP, EMALFORMED, None),
    "begin of nobody": (("revoke_begin", 0xFFF, A), word(), EMALFORMED, None),
    "force": (("revoke_force", ONE, A), QUIET, OK, word(C, status=USING, owner=ONE, q=True, generation=GEN + 1)),
    "force c": (
        ("revoke_force", ONE, C),
        word(C | A, status=USING, owner=ONE, inflight=9),
        OK,
        word(status=USING, q=True, generation=GEN + 1),
    ),
    "force of nothing": (("revoke_force", ONE, 0), QUIET, EMALFORMED, None),
}  # fmt: skip
NO_OUTPUT = {"give_back", "up"}


@pytest.mark.parametrize("name", STEPS)
def test_step(name, world):
    (step, *args), before, answer, after = STEPS[name]
    world.set(before)
    if step in NO_OUTPUT:
        assert getattr(lib, f"vec_card_{step}")(world.word, *args) == answer
    else:
        said, out = world.step(step, *args)
        assert said == answer
        if answer == OK and step == "enter":
            assert out == before.generation
        elif answer == OK and step in ("down_begin", "switch_begin"):
            assert layout.decode(out) == after
        elif answer == OK and step in ("revoke_begin", "revoke_force"):
            assert layout.decode(out) == before
        elif step != "take":
            assert out == 0, "an output is untouched on failure"
    assert world.now() == (before if after is None else after)
    layout.check(layout.encode(world.now()))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("take while quiesced", "QUIESCED"),
        ("take without the slot", "SLOT_LOST"),
        ("take what M lacks", "M_LACKS_A"),
        ("take r that M lacks", "M_LACKS_R"),
        ("take r in using", "NONE"),
    ],
)
def test_take_says_why(name, why, world):
    from vecd.wire import ops

    (step, *args), before, _, _ = STEPS[name]
    world.set(before)
    assert world.step(step, *args)[1] == ops.REASONS[why].number


def test_take_from_an_owner_without_c_says_so(world):
    from vecd.wire import ops

    world.set(word(owner=ONE))
    assert world.step("take", CARD, ONE, A) == (EDENIED, ops.REASONS["NOT_CONNECTED"].number)


def test_down_goes_to_control_and_keeps_a(world):
    world.set(UP)
    _, seen = world.step("down_begin", ONE)
    assert lib.vec_card_down_end(world.word, seen) == OK and world.now() == ARMED
    assert lib.vec_card_down_end(world.word, seen) == EDENIED and world.now() == ARMED


@pytest.mark.parametrize("bits", [UP, BUSY_UP, ARMED, word(status=USING, q=True), word()])
def test_down_end_wants_the_word_of_its_first_half(bits, world):
    world.set(bits)
    assert lib.vec_card_down_end(world.word, layout.encode(bits)) == EMALFORMED and world.now() == bits


@pytest.mark.parametrize(
    ("next_", "after"),
    [
        (TWO, word(C, owner=TWO, generation=GEN + 1)),
        (0xFFF, word(generation=GEN + 1)),
        (7, word(generation=GEN + 1)),  # not connected: none
    ],
)
def test_switch_goes_to_the_next_that_holds_c(next_, after, world):
    world.set(UP)
    _, seen = world.step("switch_begin")
    assert lib.vec_card_switch_end(world.word, world.m, CARD, next_, seen) == OK and world.now() == after
    assert lib.vec_card_switch_end(world.word, world.m, CARD, next_, seen) == EDENIED and world.now() == after


@pytest.mark.parametrize(("card", "next_"), [(64, TWO), (CARD, 0x1000)])
def test_switch_end_wants_a_card_and_an_instance(card, next_, world):
    world.set(UP)
    _, seen = world.step("switch_begin")
    assert lib.vec_card_switch_end(world.word, world.m, card, next_, seen) == EMALFORMED


@pytest.mark.parametrize("bits", [UP, QUIET, word(), word(q=True, inflight=1), word(status=FREE, q=True)])
def test_switch_end_wants_the_word_of_its_first_half(bits, world):
    world.set(bits)
    assert lib.vec_card_switch_end(world.word, world.m, CARD, TWO, layout.encode(bits)) == EMALFORMED


@pytest.mark.parametrize(("begin", "args"), [("down_begin", (ONE,)), ("switch_begin", ())])
def test_a_step_that_was_cut_short_changes_nothing(begin, args, world):
    world.set(UP)
    _, seen = world.step(begin, *args)
    assert world.step("revoke_begin", ONE, A)[0] == EBUSY
    assert world.step("revoke_force", ONE, A)[0] == OK
    forced = world.now()
    if begin == "down_begin":
        assert lib.vec_card_down_end(world.word, seen) == EDENIED
    else:
        assert lib.vec_card_switch_end(world.word, world.m, CARD, TWO, seen) == EDENIED
    assert world.now() == forced and forced.quiesced and forced.generation == GEN + 1
    assert lib.vec_card_revoke_end(world.word) == OK
    assert world.step("switch_begin")[0] == OK


def test_leave_gives_back_what_entered(world):
    world.set(UP)
    _, generation = world.step("enter", ONE, A, 3)
    assert lib.vec_card_leave(world.word, 2, generation) == OK and world.now().inflight == 1
    assert lib.vec_card_leave(world.word, 2, generation) == EINTEGRITY and world.now().inflight == 1
    assert lib.vec_card_leave(world.word, 0, generation) == EINTEGRITY
    assert lib.vec_card_leave(world.word, 1, generation) == OK and world.now() == UP


def test_leave_counts_while_a_revocation_drains(world):
    world.set(UP)
    _, generation = world.step("enter", ONE, A, 1)
    assert world.step("revoke_begin", ONE, A)[0] == OK
    assert lib.vec_card_drained(world.word) == EBUSY and lib.vec_card_revoke_end(world.word) == EBUSY
    assert lib.vec_card_leave(world.word, 1, generation) == OK
    assert lib.vec_card_drained(world.word) == OK and lib.vec_card_revoke_end(world.word) == OK
    assert world.now() == word(C, status=USING, owner=ONE, generation=GEN + 1)


@pytest.mark.parametrize("write_off", ["abort", "quiesce"])
def test_leave_after_a_write_off_says_no_and_touches_nothing(write_off, world):
    world.set(UP)
    _, generation = world.step("enter", ONE, A, 1)
    getattr(lib, f"vec_card_{write_off}")(world.word)
    gone = word(C | A, status=USING, owner=ONE, q=True, generation=GEN + 1)
    assert world.now() == gone
    assert lib.vec_card_leave(world.word, 1, generation) == EDENIED and world.now() == gone


def test_leave_says_no_after_two_revocations_and_an_abort(world):
    world.set(UP)
    _, generation = world.step("enter", ONE, A, 1)
    world.step("revoke_begin", ONE, R)
    lib.vec_card_abort(world.word)
    assert lib.vec_card_revoke_end(world.word) == OK
    assert world.step("enter", ONE, A, 1)[0] == OK
    assert world.step("revoke_begin", ONE, C)[0] == OK
    busy = world.now()
    assert lib.vec_card_leave(world.word, 1, generation) == EDENIED and world.now() == busy


def test_end_needs_a_revocation(world):
    world.set(UP)
    assert lib.vec_card_revoke_end(world.word) == EMALFORMED and world.now() == UP


def test_the_generation_goes_round(world):
    world.set(word(q=True, generation=LAST))
    assert lib.vec_card_revoke_end(world.word) == OK and world.now() == word(generation=0)


ALLOWED = [(UP, ONE, A), (READING, ONE, R), (word(C | W, owner=ONE), ONE, W)]
NOT_ALLOWED = [
    (UP, TWO, A),
    (UP, ONE, R),
    (UP, ONE, C),
    (ARMED, ONE, A),
    (QUIET, ONE, A),
    (word(), 0xFFF, A),
    (UP, ONE, A | R),
]


@pytest.mark.parametrize(("bits", "i", "attribute"), ALLOWED)
def test_the_advisory_answer_is_yes(bits, i, attribute):
    assert lib.vec_card_allows(layout.encode(bits), i, attribute) == 1


@pytest.mark.parametrize(("bits", "i", "attribute"), NOT_ALLOWED)
def test_the_advisory_answer_is_no(bits, i, attribute):
    assert lib.vec_card_allows(layout.encode(bits), i, attribute) == 0


# ---- the guard's wrapper ----


@pytest.fixture
def card():
    made = writer.CardWord.create(GEN)
    yield made
    made.close()


def put(card, value):
    os.pwrite(card.fd, layout.encode(value).to_bytes(8, "little"), 0)


def test_connect_takes_a_free_card_into_control(card):
    assert card.load() == word(status=FREE)
    card.connect()
    assert card.load() == word()
    put(card, QUIET)
    card.connect()
    assert card.load() == QUIET


def test_connect_of_a_free_card_waits_for_a_revocation(card):
    card.revoke_begin(ONE, A)
    with pytest.raises(Busy):
        card.connect()
    card.revoke_end()
    card.connect()
    assert card.load() == word(generation=GEN + 1)


def test_settle_sets_a_card_free_that_nobody_owns(card):
    put(card, word(status=USING))
    card.settle()
    assert card.load() == word(status=FREE, generation=GEN + 1)
    card.settle()
    assert card.load() == word(status=FREE, generation=GEN + 1)


@pytest.mark.parametrize(
    ("bits", "error"), [(UP, Denied), (word(q=True), Busy), (word(status=USING, q=True, inflight=1), Busy)]
)
def test_settle_leaves_a_card_that_is_in_use(bits, error, card):
    put(card, bits)
    with pytest.raises(error):
        card.settle()
    assert card.load() == bits


def test_a_revocation_through_the_wrapper(card):
    put(card, BUSY_UP)
    assert card.revoke_begin(ONE, A) == BUSY_UP
    assert not card.drained()
    with pytest.raises(Busy):
        card.revoke_end()
    with pytest.raises(Busy):
        card.revoke_begin(ONE, C)
    card.abort()
    assert card.drained()
    card.revoke_end()
    assert card.load() == word(C, status=USING, owner=ONE, generation=GEN + 2)
    with pytest.raises(Malformed):
        card.revoke_begin(ONE, 0)


def test_the_guard_notices_what_no_rule_allows(card):
    put(card, word(A))
    with pytest.raises(Integrity):
        card.load()


def test_a_closed_word_says_so(card):
    card.close()
    card.close()
    with pytest.raises(Internal):
        card.load()
