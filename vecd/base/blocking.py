"""One connection for a program without a loop (vecctl, tests): asks, and answers nothing. See ipc.py."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import door, packet
from .errors import Gone, Malformed, TimedOut
from .errors import from_dict as error_from_dict
from .packet import Answer
from .paths import socket_path
from .types import Call, convert


class BlockingPeer:
    """One connection for a program without a loop: asks, one call at a time, and answers nothing.

    Answers stay as they are in JSON (bytes in hex), unless a table says how to convert them.
    """

    def __init__(self, path: str | Path, timeout: float = 5.0, *, table: Mapping[str, Call] | None = None) -> None:
        address = socket_path(path)
        self._table = table
        self._number = 0
        self.path = str(path)
        self._sock = door.take()
        self._sock.settimeout(timeout)
        try:
            self._sock.connect(address)
        except OSError as e:
            door.put_back(self._sock)
            raise door.unreachable(path, e) from None
        packet.buffers(self._sock)

    @classmethod
    def connect(cls, path: str | Path, timeout: float = 5.0) -> BlockingPeer:
        """A peer behind the door at `path`. Raises Unreachable."""
        return cls(path, timeout)

    def call(self, call: str, args: Mapping[str, Any] = {}, timeout: float = 5.0, *, fds: Sequence[int] = ()) -> Answer:
        """The answer. Raises what the other end raised, Gone when it dies first, TimedOut after `timeout` s."""
        self._number += 1
        request = packet.encode(
            {"id": self._number, "call": call, "args": {k: v for k, v in args.items() if v is not None}}
        )
        deadline = time.monotonic() + timeout
        try:
            self._sock.settimeout(timeout)
            # The other end may have refused us and hung up already: its last packet says why.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                packet.send(self._sock, request, fds)
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                self._sock.settimeout(left)
                try:
                    data, got = packet.receive(self._sock)
                except ConnectionResetError:
                    # Told once, before what the other end still had to say.
                    data, got = packet.receive(self._sock)
                if not data:
                    packet.close_all(got)
                    raise Gone(f"{call}: {self.path} hung up")
                answer = self._match(call, data, got)
                if answer is not None:
                    return answer
        except TimeoutError:
            raise TimedOut(f"{call}: no answer within {timeout:g} s", hint=f"who answers {self.path}?") from None
        except OSError as e:
            raise Gone(f"{call}: {self.path} hung up", reason=os.strerror(e.errno or 0)) from None

    def _match(self, call: str, data: bytes, fds: list[int]) -> Answer | None:
        """The answer, if the packet is one to our latest call; a late or foreign packet is dropped."""
        try:
            message = packet.decode(data)
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
            packet.close_all(fds)

    def close(self) -> None:
        self._sock.close()

    def __enter__(self) -> BlockingPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
