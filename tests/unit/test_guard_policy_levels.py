"""Levels in a guard: several of them on one card, moved by R11 or not at all, stored and read again; and weights."""

from pathlib import Path

import pytest

from tests.unit.guard_world import CARDS, USERS, FakeBroker, in_world
from tests.unit.test_guard_policy import CARD, HEAD, A, C, R, allow, applied, everything, guest, started, write
from vecd.base.errors import Denied
from vecd.ppm.properties import violations
from vecd.services.guard_parts import policy, register
from vecd.services.guard_parts.entries import Register
from vecd.shm.layout import CONTROL, USING

FIVE = HEAD + "[model]\nlevels = 5\n" + CARD
BOTH = "may = [3, 4]\n"


def test_guests_at_two_levels_share_a_card(tmp_path):
    """What the state, the matrices and a restarted guard say of levels is what the policy says."""
    text = FIVE + guest("A") + guest("B", more="level = 4\n" + BOTH) + allow("A.1", "c0") + allow("B.1", "c0")

    async def body(world):
        card, broker = await world.card(), await FakeBroker().come(world.paths)
        await world.guest("A"), await world.guest("B")
        for _ in range(2):
            state = world.guard.book.state
            assert [state.level[name] for name in ("A", "A.1", "B", "B.1")] == [3, 3, 4, 4]
            assert state.world["B"].may == {3, 4} and state.world["B.1"].may == {4}
            snapshot = card.matrices.snapshot()
            assert snapshot.levels == 5 and [one.level for one in snapshot.instance.values()] == [3, 4]
            first, second = await world.session(broker, "A"), await world.session(broker, "B")
            for index, level in ((first, 3), (second, 4)):
                card.turn(index, C | A, CONTROL)
                assert (await world.ask("card.list"))["cards"][0]["level"] == level
                await world.ask("access.show")
                assert state.level["c0"] == level
                card.turn(index, C | A, USING)
                assert (await world.ask("card.list"))["cards"][0]["level"] == 2
            explained = await world.ask("access.explain", subject="B.1", object="c0", attribute="r")
            assert explained["allowed"]
            await world.stop()
            await world.start()
            card, broker = await world.card(), await FakeBroker().come(world.paths)

    started(tmp_path, body, text)


def test_an_instance_moves_by_R11_and_a_guest_never(tmp_path):
    text = FIVE + guest("A", more=BOTH, each=BOTH) + allow("A.1", "c0")

    async def body(world):
        await world.card()
        broker = await FakeBroker().come(world.paths)
        await world.guest("A")
        before = everything(world)
        with pytest.raises(Denied) as caught:
            await applied(world, text.replace("may = [3, 4]\n", "may = [3, 4]\nlevel = 4\n", 1))
        assert "no rule moves a user" in caught.value.reason and everything(world) == before
        assert "vecctl guest remove A, vecctl policy apply, vecctl guest add A" in caught.value.hint
        with pytest.raises(Denied) as caught:
            await applied(world, text.replace("may = [3, 4]\n[[allow", "may = [3]\n[[allow", 1))
        assert "may take L3 L4 for its life" in caught.value.reason and everything(world) == before
        # With c alone no level is in the way, so this instance may stand below its guest.
        low = text.replace("may = [3, 4]\n[[allow", "may = [3, 4]\nlevel = 4\n[[allow", 1)
        low = low.replace("rac", "c", 1).partition('[[allow]]\nsubject = "A.1"')[0]
        await world.session(broker)
        with pytest.raises(Denied) as caught:
            write(world, low)
            # A session is open, whose data would come down.
            (await world.ask("policy.apply"))
        assert caught.value.rule == "R11" and everything(world)[1:] == before[1:]
        instance = world.guard.book.register.instances["A.1"].id
        await broker.peer.call("guest.release", {"id_u": USERS["A"], "instance": instance, "card": CARDS["c0"]})

    started(tmp_path, body, text)


def test_what_the_check_allows_can_be_done(tmp_path):
    """The example of the document: every guest is added, every instance is connected to every card that it may use."""
    text = (Path(__file__).parents[2] / "docs/policy.example.toml").read_text()

    async def body(world):
        first, second = await world.card("c0"), await world.card("c1")
        broker = await FakeBroker().come(world.paths)
        held = world.guard.policy
        for number, (name, row) in enumerate(held.guests.items()):
            await world.ask("guest.add", name=name, id=row.identity or bytes([number] * 16), cards=[])
        assert (await world.ask("policy.diff"))["requests"] == []
        for (instance, card), _ in held.cells.items():
            if card in CARDS:
                known = world.guard.book.register.instances[instance]
                user = world.guard.book.user(known.owner).id
                asked = {"id_u": user, "instance": known.id, "card": CARDS[card]}
                index = (await broker.peer.call("guest.connect", asked))["index"]
                fake = first if card == "c0" else second
                fake.turn(index, C | A, CONTROL)
                fake.turn(index, C | A, USING)
                await world.ask("access.show")
                fake.turn(index, C | R, CONTROL)
                await world.ask("access.show")
                assert world.guard.link(card).out == "" and world.guard.book.state.level[card] == known.level
        assert violations(world.guard.book.state) == []

    started(tmp_path, body, text)


@in_world
async def test_p_changes_when_nobody_lives(world):
    await world.card()
    await world.guest("B")
    with pytest.raises(Denied) as caught:
        await applied(world, FIVE)
    assert "remove 1 guests, then start it again" in caught.value.hint


def test_what_is_stored_of_levels_is_read_again():
    rows = Register(levels=5, policy="ab" * 32)
    rows.apply(("user", {"name": "A", "id": "61" * 16, "index": 0, "uid": 1, "cid": None, "level": 4, "may": [3, 4]}))
    rows.apply(("instance", {"name": "A.1", "id": "62" * 16, "index": 0, "owner": "A", "level": 3, "may": [3]}))
    rows.apply(("level", "A.1", 4))
    rows.apply(("policy", "cd" * 32))
    again = register.parse(None, register.text_of(rows))
    assert again == rows and again.instances["A.1"].level == 4 and again.users["A"].may == (3, 4)
    for wrong in (("level", "A.1", 5), ("level", "A.1", 2), ("level", "A.1", True), ("policy", 5)):
        with pytest.raises(ValueError):
            rows.apply(wrong)


def test_a_register_of_before_there_were_policies_is_read():
    text = register.text_of(Register())
    old = text.replace(' "levels": 4,\n', "").replace(' "policy": "",\n', "")
    assert old != text and register.parse(None, old) == Register()


def test_weights_are_those_of_the_policy(tmp_path):
    async def body(world):
        assert policy.weights(world.guard) == {"A.1": 7, "A.2": 1}

    started(
        tmp_path,
        body,
        (HEAD + guest("A", ("1", "2")))
        .replace('"A"\n[[i', '"A"\nweight = 7\n[[i', 1)
        .replace('name = "A"\nweight = 7\n', 'name = "A"\n')
        .replace('name = "A.1"\n', 'name = "A.1"\nweight = 7\n'),
    )
