"""How a card's records come to the disk: in order, signed once a second; and what it does when they cannot."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.unit.full_disk import FullDisk
from vecd.audit import roots
from vecd.audit.files import keys, segments
from vecd.audit.records import NOTHING, CardFormat, Facts, Flag, Kind, after, facts_of
from vecd.audit.verify import Report, Verifier
from vecd.base.config import Audit
from vecd.base.errors import ConfigError, Gone
from vecd.protocol.suites import generate
from vecd.services.card_parts import audit
from vecd.services.card_parts.audit import Audited

WHOLE = Flag.SWITCHED | Flag.WORKED | Flag.WIPED | Flag.READ_BACK
IDENTITY = SimpleNamespace(id=b"c" * 16, keys=generate(1), certificate=b"certified")


class Pump:
    """The chain of a pump, as cext/src/audit.c makes it."""

    def __init__(self) -> None:
        self.noted: list[Facts] = []
        self.held = self.quiesced = self.opened = False
        self.lost = 0

    def turn(self, instance: int = 1) -> None:
        if self.held:
            self.lost += 1
        else:
            self.noted.append(Facts(0, 10**18, 0, instance, Kind.TURN, WHOLE, 1))

    def audit_open(self, sequence: int, value: bytes) -> None:
        self.sequence, self.value, self.opened = sequence, value, True

    def audit_take(self) -> bytes:
        taken = b""
        if self.lost:
            self.noted.insert(0, Facts(0, 10**18, self.lost, 0xFFF, Kind.LOST, 0))
            self.lost = 0
        for facts in self.noted:
            content = facts._replace(sequence=self.sequence).pack()
            self.value = after(self.value, content)
            self.sequence += 1
            taken += content + self.value
        self.noted.clear()
        return taken

    def audit_add(self, kind: int, flags: int = 0, word: int = 0) -> None:
        self.noted.append(Facts(0, 10**18, word, 0xFFF, kind, flags))

    def audit_rewind(self, sequence: int, value: bytes, lost: int) -> None:
        self.sequence, self.value, self.lost = sequence, value, self.lost + lost

    def audit_hold(self, held: bool) -> None:
        self.held = held

    def quiesce(self) -> None:
        self.quiesced = True


class Guard:
    """Hears of roots."""

    def __init__(self) -> None:
        self.roots: list[roots.Root] = []
        self.alarms: list[str] = []
        self.away = False

    async def call(self, _call: str, arguments: dict, timeout: float) -> dict:
        if self.away:
            raise Gone("the guard went away")
        self.roots.append(roots.parse(arguments["root"]))
        self.alarms = arguments["alarms"]
        return {"number": len(self.roots), "hash": bytes([len(self.roots)]) * 32}


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    monkeypatch.setattr(audit, "TAKE_S", 0.01)
    monkeypatch.setattr(audit, "ROOT_S", 0.05)


@contextlib.asynccontextmanager
async def recording(path: Path, *, registered: bool = False, **settings: object) -> AsyncIterator[tuple]:
    pump, guard = Pump(), Guard()
    audited = Audited("c0", path, pump, Audit(**settings))
    await audited.begin(IDENTITY, registered=registered)
    task = asyncio.create_task(audited.run(lambda: guard))
    try:
        yield pump, guard, audited
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await audited.end()
    finally:
        task.cancel()


async def settled(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


def verified(path: Path) -> Report:
    return Verifier("card c0", CardFormat).run(segments(path / "audit"))


def records(path: Path) -> list[Facts]:
    return [facts_of(one.content) for part in segments(path / "audit") for one in CardFormat.split(part.records())[0]]


def test_what_the_pump_records_is_signed_and_told(tmp_path):
    async def whole() -> None:
        async with recording(tmp_path) as (pump, guard, _):
            for _ in range(3):
                pump.turn()
                seen = len(guard.roots)
                await settled(lambda seen=seen: len(guard.roots) > seen)
            assert not guard.alarms
        assert pump.quiesced and pump.held
        numbers = [one.number for one in guard.roots]
        assert numbers == sorted(set(numbers)) and guard.roots[-1].witness.number == len(guard.roots) - 1

    asyncio.run(whole())
    report = verified(tmp_path)
    assert report.good and report.turns == 3 and report.records == report.signed == 5
    assert [one.kind for one in records(tmp_path)] == [Kind.START, *[Kind.TURN] * 3, Kind.STOP]
    assert keys(tmp_path / "audit") == [
        {"key": IDENTITY.keys.sign_key.hex(), "id": IDENTITY.id.hex(), "certificate": IDENTITY.certificate.hex()}
    ]


def test_where_nothing_happens_a_root_a_minute_is_enough(tmp_path, monkeypatch):
    async def whole() -> int:
        async with recording(tmp_path) as (_, guard, _audited):
            await settled(lambda: len(guard.roots) == 1)
            await asyncio.sleep(0.3)
            seen = len(guard.roots)
            monkeypatch.setattr(audit, "HEARTBEAT_S", 0.1)
            await settled(lambda: len(guard.roots) > seen + 2)
            return seen

    assert asyncio.run(whole()) <= 2


def test_a_guard_that_is_away_hears_of_the_last_root_later(tmp_path):
    async def whole() -> None:
        async with recording(tmp_path) as (pump, guard, audited):
            guard.away = True
            for _ in range(3):
                pump.turn()
                number = audited._keeper.root.number
                await settled(lambda number=number: audited._keeper.root.number > number)
            guard.away = False
            pump.turn()
            await settled(lambda: guard.roots)
            assert guard.roots[0].number >= 3

    asyncio.run(whole())
    assert verified(tmp_path).good


def test_on_a_full_disk_the_card_begins_nothing_and_loses_nothing(tmp_path, monkeypatch):
    disk = FullDisk(monkeypatch)

    async def whole() -> None:
        async with recording(tmp_path) as (pump, guard, _):
            await settled(lambda: guard.roots)
            disk.full, disk.left = True, 70
            pump.turn()
            pump.turn()
            await settled(lambda: pump.held)
            for _ in range(5):
                pump.turn()
            await asyncio.sleep(0.2)
            assert pump.held
            disk.full = False
            await settled(lambda: not pump.held)
            pump.turn()
            seen = len(guard.roots)
            await settled(lambda: len(guard.roots) > seen)

    asyncio.run(whole())
    report = verified(tmp_path)
    assert report.good and not report.notes, report.findings
    assert [one.word for one in records(tmp_path) if one.kind == Kind.LOST] == [5] and report.turns == 3


def test_the_guard_is_told_of_a_full_disk(tmp_path, monkeypatch):
    """A root that is on record already is sent again with it, so that vecctl status has the alarm."""
    disk = FullDisk(monkeypatch)

    async def whole() -> None:
        async with recording(tmp_path) as (pump, guard, _):
            await settled(lambda: guard.roots)
            disk.full = True
            pump.turn()
            await settled(lambda: guard.alarms)
            assert "cannot be written" in guard.alarms[0]
            disk.full = False
            await settled(lambda: not guard.alarms)

    asyncio.run(whole())
    assert verified(tmp_path).good


def test_with_drop_the_card_goes_on_and_counts_what_is_missing(tmp_path, monkeypatch):
    disk = FullDisk(monkeypatch)

    async def whole() -> None:
        async with recording(tmp_path, on_full="drop") as (pump, guard, _):
            await settled(lambda: guard.roots)
            # Half a record, which has to go again.
            disk.full, disk.left = True, 30
            for _ in range(7):
                pump.turn()
                await asyncio.sleep(0.03)
            assert not pump.held
            disk.full = False
            pump.turn()
            seen = len(guard.roots)
            await settled(lambda: len(guard.roots) > seen)

    asyncio.run(whole())
    report = verified(tmp_path)
    assert report.good, report.findings
    lost = sum(one.word for one in records(tmp_path) if one.kind == Kind.LOST)
    assert lost == 7 and report.turns == 1


def test_a_process_that_was_killed_is_continued_and_says_so(tmp_path):
    async def killed() -> None:
        with contextlib.suppress(RuntimeError):
            async with recording(tmp_path) as (pump, guard, _):
                pump.turn()
                await settled(lambda: guard.roots)
                raise RuntimeError

    async def again() -> None:
        async with recording(tmp_path, registered=True) as (pump, _, audited):
            assert not audited._alarms
            pump.turn()

    asyncio.run(killed())
    asyncio.run(again())
    asyncio.run(again())
    assert verified(tmp_path).good
    flags = [one.flags for one in records(tmp_path) if one.kind == Kind.START]
    assert flags == [Flag.ANEW, Flag.UNCLEAN, 0]


def test_a_damaged_log_is_an_alarm(tmp_path):
    async def one(registered: bool) -> list[str]:
        async with recording(tmp_path, registered=registered) as (_, guard, audited):
            await settled(lambda: guard.roots)
            assert guard.alarms == audited._alarms
            return guard.alarms

    assert asyncio.run(one(False)) == []
    path = next((tmp_path / "audit").glob("*.records"))
    # What the last root was signed over is looked at, what is older is for `vecctl log verify`.
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert "begins anew" in asyncio.run(one(True))[0]
    # Said by the process that found it; the log says it for good.
    assert asyncio.run(one(True)) == [] and "begins anew" in verified(tmp_path).findings[0].what


def test_a_card_that_cannot_record_does_not_begin(tmp_path, monkeypatch):
    FullDisk(monkeypatch).full = True
    with pytest.raises(ConfigError, match="cannot be written"):
        asyncio.run(Audited("c0", tmp_path, Pump(), Audit()).begin(IDENTITY, registered=False))
    assert NOTHING == bytes(32)
