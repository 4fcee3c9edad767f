"""A card process for the suite: one card, asked by JSON over a socket pair whose number is the argument.

In a process of its own because the key arena has to be under libcrypto before anything of Python uses it, and
because the suite searches the memory of this process for keys. Calls are the methods of vecd.cards.api.Card; bytes
are hex.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import socket
import sys
import time
from typing import Any

from vecd.base import errors
from vecd.cards import api

MAX = 1 << 20
MASK = 0x5A
MIB = 1 << 20
# Seconds for a mebibyte, by kind of engine.
PACES = {"-broken": 0.0, "-paced": 0.02}


def broken(base: type, pace_s: float) -> type:
    """The same card with an engine that takes pace_s for a mebibyte, cannot prove a wipe after break_it(), and takes
    longer after slow_down()."""
    from vecd._card import ffi, lib

    class Broken(base):
        def _table(self) -> Any:
            table = ffi.new("struct vec_driver *", lib.vec_driver_soft()[0])
            self.breaks, self.slow_s = False, 0.0
            run = table.run

            @ffi.callback("int(void *, const struct vec_work *, uint8_t *)")
            def slowly(engine: Any, work: Any, reason: Any) -> int:
                time.sleep(self.slow_s + pace_s * work.in_len / MIB)
                return int(run(engine, work, reason))

            table.run = slowly
            check = ffi.callback("int(void *)", lambda engine: -lib.VEC_EINTEGRITY if self.breaks else 0)
            table.wipe_check = check
            self._keep = table, check, slowly
            return table

        def break_it(self) -> None:
            self.breaks = True

        def slow_down(self, ms: int) -> None:
            self.slow_s = ms / 1000

    return Broken


def arena_has(masked: bytes) -> int:
    """How often a secret stands in the arena, read by address: secret memory has no other reader.

    The secret comes under a mask and is compared under it, so that asking does not put it into this process.
    """
    from vecd._card import ffi, lib

    report = ffi.new("struct vec_arena_report *")
    lib.vec_arena_report(report)
    arena = ffi.buffer(ffi.cast("char *", report.base), report.frontier)
    return sum(
        all(arena[at + n][0] ^ MASK == byte for n, byte in enumerate(masked))
        for at in range(len(arena) - len(masked) + 1)
    )


def plain(value: Any) -> Any:
    """As JSON can carry it."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return bytes(value).hex() if isinstance(value, (bytes, memoryview)) else value


def answer(card: api.Card, call: str, args: dict[str, Any], fds: list[int]) -> Any:
    """One call. A secret comes through a pipe into the buffer that is staged, and has been nowhere else."""
    if call == "stage":
        secret = bytearray(args["size"])
        os.readv(fds[0], [secret])
        return card.stage(secret, readable=args["readable"])
    if call == "arena_has":
        return arena_has(bytes.fromhex(args["masked"]))
    for name in ("tag", "data", "value"):
        if name in args:
            args[name] = bytes.fromhex(args[name])
    if call == "bind":
        return card.bind(fds[0], fds[1], **args)
    if call == "attach":
        return card.attach(fds[0], **args)
    if call == "schedule":
        # JSON has no numbers for keys.
        args["weights"] = dict(args["weights"])
    return plain(getattr(card, call)(**args))


def use_module(path: str) -> None:
    """Another build of the C side, under the sanitizers, takes the place of the one in the package."""
    spec = importlib.util.spec_from_file_location("vecd._card", path)
    assert spec is not None and spec.loader is not None
    sys.modules["vecd._card"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["vecd._card"])


def main(argv: list[str]) -> int:
    """Serve until the other end goes away."""
    if module := os.environ.get("VEC_TEST_CARD_MODULE"):
        use_module(module)
    fd, driver, options = int(argv[0]), argv[1], json.loads(argv[2])
    name, dash, engine = driver.partition("-")
    kind = api.load(name)
    card = (broken(kind, PACES[dash + engine]) if engine else kind)(**options)
    with socket.socket(fileno=fd) as peer, card:
        while True:
            packet, fds, _flags, _address = socket.recv_fds(peer, MAX, 8)
            if not packet:
                return 0
            asked = json.loads(packet)
            try:
                said = {"ok": answer(card, asked["call"], asked["args"], fds)}
                # attach took its descriptor over.
                fds = [] if asked["call"] == "attach" else fds
            except errors.VecError as error:
                said = {"err": error.to_dict()}
            for each in fds:
                socket.close(each)
            peer.send(json.dumps(said).encode())


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
