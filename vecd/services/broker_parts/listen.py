"""The listeners of the guests: accepting, refusing what is too much, and who is behind a connection.

A listening socket comes from the guard. A Unix socket is one guest's: its file belongs to that guest's VMM, and
whoever connects is that guest. On vsock there is one port for all guests; there the CID, the hypervisor's word, says
who it is, and a CID that was given to nobody is refused.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from typing import Any, NamedTuple

from vecd.base import events, log
from vecd.base.errors import Busy, Caller, Malformed
from vecd.services.broker_parts.guest import Answer, GuestConnection, refuse_at_once
from vecd.services.broker_parts.limits import Knock, Limits

# Connections that are accepted before others of this process get a turn.
BURST = 16
# How long accepting rests when there is no descriptor left, instead of spinning.
REST_S = 0.1
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Pinned(NamedTuple):
    """Whose connections these are."""

    guest: str
    id_u: bytes


class Listener:
    """One listening socket, owned; `whose` says from a peer's address which guest it is, or None."""

    def __init__(self, sock: socket.socket, whose: Callable[[Any], Pinned | None], broker: Listeners) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._whose = whose
        self._broker = broker
        self._loop = asyncio.get_running_loop()
        self._rest: asyncio.TimerHandle | None = None
        self._open = True
        self._loop.add_reader(sock, self._acceptable)

    def close(self) -> None:
        """Nobody is accepted any more."""
        if self._open:
            self._open = False
            if self._rest is not None:
                self._rest.cancel()
            self._loop.remove_reader(self._sock)
            self._sock.close()

    def _acceptable(self) -> None:
        for _ in range(BURST):
            try:
                sock, address = self._sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    continue
                # The connection stays in the backlog and the listener readable: look away for a while.
                log.event(events.LIMIT, what="descriptors of the broker", limit=os.strerror(error.errno))
                self._loop.remove_reader(self._sock)
                self._rest = self._loop.call_later(REST_S, self._wake)
                return
            pinned = self._whose(address)
            if pinned is None:
                log.event(events.GUEST_REFUSED, subject=f"address {address}", rule="", reason="it is no guest's")
                refuse_at_once(sock, Caller("this CID belongs to no guest", hint="vecctl guest add NAME --cid CID"))
                continue
            self._broker.accepted(sock, pinned)

    def _wake(self) -> None:
        self._rest = None
        if self._open:
            self._loop.add_reader(self._sock, self._acceptable)


class Listeners:
    """All listeners, and the connections that came in by them."""

    def __init__(self, state_s: float, limits: Limits, answer: Answer) -> None:
        self._state_s = state_s
        self._limits = limits
        self._answer = answer
        self._unix: dict[str, Listener] = {}
        self._vsock: Listener | None = None
        self._cids: dict[int, Pinned] = {}
        self._connections: dict[Knock, GuestConnection] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, guest: str, id_u: bytes, kind: str, cid: int | None, sock: socket.socket) -> None:
        """The guest is accepted there; the socket is owned from here. What it had of this kind before is replaced."""
        pinned = Pinned(guest, id_u)
        if kind == "unix":
            if guest in self._unix:
                self._unix.pop(guest).close()
            self._unix[guest] = Listener(sock, lambda _: pinned, self)
        elif kind == "vsock" and cid is not None:
            self._forget_cid(guest)
            self._cids[cid] = pinned
            # Each guest's descriptor is the same socket: one of them accepts for all.
            if self._vsock is not None:
                self._vsock.close()
            self._vsock = Listener(sock, lambda address: self._cids.get(address[0]), self)
        else:
            sock.close()
            raise Malformed(f"listener.add: {kind!r} is no kind of listener, or its CID is missing")
        log.event(events.LISTENING, subject=guest, what=kind if cid is None else f"{kind} CID {cid}")

    def remove(self, guest: str) -> None:
        """The guest is accepted nowhere, and its connections are ended."""
        if guest in self._unix:
            self._unix.pop(guest).close()
        self._forget_cid(guest)
        if self._vsock is not None and not self._cids:
            self._vsock.close()
            self._vsock = None
        for connection in [one for one in self._connections.values() if one.guest == guest]:
            connection.end()

    def clear(self) -> None:
        """Everybody's: whoever gave the listeners is gone, and will give what still holds."""
        for guest in {*self._unix, *(pinned.guest for pinned in self._cids.values())}:
            self.remove(guest)

    def accepted(self, sock: socket.socket, pinned: Pinned) -> None:
        """A connection of this guest is served, where the limits allow it."""
        knock, evicted = self._limits.admit(pinned.guest)
        if evicted is not None and evicted in self._connections:
            why = "it had not said anything yet"
            self._connections[evicted].evict(Busy("another connection took this one's place", reason=why))
        if knock is None:
            log.event(events.LIMIT, what=f"connections of guest {pinned.guest}", limit="unproven")
            refuse_at_once(sock, Busy("too many connections wait to prove who they are"))
            return
        connection = GuestConnection(sock, pinned.guest, pinned.id_u, knock, self._limits, self._state_s)
        self._connections[knock] = connection
        task = asyncio.get_running_loop().create_task(connection.serve(self._answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._connections.pop(knock, None))

    def _forget_cid(self, guest: str) -> None:
        for cid in [cid for cid, pinned in self._cids.items() if pinned.guest == guest]:
            del self._cids[cid]
