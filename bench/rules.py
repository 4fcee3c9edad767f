#!/usr/bin/env python3
"""What a rule costs: alone, and through the real guard's socket; at 10 and at 4,000 instances: JSON lines.

Alone: the rules and the state, in this process. A ratio of 1 between the sizes says that a rule costs what it touches,
not what there is. Through the socket: the guard as a process of its own with its real doors, register and disk; its
ratio is against the rules alone in the same run (the mean of what was asked), and `cpu_us` is what one call costs the
guard, whatever else the machine is busy with. R9 and R10 are durable: each is on the disk before it is answered, and
those that come together share one sync (`sync_ms` is one here, now). R1 and R6 are not: b is of processes that live,
and is never stored. Their card and broker are stand-ins that answer at once.

    .venv/bin/python -m bench.rules [--seconds 1]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.machine import machine
from tests.integration import fullscale
from tests.integration.test_guard import GuardProcess, certificate
from tests.unit.guard_world import FakeBroker, FakeCard
from vecd.base.paths import Paths
from vecd.ppm import request as requests
from vecd.ppm.levels import USING
from vecd.ppm.monitor import Monitor
from vecd.ppm.state import CARD, INSTANCE, USER, Change, byte_of
from vecd.services.guard_parts.register import Register
from vecd.shm.writer import Matrices

SIZES = (10, 4000)
Requests = list[requests.Request]
ROUNDS = 5
WINDOW = 1024
PACKET = 200_000
CONNECTIONS = 16


def say(**figure: object) -> None:
    print(json.dumps({"bench": "rules", **figure, "machine": machine()}), flush=True)


# ---- alone


def monitor(whole: Register) -> Monitor:
    """The state of the register, as a guard has it after its start."""
    made = Monitor(4)
    for kind, table in ((USER, whole.users), (INSTANCE, whole.instances), (CARD, whole.cards)):
        for one in table.values():
            made.name(one.name, kind, owner=getattr(one, "owner", None))
            made.require(requests.create(one.name))
            made.require(requests.instruct(one.name))
    cells = (Change("M", s, o, 0, byte_of(letters)) for (s, o), letters in whole.access.items())
    made.state.apply(cells)
    return made


def cycles() -> dict[str, tuple[Requests, Requests]]:
    """By rules: what is asked once before, and what is asked again and again; each ends where it began."""
    u, i, k = "u1", "u1.1", "c1"
    session = [requests.connect(u, i), requests.append(u, i), requests.read(u, i)]
    turn = [*session, requests.connect(i, k)]
    return {
        "R1 R6 user": ([], [requests.connect(u, i), requests.release(u, i, "c")]),
        "R2 R4 R6 user": (session[:1], [*session[1:], requests.release(u, i, "a"), requests.release(u, i, "r")]),
        "R1 R6 card": (session, [requests.connect(i, k), requests.release(i, k, "c")]),
        "R9 R10": ([], [requests.give(i, k, "w"), requests.rescind(i, k, "w")]),
        "R10 R9 c": ([], [requests.rescind(i, k, "c"), requests.give(i, k, "c")]),
        "R12 R11": (
            turn,
            [
                requests.switch(k, i),
                requests.append(i, k),
                requests.move(i, k, USING),
                requests.move(i, k, 3),
                requests.switch(k, None),
            ],
        ),
        "R8 R7 R5": ([], [requests.destroy("u2"), requests.create("u2"), requests.instruct("u2")]),
        "no": ([], [requests.append(i, k), requests.read(i, k), requests.connect(i, k)]),
    }


def us_a_rule(made: Monitor, before: Requests, asked: Requests, seconds: float) -> float:
    """Microseconds of a processor for a rule, the median of some rounds; the state is as before."""
    state = made.state.snapshot() if len(made.state.live) < 1000 else None
    for request in before:
        made.require(request)
    many, took = asked * 50, []
    for _ in range(ROUNDS):
        count, start = 0, time.process_time()
        while (passed := time.process_time() - start) < seconds / ROUNDS:
            for request in many:
                made.ask(request)
            count += len(many)
        took.append(passed / count * 1e6)
    # What was asked before is given back, the card's c by its user's.
    if before:
        made.require(requests.release("u1", "u1.1", "c"))
    assert state is None or made.state.snapshot() == state
    return statistics.median(took)


def alone(seconds: float) -> dict[str, float]:
    """One line for each cycle and size; microseconds at full scale by cycle."""
    # u2 has no instance in the small world: it can be destroyed there; in the large one it gets none either.
    worlds = {}
    for size in SIZES:
        whole = fullscale.filled(size, min(size, fullscale.USERS))
        for name in [one.name for one in whole.instances.values() if one.owner == "u2"]:
            del whole.instances[name]
        whole.access = {pair: x for pair, x in whole.access.items() if all(key.split(".")[0] != "u2" for key in pair)}
        worlds[size] = monitor(whole)
    found: dict[str, float] = {}
    for rules, (before, asked) in cycles().items():
        us = {size: us_a_rule(worlds[size], before, asked, seconds / 4) for size in SIZES}
        found[rules] = us[SIZES[-1]]
        for size in SIZES:
            say(
                what="rules alone",
                rules=rules,
                instances=size,
                us=round(us[size], 2),
                per_s=round(1e6 / us[size]),
                ratio=round(us[size] / us[SIZES[0]], 2),
            )
    return found


# ---- through the guard's socket


@contextmanager
def guard(instances: int) -> Iterator[GuardProcess]:
    """A guard process at this size, whose guests may ask as often as they like."""
    folder = Path(tempfile.mkdtemp(prefix="vecd-"))
    process = GuardProcess(folder)
    rate = "[guard]\nguest_rate = 1000000\nguest_burst = 1000000\n"
    process.paths.config_file.write_text(rate + fullscale.config())
    fullscale.put(process.paths.policy, fullscale.filled(instances, min(instances, fullscale.USERS)))
    try:
        process.start()
        yield process
    finally:
        if process.process is not None and process.process.poll() is None:
            process.end(signal.SIGTERM)
        shutil.rmtree(folder)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def changes(instances: int) -> Iterator[bytes]:
    """R9 and R10 in turn, of w, over all instances and cards. No client waits for its answers one by one."""
    users, number = min(instances, fullscale.USERS), 0
    while True:
        cell = {"subject": f"u{number % users}.1", "object": f"c{number % fullscale.CARDS}", "attribute": "w"}
        for call in ("access.give", "access.rescind"):
            yield json.dumps({"id": number, "call": call, "args": cell}).encode()
        number += 1


def pipelined(path: Path, instances: int, clients: int, seconds: float) -> tuple[int, float]:
    """How many changes were answered, and in how many seconds; every answer is looked at."""
    socks, poll = [], select.poll()
    for _ in range(clients):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * PACKET)
        sock.connect(str(path))
        sock.setblocking(False)
        socks.append(sock)
        poll.register(sock, select.POLLIN)
    by_fd = {sock.fileno(): sock for sock in socks}
    ask, open_, answered = changes(instances), dict.fromkeys(by_fd, 0), 0
    waiting: deque[bytes] = deque()
    start = time.perf_counter()
    until = start + seconds
    while time.perf_counter() < until or any(open_.values()):
        for fd, sock in by_fd.items():
            while open_[fd] < WINDOW // clients and time.perf_counter() < until:
                packet = waiting.popleft() if waiting else next(ask)
                try:
                    sock.send(packet)
                except BlockingIOError:
                    waiting.append(packet)
                    break
                open_[fd] += 1
        for fd, _ in poll.poll(1000):
            try:
                while open_[fd]:
                    assert b'"ok"' in by_fd[fd].recv(PACKET), "a change was refused"
                    open_[fd] -= 1
                    answered += 1
            except BlockingIOError:
                pass
    took = time.perf_counter() - start
    for sock in socks:
        sock.close()
    return answered, took


async def sessions(process: GuardProcess, instances: int, seconds: float) -> tuple[int, float]:
    """R1 and R6 of some instances at the same time, over and over: how many of both, and in how many seconds."""
    whole = fullscale.filled(instances, min(instances, fullscale.USERS))
    broker = await FakeBroker().come(process.paths)
    done = 0

    async def one(at: int, until: float) -> None:
        nonlocal done
        arguments = {
            "id_u": whole.users[f"u{at}"].id,
            "instance": whole.instances[f"u{at}.1"].id,
            "card": whole.cards[f"c{at % CARDS_UP}"].id,
        }
        while time.perf_counter() < until:
            await broker.peer.call("guest.connect", arguments)
            await broker.peer.call("guest.release", arguments)
            done += 2

    start = time.perf_counter()
    await asyncio.gather(*(one(at, start + seconds) for at in range(min(CONNECTIONS, instances))))
    took = time.perf_counter() - start
    broker.peer.close()
    return done, took


# Cards with a process, all of them in one.
CARDS_UP = 8


async def stand_in(root: str, certificates: Sequence[str]) -> None:
    """Cards that answer at once, and are as clean as they say. Runs as a process of its own."""
    whole, cards = fullscale.filled(1, 1), []
    for at, statement in enumerate(certificates):
        card = await FakeCard(f"c{at}").come(Paths(root))
        card.id = whole.cards[f"c{at}"].id
        cards.append(await card.hello(certificate=bytes.fromhex(statement)))
    print("ready", flush=True)
    await cards[0].peer.closed.wait()


@contextmanager
def cards_up(process: GuardProcess) -> Iterator[None]:
    whole = fullscale.filled(1, 1)
    statements = [certificate(whole.cards[f"c{at}"].id).hex() for at in range(CARDS_UP)]
    command = [sys.executable, "-m", "bench.rules", "--stand-in", str(process.paths.root), *statements]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
    try:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        yield
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def sync_ms(folder: Path) -> float:
    """One write and sync on the guard's disk, the median of some."""
    path, took = folder / "sync", []
    with path.open("wb", buffering=0) as file:
        for _ in range(20):
            file.write(bytes(4096))
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - start)
    path.unlink()
    return statistics.median(took) * 1e3


def measured(
    process: GuardProcess, work: Callable[[], tuple[int, float]], us: float, decided: float, **what: object
) -> None:
    """One line about work that counts its calls, each of which makes the guard decide so many rules."""
    assert process.process is not None
    work()
    before = cpu_s(process.process.pid)
    count, took = work()
    say(
        what="through the socket",
        **what,
        per_s=round(count / took),
        rules_per_s=round(count * decided / took),
        cpu_us=round((cpu_s(process.process.pid) - before) / count * 1e6, 1),
        ratio=round(took / count * 1e6 / us, 1),
        sync_ms=round(sync_ms(process.paths.root), 2),
    )


def through_the_socket(size: int, alone_us: dict[str, float], seconds: float) -> None:
    """A guard of this size: R9 and R10 of one client and of eight, R1 and R6 of sessions."""
    with guard(size) as process:
        for clients in (1, 8):
            measured(
                process,
                lambda clients=clients: pipelined(process.paths.admin, size, clients, seconds),
                alone_us["R9 R10"],
                1.0,
                instances=size,
                rules="R9 R10",
                durable=True,
                clients=clients,
                window=WINDOW,
            )
        with cards_up(process):
            measured(
                process,
                lambda: asyncio.run(sessions(process, size, seconds)),
                alone_us["R1 R6 card"],
                # R1, R2, R4 of the user, held already, and R1 of the instance; then R6, and R12 of the clean card.
                3.0,
                instances=size,
                rules="R1 R6",
                durable=False,
                clients=1,
                window=min(CONNECTIONS, size),
            )


def memory() -> None:
    matrices = Matrices.create(1)
    size = os.fstat(matrices.fd).st_size
    matrices.close()
    say(what="memory of the matrices", instances=SIZES[-1], bytes=size, limit=2 << 20, ratio=round(size / (2 << 20), 2))


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="for each figure (default 1)")
    parser.add_argument("--stand-in", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.stand_in:
        asyncio.run(stand_in(options.stand_in[0], options.stand_in[1:]))
        return 0
    memory()
    alone_us = alone(options.seconds)
    for size in SIZES:
        through_the_socket(size, alone_us, options.seconds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
