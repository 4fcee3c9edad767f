"""The map between the rules and the memory, as the guard makes it: what it publishes, and what it reads back."""

import random

import pytest

from tests.cext import steps_table
from tests.model.explore import explore
from tests.model.worlds import entities, made
from vecd.ppm.monitor import Monitor
from vecd.ppm.request import give, rescind
from vecd.ppm.rules import decide
from vecd.ppm.state import CARD, INSTANCE, MANAGER, USER, A, C, Change, R, W, letters
from vecd.services.guard_parts import entries
from vecd.services.guard_parts.publish import Publication
from vecd.shm import writer

GENERATION, STEPS = 1, 3000


class Published:
    """A state, and the matrices that the guard publishes of it."""

    def __init__(self, state):
        self.state = state
        self.users, self.instances, self.cards = (entities(state, kind) for kind in (USER, INSTANCE, CARD))
        things = [entries.User(name, bytes(16), at, 0) for at, name in enumerate(self.users)]
        things += [entries.Instance(name, bytes(16), at, state.owner(name)) for at, name in enumerate(self.instances)]
        things += [entries.Card(name, bytes(16), at) for at, name in enumerate(self.cards)]
        self.matrices = writer.Matrices.create(GENERATION)
        self.publication = Publication(self.matrices, state, {thing.name: thing for thing in things}.__getitem__)
        self.publication.cells([Change(*cell[:3], None, cell[3]) for cell in state.cells() if cell[2] != MANAGER])

    def ask(self, request):
        decision = decide(self.state, request)
        self.state.apply(decision.changes)
        self.publication.cells(decision.changes)
        return decision

    def bytes_of(self, what, i, *on):
        return self.matrices.load(what, *on, self.instances.index(i))


@pytest.fixture
def published():
    opened = []

    def of(state):
        opened.append(Published(state))
        return opened[-1]

    yield of
    for one in opened:
        one.matrices.close()


def test_what_is_published_is_what_the_steps_were_compared_with(published):
    """On a random walk: the four kinds of cells of `steps_table.encode`, after every request."""
    state, asked = steps_table.two_instances()
    world, chance, changed = published(state), random.Random(5), 0
    for _ in range(STEPS):
        changed += bool(world.ask(chance.choice(asked)).changes)
        for i in world.instances:
            owner = state.owner(i)
            assert world.bytes_of("user_m", i) == state.may(owner, i)
            assert world.bytes_of("user_b", i) == state.holds(owner, i)
            for at, k in enumerate(world.cards):
                assert world.bytes_of("card_m", i, at) == state.may(i, k)
                assert world.bytes_of("card_b", i, at) == state.holds(i, k) & C
    assert changed >= STEPS // 10


def test_a_cell_of_a_card_is_never_more_than_M_and_less_only_where_the_users_own_right_is_missing(published):
    """Data go through the instance, so the card reads M[i][k] without what its user has not on i: on purpose less."""
    world = published(made("A", ("aA",), rights="", connected=False))
    wide = {R: R | W, W: W, A: A | W, C: R | W | A | C | 16}
    for user in range(16):
        for card in range(16):
            for s, o, byte in (("A", "a", user), ("a", "k", card)):
                for x in "rwac":
                    assert world.ask((give if x in letters(byte) else rescind)(s, o, x))
            cell = world.bytes_of("card_m", "a", 0)
            passes = sum(bit for bit in (R, W, A) if user & wide[bit]) | C
            assert world.state.may("a", "k") == card and cell == card & passes
            assert user & 7 != 7 or cell == card


@pytest.mark.minutes
def test_what_the_guard_reads_out_of_a_word_is_the_state_the_rules_are_in():
    """In every reachable state of three instances: status, slot owner and what it holds say nothing new."""
    state, asked = steps_table.three_instances()
    found = explore(state, asked)
    monitor = Monitor()
    monitor.state = found.state
    for now in found.states():
        for k in entities(now, CARD):
            owner = now.current.get(k)
            held = now.holds(owner, k) if owner is not None else 0
            assert monitor.observe_card(k, status=now.status_of(k), current=owner, held=held) == ()
    assert len(found.snapshots) >= 2807


def test_the_worlds_begin_with_everything_a_user_may_have():
    """So that what is published is M itself there."""
    for world in (steps_table.two_instances, steps_table.three_changing, steps_table.two_cards):
        state, _ = world()
        for i in entities(state, INSTANCE):
            assert state.may(state.owner(i), i) & (R | A) == R | A
