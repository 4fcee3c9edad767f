"""Calls between our own processes: SOCK_SEQPACKET, one JSON object a packet, descriptors by SCM_RIGHTS.

A request is {"id": n, "call": name, "args": {...}}, its answer {"id": n, "ok": {...}} or {"id": n, "err": {...}};
either end may ask. {"id": 0, "err": {...}} before the end of a connection says why it ends. A row of the table
(base/types.py, control/calls.py) checks and converts arguments and answers; what has no row does not exist.

Who owns a descriptor:
* given to `call`, or returned by a handler: stays the giver's; what has to wait in a queue is a duplicate of ours.
* in `Answer.fds`: the caller's.
* in a handler's `fds`: the handler takes one by removing it from the list (`fds.pop(0)`); what is left in the list
  when the handler is done, by return or by raise, is closed.

A peer that dies, stalls or talks nonsense costs itself its connection and nobody else anything.
"""

from __future__ import annotations

import asyncio
import errno
import inspect
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from . import door, events, log
from .blocking import BlockingPeer
from .door import listen, spare
from .errors import Busy, VecError
from .packet import FDS_MAX, PACKET_MAX, Answer
from .paths import socket_path
from .peer import READ_BURST, AtOnce, Handler, Peer, Reply, our_mistake
from .types import Call

__all__ = [
    "FDS_MAX",
    "PACKET_MAX",
    "Answer",
    "AtOnce",
    "BlockingPeer",
    "Handler",
    "Peer",
    "Reply",
    "Server",
    "connect",
    "listen",
    "serve",
    "spare",
    "wrap",
]

# How long accept rests when there are no descriptors left (EMFILE), instead of spinning.
ACCEPT_REST_S = 0.2

Watcher = Callable[[Peer], Awaitable[None] | None]


class Server:
    """Accepts on one listener until `close`."""

    def __init__(
        self,
        listener: socket.socket,
        handler: Handler,
        table: Mapping[str, Call],
        admit: Callable[[Peer], None] | None,
        limit: int,
        on_connect: Watcher | None,
        on_close: Watcher | None,
        name: str,
        at_once: AtOnce | None = None,
        full: Callable[[Server, Peer], bool] | None = None,
        whole: bool = False,
    ) -> None:
        listener.setblocking(False)
        self.peers: set[Peer] = set()
        self._listener = listener
        self._handler = handler
        self._table = table
        self._admit = admit
        self._limit = limit
        self._on_connect = on_connect
        self._on_close = on_close
        self._name = name
        self._at_once = at_once
        self._full = full
        self._whole = whole
        self._loop = asyncio.get_running_loop()
        self._rest: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = True
        self._loop.add_reader(listener, self._acceptable)

    def _acceptable(self) -> None:
        for _ in range(READ_BURST):
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as e:
                if e.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    # The connection stays in the backlog and the listener readable: look away for a while.
                    log.event(events.LIMIT, what=f"{self._name}: descriptors", limit=os.strerror(e.errno))
                    self._loop.remove_reader(self._listener)
                    self._rest = self._loop.call_later(ACCEPT_REST_S, self._wake)
                    return
                continue
            self._accepted(sock)

    def _wake(self) -> None:
        self._rest = None
        if self._open:
            self._loop.add_reader(self._listener, self._acceptable)

    def _accepted(self, sock: socket.socket) -> None:
        try:
            peer = Peer(
                sock,
                self._handler,
                self._table,
                pidfd=True,
                on_close=self._closed,
                at_once=self._at_once,
                whole=self._whole,
            )
        except OSError:
            # It went away already, or there is no descriptor left for its pidfd.
            sock.close()
            return
        try:
            if self._admit is not None:
                self._admit(peer)
            if len(self.peers) >= self._limit and not (self._full is not None and self._full(self, peer)):
                raise Busy(f"{self._limit} connections are open already", hint="ask again in a moment")
        except VecError as e:
            log.event(events.PEER_REFUSED, door=self._name, pid=peer.pid, uid=peer.uid, reason=e)
            peer._end(e, tell=True)
            return
        except Exception as e:
            # Whatever fails while deciding is a no.
            peer._end(our_mistake(f"{self._name}: admission", e), tell=True)
            return
        log.event(events.PEER_ADMITTED, door=self._name, pid=peer.pid, uid=peer.uid)
        self.peers.add(peer)
        peer.start()
        self._watch(self._on_connect, peer)

    def _closed(self, peer: Peer) -> None:
        if peer in self.peers:
            self.peers.discard(peer)
            self._watch(self._on_close, peer)

    def _watch(self, watcher: Watcher | None, peer: Peer) -> None:
        if watcher is None:
            return
        try:
            result = watcher(peer)
        except Exception as e:
            our_mistake(f"{self._name}: a connection's start or end", e)
            return
        if inspect.isawaitable(result):
            task = self._loop.create_task(self._awaited(result))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _awaited(self, result: Awaitable[None]) -> None:
        try:
            await result
        except Exception as e:
            our_mistake(f"{self._name}: a connection's start or end", e)

    def close(self) -> None:
        """Listener and connections are closed; a socket file stays where it is."""
        if not self._open:
            return
        self._open = False
        if self._rest is not None:
            self._rest.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()
        for peer in list(self.peers):
            peer.close()


async def serve(
    listener: socket.socket,
    handler: Handler,
    *,
    table: Mapping[str, Call],
    admit: Callable[[Peer], None] | None = None,
    limit: int = 64,
    on_connect: Watcher | None = None,
    on_close: Watcher | None = None,
    name: str = "",
    at_once: AtOnce | None = None,
    full: Callable[[Server, Peer], bool] | None = None,
    whole: bool = False,
) -> Server:
    """
    Whoever `admit` does not refuse (by raising a VecError, told to the peer) is served; at most `limit` at once.

    at_once: asked first about every call; what it takes needs no task. full: at the limit, whether the newcomer that
    was admitted is served nevertheless: it may close others. whole: what a handler began it ends, also when nobody
    waits for it any more.
    """
    name = name or _name_of(listener)
    return Server(listener, handler, table, admit, limit, on_connect, on_close, name, at_once, full, whole)


def _name_of(listener: socket.socket) -> str:
    address = listener.getsockname()
    return Path(address).name if isinstance(address, str) and address else "socket"


def wrap(
    sock: socket.socket,
    handler: Handler | None,
    *,
    table: Mapping[str, Call],
    name: str = "",
    on_close: Callable[[Peer], None] | None = None,
) -> Peer:
    """A peer on a connected socket, which it owns from now on (one end of a socketpair, a passed descriptor)."""
    peer = Peer(sock, handler, table, name=name, on_close=on_close)
    peer.start()
    return peer


async def connect(
    path: str | Path,
    handler: Handler | None,
    *,
    table: Mapping[str, Call],
    timeout: float = 5.0,
    name: str = "",
    on_close: Callable[[Peer], None] | None = None,
) -> Peer:
    """A peer behind the door at `path`. Raises Unreachable; waits up to `timeout` s while the door is full."""
    address = socket_path(path)
    sock = door.take()
    sock.setblocking(False)
    deadline = time.monotonic() + timeout
    while True:
        try:
            # A Unix socket connects at once or says EAGAIN (the backlog is full): it never is "in progress".
            sock.connect(address)
            break
        except OSError as e:
            if not isinstance(e, BlockingIOError) or time.monotonic() >= deadline:
                door.put_back(sock)
                raise door.unreachable(path, e) from None
        try:
            await asyncio.sleep(0.01)
        except BaseException:
            door.put_back(sock)
            raise
    return wrap(sock, handler, table=table, name=name or Path(path).stem, on_close=on_close)
