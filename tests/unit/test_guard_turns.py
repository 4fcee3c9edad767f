"""Who the guard tells a card to share its time among: whom M lets connect, with the policy's weights, in time."""

import pytest

from tests.unit.guard_world import FakeBroker, World, in_world, settled
from tests.unit.test_guard_policy import CARD, HEAD, allow, applied, guest
from vecd.base.config import Card as CardRow
from vecd.base.config import Config
from vecd.base.errors import Busy, Exhausted

SLOT_US = 5000


def told(card):
    """What it was told last, as (share, slot_us, weights)."""
    last = card.calls("card.schedule")[-1]
    return last["share"], last["slot_us"], dict(last["weights"])


def index(world, name):
    return world.guard.book.register.instances[name].index


async def strictly(world: World) -> None:
    """The same guard, configured anew."""
    await world.stop()
    world.config = Config(card=(CardRow("c0", share="strict", slot_us=SLOT_US), CardRow("c1")))
    await world.start()


@in_world
async def test_a_fair_card_is_told_nothing_but_weights(world):
    card = await world.card()
    await settled(lambda: card.calls("card.schedule"))
    assert told(card)[::2] == ("fair", {})
    await world.guest("A")
    await world.guest("B")
    assert len(card.calls("card.schedule")) == 1


@in_world
async def test_a_strict_card_is_told_of_everybody_whom_m_lets_connect(world):
    await strictly(world)
    card = await world.card()
    await settled(lambda: card.calls("card.schedule"))
    assert told(card) == ("strict", SLOT_US, {})
    for name in ("A", "B"):
        await world.guest(name)
    both = {index(world, "A.1"): 1, index(world, "B.1"): 1}
    await settled(lambda: told(card)[2] == both)
    # Whether somebody is connected is nobody's business, nor what else M gives.
    before = len(card.calls("card.schedule"))
    broker = await FakeBroker().come(world.paths)
    await world.session(broker)
    await world.ask("access.rescind", subject="A.1", object="c0", attribute="r")
    assert len(card.calls("card.schedule")) == before
    await world.ask("access.rescind", subject="B.1", object="c0", attribute="c")
    await settled(lambda: told(card)[2] == {index(world, "A.1"): 1})
    await world.ask("access.give", subject="B.1", object="c0", attribute="c")
    await settled(lambda: told(card)[2] == both)
    await world.ask("guest.remove", name="A")
    await settled(lambda: told(card)[2] == {index(world, "B.1"): 1})


@in_world
async def test_who_connects_has_a_slot_by_then(world):
    await strictly(world)
    card, broker = await world.card(), await FakeBroker().come(world.paths)
    await world.guest("A")
    await world.session(broker)
    calls = [call for call, _ in card.asked if call in ("card.schedule", "instance.connect")]
    assert calls[-2:] == ["card.schedule", "instance.connect"] and told(card)[2] == {index(world, "A.1"): 1}


@in_world
async def test_who_could_have_no_slot_is_not_connected(world):
    await strictly(world)
    card, broker = await world.card(), await FakeBroker().come(world.paths)
    await settled(lambda: card.calls("card.schedule"))
    card.refuses["card.schedule"] = Exhausted("a round of 201 slots is longer than it may be")
    await world.guest("A")
    with pytest.raises((Exhausted, Busy), match="201 slots"):
        await world.session(broker)
    assert world.b("A.1", "c0") == ""
    shown = (await world.ask("card.show", name="c0"))["card"]
    assert shown["share"] == "strict" and "201 slots" in shown["turns"]["refused"]


@in_world
async def test_the_policy_gives_the_weights(world):
    card = await world.card()
    heavy = guest(each="weight = 3\n") + guest("B")
    await applied(world, HEAD + CARD + heavy + allow("A.1", "c0") + allow("B.1", "c0"))
    await world.guest("A")
    await world.guest("B")
    await settled(lambda: told(card)[2] == {index(world, "A.1"): 3})
    await applied(world, HEAD + CARD + guest() + guest("B") + allow("A.1", "c0") + allow("B.1", "c0"))
    await settled(lambda: told(card)[2] == {})


@in_world
async def test_the_next_process_of_a_card_is_told_again(world):
    await strictly(world)
    card = await world.card()
    await world.guest("A")
    await settled(lambda: told(card)[2] == {index(world, "A.1"): 1})
    card.peer.close()
    await settled(lambda: world.guard.link("c0").peer is None)
    again = await world.card()
    await settled(lambda: again.calls("card.schedule"))
    assert told(again)[2] == {index(world, "A.1"): 1}
