"""The patrol: which changes of a card word no steps of guard and card lead to; and what it does for the disk."""

import asyncio
from dataclasses import replace

import pytest

from tests.unit.guard_world import FakeBroker, in_world, no_room
from vecd.base.errors import Failed
from vecd.services.guard_parts import patrol, register, store
from vecd.shm.layout import CONTROL, FREE, USING, Word

W = Word(held=12, quiesced=False, status=USING, inflight=3, owner=7, generation=1000)


@pytest.mark.parametrize(
    ("before", "after", "seconds", "why"),
    [
        (W, W, 1.0, ""),
        (W, replace(W, inflight=0, held=8, status=CONTROL), 1.0, ""),
        # revoke_begin and switch_begin take the owner away under the old generation.
        (W, replace(W, owner=None, held=0, quiesced=True, inflight=0), 1.0, ""),
        (W, replace(W, owner=8, generation=1001), 1.0, ""),
        (replace(W, owner=None, held=0), replace(W, generation=1001), 1.0, ""),
        (W, replace(W, owner=None, held=0, inflight=0, status=FREE, generation=1001), 1.0, ""),
        # connect: free becomes control, and the generation stays.
        (Word(0, False, FREE, 0, None, 5), Word(0, False, CONTROL, 0, None, 5), 1.0, ""),
        (W, replace(W, generation=900_000), 1.0, ""),
        # The generation comes round after 2^34.
        (replace(W, generation=2**34 - 2), replace(W, generation=3), 1.0, ""),
        (W, replace(W, generation=999), 1.0, "went back, from 1000 to 999"),
        (W, replace(W, generation=0), 1.0, "went back"),
        (replace(W, generation=1), replace(W, generation=2**34 - 1), 1.0, "went back"),
        (W, replace(W, generation=1000 + 2**32), 1.0, "no card switches so often"),
        (W, replace(W, generation=1000 + 2_000_001), 1.0, "no card switches so often"),
        (W, replace(W, generation=1000 + 2_000_001), 60.0, ""),
        (W, replace(W, owner=8), 1.0, "from 7 to 8 without a switch"),
        (replace(W, owner=None, held=0, inflight=0), W, 1.0, "to 7 without a switch"),
        (W, Word(0, False, FREE, 0, None, 1000), 1.0, "became free from using and was not settled"),
    ],
)
def test_which_changes_no_steps_lead_to(before, after, seconds, why):
    said = patrol.transition(before, after, seconds)
    assert why in said and bool(said) == bool(why)


@in_world
async def test_what_the_disk_did_not_take_is_there_as_soon_as_it_does(world):
    await world.card()
    await world.guest("A")
    with no_room(world):
        with pytest.raises(Failed, match="until the guard starts again"):
            await world.ask("access.rescind", subject="A.1", object="c0", attribute="r")
        await patrol.disk(world.guard)
        assert world.guard.book.store.behind
    await patrol.disk(world.guard)
    assert not world.guard.book.store.behind
    assert register.load(world.paths.policy).access["A.1", "c0"] == "ac"


@in_world
async def test_a_journal_that_is_long_becomes_a_snapshot(world):
    await world.card()
    await world.guest("A")
    before, store.JOURNAL_MIN = store.JOURNAL_MIN, 100
    try:
        epoch = register.load(world.paths.policy).epoch
        for letter in "wr" * 20:
            await world.ask("access.give", subject="A.1", object="c0", attribute=letter)
            await world.ask("access.rescind", subject="A.1", object="c0", attribute=letter)
        await patrol.disk(world.guard)
        stored = register.load(world.paths.policy)
        assert stored.epoch == epoch + 1 and stored.access["A.1", "c0"] == "ac"
        assert world.guard.book.store._journal.size < 100
    finally:
        store.JOURNAL_MIN = before


@in_world
async def test_a_card_that_stays_in_one_step_is_an_alarm_and_no_more(world):
    card, broker = await world.card(), await FakeBroker().come(world.paths)
    await world.guest("A")
    await world.session(broker)
    card.write(quiesced=True)
    patrol.look(world.guard)
    link = world.guard.links["c0"]
    link.sight = replace(link.sight, since_s=link.sight.since_s - patrol.STEP_S)
    patrol.look(world.guard)
    alarms = (await world.ask("status"))["alarms"]
    assert any("c0 has been in one step for 5 s" in one for one in alarms) and not link.out
    card.write(quiesced=False)
    patrol.look(world.guard)
    assert patrol.alarms(world.guard) == []


@in_world
async def test_whoever_is_between_two_steps_is_not_looked_at(world):
    card, broker = await world.card(), await FakeBroker().come(world.paths)
    await world.guest("A")
    await world.session(broker)
    link = world.guard.links["c0"]
    async with link.lock:
        card.write(status=3)
        patrol.look(world.guard)
        assert not link.lied
        card.write(status=CONTROL)
    patrol.look(world.guard)
    await asyncio.sleep(0)
    assert not link.lied and not link.out
