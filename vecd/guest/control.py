"""The control half as a guest speaks it: one frame asked, one answered, over a connection that ends at the broker."""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from vecd.base.errors import Malformed, TooLarge
from vecd.guest import transport
from vecd.guest.channel import Channel, Request
from vecd.guest.deadline import Deadline
from vecd.wire import ops


@dataclass(frozen=True)
class Place:
    """An instance and a card it may reach."""

    instance: bytes
    instance_name: str
    card: bytes
    card_name: str


class Control:
    """One connection to the broker; a context manager that closes it."""

    def __init__(self, address: transport.Address, deadline: Deadline) -> None:
        self._channel = Channel(transport.dial(address, deadline))

    def ask(self, operation: str, data: bytes, deadline: Deadline) -> bytes:
        """The answer's data. Raises what the broker refused with; `operation` is a row of VEC_CONTROLS."""
        if len(data) > ops.CONTROL_MAX:
            raise TooLarge(f"{operation}: {len(data)} bytes", reason=f"a control frame takes {ops.CONTROL_MAX}")
        request = Request(ops.CONTROLS[operation].number, flags=0, data=data)
        return bytes(self._channel.ask(request, deadline, operation).require().data)

    def hello(self, deadline: Deadline) -> dict[str, Any]:
        """What the broker tells of itself and of this guest's instances."""
        try:
            said = json.loads(self.ask("HELLO", b"", deadline))
        except (ValueError, RecursionError):
            raise Malformed("the broker's answer to HELLO is no JSON") from None
        if not isinstance(said, dict):
            raise Malformed("the broker's answer to HELLO is no object")
        return said

    def attach(self, message: bytes, tag: bytes, deadline: Deadline) -> Channel:
        """A data connection: this connection, after the card itself said READY. It is the caller's from here."""
        self._channel.ask(Request(ops.CONTROLS["ATTACH"].number, flags=0, data=message), deadline, "ATTACH").require()
        self._channel.send_raw(tag)
        channel, self._channel = self._channel, None  # type: ignore[assignment]
        return channel

    @property
    def closed(self) -> bool:
        return self._channel is None or self._channel.closed

    def close(self) -> None:
        """Ends the connection, unless it became a data connection."""
        if self._channel is not None:
            self._channel.close()

    def __enter__(self) -> Control:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def once(address: transport.Address, operation: str, data: bytes, deadline: Deadline) -> bytes:
    """One question on a connection of its own."""
    with Control(address, deadline) as control:
        return control.ask(operation, data, deadline)


def places(said: dict[str, Any]) -> list[Place]:
    """Every (instance, card) that HELLO offers."""
    try:
        return [
            Place(bytes.fromhex(instance["instance"]), instance["name"], bytes.fromhex(card["id"]), card["name"])
            for instance in said["instances"]
            for card in instance["cards"]
        ]
    except (KeyError, TypeError, ValueError):
        raise Malformed("the broker's answer to HELLO lacks instances or cards") from None


def choose(offered: list[Place], instance: str | bytes | None, card: str | bytes | None) -> Place | None:
    """The first place that fits; a name or an id chooses, None takes any."""

    def fits(place: Place) -> bool:
        return instance in (None, place.instance, place.instance_name, place.instance.hex()) and card in (
            None,
            place.card,
            place.card_name,
            place.card.hex(),
        )

    return next((place for place in offered if fits(place)), None)
