"""The guard's audit log: a task that writes what is on record, signs a root a second, and takes in the cards' roots.

docs/audit.md. What goes on record is record.py's; the files are the keeper's, in a thread of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vecd.audit import roots
from vecd.audit.files import segments
from vecd.audit.keeper import Keeper
from vecd.audit.records import GuardFormat, members
from vecd.audit.roots import Root, Witness
from vecd.base import config, events, log
from vecd.base.errors import ConfigError, Denied, Malformed, VecError
from vecd.protocol.suites import PrivateKeys, generate, sign
from vecd.services import enrolment
from vecd.services.guard_parts.record import Record

KEY_FILE, DIRECTORY = "audit.key", "audit"
SUITE = 1
# Lines go to the file so often, roots to the disk; and a root where nothing happened, so that an end cannot be cut off
# for longer without being noticed.
WRITE_S, ROOT_S, HEARTBEAT_S = 0.05, 1.0, 60.0
ALARMS_MAX = 32
# On record by their own means.
_NOT_NOTED = frozenset((events.DECISION.name,))

_OF_CARDS = re.compile(rb'"what":"(?:root|cards)"')

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Seen:
    """The last root of a card that is on record here."""

    id: str
    number: int
    sequence: int
    hash: str


def own_keys(directory: Path) -> tuple[PrivateKeys, bool]:
    """The guard's signature key, made at its first start; whether it was there. Raises ConfigError, Failed."""
    path = directory / KEY_FILE
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"others may read {path}", hint=f"chmod 600 {path}, and think about who has read it")
        d = json.loads(path.read_text())
        return PrivateKeys(bytes.fromhex(d["sign"]), bytes.fromhex(d["seal"])), True
    except FileNotFoundError:
        keys = generate(SUITE)
        text = json.dumps({"schema": 1, "sign": keys.sign_seed.hex(), "seal": keys.seal_seed.hex()}) + "\n"
        enrolment.write(path, text.encode())
        return keys, False
    except (OSError, ValueError, KeyError, TypeError, VecError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} is no key of the guard", hint="restore it; moved away, a new one is made") from None


def publish(path: Path, keys: PrivateKeys) -> None:
    """Everybody may read the public key there."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(json.dumps({"schema": 1, "sign_key": keys.sign_key.hex()}) + "\n")
    fresh.chmod(0o644)
    fresh.rename(path)


class Audit:
    """The log of this guard; `record` is what everybody else writes to."""

    def __init__(self, directory: Path, settings: config.Audit, keys: PrivateKeys, *, expected: bool) -> None:
        """The log is open and its first record says how it was found. Raises OSError."""
        self.record = Record()
        self.alarms: list[str] = []
        self.key = keys.sign_key
        self.keys = keys
        self._settings = settings
        self._files = ThreadPoolExecutor(1, "vecd-audit")
        self._something = asyncio.Event()
        self.record.wake = self._something.set
        self._full, self._ended = "", False
        self._seen: dict[str, Seen] = {}
        self._path = directory
        self._keeper = Keeper(directory, roots.GUARD, GuardFormat, keep_bytes=settings.keep_mb << 20)
        begun = self._keeper.begin(expected=expected)
        self._at = (begun.sequence, begun.value)
        self.continues = not begun.anew
        if begun.anew:
            self._root(note=begun.anew)
            if expected:
                self.alarm(f"the audit log of the guard begins anew: {begun.anew}")
        else:
            self._recall(directory)
        self._keeper.owner(keys.sign_key)
        self.record.note(
            "start", pid=os.getpid(), anew=begun.anew, unclean=begun.unclean, torn=begun.torn, key=self.key.hex()
        )
        self._note_seen()

    def alarm(self, text: str) -> None:
        """An operator has to look at this: in the log of events, in the audit log, and in `vecctl status`."""
        if text not in self.alarms:
            self.alarms = [*self.alarms, text][-ALARMS_MAX:]
        log.event(events.AUDIT_ALARM, reason=text)

    def alarm_list(self) -> list[str]:
        """For `vecctl status`."""
        doing = "nothing is decided that gives a right" if self.record.refuses else "records are lost"
        return [*self.alarms, *([f"the audit log cannot be written, {doing}: {self._full}"] if self._full else [])]

    def hear(self, event: events.Event, fields: Mapping[str, str]) -> None:
        """What is logged at notice or above is on record."""
        if event.priority <= events.NOTICE and event.name not in _NOT_NOTED:
            self.record.note("event", event=event.name, fields=dict(fields))

    def status(self) -> dict[str, Any]:
        """For `vecctl status`."""
        root = self._keeper.root
        return {
            "key": self.key,
            "records": self._keeper.end,
            "signed": root.sequence if root else 0,
            "signed_at": root.time // 1_000_000_000 if root else None,
            "waiting": len(self.record),
            "full": self._full or None,
        }

    # ---- the task

    async def run(self) -> None:
        """Writes and signs until it is cancelled, or the log has ended."""
        loop = asyncio.get_running_loop()
        while not self._ended:
            if not len(self.record) and not self._full:
                # Not wait_for, which may swallow a cancellation.
                beat = loop.call_later(HEARTBEAT_S, self._something.set)
                await self._something.wait()
                beat.cancel()
            self._something.clear()
            due = loop.time() + ROOT_S
            while loop.time() < due and not self._full:
                if len(self.record):
                    await self._by_side(self._write)
                await asyncio.sleep(WRITE_S)
            await self._by_side(self._second)
            if self._full:
                await asyncio.sleep(ROOT_S)

    async def end(self) -> None:
        """STOP is the last record, and signed."""
        self.record.note("stop", pid=os.getpid())
        await self._by_side(lambda: self._second(last=True))
        self._ended = True
        self._keeper.close()

    async def _by_side(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._files, work)

    # ---- in the thread of the files

    def _take(self) -> None:
        sequence, value = self._at
        lines, end, value = self.record.take(sequence, value)
        if lines:
            self._keeper.add(lines, end - 1, value)
            self._at = (end, value)

    def _write(self) -> None:
        if self._ended:
            return
        try:
            if not self._full:
                self._take()
            self._keeper.write()
        except OSError as error:
            self._failed(error)

    def _second(self, *, last: bool = False) -> None:
        if self._ended:
            return
        try:
            self._write()
            if self._full:
                # What was taken is in the file now, or `write` raises.
                self._keeper.write()
                self._take()
            segment = self._keeper.segment
            self._root(last=last)
            self._works_again()
            if self._keeper.segment != segment:
                self._note_seen()
                if (first := self._keeper.surplus()) is not None:
                    self.record.note("removed", first=first)
        except OSError as error:
            self._failed(error)

    def _root(self, note: str = "", *, last: bool = False) -> None:
        prepared = self._keeper.prepare(self.key, None, note)
        signed = prepared.signed(lambda label, body: sign(self.keys, label, body))
        self._keeper.keep(signed, last=last)

    def _failed(self, error: OSError) -> None:
        """The disk takes nothing: by audit.on_full what waits is kept and changes are refused, or it is given up."""
        if not self._full:
            self._full = f"{self._path}: {error.strerror}"
            log.event(events.AUDIT_FULL, what="the guard", reason=self._full)
        if self._settings.on_full == "drop":
            sequence, value, lines = self._keeper.drop()
            self._at = (sequence, value)
            lost = [members(entry.content) for entry in GuardFormat.split(lines)[0]]
            self.record.lost(sum(one["records"] if one["what"] == "lost" else 1 for one in lost))
        else:
            self.record.refuses = f"the audit log cannot be written: {self._full}"

    def _works_again(self) -> None:
        if self._full:
            log.event(events.AUDIT_WRITES, what="the guard")
        self._full = self.record.refuses = ""

    # ---- the cards' roots

    def take_root(self, name: str, key: bytes | None, line: str) -> dict[str, Any]:
        """A card's root is on record; the guard's own last one, for the card's next. Raises Malformed, Denied."""
        try:
            root = roots.parse(line)
        except ValueError as error:
            raise Malformed(f"card {name}: this is no root of its log", reason=str(error)) from None
        if root.chain != roots.card(name) or root.key != key or not root.genuine():
            self.alarm(f"card {name} sent a root of its log that is not signed by it")
            raise Denied(f"card {name}: the root is not this card's", object=name)
        seen = Seen(root.id.hex(), root.number, root.sequence, root.hash.hex())
        own = self._keeper.root
        answer = {"number": own.number if own else -1, "hash": own.hash if own else b""}
        if self._seen.get(root.chain) == seen:
            return answer
        self._compare(name, root)
        self._seen[root.chain] = seen
        value = root.value.hex()
        facts = {"id": seen.id, "number": seen.number, "sequence": seen.sequence, "value": value, "hash": seen.hash}
        self.record.note("root", log=root.chain, **facts)
        return answer

    def _compare(self, name: str, root: Root) -> None:
        """An earlier root of this card may not be gone: its log was cut off then, or begins anew."""
        before = self._seen.get(root.chain)
        if before is None:
            return
        if root.id.hex() != before.id:
            self.alarm(
                f"the audit log of card {name} begins anew behind root {before.number} (record {before.sequence})"
            )
        elif root.number < before.number or root.sequence < before.sequence:
            self.alarm(f"the audit log of card {name} was cut back from root {before.number} to {root.number}")
        elif root.number == before.number and root.hash.hex() != before.hash:
            self.alarm(f"the audit log of card {name} has another root {root.number} than before")
        elif root.number == before.number + 1 and root.previous.hex() != before.hash:
            self.alarm(f"the audit log of card {name} does not continue its root {before.number}")

    def witness(self, name: str) -> Witness | None:
        """What is on record of a card."""
        seen = self._seen.get(roots.card(name))
        return Witness(seen.number, bytes.fromhex(seen.hash)) if seen else None

    def _note_seen(self) -> None:
        """In each segment first, so that the next start need not read further back."""
        rows = {chain: [one.id, one.number, one.sequence, one.hash] for chain, one in self._seen.items()}
        self.record.note("cards", roots=rows)

    def _recall(self, directory: Path) -> None:
        """What the guard before this one knew of the cards' roots; its last two segments say it."""
        for segment in segments(directory)[-2:]:
            for line in (segment.records() or b"").splitlines():
                # Most are decisions.
                if not _OF_CARDS.search(line):
                    continue
                record = json.loads(line)
                if record.get("what") == "cards":
                    self._seen |= {chain: Seen(*row) for chain, row in record["roots"].items()}
                elif record.get("what") == "root":
                    row = (record[name] for name in ("id", "number", "sequence", "hash"))
                    self._seen[record["log"]] = Seen(*row)


def started(directory: Path, settings: config.Audit) -> Audit:
    """The guard's log is open. Raises ConfigError where it cannot be."""
    keys, known = own_keys(directory)
    try:
        return Audit(directory / DIRECTORY, settings, keys, expected=known)
    except OSError as error:
        where = directory / DIRECTORY
        raise ConfigError(
            f"{where} cannot be written", reason=error.strerror or "", hint="what cannot be recorded is not begun"
        ) from None
