#!/usr/bin/env python3
"""What the card process costs beside the same cipher in the caller's own process: JSON lines.

AES-256-GCM over a Unix socket pair, one request at a time and pipelined, against AES-256-GCM of `cryptography`
(OpenSSL in this process), in the same run, alternating, so that both see the same machine. A ratio of 2 says: the
card takes twice as long. The client is Python on both sides; the pump is a thread without it.

    .venv/bin/python -m bench.pump [--seconds 1]
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import struct
import sys
import time
from collections.abc import Callable

from bench.machine import machine
from vecd.cards import soft

# Before anything here imports hashlib.
soft.prepare()

from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: E402
from vecd._shm import ffi, lib  # noqa: E402

HEADER = struct.Struct(">IBBBBQQIIIIHHI")
SIZES = (64, 16384, 1 << 20)
WINDOW = {64: 256, 16384: 16, 1 << 20: 2}
ROUNDS = 5
INSTANCE, CARD, NUMBER = 1, 0, 1


def guard() -> tuple[int, int]:
    """Matrices and word of a guard that gave instance 1 everything; the descriptors."""
    fd, matrices = ffi.new("int *"), ffi.new("struct vec_matrices **")
    assert lib.vec_matrices_create(1, 4, fd, matrices) == 0
    word_fd, word = ffi.new("int *"), ffi.new("vec_card_word **")
    assert lib.vec_word_create(1, word_fd, word) == 0
    matrices[0].card_m[CARD][INSTANCE] = lib.VEC_A | lib.VEC_R | lib.VEC_C
    matrices[0].card_b[CARD][INSTANCE] = lib.VEC_C
    assert lib.vec_card_connect(word[0]) == 0
    return fd[0], word_fd[0]


def attached(card: soft.SoftCard, secret: bytes) -> socket.socket:
    """A connection that may encrypt under the key."""
    card.load_key(INSTANCE, NUMBER, soft.lib.VEC_ALG_AES_256_GCM, soft.lib.VEC_USE_ALL, card.stage(secret))
    ours, theirs = socket.socketpair()
    card.attach(theirs.detach(), INSTANCE, bytes(32))
    ours.recv(HEADER.size)
    ours.sendall(bytes(32))
    return ours


def exchange(sock: socket.socket, size: int, window: int) -> Callable[[], None]:
    """Sends `window` requests and reads as many replies."""
    header = HEADER.pack(0x76454331, 1, soft.lib.VEC_OP_ENCRYPT, 6, 0, 1, NUMBER, 0, 0, 0, size, 0, 0, 0)
    asked = (header + os.urandom(size)) * window
    answer = bytearray((HEADER.size + 12 + size + 16) * window)
    view = memoryview(answer)

    def once() -> None:
        sent = got = 0
        # The card answers a frame once it has all of it; of several, answers are read while others are being sent.
        if window == 1:
            sock.sendall(asked)
            sent = len(asked)
        while got < len(answer):
            if sent < len(asked):
                sent += _now(sock.send, memoryview(asked)[sent:], socket.MSG_DONTWAIT)
            if sent < len(asked):
                got += _now(sock.recv_into, view[got:], 0, socket.MSG_DONTWAIT)
            else:
                got += sock.recv_into(view[got:])

    return once


def _now(io: Callable[..., int], *args: object) -> int:
    """What can be done without waiting; where that is nothing, others run first."""
    try:
        return io(*args)
    except BlockingIOError:
        os.sched_yield()
        return 0


def in_process(secret: bytes, size: int, window: int) -> Callable[[], None]:
    """The same work without a card: a fresh IV and one encryption for each."""
    cipher, data = AESGCM(secret), os.urandom(size)

    def once() -> None:
        for _ in range(window):
            cipher.encrypt(os.urandom(12), data, None)

    return once


def us_each(once: Callable[[], None], window: int, seconds: float) -> float:
    """Microseconds per request, over about so many seconds."""
    count, start = 0, time.perf_counter()
    while (took := time.perf_counter() - start) < seconds:
        once()
        count += window
    return took / count * 1e6


def main(argv: list[str]) -> int:
    """One line for every size and way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="for each figure (default 1)")
    seconds = parser.parse_args(argv).seconds / ROUNDS / 2
    secret = os.urandom(32)
    matrices_fd, word_fd = guard()
    with soft.SoftCard() as card:
        card.bind(matrices_fd, word_fd, CARD)
        with attached(card, secret) as sock:
            for size in SIZES:
                for way, window in (("one at a time", 1), ("pipelined", WINDOW[size])):
                    ours, theirs = exchange(sock, size, window), in_process(secret, size, window)
                    ours(), theirs()
                    rounds = [(us_each(ours, window, seconds), us_each(theirs, window, seconds)) for _ in range(ROUNDS)]
                    card_us, process_us = (statistics.median(column) for column in zip(*rounds, strict=True))
                    figure = {
                        "bench": "pump",
                        "algorithm": "AES-256-GCM",
                        "bytes": size,
                        "way": way,
                        "window": window,
                        "card_us": round(card_us, 2),
                        "in_process_us": round(process_us, 2),
                        "ratio": round(card_us / process_us, 2),
                        "card_mb_s": round(size / card_us, 1),
                        "machine": machine(),
                    }
                    print(json.dumps(figure), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
