"""Revocation: after the answer nothing runs under the old right, whatever the card does; what deaths leave behind."""

import asyncio
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.guard_world import CARDS, USERS, FakeBroker, FakeCard, in_world, no_room, settled
from vecd.base.errors import Busy, Denied, Failed, Hardware
from vecd.services.guard_parts import cards, register
from vecd.shm.layout import CONTROL, FREE, USING

R, W, A, C = 1, 2, 4, 8


async def rescind(world, attribute="c", subject="A.1", target="c0"):
    return await world.ask("access.rescind", subject=subject, object=target, attribute=attribute)


async def in_session(world):
    """c0, the broker, and A with a turn in `using`; the card and A's index."""
    card, broker = await world.card(), await FakeBroker().come(world.paths)
    await world.guest("A")
    index = await world.session(broker)
    card.keys, card.context = {index}, index
    card.turn(index, C | A, USING)
    return card, broker, index


@contextmanager
def process(world, *hangs):
    """A card process that hangs in these calls."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.unit.guard_card_process", str(world.paths.root), "c0", *hangs]
    child = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


async def said(child, word):
    assert (await asyncio.to_thread(child.stdout.readline)).strip() == word


@in_world
async def test_what_is_in_flight_may_end_first(world):
    card, _, index = await in_session(world)
    card.write(inflight=2)
    answer = asyncio.create_task(rescind(world, "a"))
    await settled(lambda: card.word.quiesced)
    # From here no enter succeeds, and the answer waits.
    assert card.word.held == C and not answer.done() and card.calls("instance.rescind") == []
    before = card.word.generation
    card.write(inflight=0)
    assert (await answer)["notes"] == []
    assert card.calls("instance.rescind") == [{"instance": index, "attributes": A}]
    assert not card.word.quiesced and card.word.generation == before + 1 and card.word.owner == index
    assert world.b("A.1", "c0") == "c"


@in_world
async def test_a_step_of_the_card_is_waited_for(world):
    card, _, _ = await in_session(world)
    card.write(quiesced=True)
    answer = asyncio.create_task(rescind(world, "a"))
    await asyncio.sleep(0.02)
    assert card.word.held == C | A and not answer.done()
    card.write(quiesced=False)
    await answer
    assert card.word.held == C


@in_world
async def test_the_word_changes_also_when_somebody_else_has_the_slot(world):
    card, broker, _ = await in_session(world)
    await world.guest("B")
    other = await world.session(broker, "B")
    card.context = other
    card.turn(other, C | A, USING)
    before = card.word.generation
    await rescind(world, "a")
    # A step that looked at M before this and swaps after it must fail: generation + 1.
    assert card.word.generation == before + 1 and card.word.held == C | A


@in_world
async def test_c_of_a_user_goes_from_every_card(world):
    both = [await world.card("c0"), await world.card("c1")]
    broker = await FakeBroker().come(world.paths)
    await world.guest("A", "c0", "c1")
    for name in ("c0", "c1"):
        index = await world.session(broker, "A", name)
    for card in both:
        card.keys = {index}
        card.turn(index, C | A, USING)
    await rescind(world, "c", "A", "A.1")
    for card in both:
        assert card.word.status == FREE and card.word.owner is None and card.keys == set()
        assert len(card.calls("instance.drop")) == 1
    assert world.b("A", "A.1") == "" and world.b("A.1", "c0") == world.b("A.1", "c1") == ""


@in_world
async def test_a_card_that_is_connected_while_a_rescind_waits_is_not_forgotten(world):
    first, second = await world.card("c0"), await world.card("c1")
    broker = await FakeBroker().come(world.paths)
    await world.guest("A", "c0", "c1")
    index = await world.session(broker, "A", "c0")
    async with world.guard.links["c0"].lock:
        answer = asyncio.create_task(rescind(world, "c", "A", "A.1"))
        await asyncio.sleep(0.01)
        # The second half of a session that was let in before: R1 of the instance on another card.
        instance, card = world.guard.book.register.instances["A.1"], world.guard.book.register.cards["c1"]
        await cards._connect_card(world.guard, instance, card)
        assert world.b("A.1", "c1") == "c" and not answer.done()
    await answer
    for card in (first, second):
        assert card.calls("instance.drop") == [{"instance": index}] and card.word.status == FREE


@in_world
async def test_a_of_a_user_on_its_instance_stops_the_card_as_well(world):
    card, _, index = await in_session(world)
    await rescind(world, "a", "A", "A.1")
    assert card.word.held == C and card.calls("instance.rescind") == [{"instance": index, "attributes": A}]
    assert world.guard.book.matrices.load("card_m", 0, index) == R | C


@in_world
async def test_a_card_without_a_process_loses_rights_in_M_alone(world):
    card, _, _ = await in_session(world)
    card.peer.close()
    await settled(lambda: world.guard.links["c0"].peer is None)
    assert (await rescind(world, "a"))["notes"] == []
    assert register.load(world.paths.policy).access["A.1", "c0"] == "rc"


@in_world
async def test_a_rescind_that_cannot_be_stored_holds_and_says_so(world):
    card, _, index = await in_session(world)
    with no_room(world), pytest.raises(Failed, match="until the guard starts again") as caught:
        await rescind(world, "a")
    assert "cannot be written" in caught.value.reason
    assert card.word.held == C and world.guard.book.matrices.load("card_m", 0, index) == R | C
    assert register.load(world.paths.policy).access["A.1", "c0"] == "rac"
    # Once there is room again, rescinding it once more stores it, though nothing is left to rescind.
    await rescind(world, "a")
    assert register.load(world.paths.policy).access["A.1", "c0"] == "rc"


# ---- cards that do not do their part


@pytest.mark.parametrize("hang", ["instance.drop", "card.clean", "stopped", "inflight"])
def test_a_card_that_hangs_is_ended_and_the_operator_told(tmp_path, hang):
    @in_world
    async def body(world):
        with process(world, hang) as child:
            await said(child, "ready")
            broker = await FakeBroker().come(world.paths)
            await settled(lambda: broker.cards == {"c0": CARDS["c0"]})
            await world.guest("A")
            await world.session(broker)
            if hang == "inflight":
                await said(child, "busy")
            if hang == "stopped":
                # Not even the kill is waited for here: the process is stopped as a whole.
                os.kill(child.pid, 19)
            started = asyncio.get_running_loop().time()
            answer = await rescind(world, "c")
            assert asyncio.get_running_loop().time() - started < 1.5
            assert child.wait(2) == -9
            assert "c0 was ended" in answer["notes"][0]
            assert world.b("A.1", "c0") == "" and world.guard.book.state.status_of("c0") == "free"
            await settled(lambda: broker.cards == {})
            # The supervisor starts it again: empty, and in service.
            with pytest.raises(Denied):
                await world.session(broker)
            card = await world.card()
            assert card.answer["instances"] == [] and card.word.status == FREE
            await world.ask("access.give", subject="A.1", object="c0", attribute="c")
            await world.session(broker)

    body(tmp_path)


@in_world
async def test_a_card_that_cannot_be_ended_is_told_as_it_is(world):
    # A fake of this very process is never killed: it stands for a process that does not end.
    card, _, _ = await in_session(world)
    card.hangs = {"instance.drop"}
    with pytest.raises(Hardware, match="neither answers nor ends") as caught:
        await rescind(world, "c")
    assert "may still come out" in caught.value.reason
    assert world.guard.book.matrices.load("card_m", 0, 0) == R | A
    assert card.word.quiesced and card.word.owner is None


@in_world
async def test_a_wipe_that_cannot_be_checked_takes_the_card_out_of_service(world):
    card, broker, _ = await in_session(world)
    await world.guest("B")
    card.wipes = False
    answer = await rescind(world, "c")
    assert "a wipe could not be checked" in answer["notes"][0]
    assert card.word.quiesced and card.word.status != FREE and world.guard.links["c0"].out
    with pytest.raises(Hardware) as caught:
        await world.session(broker, "B")
    assert "a wipe could not be checked" in caught.value.reason and "start it again" in caught.value.hint
    assert world.b("B", "B.1") == ""
    assert "out of service" in (await world.ask("status"))["alarms"][0]
    assert (
        "out of service" in (await world.ask("access.explain", subject="A.1", object="c0", attribute="a"))["notes"][0]
    )
    await settled(lambda: broker.cards == {})
    # Rights can still be taken away, and a guest can still go.
    assert "out of service" in (await rescind(world, "a"))["notes"][0]
    await world.ask("guest.remove", name="A")
    # A new process is a new card.
    card.peer.close()
    await settled(lambda: world.guard.links["c0"].peer is None)
    await world.card()
    await world.session(broker, "B")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"held": C | R, "status": USING}, "r or w is held while the card is using"),
        ({"held": 16 | C}, "e*"),
        ({"owner": 77, "held": C}, "no instance"),
        ({"owner": 1, "held": C}, "not connected"),
        ({"held": C | W, "status": CONTROL}, "M allows"),
        ({"owner": None, "held": 0, "status": FREE}, "somebody is on it"),
    ],
)
def test_a_word_that_no_rule_allows_takes_the_card_out_of_service(tmp_path, fields, why):
    @in_world
    async def body(world):
        card, broker, index = await in_session(world)
        await world.guest("B")
        card.write(**{"owner": index, "held": C, "status": CONTROL, "inflight": 0} | fields)
        with pytest.raises(Hardware) as caught:
            await world.session(broker, "B")
        assert why in caught.value.reason and card.word.quiesced

    body(tmp_path)


@in_world
async def test_what_is_left_of_a_dropped_instance_takes_the_card_out_of_service(world):
    card, _, index = await in_session(world)

    async def keeps(_peer, call, arguments, _fds):
        return {"context": -1, "output": index, "keys": [], "wiped": True}

    card.peer._handler = keeps
    answer = await rescind(world, "c")
    assert "something of A.1 is left" in answer["notes"][0] and card.word.quiesced


@in_world
async def test_a_card_that_does_not_take_an_instance_gives_c_back(world):
    card, broker = await world.card(), await FakeBroker().come(world.paths)
    await world.guest("A")
    card.refuses["instance.connect"] = Failed("no room")
    with pytest.raises(Busy, match="did not take A.1"):
        await world.session(broker)
    assert world.b("A.1", "c0") == "" and world.b("A", "A.1") == "" and card.word.status == FREE
    card.refuses.clear()
    await world.session(broker)


# ---- deaths


@in_world
async def test_the_end_of_a_card_takes_c_from_its_instances(world):
    card, broker, index = await in_session(world)
    await settled(lambda: "c0" in broker.cards)
    generation = card.word.generation
    card.peer.close()
    await settled(lambda: broker.cards == {})
    assert world.b("A.1", "c0") == "" and world.guard.book.matrices.load("card_b", 0, index) == 0
    assert world.guard.book.state.status_of("c0") == "free"
    # Whoever maps the old word still finds it written off.
    assert card.word.quiesced and card.word.inflight == 0
    instance = world.guard.book.register.instances["A.1"].id
    with pytest.raises(Busy, match="no process"):
        await broker.peer.call("guest.connect", {"id_u": USERS["A"], "instance": instance, "card": CARDS["c0"]})
    again = await world.card()
    assert again.word.generation > generation
    await world.session(broker)


@in_world
async def test_a_new_guard_gives_back_what_M_still_allows_and_nothing_else(world):
    card, broker = await world.card(), await FakeBroker().come(world.paths)
    await world.guest("A"), await world.guest("B")
    a, b = await world.session(broker, "A"), await world.session(broker, "B")
    generation, matrices = card.word.generation, world.guard.book.matrices.load
    await world.ask("access.rescind", subject="B.1", object="c0", attribute="c")
    before = matrices("card_m", 0, a)
    await world.stop()
    await world.start()
    assert world.guard.book.matrices.load("card_m", 0, a) == before
    assert world.b("A", "A.1") == world.b("A.1", "c0") == ""
    slots = [
        {"key": 11, "user": USERS["A"].hex(), "instance": a},
        {"key": 12, "user": USERS["A"].hex(), "instance": a},
        {"key": 13, "user": USERS["B"].hex(), "instance": b},
        # A slot that says it is somebody else's, and one of an instance that is no more.
        {"key": 14, "user": USERS["B"].hex(), "instance": a},
        {"key": 15, "user": USERS["B"].hex(), "instance": 99},
    ]
    fresh = FakeCard("c0")
    fresh.keys = {a}
    await (await fresh.come(world.paths)).hello(slots=slots, instances=[a, b])
    assert [one["instance"] for one in fresh.answer["instances"]] == [a]
    assert sorted(fresh.answer["drop"]) == [13, 14, 15]
    await settled(fresh.looked_at)
    assert fresh.calls("card.clean") == [{}]
    assert world.b("A", "A.1") == "rac" and world.b("A.1", "c0") == "c" and world.b("B.1", "c0") == ""
    assert fresh.word.status == CONTROL and fresh.word.owner is None and fresh.word.generation > generation


@in_world
async def test_a_card_that_lies_as_soon_as_it_has_its_word_is_in_quarantine(world):
    card, link = await world.card(), world.guard.links["c0"]
    before = len(card.asked)
    card.write(status=3)
    await cards._into_service(world.guard, link, link.peer)
    assert "status" in world.guard.quarantined("c0") and link.out and card.asked[before:] == []


@in_world
async def test_a_card_that_keeps_what_it_had_to_drop_is_out_of_service(world):
    card = FakeCard("c0")
    card.keys = {5}
    await (await card.come(world.paths)).hello()
    await settled(lambda: world.guard.links["c0"].out)
    assert "[5]" in world.guard.links["c0"].out and card.word.quiesced


@in_world
async def test_a_generation_never_comes_back(world):
    await world.card()
    first = world.guard.book.matrices
    seen = {world.guard.book.register.generation}
    for _ in range(3):
        await world.stop()
        await world.start()
        assert world.guard.book.matrices is not first
        seen.add(world.guard.book.register.generation)
    assert len(seen) == 4 and sorted(seen)[-1] == world.guard.book.register.generation


@in_world
async def test_revocations_of_many_at_once_all_end(world):
    card, broker = await world.card(), await FakeBroker().come(world.paths)
    for number in range(12):
        await world.ask("guest.add", name=f"G{number}", id=bytes([number]) * 16, cards=["c0"])
    instances = world.guard.book.register.instances
    for number in range(12):
        arguments = {"id_u": bytes([number]) * 16, "instance": instances[f"G{number}.1"].id, "card": CARDS["c0"]}
        await broker.peer.call("guest.connect", arguments)
    work = [rescind(world, "a", f"G{n}.1") for n in range(0, 12, 3)]
    work += [rescind(world, "c", f"G{n}", f"G{n}.1") for n in range(1, 12, 3)]
    work += [world.ask("guest.remove", name=f"G{n}") for n in range(2, 12, 3)]
    await asyncio.gather(*work)
    assert sorted(one.name for one in world.guard.book.connected("c0")) == ["G0.1", "G3.1", "G6.1", "G9.1"]
    await asyncio.gather(*(world.ask("guest.remove", name=f"G{n}") for n in range(12) if n % 3 != 2))
    assert card.word.status == FREE and set(world.guard.book.state.world) == {"m", "c0"}
