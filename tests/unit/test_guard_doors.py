"""The guard's doors: nobody is kept out by who says nothing, one hung card keeps others' rules waiting not at all, and
each refusal names the thing, the rule and the next step."""

import asyncio

import pytest

from tests.unit.guard_world import CARDS, USERS, FakeBroker, in_world, settled
from vecd.base import ipc
from vecd.base.errors import Busy, Caller, Denied, Exists, Malformed, Unknown, VecError
from vecd.control import calls
from vecd.services.guard_parts import doors, pages

ADMIN = calls.door("admin", "vecctl")
# fmt: off
ODD = [
    "", " ", "a b", "../A", "A/B", "A\0", "A\n", "\x1b[31mA", "Ä", "A" * 33, "A" * 4096, "-A", ".A", "%s", "{0}", "m",
]
# fmt: on


async def knock(world) -> ipc.Peer:
    return await ipc.connect(str(world.paths.admin), None, table=ADMIN, timeout=1.0)


# ---- a full door


@in_world
async def test_who_asks_nothing_makes_room_for_the_next(world):
    # The world's own connection is one of them; all are root's or the guard's own, as the test is.
    others = [await knock(world) for _ in range(doors.ADMIN_MAX - 1)]
    await settled(lambda: len(world.guard.doors["admin"].peers) == doors.ADMIN_MAX)
    await others[0].call("status")
    newcomer = await knock(world)
    assert (await newcomer.call("status"))["guests"] == 0
    await settled(lambda: any(one.closed.is_set() for one in [world.admin, *others]))
    gone = [one for one in [world.admin, *others] if one.closed.is_set()]
    # One, and not who asked last; it was told why.
    assert len(gone) == 1 and gone[0] is not others[0]
    assert "needs the place" in gone[0].reason.message and "nothing was asked for" in gone[0].reason.reason
    with pytest.raises(Busy, match="needs the place"):
        await gone[0].call("status")


@in_world
async def test_who_is_being_answered_is_not_hung_up_on(world):
    card, broker = await world.card(), await FakeBroker().come(world.paths)
    await world.guest("A")
    await world.session(broker)
    card.hangs = {"instance.rescind"}
    waiting = [await knock(world) for _ in range(doors.ADMIN_MAX - 1)]
    asked = [
        asyncio.ensure_future(one.call("access.rescind", {"subject": "A.1", "object": "c0", "attribute": letter}))
        for one, letter in zip(waiting, "arw" * 11, strict=False)
    ]
    await asyncio.sleep(0.05)
    newcomer = await knock(world)
    await newcomer.call("status")
    assert not any(one.closed.is_set() for one in waiting) and world.admin.closed.is_set()
    await asyncio.gather(*asked, return_exceptions=True)


class Somebody:
    """A caller as the kernel would show one."""

    def __init__(self, uid, idle=True, asked_s=0.0):
        self.uid, self.idle, self.asked_s, self.gone = uid, idle, asked_s, None

    def close(self, why=None):
        self.gone = why


class Door:
    def __init__(self, peers):
        self.peers = set(peers)


@in_world
async def test_places_are_kept_for_root(world):
    people = doors.People(world.config)
    now = asyncio.get_running_loop().time()
    busy = [Somebody(4711, idle=False) for _ in range(doors.ADMIN_MAX)]
    # An operator waits until somebody is done; root does not.
    assert not people.make_room(Door(busy), Somebody(4711))
    assert people.make_room(Door(busy), Somebody(0))
    full = [*busy, *(Somebody(0, idle=False) for _ in range(doors.ROOT_MORE))]
    assert not people.make_room(Door(full), Somebody(0))
    # Who asked a moment ago is only put out by root.
    fresh = Somebody(4711, asked_s=now)
    assert not people.make_room(Door([*busy, fresh]), Somebody(4711)) and fresh.gone is None
    assert people.make_room(Door([*busy, fresh]), Somebody(0)) and fresh.gone is not None
    old = Somebody(4711, asked_s=now - 100)
    assert people.make_room(Door([*busy, old]), Somebody(4711)) and "100 s" in old.gone.reason


# ---- a hung card


@in_world
async def test_while_a_card_hangs_the_rules_of_others_go_on(world):
    slow, _ = await world.card("c0"), await world.card("c1")
    broker = await FakeBroker().come(world.paths)
    await world.guest("A", "c0"), await world.guest("B", "c1")
    await world.session(broker, "A", "c0")
    slow.hangs = {"instance.drop"}
    removing = asyncio.ensure_future(world.ask("guest.remove", name="A"))
    await settled(lambda: slow.calls("instance.drop"))
    loop = asyncio.get_running_loop()
    began = loop.time()
    await world.session(broker, "B", "c1")
    await world.ask("access.give", subject="B.1", object="c0", attribute="r")
    await world.ask("access.rescind", subject="B", object="B.1", attribute="a")
    await world.ask("access.rescind", subject="B.1", object="c1", attribute="c")
    await world.ask("guest.add", name="C", id=b"x" * 16, cards=["c1"])
    await world.ask("guest.remove", name="C")
    took, done = loop.time() - began, removing.done()
    # The card has 250 ms for its answer.
    assert not done and took < 0.24, took
    # A guest of the same name is another matter.
    with pytest.raises(Exists):
        await world.ask("guest.add", name="A", id=b"y" * 16, cards=["c0"])
    with pytest.raises(VecError):
        await removing


# ---- what is asked of things that are not, or have odd names


@pytest.mark.parametrize("name", ODD)
def test_a_guest_with_an_odd_name_is_refused_and_the_name_quoted(tmp_path, name):
    @in_world
    async def body(world):
        await world.card()
        with pytest.raises((Malformed, Exists)) as caught:
            await world.ask("guest.add", name=name, id=USERS["A"], cards=["c0"])
        said = str(caught.value)
        assert said.isprintable() and len(said) < 400
        assert "is not a name" in said or "is taken" in said or "a string of at most" in said
        assert set(world.guard.book.state.world) == {"m", "c0"} and list(world.paths.guests.iterdir()) == []

    body(tmp_path)


NAMED = {
    "card.show": {"name": None},
    "card.readmit": {"name": None},
    "guest.show": {"name": None},
    "guest.remove": {"name": None},
    "guest.add": {"name": "B", "id": USERS["B"], "cards": [None]},
    "access.give": {"subject": None, "object": "c0", "attribute": "r"},
    "access.rescind": {"subject": "A.1", "object": None, "attribute": "r"},
    "access.explain": {"subject": "A.1", "object": None, "attribute": "r"},
}


def named(value, name):
    return [name if one is None else one for one in value] if isinstance(value, list) else name


@pytest.mark.parametrize("call", NAMED)
def test_every_call_names_what_is_not_there_and_where_to_look(tmp_path, call):
    @in_world
    async def body(world):
        await world.card()
        await world.guest("A")
        before = world.paths.policy.read_bytes()
        for name in ("ghost", *ODD[:-1]):
            arguments = {
                key: named(value, name) if value in (None, [None]) else value for key, value in NAMED[call].items()
            }
            with pytest.raises((Unknown, Malformed)) as caught:
                await world.ask(call, **arguments)
            said = str(caught.value)
            assert said.isprintable() and len(said) < 400, said
            if isinstance(caught.value, Unknown):
                assert "vecctl guest list" in said or "vecctl card list" in said
                assert ascii(name[:64])[1:-1] in said or repr(name[:64]) in said or name in said
        assert world.paths.policy.read_bytes() == before

    body(tmp_path)


@in_world
async def test_what_has_ended_is_as_unknown_as_what_never_was(world):
    await world.card()
    broker = await FakeBroker().come(world.paths)
    await world.guest("A")
    instance = world.guard.book.register.instances["A.1"].id
    await world.ask("guest.remove", name="A")
    for call, arguments in (
        ("guest.show", {"name": "A"}),
        ("guest.remove", {"name": "A"}),
        ("access.give", {"subject": "A.1", "object": "c0", "attribute": "r"}),
        ("access.rescind", {"subject": "A", "object": "A.1", "attribute": "r"}),
        ("access.explain", {"subject": "A.1", "object": "c0", "attribute": "r"}),
    ):
        with pytest.raises(Unknown) as caught:
            await world.ask(call, **arguments)
        assert "vecctl guest list" in caught.value.hint
    dead = {"id_u": USERS["A"], "instance": instance, "card": CARDS["c0"]}
    for call in ("guest.connect", "guest.release"):
        with pytest.raises(Unknown):
            await broker.peer.call(call, dead)
    # The name and the id come back as somebody else: with a new instance, and none of the old rights.
    await world.guest("A")
    assert world.guard.book.register.instances["A.1"].id != instance
    for call in ("guest.connect", "guest.release"):
        with pytest.raises(Unknown, match="no instance has the id"):
            await broker.peer.call(call, dead)


@in_world
async def test_an_id_in_use_is_refused_with_whose_it_is(world):
    await world.card()
    await world.guest("A")
    with pytest.raises(Exists, match="guest A has this id") as caught:
        await world.ask("guest.add", name="B", id=USERS["A"], cards=["c0"])
    assert "a token of its own" in caught.value.hint
    with pytest.raises(Exists, match="'A' is taken") as caught:
        await world.ask("guest.add", name="A", id=USERS["B"], cards=["c0"])
    assert "vecctl guest list" in caught.value.hint


@in_world
async def test_rights_that_cannot_be_say_which_rule_and_what_can(world):
    await world.card()
    await world.guest("A"), await world.guest("B")
    for subject, target in (("A", "c0"), ("A", "B.1"), ("A.1", "B.1"), ("c0", "A.1"), ("m", "c0")):
        for call, rule in (("access.give", "R9"), ("access.rescind", "R10")):
            with pytest.raises(Denied) as caught:
                await world.ask(call, subject=subject, object=target, attribute="r")
            assert caught.value.rule == rule and "rights stand between" in caught.value.hint


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "9" * 9, "²", ""])
def test_a_mark_that_is_none_is_refused(tmp_path, after):
    @in_world
    async def body(world):
        for call in ("card.list", "guest.list"):
            with pytest.raises(Malformed, match="is no mark"):
                await world.ask(call, after=after)

    body(tmp_path)


@in_world
async def test_pages_together_are_everything_once(world):
    await world.card("c0"), await world.card("c1")
    for number in range(12):
        await world.ask("guest.add", name=f"G{number}", id=bytes([number]) * 16, cards=["c0", "c1"])
    whole = {call: await world.ask(call) for call in ("card.list", "guest.list", "access.show")}
    assert all(one.get("next") is None for one in whole.values())
    before, pages.PAGE_BYTES = pages.PAGE_BYTES, 300
    try:
        for call, field in (("card.list", "cards"), ("guest.list", "guests"), ("access.show", "cells")):
            rows, levels, after, count = [], {}, None, 0
            while count == 0 or after is not None:
                answer = await world.ask(call, **({"after": after} if after is not None else {}))
                rows, after, count = rows + answer[field], answer.get("next"), count + 1
                levels |= answer.get("levels", {})
            assert count > 1 and rows == whole[call][field] and levels == whole[call].get("levels", {})
    finally:
        pages.PAGE_BYTES = before


@in_world
async def test_a_stranger_is_told_whom_to_ask(world):
    people = doors.People(world.config)

    class Stranger:
        uid, gid, groups = 4711, 4711, frozenset()

    with pytest.raises(Caller) as caught:
        people.admit(Stranger())
    assert "uid 4711" in caught.value.message and "vecd-admin" in caught.value.hint
