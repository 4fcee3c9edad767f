"""The suite's machine: a guard's memory, a card process (host.py), and guests that speak in bytes."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vecd._shm import ffi, lib

from tests.conformance.host import MASK
from vecd.base import errors

ROOT = Path(__file__).resolve().parents[2]
R, W, A, C = lib.VEC_R, lib.VEC_W, lib.VEC_A, lib.VEC_C
CARD = 3
TIMEOUT_S = 20.0
MAGIC, VERSION, HEADER = 0x76454331, 1, struct.Struct(">IBBBBQQIIIIHHI")
NULL, RANDOM, SHA256, ENCRYPT, DECRYPT, ATTACH = 1, 2, 3, 4, 5, 0x86
REPLY, FIRST, LAST, UNVERIFIED, ONE_SHOT = 1, 2, 4, 8, 6
GCM128, GCM256, CTR128, CTR256 = 1, 2, 3, 4
KEY_SIZE = {GCM128: 16, GCM256: 32, CTR128: 16, CTR256: 32}
TAG = bytes(range(32))


def until(true: Callable[[], Any], what: str, timeout_s: float = TIMEOUT_S) -> Any:
    """The first true value; an assertion when it takes too long."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if value := true():
            return value
        time.sleep(0.002)
    raise AssertionError(f"{what}: not within {timeout_s} s")


class Guard:
    """The guard's half of the shared memory, for one card."""

    def __init__(self, generation: int = 7) -> None:
        fd, self._matrices = ffi.new("int *"), ffi.new("struct vec_matrices **")
        assert lib.vec_matrices_create(generation, 4, fd, self._matrices) == 0
        self.matrices_fd = fd[0]
        word_fd, self._word = ffi.new("int *"), ffi.new("vec_card_word **")
        assert lib.vec_word_create(generation, word_fd, self._word) == 0
        self.word_fd = word_fd[0]
        self.m, self.word = self._matrices[0], self._word[0]

    def give(self, instance: int, attributes: int = A | R | C) -> None:
        self.m.card_m[CARD][instance] |= attributes

    def connect(self, instance: int) -> None:
        """R1."""
        self.m.card_b[CARD][instance] = C
        assert lib.vec_card_connect(self.word) == 0

    def revoke_begin(self, instance: int, attributes: int) -> None:
        """M and b, then the word: from here nothing enters."""
        self.m.card_m[CARD][instance] &= ~attributes & 0xFF
        if attributes & C:
            self.m.card_b[CARD][instance] = 0
        seen = ffi.new("uint64_t *")
        until(lambda: lib.vec_card_revoke_begin(self.word, instance, attributes, seen) == 0, "revoke begins")
        until(lambda: lib.vec_card_drained(self.word) == 0, "nothing in flight")

    def revoke_end(self) -> None:
        assert lib.vec_card_revoke_end(self.word) == 0

    def revoke(self, instance: int, attributes: int) -> None:
        self.revoke_begin(instance, attributes)
        self.revoke_end()

    def state(self) -> Any:
        return lib.vec_word_decode(lib.vec_word_load(self.word))

    def close(self) -> None:
        lib.vec_matrices_unmap(self.m)
        lib.vec_word_unmap(self.word)
        os.close(self.matrices_fd)
        os.close(self.word_fd)


@dataclass
class Reply:
    op: int
    flags: int
    status: int
    request: int
    key: int
    stream: int
    sequence: int
    iv: bytes = b""
    data: bytes = b""
    tag: bytes = b""

    @property
    def reason(self) -> int:
        return self.data[1] if self.status else 0

    @property
    def rule(self) -> int:
        return self.data[0] if self.status else 0


def frame(
    op: int,
    data: bytes = b"",
    *,
    key: int = 0,
    iv: bytes = b"",
    aad: bytes = b"",
    tag: bytes = b"",
    flags: int = ONE_SHOT,
    stream: int = 0,
    sequence: int = 0,
    request: int = 1,
) -> bytes:
    lengths = len(aad), len(data), len(iv), len(tag)
    return (
        HEADER.pack(MAGIC, VERSION, op, flags, 0, request, key, stream, sequence, *lengths, 0) + iv + aad + data + tag
    )


class Guest:
    """One data connection, attached."""

    def __init__(self, sock: socket.socket, instance: int) -> None:
        self.sock, self.instance, self.number = sock, instance, 0
        sock.settimeout(TIMEOUT_S)

    def receive(self, size: int) -> bytes:
        out = bytearray()
        while len(out) < size:
            got = self.sock.recv(size - len(out))
            if not got:
                raise EOFError(f"{len(out)} of {size} bytes")
            out += got
        return bytes(out)

    def reply(self) -> Reply:
        magic, version, op, flags, status, request, key, stream, sequence, aad, data, iv, tag, zero = HEADER.unpack(
            self.receive(HEADER.size)
        )
        assert (magic, version, zero, aad) == (MAGIC, VERSION, 0, 0) and flags & REPLY
        return Reply(
            op, flags, status, request, key, stream, sequence, self.receive(iv), self.receive(data), self.receive(tag)
        )

    def ask(self, op: int, data: bytes = b"", **fields: Any) -> Reply:
        """One request, its reply."""
        self.number += 1
        self.sock.sendall(frame(op, data, request=self.number, **fields))
        reply = self.reply()
        assert (reply.op, reply.request) == (op, self.number)
        return reply

    def parts(
        self,
        op: int,
        parts: list[bytes],
        *,
        key: int,
        stream: int = 1,
        iv: bytes = b"",
        aad: bytes = b"",
        tag: bytes = b"",
    ) -> list[Reply]:
        """A stream, part by part; the first reply that refuses is the last one."""
        replies = []
        for n, part in enumerate(parts):
            first, last = n == 0, n == len(parts) - 1
            replies.append(
                self.ask(
                    op,
                    part,
                    key=key,
                    stream=stream,
                    sequence=n,
                    flags=FIRST * first | LAST * last,
                    iv=iv if first else b"",
                    aad=aad if first else b"",
                    tag=tag if last else b"",
                )
            )
            if replies[-1].status:
                break
        return replies

    def is_closed(self) -> bool:
        """The card ended it; what is still in the way is thrown away."""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            while self.sock.recv(1 << 16):
                pass
        return True

    def close(self) -> None:
        self.sock.close()


def environment() -> dict[str, str]:
    """A card process has the sanitizers' library where the suite runs under them; the suite itself has not."""
    preload = os.environ.get("VEC_TEST_CARD_PRELOAD")
    return {**os.environ, "LD_PRELOAD": preload} if preload else {**os.environ}


@dataclass
class CardProcess:
    """A card in a process of its own; the attributes are its methods."""

    driver: str
    options: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.peer, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "tests.conformance.host", str(theirs.fileno()), self.driver]
        self.process = subprocess.Popen(
            [*command, json.dumps(self.options)], cwd=ROOT, pass_fds=[theirs.fileno()], env=environment()
        )
        theirs.close()
        self.peer.settimeout(TIMEOUT_S)
        self.keys_loaded = 1000

    def call(self, call: str, fds: list[int] | None = None, **args: Any) -> Any:
        plain = {name: value.hex() if isinstance(value, bytes) else value for name, value in args.items()}
        socket.send_fds(self.peer, [json.dumps({"call": call, "args": plain}).encode()], fds or [])
        said = self.peer.recv(1 << 20)
        if not said:
            raise AssertionError(f"the card process ended with {self.process.wait(TIMEOUT_S)}")
        answer = json.loads(said)
        if "err" in answer:
            raise errors.from_dict(answer["err"])
        return answer["ok"]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda **args: self.call(name, **args)

    def bind(self, guard: Guard) -> None:
        self.call("bind", [guard.matrices_fd, guard.word_fd], card=CARD)

    def stage(self, secret: bytes, readable: bool = False) -> int:
        out, into = os.pipe()
        try:
            os.write(into, secret)
            return self.call("stage", [out], size=len(secret), readable=readable)
        finally:
            os.close(out)
            os.close(into)

    def key(self, instance: int, secret: bytes, algorithm: int = GCM256, usage: int = 7) -> int:
        """A loaded key's number."""
        self.keys_loaded += 1
        handle = self.stage(secret)
        self.call(
            "load_key", instance=instance, number=self.keys_loaded, algorithm=algorithm, usage=usage, handle=handle
        )
        return self.keys_loaded

    def knock(self, instance: int, *, tag: bytes = TAG, deadline_s: float = 5.0, family: int = socket.AF_UNIX) -> Guest:
        """A connection that READY came on; nothing is proved yet."""
        ours, theirs = socket.socketpair(family, socket.SOCK_STREAM)
        with theirs:
            self.call("attach", [theirs.fileno()], instance=instance, tag=tag, deadline_s=deadline_s)
        guest = Guest(ours, instance)
        ready = guest.reply()
        assert (ready.op, ready.flags, ready.status, ready.data) == (ATTACH, REPLY, 0, b"")
        return guest

    def attach(self, instance: int) -> Guest:
        guest = self.knock(instance)
        guest.sock.sendall(TAG)
        return guest

    def arena_has(self, secret: bytes) -> int:
        return self.call("arena_has", masked=bytes(byte ^ MASK for byte in secret))

    def memory_has(self, secret: bytes) -> list[str]:
        """Where in the memory of the process the bytes stand, read from here. Secret memory cannot be seen."""
        found = []
        pid = self.process.pid
        with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            for line in maps.read().splitlines():
                span, rights, _offset, _device, _inode, *name = line.split(maxsplit=5)
                start, end = (int(x, 16) for x in span.split("-"))
                if "r" in rights and name not in (["[vvar]"], ["[vsyscall]"], ["[vvar_vclock]"]):
                    with contextlib.suppress(OSError):
                        found += _places(memory, start, end, secret, name[0] if name else "anonymous")
        return found

    def close(self) -> None:
        self.peer.close()
        assert self.process.wait(TIMEOUT_S) == 0


def _places(memory: Any, start: int, end: int, secret: bytes, name: str) -> Iterator[str]:
    """Overlapping pieces, so that nothing hides in a cut."""
    at = start
    while at < end:
        memory.seek(at)
        piece = memory.read(min(end - at, 1 << 22))
        if not piece:
            return
        place = piece.find(secret)
        while place >= 0:
            yield f"{name} at {at + place:#x}"
            place = piece.find(secret, place + 1)
        at += len(piece) - (len(secret) - 1 if at + len(piece) < end else 0)
