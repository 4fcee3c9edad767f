"""Header and body of a frame, and a stream socket that carries frames. From docs/wire.md, "Frame"."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, replace
from typing import Any

MAGIC = 0x76454331
VERSION = 1
HEADER = struct.Struct(">IBBBBQQIIIIHHI")
REPLY, FIRST, LAST, UNVERIFIED = 1, 2, 4, 8
DATA_MAX = 1048576

NULL, RANDOM, SHA256, ENCRYPT, DECRYPT = 1, 2, 3, 4, 5
HELLO, REGISTER, VERIFY, LOAD, KEY, KEYREV, ATTACH, RELEASE = range(0x80, 0x88)

FIELDS = ("magic version op flags status request key stream sequence aad_len data_len iv_len tag_len reserved").split()


@dataclass(frozen=True)
class Frame:
    """One frame; the lengths of the header are those of the body."""

    op: int
    flags: int = 0
    status: int = 0
    request: int = 0
    key: int = 0
    stream: int = 0
    sequence: int = 0
    iv: bytes = b""
    aad: bytes = b""
    data: bytes = b""
    tag: bytes = b""

    def pack(self, **wrong: int) -> bytes:
        """The bytes of the frame; header fields that a test wants otherwise are named."""
        values: dict[str, int] = {
            "magic": MAGIC,
            "version": VERSION,
            **{name: getattr(self, name) for name in FIELDS[2:9]},
            "aad_len": len(self.aad),
            "data_len": len(self.data),
            "iv_len": len(self.iv),
            "tag_len": len(self.tag),
            "reserved": 0,
            **wrong,
        }
        return HEADER.pack(*(values[name] for name in FIELDS)) + self.iv + self.aad + self.data + self.tag

    @classmethod
    def unpack(cls, whole: bytes) -> Frame:
        """The frame that these bytes are, no more and no less."""
        head = dict(zip(FIELDS, HEADER.unpack(whole[: HEADER.size]), strict=True))
        assert head["magic"] == MAGIC and head["version"] == VERSION and head["reserved"] == 0, head
        at, parts = HEADER.size, {}
        for name in ("iv", "aad", "data", "tag"):
            parts[name] = whole[at : at + head[f"{name}_len"]]
            at += head[f"{name}_len"]
        assert at == len(whole), head
        return cls(**{name: head[name] for name in FIELDS[2:9]}, **parts)

    def but(self, **changes: Any) -> Frame:
        """The same with other fields."""
        return replace(self, **changes)


class Ended(Exception):
    """The other side closed the connection where a frame begins."""


class Line:
    """A connected stream socket that sends and gets whole frames."""

    def __init__(self, address: str, timeout: float = 10.0) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        self.sock.connect(address.removeprefix("unix:"))

    def close(self) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def _exactly(self, size: int, first: bool = False) -> bytes:
        got = bytearray()
        while len(got) < size:
            try:
                part = self.sock.recv(size - len(got))
            except ConnectionResetError:
                part = b""
            if not part:
                if first and not got:
                    raise Ended
                raise ConnectionError(f"the connection ended within a frame, after {len(got)} bytes of {size}")
            got += part
        return bytes(got)

    def receive(self) -> Frame:
        """The next reply; whatever a header must be, it is."""
        head = self._exactly(HEADER.size, first=True)
        aad_len, data_len, iv_len, tag_len = struct.unpack(">IIHH", head[32:44])
        assert aad_len == 0 and data_len <= DATA_MAX and max(iv_len, tag_len) <= 16, head.hex()
        frame = Frame.unpack(head + self._exactly(iv_len + data_len + tag_len))
        assert frame.flags & REPLY and not frame.flags & ~15, frame
        return frame

    def ended(self) -> bool:
        """True when the other side closes; a frame instead fails."""
        try:
            frame = self.receive()
        except Ended:
            return True
        raise AssertionError(f"not the end but {frame}")
