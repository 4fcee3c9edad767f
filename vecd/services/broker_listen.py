"""The listeners of the guests: accepting, refusing what is too much, and who is behind a connection.

A listening socket comes from the guard, pinned to one user. For a Unix socket that is all there is to know: its file
belongs to that guest's VMM. On vsock the guard gives one listener for each guest as well, and the CID it allows.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket

from vecd.base import events, log
from vecd.base.errors import Busy
from vecd.services.broker_guest import Answer, GuestConnection, refuse_at_once
from vecd.services.broker_limits import Knock, Limits

# Connections that are accepted before others of this process get a turn.
BURST = 16
# How long accepting rests when there is no descriptor left, instead of spinning.
REST_S = 0.1
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Listener:
    """One guest's listening socket, owned."""

    def __init__(
        self, sock: socket.socket, guest: str, id_u: bytes, state_s: float, limits: Limits, answer: Answer
    ) -> None:
        sock.setblocking(False)
        self.guest = guest
        self.id_u = id_u
        self._sock = sock
        self._state_s = state_s
        self._limits = limits
        self._answer = answer
        self._loop = asyncio.get_running_loop()
        self._rest: asyncio.TimerHandle | None = None
        self._connections: dict[Knock, GuestConnection] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.closed = False
        self._loop.add_reader(sock, self._acceptable)

    def evict(self, knock: Knock) -> bool:
        """Whether the connection was one of this listener's; it is told to come again, and closed."""
        connection = self._connections.get(knock)
        if connection is None:
            return False
        connection.evict(Busy("another connection took this one's place", reason="it had not said anything yet"))
        return True

    def close(self) -> None:
        """Nobody is accepted any more and every connection is ended."""
        if self.closed:
            return
        self.closed = True
        if self._rest is not None:
            self._rest.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()
        for connection in list(self._connections.values()):
            connection.end()

    def _acceptable(self) -> None:
        for _ in range(BURST):
            try:
                sock, _ = self._sock.accept()
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
            self._accepted(sock)

    def _wake(self) -> None:
        self._rest = None
        if not self.closed:
            self._loop.add_reader(self._sock, self._acceptable)

    def _accepted(self, sock: socket.socket) -> None:
        knock, evicted = self._limits.admit(self.guest)
        if evicted is not None:
            self._evicted(evicted)
        if knock is None:
            log.event(events.LIMIT, what=f"connections of guest {self.guest}", limit="unproven")
            refuse_at_once(sock, Busy("too many connections wait to prove who they are"))
            return
        connection = GuestConnection(sock, self.guest, self.id_u, knock, self._limits, self._state_s)
        self._connections[knock] = connection
        task = self._loop.create_task(connection.serve(self._answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._connections.pop(knock, None))

    def _evicted(self, knock: Knock) -> None:
        if not self.evict(knock):
            self.on_foreign_eviction(knock)

    def on_foreign_eviction(self, knock: Knock) -> None:
        """The connection that makes room is another listener's; set by whoever has them all."""


class Listeners:
    """All of them, by guest; a guest may have one of each kind."""

    def __init__(self, state_s: float, limits: Limits, answer: Answer) -> None:
        self._state_s = state_s
        self._limits = limits
        self._answer = answer
        self._all: dict[tuple[str, str], Listener] = {}

    def add(self, guest: str, id_u: bytes, kind: str, descriptor: int) -> None:
        """Guests are accepted there; the descriptor is owned from here. An older listener of this kind is closed."""
        self._close(guest, kind)
        sock = socket.socket(fileno=descriptor)
        listener = Listener(sock, guest, id_u, self._state_s, self._limits, self._answer)
        listener.on_foreign_eviction = self._evict  # type: ignore[method-assign]
        self._all[guest, kind] = listener
        log.event(events.LISTENING, subject=guest, what=kind)

    def remove(self, guest: str) -> None:
        """The guest's listeners and connections are closed."""
        for name, kind in [key for key in self._all if key[0] == guest]:
            self._close(name, kind)

    def clear(self) -> None:
        """All of them are closed: whoever gave them is gone, and will give what still holds."""
        for name, kind in list(self._all):
            self._close(name, kind)

    def __len__(self) -> int:
        return len(self._all)

    def _close(self, guest: str, kind: str) -> None:
        listener = self._all.pop((guest, kind), None)
        if listener is not None:
            listener.close()

    def _evict(self, knock: Knock) -> None:
        with contextlib.suppress(StopIteration):
            next(listener for listener in self._all.values() if listener.evict(knock))
