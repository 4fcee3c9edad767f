"""The way from an address to a card: verification (messages 1-6), key loading (7-12), attach.

A run starts on a control connection that lives for a few seconds; what it leads to is a data connection
that belongs to the card. Times are taken on the way: `timings` is in milliseconds, by message number.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from dataclasses import dataclass

from vecd.base.errors import ConfigError, ProtocolRefused, Unknown, VecError
from vecd.guest import control
from vecd.guest.channel import Channel
from vecd.guest.control import Control, Place
from vecd.guest.deadline import Deadline
from vecd.guest.transport import Address
from vecd.protocol.identity import Identity, KeyRecord
from vecd.protocol.messages import FRESH
from vecd.protocol.user import UserParty, UserRun

# A verified run is used within this time, or a fresh one is made: broker and card give it 5 s.
RUN_FRESH_S = 4.0


@dataclass
class Run:
    """One verified run and the control connection on which it can load a key."""

    user: UserRun
    control: Control
    at_s: float

    def fresh(self) -> bool:
        """It can still load a key, or attach."""
        young = time.monotonic() - self.at_s < RUN_FRESH_S
        return young and self.user.state == "verified" and not self.control.closed


class StartUp:
    """What a guest knows before it is connected: where the broker is, who it is itself, which card it wants."""

    def __init__(
        self,
        address: Address,
        identity: Identity,
        instance: str | bytes | None,
        card: str | bytes | None,
        measure: bool,
    ) -> None:
        self.address = address
        self.timings: dict[str, float] = {}
        self._instance = instance
        self._card = card
        self._measure = measure
        self._place: Place | None = None
        self.identity = identity

    @property
    def identity(self) -> Identity:
        return self._identity

    @identity.setter
    def identity(self, identity: Identity) -> None:
        self._identity = identity
        self.party = UserParty(identity, secrets.token_bytes)

    @property
    def place(self) -> Place:
        """The instance and card of the last run."""
        if self._place is None:
            raise Unknown("no card was reached yet")
        return self._place

    def verify(self, deadline: Deadline) -> Run:
        """Messages 1-6 on a fresh control connection."""
        link = Control(self.address, deadline)
        try:
            if self._place is None:
                self._place = self._choose(link, deadline)
            try:
                return self._verified(link, deadline)
            except ProtocolRefused as refusal:
                # A guest restored from a snapshot repeats its nonce: the second run draws another.
                if refusal.property != FRESH:
                    raise
                return self._verified(link, deadline)
        except Unknown:
            # The instance or card is not there any more: look again next time.
            self._place = None
            link.close()
            raise
        except BaseException:
            link.close()
            raise

    def load(self, run: Run, secret: memoryview, record: KeyRecord, deadline: Deadline) -> int:
        """Messages 7-12: N_K. The run's control connection is closed afterwards."""
        clock = _Clock(self.timings)
        try:
            message7 = run.user.load(secret, record, time.monotonic())
            clock.lap("7")
            message12 = run.control.ask("LOAD", message7, deadline)
            clock.lap("8-11")
            number = run.user.accept_loaded(message12, int(time.time()), time.monotonic())
            clock.lap("12")
            self.timings["total"] = sum(ms for name, ms in self.timings.items() if name != "total")
            if self._measure:
                self._ask_times(run.control, deadline)
            return number
        finally:
            run.control.close()

    def attach(self, run: Run, deadline: Deadline) -> Channel:
        """A data connection of this run, after the card said READY."""
        attachment = run.user.attach(self.place.instance, time.monotonic())
        with Control(self.address, deadline) as link:
            return link.attach(attachment.message, attachment.tag, deadline)

    def _verified(self, link: Control, deadline: Deadline) -> Run:
        self.timings.clear()
        clock = _Clock(self.timings)
        user = self.party.open(self.place.card, time.monotonic())
        clock.lap("1")
        message6 = link.ask("VERIFY", user.message1, deadline)
        clock.lap("2-5")
        user.accept_verification(message6, int(time.time()), time.monotonic())
        clock.lap("6")
        return Run(user, link, time.monotonic())

    def _choose(self, link: Control, deadline: Deadline) -> Place:
        pinned = self._identity.card_id
        wanted = self._card if self._card is not None else pinned
        place = control.choose(control.places(link.hello(deadline)), self._instance, wanted)
        if place is None:
            raise Unknown(
                "this guest may reach no such card",
                subject=str(self._instance or ""),
                object=wanted.hex() if isinstance(wanted, bytes) else str(wanted or ""),
                hint="vecctl guest show says which cards it was given",
            )
        if pinned is not None and place.card != pinned:
            raise ConfigError(
                f"card {place.card_name} is not the card that this identity is pinned to",
                hint=f"the enrolment named {self._identity.card_name or pinned.hex()}",
            )
        return place

    def _ask_times(self, link: Control, deadline: Deadline) -> None:
        """Replace what stood for the relayed messages by what the broker measured of each."""
        with contextlib.suppress(VecError):
            told = link.hello(deadline).get("timings", {})
            times = {str(name): float(ms) for name, ms in told.items()} if isinstance(told, dict) else {}
            if times:
                self.timings.pop("2-5", None)
                self.timings.pop("8-11", None)
                total = self.timings.pop("total")
                ordered = sorted({**self.timings, **times}.items(), key=_order)
                self.timings.clear()
                self.timings.update(ordered)
                self.timings["total"] = total


class _Clock:
    """Milliseconds between laps, written into a table."""

    def __init__(self, table: dict[str, float]) -> None:
        self._table = table
        self._at = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._table[name] = (now - self._at) * 1000.0
        self._at = now


def _order(item: tuple[str, float]) -> tuple[int, str]:
    name = item[0]
    return (int(name), "") if name.isdecimal() else (0, name)
