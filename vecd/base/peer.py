"""One connection between two of our processes, for a program with a loop: asks and answers. See ipc.py."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import struct
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import door, events, log, packet
from .errors import Busy, Exhausted, Gone, Internal, Malformed, TimedOut, TooLarge, VecError
from .errors import from_dict as error_from_dict
from .types import Call, convert

# Requests of one peer that run at once; the next is answered BUSY.
REQUESTS_MAX = 64
# Questions of ours that wait for one peer's answer.
PENDING_MAX = 1024
# Packets that wait for one peer to read; a peer that lets more pile up is closed.
QUEUE_MAX = 256
# Packets of one peer that are read before others get a turn.
READ_BURST = 64
# A handler that takes longer is cancelled and answered with TIMEDOUT; a whole one is answered, and goes on to its end.
HANDLER_S = 60.0

_UCRED = struct.Struct("3i")

Result = Mapping[str, Any] | tuple[Mapping[str, Any], Sequence[int]] | None
Handler = Callable[["Peer", str, dict[str, Any], list[int]], Awaitable[Result]]
# Takes the outcome of one call, once.
Reply = Callable[[Mapping[str, Any] | VecError], None]
# Whether the call was taken: then its reply comes before the loop turns a second time, and needs no task of its own.
AtOnce = Callable[["Peer", str, dict[str, Any], Reply], bool]


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
        at_once: AtOnce | None = None,
        whole: bool = False,
    ) -> None:
        sock.setblocking(False)
        packet.buffers(sock)
        self._sock = sock
        self._handler = handler
        self._at_once = at_once
        self._whole = whole
        self._table = table
        self._serves = getattr(table, "serves", table.keys())
        self._on_close = on_close
        self._loop = asyncio.get_running_loop()
        self._pending: dict[int, tuple[Call, asyncio.Future[packet.Answer]]] = {}
        self._requests: set[asyncio.Task[None]] = set()
        self._queue: deque[tuple[bytes, list[int]]] = deque()
        self._number = 0
        self.pid, self.uid, self.gid = _UCRED.unpack(
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        )
        self.groups = door.groups(sock)
        self.name = name or f"pid {self.pid}"
        self.pidfd = door.pidfd(sock, self.pid, self.uid) if pidfd else None
        # Why the connection ended, where one of the two ends said so.
        self.reason: VecError | None = None
        self.closed = asyncio.Event()
        # When the last call came, on the loop's clock.
        self.asked_s = self._loop.time()

    def __repr__(self) -> str:
        return f"<peer {self.name} pid {self.pid} uid {self.uid}>"

    def start(self) -> None:
        """Packets are read from now on."""
        if not self.closed.is_set():
            self._loop.add_reader(self._sock, self._readable)

    # -- asking -------------------------------------------------------------------------------------------------
    async def call(
        self, call: str, args: Mapping[str, Any] = {}, fds: Sequence[int] = (), timeout: float = 5.0
    ) -> packet.Answer:
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
        data = packet.encode({"id": number, "call": call, "args": {k: v for k, v in values.items() if v is not None}})
        future: asyncio.Future[packet.Answer] = self._loop.create_future()
        self._pending[number] = (row, future)
        timer = self._loop.call_later(timeout, self._late, call, future, timeout)
        try:
            self._post(data, fds)
            return await future
        except asyncio.CancelledError:
            # Answered in the very moment in which we gave up: nobody will take its descriptors.
            if future.done() and not future.cancelled() and future.exception() is None:
                packet.close_all(future.result().fds)
            raise
        finally:
            timer.cancel()
            self._pending.pop(number, None)
            # Failed by the end of the connection while the packet was still being posted: the exception is ours.
            if future.done() and not future.cancelled():
                future.exception()

    def _late(self, call: str, future: asyncio.Future[packet.Answer], timeout: float) -> None:
        if not future.done():
            future.set_exception(TimedOut(f"{call}: {self.name} did not answer within {timeout:g} s"))

    @property
    def idle(self) -> bool:
        """Nothing that it asked is being answered."""
        return not self._requests and not self._queue

    def close(self, why: VecError | None = None) -> None:
        """The connection is ended; what waits for an answer gets Gone. With a reason, the other end is told."""
        self._end(why, tell=why is not None)

    # -- writing ------------------------------------------------------------------------------------------------
    def _post(self, data: bytes, fds: Sequence[int]) -> None:
        """The packet is sent, or waits its turn with duplicates of its descriptors."""
        if self.closed.is_set():
            raise self._gone("send")
        if not self._queue:
            try:
                packet.send(self._sock, data, fds)
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
            packet.close_all(copies)
            raise Exhausted("no descriptor left to send one", reason=os.strerror(e.errno or 0)) from None
        self._queue.append((data, copies))

    def _writable(self) -> None:
        while self._queue:
            data, copies = self._queue[0]
            try:
                packet.send(self._sock, data, copies)
            except BlockingIOError:
                return
            except OSError:
                self._end(None)
                return
            self._queue.popleft()
            packet.close_all(copies)
        self._loop.remove_writer(self._sock)

    # -- reading ------------------------------------------------------------------------------------------------
    def _readable(self) -> None:
        for _ in range(READ_BURST):
            if self.closed.is_set():
                return
            try:
                data, fds = packet.receive(self._sock)
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
                packet.close_all(fds)
                self._end(None)
                return
            try:
                self._packet(packet.decode(data), fds)
            except VecError as e:
                packet.close_all(fds)
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
            packet.close_all(fds)
            self._end(error_from_dict(err) if isinstance(err, dict) else None)
            return
        row, future = self._pending.pop(number, (None, None))
        if row is None or future is None or future.done():
            # Too late: the call timed out here.
            packet.close_all(fds)
            return
        try:
            if err is not None:
                raise error_from_dict(err) if isinstance(err, dict) else Malformed(f"{row.name}: the error is none")
            if len(fds) != row.fds_out:
                raise Malformed(f"{row.name}: {len(fds)} descriptors came with the answer, {row.fds_out} belong to it")
            answer = packet.Answer(convert(f"{row.name} answered", row.answer, message["ok"], strict=False), fds)
        except VecError as e:
            packet.close_all(fds)
            future.set_exception(e)
            return
        future.set_result(answer)

    def _request(self, number: int, message: dict[str, Any], fds: list[int]) -> None:
        self.asked_s = self._loop.time()
        name = message["call"]
        try:
            row = self._table.get(name) if isinstance(name, str) else None
            if row is None or self._handler is None or name not in self._serves:
                raise Malformed(f"there is no call {str(name)[:64]!r} on this door")
            if len(fds) != row.fds_in:
                raise Malformed(f"{name}: {len(fds)} descriptors came, {row.fds_in} belong to it")
            args = convert(name, row.args, message.get("args", {}), strict=True)
            if self._at_once is not None and self._at_once(self, name, args, functools.partial(self._outcome, number)):
                return
            if len(self._requests) >= REQUESTS_MAX:
                raise Busy(f"{REQUESTS_MAX} calls of {self.name} run already")
        except Exception as e:
            packet.close_all(fds)
            self._outcome(number, e if isinstance(e, VecError) else our_mistake(str(name)[:64], e))
            return
        task = self._loop.create_task(self._run(number, row, args, fds))
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)

    async def _run(self, number: int, row: Call, args: dict[str, Any], fds: list[int]) -> None:
        assert self._handler is not None
        out: Sequence[int] = ()
        this = asyncio.current_task()
        assert this is not None
        late = functools.partial(self._outcome, number, TimedOut(f"{row.name}: not done within {HANDLER_S:g} s"))
        timer = self._loop.call_later(HANDLER_S, late if self._whole else this.cancel)
        try:
            result = await self._handler(self, row.name, args, fds)
            values, out = result if isinstance(result, tuple) else (result or {}, ())
            if len(out) != row.fds_out:
                raise TypeError(f"{row.name} answered with {len(out)} descriptors, {row.fds_out} belong to it")
            reply: dict[str, Any] = {"ok": values}
        except VecError as e:
            reply, out = {"err": e.to_dict()}, ()
        except asyncio.CancelledError:
            if timer.when() > self._loop.time():
                raise
            reply, out = {"err": TimedOut(f"{row.name}: not done within {HANDLER_S:g} s").to_dict()}, ()
        except Exception as e:
            reply, out = {"err": our_mistake(row.name, e).to_dict()}, ()
        finally:
            timer.cancel()
            packet.close_all(fds)
        # Who waited longer than that was told so.
        if not self._whole or timer.when() > self._loop.time():
            self._reply(number, reply, out)

    def _outcome(self, number: int, outcome: Mapping[str, Any] | VecError) -> None:
        self._reply(number, {"err": outcome.to_dict()} if isinstance(outcome, VecError) else {"ok": outcome})

    def _reply(self, number: int, reply: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        """The answer is on its way; one that cannot travel becomes an error, one to a dead peer is dropped."""
        try:
            data = packet.encode({"id": number, **reply})
        except TooLarge as e:
            data, fds = packet.encode({"id": number, "err": e.to_dict()}), ()
        except (TypeError, ValueError) as e:
            data, fds = packet.encode({"id": number, "err": our_mistake("an answer", e).to_dict()}), ()
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
                packet.send(self._sock, packet.encode({"id": 0, "err": reason.to_dict()}), ())
        # Shut down as well as closed: a forked child may hold a copy of the descriptor.
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None
        for _, copies in self._queue:
            packet.close_all(copies)
        self._queue.clear()
        pending, self._pending = list(self._pending.values()), {}
        for row, future in pending:
            if not future.done():
                future.set_exception(self._gone(row.name))
        if self._on_close is not None:
            self._on_close(self)


def our_mistake(what: str, error: Exception) -> Internal:
    """Logged with its place in the code; the peer learns the number of the event and nothing else.

    The text of the exception stays out of both: it may hold what a message held.
    """
    number = os.urandom(4).hex()
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    text = f": {error}" if log.debugging() else ""
    log.event(events.BUG, what=what, reason=f"{type(error).__name__}{text} at {where}", event=number)
    return Internal(f"{what}: our own mistake", hint=f"event {number} in the log says where")
