"""The cards the broker can reach: one channel each, a socketpair whose other end the guard gave to the card process."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vecd.base import events, ipc, log
from vecd.base.errors import Busy, Gone, Unknown
from vecd.base.types import Table


@dataclass(frozen=True)
class CardChannel:
    """One card: its name, its id from the authority (16 zero bytes until it is registered), its process."""

    name: str
    id: bytes
    peer: ipc.Peer

    async def call(
        self, call: str, args: Mapping[str, Any] = {}, fds: tuple[int, ...] = (), timeout: float = 5.0
    ) -> ipc.Answer:
        """The card's answer; Busy when its process goes away meanwhile."""
        try:
            return await self.peer.call(call, args, fds, timeout=timeout)
        except Gone as error:
            raise Busy(f"card {self.name} went away", hint="ask again in a moment") from error


class Cards:
    """By name and by id; a card that is added again replaces its old channel."""

    def __init__(self, table: Table, handler: ipc.Handler) -> None:
        self._table = table
        self._handler = handler
        self._by_name: dict[str, CardChannel] = {}

    def add(self, name: str, id_c: bytes, descriptor: int) -> CardChannel:
        """The channel is open; the descriptor is owned from here."""
        self.remove(name)
        sock = socket.socket(fileno=descriptor)
        card = CardChannel(name, id_c, ipc.wrap(sock, self._handler, table=self._table, name=name, on_close=self._gone))
        self._by_name[name] = card
        return card

    def remove(self, name: str) -> None:
        """The channel is closed; harmless when there is none."""
        card = self._by_name.pop(name, None)
        if card is not None:
            card.peer.close()

    def by_id(self, id_c: bytes) -> CardChannel:
        """The card of this id. Busy when it has no process now: the guard decides whether it exists."""
        for card in self._by_name.values():
            if card.id == id_c:
                return card
        raise Busy("the card is not in service", object=id_c.hex(), hint="ask again in a moment")

    def by_peer(self, peer: ipc.Peer) -> CardChannel:
        """Whose channel this is."""
        for card in self._by_name.values():
            if card.peer is peer:
                return card
        raise Unknown("no card uses this channel any more")

    def __iter__(self) -> Any:
        return iter(list(self._by_name.values()))

    def _gone(self, peer: ipc.Peer) -> None:
        for name, card in list(self._by_name.items()):
            if card.peer is peer:
                del self._by_name[name]
                log.event(events.CARD_LOST, card=name, reason="its process closed the channel")
