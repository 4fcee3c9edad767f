"""The card's audit log: records of its turns from the pump to the disk, a signed root a second, the guard's witness.

docs/audit.md. The chain is made in C (cext/src/audit.c); what stands here takes it away, some times a second, in a
thread of its own. A root is signed in the loop, where the card's identity is used for everything else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from vecd.audit import roots
from vecd.audit.keeper import Begun, Keeper
from vecd.audit.records import RECORD_BYTES, CardFormat, Flag, Kind, facts_of
from vecd.audit.roots import Root, Witness
from vecd.base import config, events, ipc, log
from vecd.base.errors import ConfigError, VecError
from vecd.cards.api import Card
from vecd.protocol.identity import Identity
from vecd.protocol.suites import sign

DIRECTORY = "audit"
# Records are taken so often; roots follow once a second, or where nothing happened once a minute.
TAKE_S, ROOT_S, HEARTBEAT_S = 0.1, 1.0, 60.0
ALARMS_MAX = 8

T = TypeVar("T")


class Audited:
    """The log of one card process, from `begin` to `end`."""

    def __init__(self, name: str, directory: Path, card: Card, settings: config.Audit) -> None:
        self._name, self._path = name, directory / DIRECTORY
        self._card, self._settings = card, settings
        self._keeper = Keeper(self._path, roots.card(name), CardFormat, keep_bytes=settings.keep_mb << 20)
        self._files = ThreadPoolExecutor(1, "vecd-audit")
        self._identity: Identity | None = None
        self._witness: Witness | None = None
        self._alarms: list[str] = []
        # Why nothing can be written; "" where it can.
        self._full = ""
        self._ended = False
        self._signed_s = 0.0

    # ---- life

    async def begin(self, identity: Identity, *, registered: bool) -> None:
        """The log is open and every turn recorded from here on. Raises ConfigError where it cannot be.

        registered: this card has been in service before, so that there has been a log.
        """
        try:
            begun = await self._by_side(lambda: self._begin(identity, registered))
        except OSError as error:
            raise ConfigError(
                f"{self._path} cannot be written", reason=error.strerror or "", hint="make room; then start the card"
            ) from None
        self._identity = identity
        if begun.anew:
            if registered:
                self._alarm(f"its audit log begins anew: {begun.anew}")
            if not await self._sign(note=begun.anew):
                raise ConfigError(f"{self._path} cannot be written", reason=self._full, hint="make room")
        self._card.audit_open(begun.sequence, begun.value)
        flags = (Flag.ANEW if begun.anew else 0) | (Flag.UNCLEAN if begun.unclean else 0)
        self._card.audit_add(Kind.START, flags, self._keeper.start)

    def _begin(self, identity: Identity, registered: bool) -> Begun:
        # A card that was registered before there were audit logs has none, and no key of one.
        begun = self._keeper.begin(expected=registered and self._path.exists())
        self._keeper.owner(identity.keys.sign_key, id=identity.id.hex(), certificate=identity.certificate.hex())
        return begun

    async def run(self, guard: Callable[[], ipc.Peer | None]) -> None:
        """Takes, writes and signs until it is cancelled; `guard` is who hears of roots, while somebody does."""
        told: tuple[Root | None, list[str]] = None, []
        while True:
            await asyncio.sleep(TAKE_S)
            await self._by_side(self._take)
            now, root = time.monotonic(), self._keeper.root
            something = root is None or self._keeper.end > root.sequence or bool(self._full)
            if now - self._signed_s < (ROOT_S if something else HEARTBEAT_S):
                continue
            await self._sign()
            self._signed_s = now
            peer, news = guard(), (self._keeper.root, self._wrong())
            if peer is not None and news != told and await self._tell(peer, *news):
                told = news

    async def end(self) -> None:
        """Nothing is begun any more; STOP is the last record, and signed."""
        if self._identity is None:
            return
        try:
            # What is refused from here on leaves no record: nothing runs.
            self._card.audit_hold(True)
            await asyncio.to_thread(self._card.quiesce)
            self._card.audit_add(Kind.STOP)
            await self._by_side(self._take)
            await self._sign(last=True)
        except VecError as error:
            log.event(events.AUDIT_ALARM, reason=f"card {self._name}: {error.message}")
        self._ended = True
        self._keeper.close()

    def _alarm(self, text: str) -> None:
        if text not in self._alarms:
            self._alarms = [*self._alarms, text][-ALARMS_MAX:]
            log.event(events.AUDIT_ALARM, reason=f"card {self._name}: {text}")

    async def _by_side(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._files, work)

    # ---- in the thread of the files

    def _take(self) -> None:
        """Everything that the pump has recorded is in the file, or waits for room there."""
        if self._ended:
            return
        try:
            self._keeper.write()
            while records := self._card.audit_take():
                last = records[-RECORD_BYTES:]
                self._keeper.add(records, facts_of(last).sequence, last[RECORD_BYTES // 2 :])
                self._keeper.write()
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        """The disk takes nothing: by audit.on_full the card begins nothing, or what waits is given up."""
        if not self._full:
            self._full = f"{self._path}: {error.strerror}"
            log.event(events.AUDIT_FULL, what=f"card {self._name}", reason=self._full)
        if self._settings.on_full != "drop":
            self._card.audit_hold(True)
            return
        sequence, value, records = self._keeper.drop()
        lost = [facts_of(records[at : at + RECORD_BYTES]) for at in range(0, len(records), RECORD_BYTES)]
        self._card.audit_rewind(sequence, value, sum(one.word if one.kind == Kind.LOST else 1 for one in lost))

    def _prepare(self, note: str) -> Root | None:
        assert self._identity is not None
        try:
            return self._keeper.prepare(self._identity.keys.sign_key, self._witness, note)
        except OSError as error:
            self._failed(error)
            return None

    def _keep(self, root: Root, last: bool) -> bool:
        try:
            segment = self._keeper.segment
            self._keeper.keep(root, last=last)
            if self._keeper.segment != segment and (first := self._keeper.surplus()) is not None:
                self._card.audit_add(Kind.REMOVED, 0, first)
        except OSError as error:
            self._failed(error)
            return False
        if self._full:
            self._full = ""
            self._card.audit_hold(last)
            log.event(events.AUDIT_WRITES, what=f"card {self._name}")
        return True

    # ---- roots

    async def _sign(self, note: str = "", *, last: bool = False) -> bool:
        """A root over everything that was taken is on the disk; False where the disk does not take it."""
        prepared = await self._by_side(lambda: self._prepare(note))
        if prepared is None or self._identity is None:
            return False
        keys = self._identity.keys
        root = prepared.signed(lambda label, body: sign(keys, label, body))
        return await self._by_side(lambda: self._keep(root, last))

    def _wrong(self) -> list[str]:
        """What an operator has to look at."""
        doing = "records are lost" if self._settings.on_full == "drop" else "it does nothing"
        return [*self._alarms, *([f"its audit log cannot be written, {doing}: {self._full}"] if self._full else [])]

    async def _tell(self, peer: ipc.Peer, root: Root | None, wrong: list[str]) -> bool:
        """The guard has the last root on record, and said what its own is; False: it will hear of a later one."""
        assert root is not None
        try:
            answer = await peer.call("audit.root", {"root": root.line(), "alarms": wrong}, timeout=5.0)
        except VecError:
            return False
        if answer["number"] >= 0:
            self._witness = Witness(answer["number"], answer["hash"])
        return True
