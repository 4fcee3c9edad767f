"""How often a guest may ask: its own bucket, and nobody else's; refusals say when to come back."""

import pytest

from tests.unit.guard_world import CARDS, USERS, FakeBroker, in_world
from vecd.base.errors import Busy, Malformed, Unknown
from vecd.services.guard_parts.rates import COSTS, Rates
from vecd.wire import ops


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_bucket_lasts_for_its_burst_and_fills_by_its_rate():
    clock = Clock()
    rates = Rates(rate=10, burst=50, clock=clock)
    for _ in range(5):
        rates.spend("A", "VERIFY")
    with pytest.raises(Busy) as caught:
        rates.spend("A", "VERIFY")
    assert caught.value.hint == "ask again in 1000 ms" and caught.value.subject == "A"
    assert "VERIFY costs 10 of 10 tokens a second" in caught.value.reason
    clock.now = 0.9
    with pytest.raises(Busy):
        rates.spend("A", "VERIFY")
    clock.now = 1.05
    rates.spend("A", "VERIFY")
    # However long it waits, it saves up one burst.
    clock.now = 1000
    for _ in range(5):
        rates.spend("A", "VERIFY")
    with pytest.raises(Busy):
        rates.spend("A", "ATTACH")


def test_one_guest_s_bucket_is_no_other_s():
    rates = Rates(rate=1, burst=10, clock=Clock())
    rates.spend("A", "VERIFY")
    with pytest.raises(Busy):
        rates.spend("A", "HELLO")
    rates.spend("B", "VERIFY")


def test_full_buckets_are_forgotten():
    clock = Clock()
    rates = Rates(rate=10, burst=50, clock=clock)
    for number in range(2000):
        clock.now += 0.1
        rates.spend(f"G{number}", "HELLO")
    assert len(rates._left) < 200


def test_every_step_has_a_price():
    steps = {row.name for row in ops.CONTROL_NUMBER.values()}
    missing = steps - set(COSTS)
    # Answers are no steps: only what a guest may ask is.
    from vecd.services.broker_parts.steps import STEPS

    assert set(STEPS) <= set(COSTS) and not missing & set(STEPS)
    with pytest.raises(Malformed):
        Rates(1, 10).spend("A", "fly")


@in_world
async def test_connect_and_release_of_one_guest_are_limited_and_the_other_s_are_not(world):
    await world.card()
    broker = await FakeBroker().come(world.paths)
    await world.guest("A"), await world.guest("B")
    world.guard.rates = Rates(rate=1, burst=30)
    instance = world.guard.book.register.instances["A.1"].id
    arguments = {"id_u": USERS["A"], "instance": instance, "card": CARDS["c0"]}
    with pytest.raises(Busy, match="guest A asks too often") as caught:
        for _ in range(20):
            await broker.peer.call("guest.connect", arguments)
            await broker.peer.call("guest.release", arguments)
    assert "ask again in" in caught.value.hint
    await world.session(broker, "B")
    await broker.peer.call("guest.step", {"id_u": USERS["B"], "step": "VERIFY"})
    with pytest.raises(Busy):
        await broker.peer.call("guest.step", {"id_u": USERS["A"], "step": "VERIFY"})
    with pytest.raises(Unknown):
        await broker.peer.call("guest.step", {"id_u": b"?" * 16, "step": "VERIFY"})
