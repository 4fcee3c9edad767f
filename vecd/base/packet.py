"""One packet between our own processes: a JSON object and up to eight descriptors. See ipc.py for what it may say."""

from __future__ import annotations

import array
import contextlib
import json
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import Malformed, TooLarge

PACKET_MAX = 192 * 1024
FDS_MAX = 8

_FD_SPACE = socket.CMSG_SPACE(FDS_MAX * array.array("i").itemsize)
_SOCK_BUFFER = PACKET_MAX * 2


class _Buffer(threading.local):
    """Where packets arrive: one for each thread, since an allocation of this size for each packet costs more."""

    def __init__(self) -> None:
        self.bytes = bytearray(PACKET_MAX)
        self.view = memoryview(self.bytes)


_buffer = _Buffer()


class Answer(dict[str, Any]):
    """The values of an answer, and its descriptors, which are the caller's to close."""

    def __init__(self, values: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        super().__init__(values)
        self.fds = list(fds)


def close_all(fds: list[int]) -> None:
    while fds:
        with contextlib.suppress(OSError):
            os.close(fds.pop())


def _hex(value: Any) -> str:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    raise TypeError(f"{type(value).__name__} does not travel")


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no number")


# Made once: json.dumps and json.loads with options make one for each packet.
_ENCODER = json.JSONEncoder(default=_hex, separators=(",", ":"), allow_nan=False)
_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def size(value: Any) -> int:
    """How many bytes of a packet the value takes."""
    return len(_ENCODER.encode(value))


def encode(message: Mapping[str, Any]) -> bytes:
    data = _ENCODER.encode(message).encode()
    if len(data) > PACKET_MAX:
        raise TooLarge(f"a packet of {len(data)} bytes", reason=f"at most {PACKET_MAX} travel between our processes")
    return data


def decode(data: bytes) -> dict[str, Any]:
    try:
        message = _DECODER.decode(data.decode())
    except (ValueError, RecursionError):
        raise Malformed("a packet is not JSON") from None
    if not isinstance(message, dict):
        raise Malformed("a packet is not a JSON object")
    number = message.get("id")
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise Malformed("a packet has no id")
    return message


def receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """One packet and its descriptors (close-on-exec); b"" at the end. Raises TooLarge for what did not fit."""
    count, ancillary, flags, _ = sock.recvmsg_into((_buffer.view,), _FD_SPACE, socket.MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            passed = array.array("i")
            passed.frombytes(payload[: len(payload) - len(payload) % passed.itemsize])
            fds += passed
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        close_all(fds)
        raise TooLarge("a packet", reason=f"at most {PACKET_MAX} bytes and {FDS_MAX} descriptors are read")
    return bytes(_buffer.view[:count]), fds


def send(sock: socket.socket, data: bytes, fds: Sequence[int]) -> None:
    if not fds:
        sock.send(data, socket.MSG_NOSIGNAL)
        return
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
    sock.sendmsg([data], rights, socket.MSG_NOSIGNAL)


def buffers(sock: socket.socket) -> None:
    # One packet must fit into the send buffer whole; the kernel doubles the number for its own book-keeping.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCK_BUFFER)
