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

import array
import asyncio
import contextlib
import errno
import inspect
import json
import os
import secrets
import select
import socket
import stat
import struct
import time
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import events, log
from .errors import Busy, Exhausted, Exists, Gone, Internal, Malformed, TimedOut, TooLarge, Unreachable, VecError
from .errors import from_dict as error_from_dict
from .paths import socket_path
from .types import Call, convert

PACKET_MAX = 192 * 1024
FDS_MAX = 8
# Requests of one peer that run at once; the next is answered BUSY.
REQUESTS_MAX = 64
# Questions of ours that wait for one peer's answer.
PENDING_MAX = 1024
# Packets that wait for one peer to read; a peer that lets more pile up is closed.
QUEUE_MAX = 256
# Packets of one peer that are read before others get a turn.
READ_BURST = 16
# A handler that takes longer is cancelled and answered with TIMEDOUT.
HANDLER_S = 60.0
# How long accept rests when there are no descriptors left (EMFILE), instead of spinning.
ACCEPT_REST_S = 0.2
BACKLOG = 128

_UCRED = struct.Struct("3i")
_SO_PEERGROUPS = 59
_SO_PEERPIDFD = 77
_FD_SPACE = socket.CMSG_SPACE(FDS_MAX * array.array("i").itemsize)


class Answer(dict[str, Any]):
    """The values of an answer, and its descriptors, which are the caller's to close."""

    def __init__(self, values: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        super().__init__(values)
        self.fds = list(fds)


Result = Mapping[str, Any] | tuple[Mapping[str, Any], Sequence[int]] | None
Handler = Callable[["Peer", str, dict[str, Any], list[int]], Awaitable[Result]]
Watcher = Callable[["Peer"], Awaitable[None] | None]


def _close_all(fds: list[int]) -> None:
    while fds:
        with contextlib.suppress(OSError):
            os.close(fds.pop())


def _hex(value: Any) -> str:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    raise TypeError(f"{type(value).__name__} does not travel")


def _encode(message: Mapping[str, Any]) -> bytes:
    data = json.dumps(message, default=_hex, separators=(",", ":"), allow_nan=False).encode()
    if len(data) > PACKET_MAX:
        raise TooLarge(f"a packet of {len(data)} bytes", reason=f"at most {PACKET_MAX} travel between our processes")
    return data


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _decode(data: bytes) -> dict[str, Any]:
    try:
        message = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Malformed("a packet is not JSON") from None
    if not isinstance(message, dict):
        raise Malformed("a packet is not a JSON object")
    number = message.get("id")
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise Malformed("a packet has no id")
    return message


def _receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """One packet and its descriptors (close-on-exec); b"" at the end. Raises TooLarge for what did not fit."""
    data, ancillary, flags, _ = sock.recvmsg(PACKET_MAX, _FD_SPACE, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        _close_all(list(fds))
        raise TooLarge("a packet", reason=f"at most {PACKET_MAX} bytes and {FDS_MAX} descriptors are read")
    return data, list(fds)


def _send(sock: socket.socket, data: bytes, fds: Sequence[int]) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([data], rights, socket.MSG_NOSIGNAL)


def _buffers(sock: socket.socket) -> None:
    # One packet must fit into the send buffer whole; the kernel doubles the number for its own book-keeping.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PACKET_MAX * 2)


def _groups(sock: socket.socket) -> frozenset[int]:
    try:
        return frozenset(array.array("I", sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 4096)))
    except OSError:
        return frozenset()


def _effective_uid(pid: int) -> int | None:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("Uid:"):
                return int(line.split()[2])
    except OSError:
        pass
    return None


def _pidfd(sock: socket.socket, pid: int, uid: int) -> int | None:
    """A descriptor of the very process that connected, None where that cannot be had."""
    try:
        return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD, 4), "little")
    except OSError:
        # Before Linux 6.5.
        pass
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    # The number may have been given to another process before we opened it: the connection must still be there,
    # and the process must be of the uid that connected.
    poll = select.poll()
    poll.register(sock, select.POLLHUP)
    if poll.poll(0) or _effective_uid(pid) != uid:
        os.close(pidfd)
        return None
    return pidfd


class Peer:
    """One connection. pid, uid, gid and groups are the kernel's word (SO_PEERCRED), never the peer's."""

    def __init__(
        self,
        sock: socket.socket,
        handler: Handler | None,
        table: Mapping[str, Call],
        *,
        name: str = "",
        pidfd: bool = False,
        on_close: Callable[[Peer], None] | None = None,
    ) -> None:
        sock.setblocking(False)
        _buffers(sock)
        self._sock = sock
        self._handler = handler
        self._table = table
        self._serves = getattr(table, "serves", table.keys())
        self._on_close = on_close
        self._loop = asyncio.get_running_loop()
        self._pending: dict[int, tuple[Call, asyncio.Future[Answer]]] = {}
        self._requests: set[asyncio.Task[None]] = set()
        self._queue: deque[tuple[bytes, list[int]]] = deque()
        self._number = 0
        self.pid, self.uid, self.gid = _UCRED.unpack(
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        )
        self.groups = _groups(sock)
        self.name = name or f"pid {self.pid}"
        self.pidfd = _pidfd(sock, self.pid, self.uid) if pidfd else None
        # Why the connection ended, where one of the two ends said so.
        self.reason: VecError | None = None
        self.closed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<peer {self.name} pid {self.pid} uid {self.uid}>"

    def start(self) -> None:
        """Packets are read from now on."""
        if not self.closed.is_set():
            self._loop.add_reader(self._sock, self._readable)

    # -- asking -------------------------------------------------------------------------------------------------
    async def call(
        self, call: str, args: Mapping[str, Any] = {}, fds: Sequence[int] = (), timeout: float = 5.0
    ) -> Answer:
        """The answer of the peer. Raises what the peer raised, Gone when it dies first, TimedOut after `timeout` s."""
        row = self._table.get(call)
        if row is None:
            raise Malformed(f"there is no call {call!r} on this door")
        if len(fds) != row.fds_in:
            raise Malformed(f"{call}: {len(fds)} descriptors given, {row.fds_in} belong to it")
        values = convert(call, row.args, dict(args), strict=True)
        if self.closed.is_set():
            raise self._gone(call)
        if len(self._pending) >= PENDING_MAX:
            raise Exhausted(f"{call}: {PENDING_MAX} calls to {self.name} wait for an answer")
        self._number += 1
        number = self._number
        data = _encode({"id": number, "call": call, "args": {k: v for k, v in values.items() if v is not None}})
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._pending[number] = (row, future)
        try:
            self._post(data, fds)
            async with asyncio.timeout(timeout):
                return await future
        except (TimeoutError, asyncio.CancelledError) as e:
            # Answered in the very moment in which we gave up: nobody will take its descriptors.
            if future.done() and not future.cancelled() and future.exception() is None:
                _close_all(future.result().fds)
            if isinstance(e, asyncio.CancelledError):
                raise
            raise TimedOut(f"{call}: {self.name} did not answer within {timeout:g} s") from None
        finally:
            self._pending.pop(number, None)
            # Failed by the end of the connection while the packet was still being posted: the exception is ours.
            if future.done() and not future.cancelled():
                future.exception()

    def close(self) -> None:
        """The connection is ended; what waits for an answer gets Gone."""
        self._end(None)

    # -- writing ------------------------------------------------------------------------------------------------
    def _post(self, data: bytes, fds: Sequence[int]) -> None:
        """The packet is sent, or waits its turn with duplicates of its descriptors."""
        if self.closed.is_set():
            raise self._gone("send")
        if not self._queue:
            try:
                _send(self._sock, data, fds)
                return
            except BlockingIOError:
                pass
            except OSError:
                # Its last packet may say why it hung up.
                self._readable()
                self._end(None)
                raise self._gone("send") from None
            self._loop.add_writer(self._sock, self._writable)
        if len(self._queue) >= QUEUE_MAX:
            self._end(Busy(f"{self.name} does not read", reason=f"{QUEUE_MAX} packets wait for it"))
            raise self._gone("send")
        copies: list[int] = []
        try:
            copies.extend(os.dup(fd) for fd in fds)
        except OSError as e:
            _close_all(copies)
            raise Exhausted("no descriptor left to send one", reason=os.strerror(e.errno or 0)) from None
        self._queue.append((data, copies))

    def _writable(self) -> None:
        while self._queue:
            data, copies = self._queue[0]
            try:
                _send(self._sock, data, copies)
            except BlockingIOError:
                return
            except OSError:
                self._end(None)
                return
            self._queue.popleft()
            _close_all(copies)
        self._loop.remove_writer(self._sock)

    # -- reading ------------------------------------------------------------------------------------------------
    def _readable(self) -> None:
        for _ in range(READ_BURST):
            if self.closed.is_set():
                return
            try:
                data, fds = _receive(self._sock)
            except BlockingIOError:
                return
            except ConnectionResetError:
                # It left packets of ours unread, and perhaps one for us: the error is told once, then comes the rest.
                continue
            except TooLarge as e:
                self._end(e, tell=True)
                return
            except OSError:
                self._end(None)
                return
            # An empty packet cannot be told from the end of the connection; ours are never empty.
            if not data:
                _close_all(fds)
                self._end(None)
                return
            try:
                self._packet(_decode(data), fds)
            except VecError as e:
                _close_all(fds)
                self._end(e, tell=True)
                return

    def _packet(self, message: dict[str, Any], fds: list[int]) -> None:
        """The packet went where it belongs; what is none of ours raises Malformed and ends the connection."""
        number = message["id"]
        if "call" in message:
            self._request(number, message, fds)
        elif "ok" in message or "err" in message:
            self._answer(number, message, fds)
        else:
            raise Malformed('a packet has neither "call" nor "ok" nor "err"')

    def _answer(self, number: int, message: dict[str, Any], fds: list[int]) -> None:
        err = message.get("err")
        if number == 0:
            # The other end says why it ends the connection.
            _close_all(fds)
            self._end(error_from_dict(err) if isinstance(err, dict) else None)
            return
        row, future = self._pending.pop(number, (None, None))
        if row is None or future is None or future.done():
            # Too late: the call timed out here.
            _close_all(fds)
            return
        try:
            if err is not None:
                raise error_from_dict(err) if isinstance(err, dict) else Malformed(f"{row.name}: the error is none")
            if len(fds) != row.fds_out:
                raise Malformed(f"{row.name}: {len(fds)} descriptors came with the answer, {row.fds_out} belong to it")
            answer = Answer(convert(f"{row.name} answered", row.answer, message["ok"], strict=False), fds)
        except VecError as e:
            _close_all(fds)
            future.set_exception(e)
            return
        future.set_result(answer)

    def _request(self, number: int, message: dict[str, Any], fds: list[int]) -> None:
        if len(self._requests) >= REQUESTS_MAX:
            _close_all(fds)
            self._reply(number, {"err": Busy(f"{REQUESTS_MAX} calls of {self.name} run already").to_dict()})
            return
        task = self._loop.create_task(self._run(number, message, fds))
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)

    async def _run(self, number: int, message: dict[str, Any], fds: list[int]) -> None:
        name = message["call"]
        out: Sequence[int] = ()
        try:
            row = self._table.get(name) if isinstance(name, str) else None
            if row is None or self._handler is None or name not in self._serves:
                raise Malformed(f"there is no call {str(name)[:64]!r} on this door")
            if len(fds) != row.fds_in:
                raise Malformed(f"{name}: {len(fds)} descriptors came, {row.fds_in} belong to it")
            args = convert(name, row.args, message.get("args", {}), strict=True)
            async with asyncio.timeout(HANDLER_S):
                result = await self._handler(self, name, args, fds)
            values, out = result if isinstance(result, tuple) else (result or {}, ())
            if len(out) != row.fds_out:
                raise TypeError(f"{name} answered with {len(out)} descriptors, {row.fds_out} belong to it")
            reply: dict[str, Any] = {"ok": values}
        except VecError as e:
            reply, out = {"err": e.to_dict()}, ()
        except TimeoutError:
            reply, out = {"err": TimedOut(f"{name}: not done within {HANDLER_S:g} s").to_dict()}, ()
        except Exception as e:
            reply, out = {"err": _our_mistake(str(name)[:64], e).to_dict()}, ()
        finally:
            _close_all(fds)
        self._reply(number, reply, out)

    def _reply(self, number: int, reply: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        """The answer is on its way; one that cannot travel becomes an error, one to a dead peer is dropped."""
        try:
            data = _encode({"id": number, **reply})
        except TooLarge as e:
            data, fds = _encode({"id": number, "err": e.to_dict()}), ()
        except (TypeError, ValueError) as e:
            data, fds = _encode({"id": number, "err": _our_mistake("an answer", e).to_dict()}), ()
        with contextlib.suppress(VecError):
            self._post(data, fds)

    # -- the end ------------------------------------------------------------------------------------------------
    def _gone(self, what: str) -> VecError:
        if self.reason is not None:
            return self.reason
        return Gone(f"{what}: {self.name} went away")

    def _end(self, reason: VecError | None, *, tell: bool = False) -> None:
        if self.closed.is_set():
            return
        self.closed.set()
        self.reason = reason
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        if tell and reason is not None:
            with contextlib.suppress(OSError):
                _send(self._sock, _encode({"id": 0, "err": reason.to_dict()}), ())
        # Shut down as well as closed: a forked child may hold a copy of the descriptor.
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None
        for _, copies in self._queue:
            _close_all(copies)
        self._queue.clear()
        pending, self._pending = list(self._pending.values()), {}
        for row, future in pending:
            if not future.done():
                future.set_exception(self._gone(row.name))
        if self._on_close is not None:
            self._on_close(self)


def _our_mistake(what: str, error: Exception) -> Internal:
    """Logged with its place in the code; the peer learns the number of the event and nothing else.

    The text of the exception stays out of both: it may hold what a message held.
    """
    number = secrets.token_hex(4)
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    text = f": {error}" if log.debugging() else ""
    log.event(events.BUG, what=what, reason=f"{type(error).__name__}{text} at {where}", event=number)
    return Internal(f"{what}: our own mistake", hint=f"event {number} in the log says where")


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
            peer = Peer(sock, self._handler, self._table, pidfd=True, on_close=self._closed)
        except OSError:
            # It went away already, or there is no descriptor left for its pidfd.
            sock.close()
            return
        try:
            if len(self.peers) >= self._limit:
                raise Busy(f"{self._limit} connections are open already")
            if self._admit is not None:
                self._admit(peer)
        except VecError as e:
            log.event(events.PEER_REFUSED, door=self._name, pid=peer.pid, uid=peer.uid, reason=e)
            peer._end(e, tell=True)
            return
        except Exception as e:
            # Whatever fails while deciding is a no.
            peer._end(_our_mistake(f"{self._name}: admission", e), tell=True)
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
            _our_mistake(f"{self._name}: a connection's start or end", e)
            return
        if inspect.isawaitable(result):
            task = self._loop.create_task(self._awaited(result))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _awaited(self, result: Awaitable[None]) -> None:
        try:
            await result
        except Exception as e:
            _our_mistake(f"{self._name}: a connection's start or end", e)

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
) -> Server:
    """Whoever `admit` does not refuse (by raising a VecError, told to the peer) is served; at most `limit` at once."""
    return Server(listener, handler, table, admit, limit, on_connect, on_close, name or _name_of(listener))


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


# Sockets made in advance by `spare`, for a process whose sandbox forbids socket(2); None where there is no such need.
_spares: list[socket.socket] | None = None


def spare(count: int) -> list[int]:
    """Every later connection of this process uses one of `count` sockets made now; their descriptors."""
    global _spares
    _spares = [_socket() for _ in range(count)]
    return [sock.fileno() for sock in _spares]


def _socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)


def _take() -> socket.socket:
    if _spares is None:
        return _socket()
    if not _spares:
        raise Exhausted("no socket is left to connect with", hint="restart this process")
    return _spares.pop()


def _put_back(sock: socket.socket) -> None:
    """A socket that did not connect serves the next try, where sockets were made in advance."""
    if _spares is None:
        sock.close()
    else:
        _spares.append(sock)


_HINTS = {
    errno.ENOENT: "is the daemon running, and is this its directory?",
    errno.ECONNREFUSED: "the daemon that made this socket is not running",
    errno.EACCES: "this door is for other users",
    errno.EAGAIN: "it does not accept connections",
}


def _unreachable(path: str | Path, e: OSError) -> Unreachable:
    return Unreachable(
        f"{path} cannot be reached", reason=os.strerror(e.errno or errno.ETIMEDOUT), hint=_HINTS.get(e.errno or 0, "")
    )


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
    sock = _take()
    sock.setblocking(False)
    deadline = time.monotonic() + timeout
    while True:
        try:
            # A Unix socket connects at once or says EAGAIN (the backlog is full): it never is "in progress".
            sock.connect(address)
            break
        except OSError as e:
            if not isinstance(e, BlockingIOError) or time.monotonic() >= deadline:
                _put_back(sock)
                raise _unreachable(path, e) from None
        try:
            await asyncio.sleep(0.01)
        except BaseException:
            _put_back(sock)
            raise
    return wrap(sock, handler, table=table, name=name or Path(path).stem, on_close=on_close)


class BlockingPeer:
    """One connection for a program without a loop: asks, one call at a time, and answers nothing.

    Answers stay as they are in JSON (bytes in hex), unless a table says how to convert them.
    """

    def __init__(self, path: str | Path, timeout: float = 5.0, *, table: Mapping[str, Call] | None = None) -> None:
        address = socket_path(path)
        self._table = table
        self._number = 0
        self.path = str(path)
        self._sock = _take()
        self._sock.settimeout(timeout)
        try:
            self._sock.connect(address)
        except OSError as e:
            _put_back(self._sock)
            raise _unreachable(path, e) from None
        _buffers(self._sock)

    def call(self, call: str, args: Mapping[str, Any] = {}, timeout: float = 5.0, *, fds: Sequence[int] = ()) -> Answer:
        """The answer. Raises what the other end raised, Gone when it dies first, TimedOut after `timeout` s."""
        self._number += 1
        data = _encode({"id": self._number, "call": call, "args": {k: v for k, v in args.items() if v is not None}})
        deadline = time.monotonic() + timeout
        try:
            self._sock.settimeout(timeout)
            # The other end may have refused us and hung up already: its last packet says why.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                _send(self._sock, data, fds)
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                self._sock.settimeout(left)
                try:
                    packet, got = _receive(self._sock)
                except ConnectionResetError:
                    # Told once, before what the other end still had to say.
                    packet, got = _receive(self._sock)
                if not packet:
                    _close_all(got)
                    raise Gone(f"{call}: {self.path} hung up")
                answer = self._match(call, packet, got)
                if answer is not None:
                    return answer
        except TimeoutError:
            raise TimedOut(f"{call}: no answer within {timeout:g} s", hint=f"who answers {self.path}?") from None
        except OSError as e:
            raise Gone(f"{call}: {self.path} hung up", reason=os.strerror(e.errno or 0)) from None

    def _match(self, call: str, packet: bytes, fds: list[int]) -> Answer | None:
        """The answer, if the packet is one to our latest call; a late or foreign packet is dropped."""
        try:
            message = _decode(packet)
            number, err = message["id"], message.get("err")
            if number not in (0, self._number) or "call" in message:
                return None
            if isinstance(err, dict):
                raise error_from_dict(err)
            ok = message.get("ok")
            if number == 0 or not isinstance(ok, dict):
                raise Malformed(f"{call}: the answer is neither result nor error")
            row = self._table.get(call) if self._table else None
            values = convert(f"{call} answered", row.answer, ok, strict=False) if row else ok
            answer = Answer(values, fds)
            # They are the caller's now.
            fds = []
            return answer
        finally:
            _close_all(fds)

    def close(self) -> None:
        self._sock.close()

    def __enter__(self) -> BlockingPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def listen(path: str | Path, *, mode: int = 0o600, uid: int = -1, gid: int = -1) -> socket.socket:
    """A listening socket at `path`, never accessible beyond `mode`; one that nobody listens on any more is replaced.

    Raises Exists while another process listens there. `uid` and `gid` own it (-1: as it is), which needs root.
    """
    address = socket_path(path)
    with _socket() as probe:
        probe.setblocking(False)
        try:
            probe.connect(address)
        except BlockingIOError:
            raise Exists(f"{path} is served by another process") from None
        except FileNotFoundError:
            pass
        except ConnectionRefusedError:
            # The kernel says the same of a file that is no socket: that one is not ours to remove.
            with contextlib.suppress(FileNotFoundError):
                if not stat.S_ISSOCK(os.lstat(address).st_mode):
                    raise Exists(f"{path} is not a socket", hint="move it away") from None
                os.unlink(address)
        except OSError as e:
            raise Exists(f"{path} is not ours to listen on", reason=os.strerror(e.errno or 0)) from None
        else:
            raise Exists(f"{path} is served by another process", hint="stop it, or use another directory")
    sock = _socket()
    # The mode stands from the first moment on; a chmod after bind would leave a gap.
    before = os.umask(0o777 & ~mode)
    try:
        sock.bind(address)
        if (uid, gid) != (-1, -1):
            # ROOT: the door belongs to the one process that may knock.
            os.chown(address, uid, gid)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(before)
    return sock
