#!/usr/bin/env python3
"""What the reference monitor costs on a data request, against the same build without it: JSON lines.

The bare build is made from the same sources (bench/bare.h): no enter and leave, no steps on the card word, no look at M
and b; the wipe stays. One more build is bare and does not wipe either, so that the wipe's cost stands apart. Each
runs in processes of its own, several of each build, which shows how much of a difference is noise; one client in C
asks them in turn, a few hundred microseconds each, in alternating order. Client and cards share one processor: so a
request costs what all of it takes, and no waking of another processor makes the base longer than it is. Of each
process's rounds the quicker half counts, in which nothing else was going on, and of those the median. `steps` is what
the steps themselves take, in a loop.

    .venv/bin/python -m bench.monitor [--seconds 2]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BENCH, BUILD, SOURCE = ROOT / "bench", ROOT / "build" / "bench", ROOT / "cext" / "src"
sys.path.insert(0, str(ROOT / "cext"))
import build_ffi  # noqa: E402

from bench.machine import machine  # noqa: E402

# By name: the macros of a build, None for the shipped one; and how many processes of it there are, since where the
# memory of one happens to lie makes more of a difference than what is measured.
BUILDS: dict[str, tuple[tuple[str, ...] | None, int]] = {
    "shipped": (None, 3),
    "bare": ((), 3),
    "unwiped": (("-DVEC_BENCH_UNWIPED",), 2),
}
REPLACED = ("step.c", "turn.c")
ENTER_LEAVE_BAR_NS = 40.0
# A round over one card lasts about so long: short beside what the machine does, long beside a clock.
ROUND_NS = 400_000
KEY = 1
PROCESSOR = max(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Way:
    """How is asked, and what the monitor may cost then, in percent."""

    name: str
    size: int
    window: int
    bar: float


WAYS = (
    Way("one at a time", 64, 1, 3.0),
    Way("pipelined", 64, 64, 5.0),
    Way("one at a time", 4096, 1, 1.0),
    Way("pipelined", 4096, 7, 1.0),
)


# ---- what is built ------------------------------------------------------------------------------------------------


def compiled(name: str, *sources: Path) -> Path:
    """A C program of the bench."""
    BUILD.mkdir(parents=True, exist_ok=True)
    target = BUILD / name
    command = [*build_ffi.compiler(), *build_ffi.COMPILE, *build_ffi.DEFINES, f"-I{ROOT / 'cext' / 'include'}"]
    subprocess.run([*command, f"-I{SOURCE}", *map(str, sources), "-o", str(target)], check=True)
    return target


def module(name: str, macros: Sequence[str]) -> Path:
    """The extension module with the monitor taken out, in a folder of its own under build/."""
    work = BUILD / name
    (work / "src").mkdir(parents=True, exist_ok=True)
    row, changed = build_ffi.MODULES["_card"], []
    for source in row.sources:
        if source not in REPLACED:
            changed.append(source)
            continue
        lines = (SOURCE / source).read_text().splitlines()
        last = max(n for n, line in enumerate(lines) if line.startswith("#include"))
        copy = work / "src" / source
        copy.write_text("\n".join([*lines[: last + 1], '#include "bare.h"', *lines[last + 1 :], ""]))
        changed.append(str(copy))
    saved = build_ffi.COMPILE, build_ffi.PACKAGE, build_ffi.BUILD
    # What became nothing leaves arguments unused.
    build_ffi.COMPILE = (*saved[0], "-Wno-unused-parameter", f"-I{BENCH}", *macros)
    build_ffi.PACKAGE, build_ffi.BUILD = work, work / "ffi"
    try:
        build_ffi.BUILD.mkdir(exist_ok=True)
        # The copies do not say when bare.h changed.
        stale = any(found.stat().st_mtime < (BENCH / "bare.h").stat().st_mtime for found in work.glob("_card*.so"))
        build_ffi.build("_card", build_ffi.Module(row.headers, tuple(changed), row.libraries), force=stale)
    finally:
        build_ffi.COMPILE, build_ffi.PACKAGE, build_ffi.BUILD = saved
    return next(work.glob("_card*.so"))


# ---- the processes -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def card(path: Path | None) -> Iterator[int]:
    """A card process of this build; the descriptor of a connection that may encrypt."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "bench.monitor_card", str(theirs.fileno()), str(path or "")]
    process = subprocess.Popen(
        command, cwd=ROOT, pass_fds=[theirs.fileno()], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    theirs.close()
    assert process.stdin is not None and process.stdout is not None
    with ours, process.stdin, process.stdout:
        assert process.stdout.readline() == b"ready\n"
        ours.recv(48)
        ours.sendall(bytes(32))
        yield ours.fileno()
        process.stdin.close()
        process.wait(20)


def driven(client: Path, way: Way, requests: int, rounds: int, fds: dict[str, int]) -> dict[str, list[float]]:
    """Nanoseconds a request, round by round."""
    numbers = [way.size, way.window, requests, rounds, KEY, *fds.values()]
    done = subprocess.run(
        [str(client), *map(str, numbers)],
        pass_fds=list(fds.values()),
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {PROCESSOR}),
    )
    columns = zip(*(map(float, line.split()) for line in done.stdout.splitlines()), strict=True)
    return dict(zip(fds, map(list, columns), strict=True))


# ---- the figures ---------------------------------------------------------------------------------------------------


def steps(seconds: float) -> dict[str, object]:
    program = compiled("steps", BENCH / "steps.c", *(SOURCE / name for name in build_ffi.SHARED))
    runs = max(100, int(seconds * 1000))
    done = subprocess.run([str(program), str(runs)], capture_output=True, text=True, check=True)
    columns = zip(*(map(float, line.split()) for line in done.stdout.splitlines()), strict=True)
    enter_leave, turn = (quiet(list(column)) for column in columns)
    return {
        "enter_leave_ns": round(enter_leave, 1),
        "bar_ns": ENTER_LEAVE_BAR_NS,
        "held": enter_leave < ENTER_LEAVE_BAR_NS,
        "turn_steps_ns": round(turn, 1),
    }


def quiet(column: list[float]) -> float:
    """The median of the quicker half."""
    return statistics.median(sorted(column)[: (len(column) + 1) // 2])


def request(client: Path, way: Way, seconds: float, fds: dict[str, int], turn_steps_ns: float) -> dict[str, object]:
    first = driven(client, way, way.window * 64, 20, fds)
    each = min(map(quiet, first.values()))
    requests = max(1, round(ROUND_NS / each / way.window)) * way.window
    rounds = max(20, int(seconds * 1e9 / (each * requests * len(fds))))
    took = driven(client, way, requests, rounds, fds)
    each_ns = {build: [quiet(took[name]) for name in took if name.startswith(build)] for build in BUILDS}
    ns = {build: statistics.fmean(found) for build, found in each_ns.items()}
    # What processes of one build differ by is no cost of anything.
    noise = max(max(found) - min(found) for found in each_ns.values()) / 2
    monitor = 100 * (ns["shipped"] - ns["bare"]) / ns["bare"]
    return {
        "bytes": way.size,
        "way": way.name,
        "window": way.window,
        "rounds": rounds,
        "request_ns": round(ns["shipped"], 1),
        "bare_ns": round(ns["bare"], 1),
        "monitor_pct": round(monitor, 2),
        "bar_pct": way.bar,
        "held": monitor < way.bar,
        "noise_pct": round(100 * noise / ns["bare"], 2),
        "steps_pct": round(100 * turn_steps_ns / way.window / ns["bare"], 2),
        "wipe_pct": round(100 * (ns["bare"] - ns["unwiped"]) / ns["unwiped"], 2),
    }


def main(argv: Sequence[str]) -> int:
    """One line for the steps, and one for every size and way."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure (default 2)")
    seconds = parser.parse_args(argv).seconds
    named = {"bench": "monitor", "machine": machine()}
    figure = steps(seconds)
    print(json.dumps({**named, "what": "steps", **figure}), flush=True)
    client = compiled("drive", BENCH / "drive.c", *(SOURCE / name for name in ("wire.c", "status.c")))
    with contextlib.ExitStack() as stack:
        paths = {build: None if macros is None else module(build, macros) for build, (macros, _) in BUILDS.items()}
        # Neighbours in a round are of different builds.
        fds = {
            f"{build} {number}": stack.enter_context(card(paths[build]))
            for number in range(max(count for _, count in BUILDS.values()))
            for build, (_, count) in BUILDS.items()
            if number < count
        }
        for way in WAYS:
            row = request(client, way, seconds, fds, float(str(figure["turn_steps_ns"])))
            print(json.dumps({**named, "what": "request", **row}), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
