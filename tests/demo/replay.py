"""Say again what was recorded: the raw frames of the thief's record, on a connection of one's own."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path

from vecd.base.errors import VecError
from vecd.wire import codec, ops

ANSWER_S = 10.0


def frames(recorded: bytes) -> list[codec.Frame]:
    """The control frames that a record starts with (behind READY it is raw)."""
    found = []
    at = 0
    while at + ops.HEADER_SIZE <= len(recorded):
        try:
            header = codec.parse_header(recorded[at : at + ops.HEADER_SIZE])
        except VecError:
            break
        end = at + ops.HEADER_SIZE + header.body_size
        found.append(codec.Frame(header, data=recorded[at + ops.HEADER_SIZE : end]))
        at = end
    return found


def find(records: Iterable[bytes], control: str) -> codec.Frame:
    """The last recorded frame of this row of VEC_CONTROLS."""
    number = ops.CONTROLS[control].number
    return [frame for record in records for frame in frames(bytes(record)) if frame.header.op == number][-1]


def say_again(path: Path, *recorded: codec.Frame) -> VecError:
    """What the last of these frames is refused with, on one fresh connection; raises when it is served."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(ANSWER_S)
        sock.connect(str(path))
        for frame in recorded:
            sock.sendall(frame.encode())
            answer = _read(sock)
            if answer.header.status:
                return codec.refusal(answer)
    raise AssertionError("a replayed frame was served")


def _read(sock: socket.socket) -> codec.Frame:
    header = codec.parse_header(_exactly(sock, ops.HEADER_SIZE))
    return codec.Frame(header, data=_exactly(sock, header.body_size))


def _exactly(sock: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        more = sock.recv(size - len(got))
        if not more:
            raise ConnectionError("the broker closed the connection without a word")
        got += more
    return got
