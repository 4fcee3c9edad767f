"""A connection of the broker to another daemon that comes back by itself when that daemon was restarted.

While it is away every call raises Busy: the guest's library waits and asks again, nobody else is kept waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from vecd.base import events, ipc, log
from vecd.base.errors import Busy, Gone, Unreachable, VecError
from vecd.base.types import Table

CONNECT_S = 1.0
REST_FIRST_S = 0.02
REST_MOST_S = 0.1


class Link:
    """`run` keeps it connected; `greet` is awaited on each new connection before anybody may call."""

    def __init__(
        self,
        what: str,
        path: str,
        table: Table,
        handler: ipc.Handler | None = None,
        greet: Callable[[ipc.Peer], Awaitable[None]] | None = None,
    ) -> None:
        self._what = what
        self._path = path
        self._table = table
        self._handler = handler
        self._greet = greet
        self._peer: ipc.Peer | None = None
        self.up = asyncio.Event()

    async def call(self, call: str, args: Mapping[str, Any] = {}, timeout: float = 5.0) -> ipc.Answer:
        """The daemon's answer; Busy while it is away or when it goes away meanwhile."""
        peer = self._peer
        if peer is None:
            raise Busy(f"the {self._what} is away", hint="ask again in a moment")
        try:
            return await peer.call(call, args, timeout=timeout)
        except Gone as error:
            raise Busy(f"the {self._what} went away", hint="ask again in a moment") from error

    async def run(self) -> None:
        """Connected whenever the daemon is there; ends by cancellation."""
        rest_s = REST_FIRST_S
        while True:
            try:
                peer = await ipc.connect(self._path, self._handler, table=self._table, timeout=CONNECT_S)
            except Unreachable:
                await asyncio.sleep(rest_s)
                rest_s = min(rest_s * 2, REST_MOST_S)
                continue
            try:
                if self._greet is not None:
                    await self._greet(peer)
                self._peer = peer
                self.up.set()
                rest_s = REST_FIRST_S
                await peer.closed.wait()
                log.event(events.PEER_GONE, door="broker", peer=self._what)
            except VecError as error:
                log.event(events.PEER_REFUSED, door=self._what, pid=peer.pid, uid=peer.uid, reason=error)
                await asyncio.sleep(rest_s)
                rest_s = min(rest_s * 2, REST_MOST_S)
            finally:
                self._peer = None
                self.up.clear()
                peer.close()
