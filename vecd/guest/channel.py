"""One connection, frame by frame: what is asked goes out while what was answered comes in.

A window of requests may be on its way at once. Sending and receiving happen in the same loop, so a card that
stops reading until its answers are read (back-pressure by credit) never meets a guest that stops reading until its
requests are sent. Answers come in the order of their requests, which the request number proves. A connection on
which anything went wrong is closed: half a frame on a stream cannot be taken back.
"""

from __future__ import annotations

import select
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from vecd.base.errors import Gone, Malformed, VecError
from vecd.guest.deadline import Deadline
from vecd.wire import codec, ops

RECEIVE_BYTES = 1 << 16
# Buffers handed to one sendmsg: the kernel's limit is 1024, and more do not help.
SEND_BUFFERS = 64

ATTACH = ops.CONTROLS["ATTACH"].number

Bytes = bytes | bytearray | memoryview


@dataclass(slots=True)
class Request:
    """A frame to send, before its request number; a one shot unless flags, stream and sequence say otherwise."""

    op: int
    key: int = 0
    flags: int = ops.F_ONE_SHOT
    stream: int = 0
    sequence: int = 0
    iv: Bytes = b""
    aad: Bytes = b""
    data: Bytes = b""
    tag: Bytes = b""


@dataclass(slots=True)
class Reply:
    """A frame that came; `data` is a view of memory that belongs to this reply alone."""

    header: codec.Header
    iv: bytes
    data: memoryview
    tag: bytes

    def require(self) -> Reply:
        """Itself when the request was served, otherwise the error that the card or broker answered."""
        header = self.header
        if header.status:
            if header.op == ATTACH and bytes(self.data[:1]) != b"{":
                # Not the broker's refusal but the card's, which speaks as in the data half.
                header = replace(header, op=ops.OPS["NULL"].number)
            raise codec.refusal(codec.Frame(header, data=bytes(self.data)))
        return self


class Channel:
    """A connected stream socket, owned, with requests numbered from 1."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._poll = select.poll()
        self._poll.register(sock.fileno(), select.POLLIN)
        self._numbers = 0
        self._expected: deque[tuple[int, int]] = deque()
        self._out: deque[memoryview] = deque()
        self._sends = True
        self._reset = False
        self._buffer = bytearray(RECEIVE_BYTES)
        self._have = 0
        self.closed = False

    def close(self) -> None:
        """The descriptor is closed; nothing is said to the peer but that."""
        self.closed = True
        self._out.clear()
        self._sock.close()

    def ask(self, request: Request, deadline: Deadline, what: str) -> Reply:
        """The answer to one request, whatever its status. Gone or TimedOut leave the connection closed."""
        for reply in self.exchange([request], window=1, deadline=lambda: deadline, what=what):
            return reply
        raise Gone(f"{what}: no answer came")

    def exchange(
        self, requests: Iterable[Request], *, window: int, deadline: Callable[[], Deadline], what: str
    ) -> Iterator[Reply]:
        """The answers in order, with at most `window` requests ahead of them; `deadline` is asked for each answer.

        Leaving early while requests are on their way closes the connection.
        """
        source = iter(requests)
        more = True
        try:
            while True:
                while more and len(self._expected) < window:
                    request = next(source, None)
                    if request is None:
                        more = False
                    else:
                        self._post(request)
                if not self._expected:
                    return
                yield self._next(deadline(), what)
        finally:
            if self._expected:
                self.close()

    def send_raw(self, data: bytes) -> None:
        """Bytes without a header (the tag after READY) are on their way, at the latest before the next request."""
        self._out.append(memoryview(data))
        self._send()

    def _post(self, request: Request) -> None:
        self._numbers += 1
        header = codec.Header(
            op=request.op,
            flags=request.flags,
            request=self._numbers,
            key=request.key,
            stream=request.stream,
            sequence=request.sequence,
            aad_len=len(request.aad),
            data_len=len(request.data),
            iv_len=len(request.iv),
            tag_len=len(request.tag),
        )
        self._expected.append((self._numbers, request.op))
        for part in (codec.build_header(header), request.iv, request.aad, request.data, request.tag):
            if len(part):
                self._out.append(memoryview(part))

    def _next(self, deadline: Deadline, what: str) -> Reply:
        """Send what can be sent until one whole answer is here."""
        if self.closed:
            raise Gone(f"{what}: the connection is closed")
        try:
            while True:
                self._send()
                reply = self._receive()
                if reply is not None:
                    return reply
                self._poll.modify(self._sock.fileno(), select.POLLIN | (select.POLLOUT if self._out else 0))
                self._poll.poll(deadline.require(what) * 1000)
        except (ConnectionError, EOFError) as error:
            self.close()
            raise Gone(f"{what}: the connection ended before the answer came") from error
        except VecError:
            self.close()
            raise

    def _send(self) -> None:
        while self._out and self._sends:
            buffers = [self._out[at] for at in range(min(len(self._out), SEND_BUFFERS))]
            try:
                sent = self._sock.sendmsg(buffers)
            except BlockingIOError:
                return
            except ConnectionError:
                # The peer may have said why before it closed: read that first.
                self._sends = False
                self._out.clear()
                return
            while sent:
                first = self._out[0]
                if sent < len(first):
                    self._out[0] = first[sent:]
                    break
                sent -= len(first)
                self._out.popleft()

    def _fill(self, wanted: int) -> bool:
        """The buffer holds at least `wanted` bytes; False when they are not there yet."""
        while self._have < wanted:
            try:
                got = self._sock.recv_into(memoryview(self._buffer)[self._have :])
            except BlockingIOError:
                return False
            except ConnectionResetError:
                # Told once, before what the peer still had to say.
                if self._reset:
                    raise
                self._reset = True
                continue
            if not got:
                raise EOFError
            self._have += got
        return True

    def _receive(self) -> Reply | None:
        if not self._fill(ops.HEADER_SIZE):
            return None
        header = codec.parse_header(bytes(self._buffer[: ops.HEADER_SIZE]))
        whole = ops.HEADER_SIZE + header.body_size
        if len(self._buffer) < whole:
            self._buffer.extend(bytes(whole - len(self._buffer)))
        if not self._fill(whole):
            return None
        number, op = self._expected.popleft() if self._expected else (0, 0)
        # A refusal of the connection itself names no request, and READY none: the card did not read ATTACH's number.
        about_all = not header.request and (header.status or header.op == op)
        if not header.is_reply or not (about_all or (header.request, header.op) == (number, op)):
            raise Malformed("the answer is to another request", hint="the peer is not a card of this version")
        body = memoryview(bytes(memoryview(self._buffer)[ops.HEADER_SIZE : whole]))
        rest = self._have - whole
        self._buffer[:rest] = self._buffer[whole : self._have]
        self._have = rest
        iv_end = header.iv_len
        data_start = iv_end + header.aad_len
        data_end = data_start + header.data_len
        return Reply(header, bytes(body[:iv_end]), body[data_start:data_end], bytes(body[data_end:]))
