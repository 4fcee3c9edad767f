"""One guest that floods its broker with sessions and releases costs the others next to nothing: over real processes."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.cipher_machine import CipherMachine, Guest, running
from vecd.base.config import Config

# The others may take so much longer, at the median, on the card that is flooded.
WORSE = 2.0
# What a guest may save up is used up after this long.
USED_UP_S = 6.0
MEASURED_S = 2.0
THREADS = 4
# The defaults of vecd.toml, and what HELLO, VERIFY, LOAD, ATTACH and the guard's R1 cost at least.
RATE, BURST, SESSION_COST = Config().guard.guest_rate, Config().guard.guest_burst, 22.0


@pytest.fixture(scope="module")
def machine() -> Iterator[CipherMachine]:
    with running("c0") as made:
        yield made


@contextmanager
def flood(guest: Guest) -> Iterator[subprocess.Popen[str]]:
    words = [guest.address, str(guest.identity), guest.key.hex(), str(THREADS)]
    command = [sys.executable, "-m", "tests.integration.flooding_guest", *words]
    child = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


def median_s(work: Callable[[], object], seconds: float) -> float:
    took, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def test_a_guest_that_floods_is_held_back_and_the_others_are_not(machine: CipherMachine) -> None:
    loud, data, session = (machine.add(name) for name in ("loud", "data", "session"))

    def start_up() -> None:
        with session.connect() as card:
            card.load_key(session.key)
        # Its own bucket is not what is measured.
        time.sleep(0.15)

    with data.connect() as card:
        key = card.load_key(data.key)

        def request() -> None:
            card.encrypt(key, bytes(1000))

        def medians() -> tuple[float, float]:
            return median_s(request, MEASURED_S), median_s(start_up, MEASURED_S) - 0.15

        request()
        quiet = [medians()]
        with flood(loud) as child:
            began = time.monotonic()
            time.sleep(USED_UP_S)
            flooded = medians()
            assert child.stdout is not None
            child.kill()
            sessions, refused = (int(one) for one in child.stdout.read().split()[-2:])
            lasted_s = time.monotonic() - began
        quiet.append(medians())
    worse = [flooded[at] / max(one[at] for one in quiet) for at in (0, 1)]
    print(
        f"request {flooded[0] * 1e6:.0f} us, {worse[0]:.2f} of quiet; "
        f"start-up {flooded[1] * 1e3:.1f} ms, {worse[1]:.2f} of quiet; "
        f"the flood had {sessions} sessions and {refused} refusals in {lasted_s:.1f} s"
    )
    # Not more than its bucket has, and the flood was one.
    assert sessions <= (BURST + RATE * lasted_s) / SESSION_COST and refused > 10
    assert worse[0] < WORSE and worse[1] < WORSE
