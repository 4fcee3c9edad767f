#!/usr/bin/env python3
"""What the audit log costs: JSON lines, processor time, the best of some rounds.

Of a card: to note a turn, on the data path (the same call on a chain that is not open is subtracted), and to hash one,
beside it. Of the guard: to record a decision, in its loop, and to make its line and hash, beside it. And to verify.

    .venv/bin/python -m bench.audit [--rounds 7]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from vecd.cards import soft

# Before anything here imports hashlib.
soft.prepare()

from vecd._card import ffi, lib  # noqa: E402

from bench.machine import machine  # noqa: E402
from tests.unit.audit_log import Log  # noqa: E402
from vecd.audit import roots  # noqa: E402
from vecd.ppm import request as requests  # noqa: E402
from vecd.ppm.monitor import Monitor  # noqa: E402
from vecd.ppm.state import CARD, INSTANCE, USER  # noqa: E402
from vecd.services.guard_parts.record import ASKER, Asker, Record  # noqa: E402

RING = lib.VEC_AUDIT_RING
DECISIONS = 20_000


def each_ns(work: Callable[[], object], count: int) -> float:
    """Nanoseconds of processor time for each of so many."""
    start = time.process_time_ns()
    work()
    return (time.process_time_ns() - start) / count


def card() -> dict[str, float]:
    """Note and hash a whole ring."""
    made, shut = ffi.new("vec_audit **"), ffi.new("vec_audit **")
    assert lib.vec_audit_new(made) == lib.vec_audit_new(shut) == lib.vec_audit_open(made[0], 0, bytes(32)) == 0
    facts = ffi.new("struct vec_audit_facts *", {"kind": lib.VEC_AUDIT_TURN, "flags": lib.VEC_AUDIT_WORKED})
    taken = ffi.new("uint8_t[]", RING * lib.VEC_AUDIT_RECORD)

    def note() -> None:
        for _ in range(RING):
            lib.vec_audit_note(made[0], facts)

    def nothing() -> None:
        for _ in range(RING):
            lib.vec_audit_note(shut[0], facts)

    # The memory of the ring comes with its first use.
    note()
    lib.vec_audit_take(made[0], taken, RING)
    noted, empty = each_ns(note, RING), each_ns(nothing, RING)
    hashed = each_ns(lambda: lib.vec_audit_take(made[0], taken, RING), RING)
    lib.vec_audit_free(made[0])
    lib.vec_audit_free(shut[0])
    return {"note_ns": noted - empty, "hash_ns": hashed}


def guard() -> dict[str, float]:
    """Record decisions, then make their lines."""
    monitor = Monitor(4)
    monitor.name("A", USER)
    monitor.name("A.1", INSTANCE, owner="A")
    monitor.name("c0", CARD)
    for key in ("A", "A.1", "c0"):
        monitor.require(requests.create(key))
        monitor.require(requests.instruct(key))
    decision = monitor.require(requests.give("A.1", "c0", "a"))
    record = Record()
    ASKER.set(Asker("admin", 0, 4711))
    loop = each_ns(lambda: [record.decision(decision) for _ in range(DECISIONS)], DECISIONS)
    line = each_ns(lambda: record.take(0, bytes(32)), DECISIONS)
    return {"record_ns": loop, "line_ns": line}


def verify(chain: str) -> dict[str, float]:
    """Check the records of a log, one root behind them all."""
    with tempfile.TemporaryDirectory() as folder:
        log = Log(Path(folder) / "log", chain).start()
        for n in range(DECISIONS):
            if chain == roots.GUARD:
                log.guard(what="decision", decision="yes", rule="R9", subject="A.1", object="c0", attribute="a")
            else:
                log.turn(n % 2, switched=True)
        log.stop()
        return {"verify_ns": each_ns(log.report, DECISIONS)}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="What the audit log costs, as JSON lines.")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(argv)
    parts: dict[str, Callable[[], dict[str, float]]] = {
        "a card's turn": card,
        "a guard's decision": guard,
        "verify: card": lambda: verify("card c0"),
        "verify: guard": lambda: verify(roots.GUARD),
    }
    for what, measure in parts.items():
        rounds = [measure() for _ in range(options.rounds)]
        best = {name: round(min(one[name] for one in rounds), 1) for name in rounds[0]}
        print(json.dumps({"bench": "audit", "what": what, **best, "machine": machine()}), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
