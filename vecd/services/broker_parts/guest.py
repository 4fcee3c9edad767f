"""One guest's control connection: exact frames in, one answer each, and nothing read beyond a frame.

What follows an ATTACH belongs to the card: this process reads the header, then exactly the body it announces, so the
data half stays in the socket for its next owner. Five seconds for each state; whoever sends what is no
frame is told why and hung up on.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from vecd.base import events, log
from vecd.base.errors import Busy, Exhausted, VecError
from vecd.base.peer import our_mistake
from vecd.services.broker_parts.limits import Knock, Limits
from vecd.wire import codec, ops

# A start-up takes four frames; a guest that goes on for so long without proof, or at all, is not starting up.
FRAMES_MAX = 64

# The answer's data; None: the connection was handed to a card and is no longer ours to write to.
Answer = Callable[["GuestConnection", codec.Header, bytes], Awaitable[bytes | None]]

_PLACE = struct.Struct(">IBBBBQ")


class GuestConnection:
    """Owns the socket until it is closed or handed over."""

    def __init__(
        self, sock: socket.socket, guest: str, id_u: bytes, knock: Knock, limits: Limits, state_s: float
    ) -> None:
        sock.setblocking(False)
        self.guest = guest
        self.id_u = id_u
        self.frames = 0
        self.times: dict[str, float] = {}
        self._sock = sock
        self._knock = knock
        self._limits = limits
        self._state_s = state_s
        self._loop = asyncio.get_running_loop()
        self._reader = codec.Reader(control=True, replies=False)
        self._head = b""
        self._task: asyncio.Task[None] | None = None

    @property
    def descriptor(self) -> int:
        """The socket's, for a card; the copy here stays ours."""
        return self._sock.fileno()

    def proved(self) -> None:
        """The guest proved who it is. Raises Exhausted when its listener has too many such connections."""
        if not self._limits.proved(self._knock):
            raise Exhausted("too many connections of this guest are open", hint="close some, or wait")

    async def serve(self, answer: Answer) -> None:
        """Frames are answered until the guest, a time-out, a bad frame or a hand-over ends it; never raises."""
        if self._sock.fileno() < 0:
            # Ended before its turn came.
            return
        self._task = asyncio.current_task()
        try:
            while self.frames < FRAMES_MAX:
                frame = await self._frame()
                if frame is None:
                    return
                self.frames += 1
                self._knock.spoke = True
                if not await self._served(answer, frame):
                    return
        except TimeoutError:
            log.event(events.GUEST_GONE, subject=self.guest, reason=f"nothing was said for {self._state_s:g} s")
        except VecError as error:
            # What was read is no frame: whoever sent it learns why, and nothing after it can be read.
            log.event(events.GUEST_REFUSED, subject=self.guest, rule="frame", reason=error)
            op, request = _named(self._head)
            with contextlib.suppress(OSError, TimeoutError):
                await self._send(codec.reply_to(codec.Header(op, request=request), **_refused(error)))
        except OSError as error:
            log.event(events.GUEST_GONE, subject=self.guest, reason=error.strerror or error)
        finally:
            self.close()

    def evict(self, error: VecError) -> None:
        """The guest is told why, if it takes the words at once, and the connection ends."""
        _tell(self._sock, error)
        self.end()

    def end(self) -> None:
        """The connection is closed: by its task, which may be waiting for its descriptor, or here if none runs yet."""
        if self._task is not None:
            self._task.cancel()
        else:
            self.close()

    def close(self) -> None:
        """Our copy of the descriptor is closed; a card that has another is not disturbed."""
        self._limits.gone(self._knock)
        self._sock.close()

    async def _served(self, answer: Answer, frame: codec.Frame) -> bool:
        """Whether another frame may follow."""
        try:
            data = await answer(self, frame.header, frame.data)
        except VecError as error:
            log.event(events.GUEST_REFUSED, subject=self.guest, rule=error.rule, reason=error)
            await self._send(codec.reply_to(frame.header, **_refused(error)))
            return not isinstance(error, (Busy, Exhausted))
        except Exception as error:
            await self._send(codec.reply_to(frame.header, **_refused(our_mistake("a guest's request", error))))
            return False
        if data is None:
            return False
        await self._send(codec.reply_to(frame.header, data=data))
        return True

    async def _frame(self) -> codec.Frame | None:
        """The next frame, within the time of a state; None at the end of the connection."""
        self._head = b""
        async with asyncio.timeout(self._state_s):
            while True:
                frame = self._reader.next()
                if frame is not None:
                    return frame
                data = await self._loop.sock_recv(self._sock, self._reader.wanted)
                if not data:
                    return None
                self._head = (self._head + data)[: _PLACE.size]
                self._reader.feed(data)

    async def _send(self, frame: codec.Frame) -> None:
        async with asyncio.timeout(self._state_s):
            await self._loop.sock_sendall(self._sock, frame.encode())


def refuse_at_once(sock: socket.socket, error: VecError) -> None:
    """Tell a connection that nobody will serve why, if it takes the words at once, and close it."""
    sock.setblocking(False)
    _tell(sock, error)
    # What was sent already and is left unread would reset the connection, and the refusal with it.
    with contextlib.suppress(OSError):
        sock.recv(ops.CONTROL_MAX)
    sock.close()


def _tell(sock: socket.socket, error: VecError) -> None:
    """A refusal that answers no request in particular."""
    with contextlib.suppress(OSError):
        sock.send(codec.reply_to(codec.Header(ops.CONTROLS["HELLO"].number), **_refused(error)).encode())


def _refused(error: VecError) -> dict[str, Any]:
    return {"status": error.status, "data": codec.build_control_refusal(error)}


def _named(head: bytes) -> tuple[int, int]:
    """(operation, request) of what was not a good header, as far as a refusal can name them."""
    if len(head) == _PLACE.size:
        magic, _, op, _, _, request = _PLACE.unpack(head)
        if magic == ops.MAGIC and op in ops.CONTROL_NUMBER:
            return op, request
    return ops.CONTROLS["HELLO"].number, 0
