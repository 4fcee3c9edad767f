"""What the guard puts on record: everything that it decides, with who asked; and what it does when it cannot."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.unit.audit_log import Log
from tests.unit.full_disk import FullDisk
from tests.unit.guard_world import FakeBroker, World, in_world, no_room, settled
from vecd.audit import roots
from vecd.audit.files import segments
from vecd.audit.records import GuardFormat, members
from vecd.audit.roots import Witness
from vecd.audit.verify import Verifier
from vecd.base import config, ipc, log
from vecd.base.errors import Busy, Caller, ConfigError, Denied, Exhausted, Failed, ProtocolRefused, VecError
from vecd.control import calls
from vecd.protocol.suites import generate, sign
from vecd.services.guard_parts import audit


@contextlib.asynccontextmanager
async def recorded(world: World, **settings: object) -> AsyncIterator[audit.Audit]:
    """The guard of this world keeps a log; it has ended when the block has."""
    kept = audit.started(world.paths.state_of("guard"), config.Audit(**settings))
    world.guard.audit, world.guard.book.record = kept, kept.record
    kept.record.index_of = lambda name: one.index if (one := world.guard.book.register.instances.get(name)) else None
    log.also(kept.hear)
    task = asyncio.create_task(kept.run())
    try:
        yield kept
        await kept.end()
    finally:
        log.also(None)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def records(world: World, *what: str) -> list[dict]:
    found = segments(world.paths.state_of("guard") / "audit")
    rows = [members(entry.content) for one in found for entry in GuardFormat.split(one.records())[0]]
    return [row for row in rows if not what or row["what"] in what]


def verified(world: World):
    return Verifier(roots.GUARD, GuardFormat).run(segments(world.paths.state_of("guard") / "audit"))


@in_world
async def test_everything_that_is_decided_is_on_record(world):
    """Every answer of the monitor that changes something or refuses, in the order in which they were given."""
    decided = []
    ask = world.guard.book.monitor.ask

    def heard(request):
        decision = ask(request)
        if not decision or decision.changes:
            decided.append((decision.answer, str(request.rule), str(request.object), request.attribute))
        return decision

    world.guard.book.monitor.ask = heard
    async with recorded(world):
        await world.card()
        broker = await FakeBroker().come(world.paths)
        await world.guest("A")
        await world.session(broker)
        await world.ask("access.rescind", subject="A.1", object="c0", attribute="r")
        await world.ask("access.give", subject="A.1", object="c0", attribute="r")
        with pytest.raises(VecError):
            await world.ask("access.give", subject="A.1", object="c0", attribute="e")
        await world.ask("access.rescind", subject="A", object="A.1", attribute="c")
        with pytest.raises(Denied):
            await world.session(broker)
        await world.ask("guest.remove", name="A")
    rows = records(world, "decision")
    assert decided == [(one["decision"], one["rule"], one["object"], one.get("attribute")) for one in rows]
    assert {"yes", "no"} <= {one["decision"] for one in rows} and len(rows) > 20
    assert all(one["changes"] for one in rows if one["decision"] == "yes")
    assert all(one["reason"] for one in rows if one["decision"] != "yes")
    assert next(one for one in rows if one["rule"] == "R1" and one["object"] == "c0")["index"] == 0
    assert verified(world).good


@in_world
async def test_who_asked_is_on_record_by_the_kernel_s_word(world):
    async with recorded(world):
        await world.card()
        broker = await FakeBroker().come(world.paths)
        await world.guest("A")
        await world.session(broker)
        # Answered together with others, by whoever comes first.
        await asyncio.gather(
            *(world.ask("access.give", subject="A.1", object="c0", attribute="w") for _ in range(3)),
            world.ask("access.rescind", subject="A.1", object="c0", attribute="w"),
        )
    us = {"uid": os.geteuid(), "pid": os.getpid()}
    doors = {(one["rule"], one["object"]): one["by"] for one in records(world, "decision")}
    assert doors["R7", "c0"] == {"door": "card/c0", **us} and doors["R7", "A"] == {"door": "admin", **us}
    assert doors["R1", "c0"] == {"door": "broker", **us} and doors["R9", "c0"] == {"door": "admin", **us}


@in_world
async def test_what_a_door_refuses_is_on_record(world):
    async with recorded(world):
        with pytest.raises(ProtocolRefused):
            await world.card(certificate=b"forged")
        table = calls.door("broker", "broker")
        silent = await ipc.connect(str(world.paths.broker), None, table=table, timeout=1.0)
        with pytest.raises(Caller):
            await silent.call("guest.who", {"name": "A"})
    rows = records(world, "refused")
    assert [(one["call"], one["error"]) for one in rows] == [("card.hello", "ProtocolRefused"), ("guest.who", "Caller")]
    assert rows[0]["by"]["door"] == "card/c0" and "registration 4" in rows[0]["reason"]


@in_world
async def test_what_is_taken_back_is_on_record(world):
    """A yes that the disk did not take: decided, then undone, and both can be read."""
    async with recorded(world):
        await world.card()
        await world.guest("A")
        with no_room(world):
            with pytest.raises(Failed):
                await world.ask("access.give", subject="A.1", object="c0", attribute="w")
    rows = records(world, "decision", "undone")
    assert [one["what"] for one in rows[-2:]] == ["decision", "undone"]
    assert rows[-1]["rule"] == "R9" and rows[-1]["attribute"] == "w" and "written" in rows[-1]["reason"]


@in_world
async def test_events_of_notice_are_on_record_and_quiet_ones_are_not(world):
    async with recorded(world):
        card = await world.card()
        await world.guest("A")
        card.write(status=3)
        await world.ask("access.show")
    seen = [one["event"] for one in records(world, "event")]
    assert {"CARD_IN_SERVICE", "GUEST_ADDED"} <= set(seen) and "PEER_GONE" not in seen and "DECISION" not in seen
    assert any(one.startswith("CARD") and one != "CARD_IN_SERVICE" for one in seen)


@in_world
async def test_a_slot_owner_that_was_seen_is_on_record_once(world):
    async with recorded(world):
        card, broker = await world.card(), await FakeBroker().come(world.paths)
        await world.guest("A")
        index = await world.session(broker)
        card.turn(index, 12, 2)
        for _ in range(3):
            await world.ask("access.show")
    rows = [one for one in records(world, "turn") if one["instance"] is not None]
    assert [(one["card"], one["instance"]) for one in rows] == [("c0", "A.1")]


# ---- where the disk takes nothing


@in_world
async def test_on_a_full_disk_nothing_is_given_and_taking_away_goes_on(world):
    with pytest.MonkeyPatch.context() as monkeypatch:
        disk = FullDisk(monkeypatch)
        async with recorded(world) as kept:
            await world.card()
            await world.guest("A")
            disk.full, disk.left = True, 10
            await world.ask("access.rescind", subject="A.1", object="c0", attribute="r")
            await settled(lambda: kept.record.refuses)
            with pytest.raises(Exhausted) as refused:
                await world.ask("access.give", subject="A.1", object="c0", attribute="r")
            assert "No space left" in refused.value.reason and "audit" in refused.value.hint
            await world.ask("access.rescind", subject="A.1", object="c0", attribute="a")
            status = await world.ask("status")
            assert status["audit"]["full"] and any("cannot be written" in one for one in status["alarms"])
            disk.full = False
            await settled(lambda: not kept.record.refuses, 4)
            await world.ask("access.give", subject="A.1", object="c0", attribute="r")
            assert not any("cannot be written" in one for one in (await world.ask("status"))["alarms"])
    report = verified(world)
    assert report.good and not report.notes, report.findings
    rows = records(world, "decision")
    assert [(one["rule"], one["attribute"]) for one in rows[-3:]] == [("R10", "r"), ("R10", "a"), ("R9", "r")]
    assert {"AUDIT_FULL", "AUDIT_WRITES"} <= {one["event"] for one in records(world, "event")}
    assert not records(world, "lost")


@in_world
async def test_with_drop_everything_goes_on_and_what_is_missing_is_counted(world):
    with pytest.MonkeyPatch.context() as monkeypatch:
        disk = FullDisk(monkeypatch)
        async with recorded(world, on_full="drop") as kept:
            await world.card()
            await world.guest("A")
            await settled(lambda: not len(kept.record))
            disk.full, disk.left = True, 10
            for letter in "raw":
                await world.ask("access.give", subject="A.1", object="c0", attribute=letter)
                await world.ask("access.rescind", subject="A.1", object="c0", attribute=letter)
                await asyncio.sleep(0.1)
            await settled(lambda: kept.status()["full"])
            await asyncio.sleep(1.2)
            before = len(kept.record)
            disk.full = False
            await settled(lambda: not kept.status()["full"], 4)
            assert before == 0
    report = verified(world)
    assert report.good, report.findings
    (lost,) = records(world, "lost")
    # Six decisions and what was logged of them; one is on record that was decided as the disk filled, at most.
    assert 6 <= lost["records"] + 2 <= 40


@in_world
async def test_a_guard_that_cannot_record_does_not_begin(world):
    where = world.paths.state_of("guard") / "audit"
    where.write_text("in the way")
    with pytest.raises(ConfigError, match="audit"):
        audit.started(world.paths.state_of("guard"), config.Audit())


# ---- its key, and the start after an end of either kind


@in_world
async def test_the_key_is_made_once_and_nobody_else_may_read_it(world):
    async with recorded(world) as kept:
        key = kept.key
        audit.publish(world.paths.guard_key, kept.keys)
    path = world.paths.state_of("guard") / audit.KEY_FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(world.paths.guard_key.read_text())["sign_key"] == key.hex()
    assert world.paths.guard_key.stat().st_mode & 0o777 == 0o644
    async with recorded(world) as again:
        assert again.key == key and again.continues and not again.alarms
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="others may read"):
        audit.started(world.paths.state_of("guard"), config.Audit())
    path.chmod(0o600)
    path.write_text("{}")
    with pytest.raises(ConfigError, match="no key of the guard"):
        audit.started(world.paths.state_of("guard"), config.Audit())


@in_world
async def test_a_log_that_is_missing_or_damaged_is_an_alarm_and_begins_anew(world):
    async with recorded(world):
        pass
    folder = world.paths.state_of("guard") / "audit"
    path = next(folder.glob("*.records"))
    path.write_bytes(path.read_bytes()[:-9] + b"????????\n")
    async with recorded(world) as kept:
        assert not kept.continues and "begins anew" in kept.alarms[0] and "changed" in kept.alarms[0]
    assert "begins anew" in verified(world).findings[0].what
    for path in folder.glob("0*"):
        path.unlink()
    async with recorded(world) as kept:
        assert "missing" in kept.alarms[0]


# ---- roots of cards


def card_root(log_of_card: Log, **changes: object) -> roots.Root:
    return replace(log_of_card.keeper.root, **changes).signed(lambda label, body: sign(log_of_card.keys, label, body))


@in_world
async def test_a_card_s_roots_are_on_record_and_answered_with_the_guard_s(world):
    async with recorded(world) as kept:
        card = await world.card()
        of_card = Log(world.paths.root / "card").start()
        world.guard.links["c0"].sign_key = of_card.keys.sign_key
        line = of_card.keeper.root.line()
        answer = await card.peer.call("audit.root", {"root": line, "alarms": ["something"]})
        # A second may have gone by since.
        assert 0 <= answer["number"] <= kept._keeper.root.number
        assert kept.witness("c0") == Witness(0, of_card.keeper.root.hash)
        assert "card c0: something" in (await world.ask("status"))["alarms"]
        of_card.turn(1, switched=True)
        of_card.root()
        following = {"root": of_card.keeper.root.line(), "alarms": []}
        # A card that floods is told so; and what is said again is on record once.
        with pytest.raises(Busy):
            for _ in range(3):
                await card.peer.call("audit.root", following)
        for _ in range(2):
            await asyncio.sleep(0.25)
            await card.peer.call("audit.root", following)
        assert not kept.alarms
    assert [one["number"] for one in records(world, "root")] == [0, 1]
    assert verified(world).hashes[answer["number"]] == answer["hash"]
    # A line is one object: no member stands in it twice.
    for segment in segments(world.paths.state_of("guard") / "audit"):
        for line in segment.records().splitlines():
            json.loads(line, object_pairs_hook=lambda pairs: dict(pairs) if len(dict(pairs)) == len(pairs) else 1 / 0)
    # The next guard remembers.
    async with recorded(world) as kept:
        assert kept.witness("c0") == Witness(1, of_card.keeper.root.hash)


@in_world
async def test_a_root_that_is_not_the_card_s_is_refused(world):
    async with recorded(world) as kept:
        card = await world.card()
        of_card, other = Log(world.paths.root / "card").start(), Log(world.paths.root / "other", "card c1").start()
        world.guard.links["c0"].sign_key = of_card.keys.sign_key
        root = of_card.keeper.root
        for line in (
            replace(root, number=7).line(),
            other.keeper.root.line(),
            root.signed(lambda label, body: sign(generate(1), label, body)).line(),
        ):
            world.guard.links["c0"].root_s = 0.0
            with pytest.raises(Denied):
                await card.peer.call("audit.root", {"root": line, "alarms": []})
        for line in ("", "{}", root.line() + " ", "[" * 100000):
            with pytest.raises(VecError):
                await card.peer.call("audit.root", {"root": line, "alarms": []})
        assert "not signed by it" in kept.alarms[0]
    assert not records(world, "root")


@pytest.mark.parametrize(
    "changes, what",
    [
        ({"number": 3}, "cut back"),
        ({"sequence": 1, "number": 9}, "cut back"),
        ({"time": 1}, "another root"),
        ({"number": 6, "previous": bytes(32)}, "does not continue"),
        ({"id": bytes(16)}, "begins anew"),
    ],
)
def test_a_card_log_that_goes_back_is_an_alarm(tmp_path, changes, what):
    @in_world
    async def whole(world):
        async with recorded(world) as kept:
            of_card = Log(world.paths.root / "card").start()
            for _ in range(5):
                of_card.turn(1, switched=True)
                of_card.root()
            key = of_card.keys.sign_key
            kept.take_root("c0", key, of_card.keeper.root.line())
            assert not kept.alarms
            kept.take_root("c0", key, card_root(of_card, **changes).line())
            assert what in kept.alarms[0]
            # What came before is forgotten: the alarm is said once, and the log goes on from here.
            kept.take_root("c0", key, card_root(of_card, **changes).line())
            assert len(kept.alarms) == 1

    whole(tmp_path)
