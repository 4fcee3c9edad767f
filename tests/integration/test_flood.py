"""One guest that floods its broker with sessions and releases costs the others next to nothing: over real processes."""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.cipher_machine import CipherMachine, Guest, running
from vecd.guest import Card, Key

# The others may take so much longer, at the median, on the card that is flooded.
WORSE = 2.0
# What a guest may save up is used up after this long.
USED_UP_S = 6.0
SLICE_S, ROUNDS = 0.5, 8
THREADS = 4
# The defaults of vecd.toml, and what HELLO, VERIFY, LOAD, ATTACH and the guard's R1 cost at least.
# Below the defaults, so that a flood meets the limit at once and not after a few hundred sessions.
RATE, BURST, SESSION_COST = 300.0, 1000.0, 22.0


@pytest.fixture(scope="module")
def machine() -> Iterator[CipherMachine]:
    with running("c0", settings=f"[guard]\nguest_rate = {RATE}\nguest_burst = {BURST}\n") as made:
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


class Others:
    """What two other guests have of the machine: how long a request takes, and how long a start-up."""

    def __init__(self, card: Card, key: Key, session: Guest) -> None:
        self._card, self._key, self._session = card, key, session
        self.took: dict[tuple[str, bool], list[float]] = defaultdict(list)

    def work(self, flooded: bool, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for _ in range(50):
                with self._timed("request", flooded):
                    self._card.encrypt(self._key, bytes(1000))
            with self._timed("start-up", flooded), self._session.connect() as card:
                card.load_key(self._session.key)

    @contextmanager
    def _timed(self, what: str, flooded: bool) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.took[what, flooded].append(time.perf_counter() - began)

    def worse(self, what: str) -> float:
        """The median while flooded, as a multiple of that while not."""
        return statistics.median(self.took[what, True]) / statistics.median(self.took[what, False])


def test_a_guest_that_floods_is_held_back_and_the_others_are_not(machine: CipherMachine) -> None:
    loud, data, session = (machine.add(name) for name in ("loud", "data", "session"))
    with data.connect() as card, flood(loud) as child:
        others, began = Others(card, card.load_key(data.key), session), time.monotonic()
        time.sleep(USED_UP_S)
        for _ in range(ROUNDS):
            # Halted and let go in turn, so that whatever else the machine does is in both.
            others.work(True, SLICE_S)
            child.send_signal(signal.SIGSTOP)
            others.work(False, SLICE_S)
            child.send_signal(signal.SIGCONT)
        lasted_s = time.monotonic() - began
        child.kill()
        assert child.stdout is not None
        sessions, refused = (int(one) for one in child.stdout.read().split()[-2:])
    worse = {what: others.worse(what) for what in ("request", "start-up")}
    took = {what: statistics.median(others.took[what, True]) for what in worse}
    print(
        f"request {took['request'] * 1e6:.0f} us, {worse['request']:.2f} of quiet; "
        f"start-up {took['start-up'] * 1e3:.1f} ms, {worse['start-up']:.2f} of quiet; "
        f"the flood had {sessions} sessions and {refused} refusals in {lasted_s:.1f} s"
    )
    # Not more than its bucket has, and the flood was one.
    assert sessions <= (BURST + RATE * lasted_s) / SESSION_COST and refused > 10
    assert max(worse.values()) < WORSE
