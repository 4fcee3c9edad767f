"""Any process may be killed at any time: no wrong answer, none lost without an error, back within two seconds."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.integration.cipher_machine import CipherMachine, Guest, running
from tests.integration.crowd import Crowd

GUESTS = 16
KILLS = 20
BACK_S = 2.0
# Between two kills everybody has worked again for at least this long.
REST_S = 0.4
CARDS = ("c0", "c1")


@pytest.fixture(scope="module")
def machine() -> Iterator[CipherMachine]:
    with running(*CARDS) as made:
        yield made


@pytest.fixture(scope="module")
def guests(machine: CipherMachine) -> list[Guest]:
    return [machine.add(f"g{number}", CARDS[number % len(CARDS)]) for number in range(GUESTS)]


@pytest.mark.parametrize("role", ["guard", "broker", "authority", "card"])
def test_twenty_kills_under_load_cost_no_answer_and_two_seconds(
    machine: CipherMachine, guests: list[Guest], role: str
) -> None:
    took = []
    with Crowd(guests) as crowd:
        served(crowd, time.monotonic(), 30.0)
        for number in range(KILLS):
            name = CARDS[number % len(CARDS)] if role == "card" else ""
            (pid,) = machine.wait_for(lambda name=name: machine.pids(role, name), 10.0, f"a {role} to kill")
            os.kill(pid, signal.SIGKILL)
            took.append(served(crowd, time.monotonic(), 10.0))
            assert not crowd.hung()
            time.sleep(REST_S)
    assert crowd.wrong() == []
    assert crowd.hung() == []
    print(
        f"{role}: back after p50 {sorted(took)[KILLS // 2]:.2f} s, worst {max(took):.2f} s; "
        f"{sum(o.right for o in crowd.outcomes.values())} answers right, {len(crowd.errors())} ended in an error"
    )
    assert max(took) < BACK_S, f"back after {sorted(took)}; errors: {crowd.errors()[:5]}"


def served(crowd: Crowd, moment: float, at_most: float) -> float:
    """Seconds until every guest had an answer to what it asked after `moment`."""
    deadline = moment + at_most
    while not crowd.all_served_since(moment):
        if time.monotonic() > deadline:
            late = [name for name, outcome in crowd.outcomes.items() if outcome.good_since < moment]
            pytest.fail(f"not served again within {at_most:g} s: {late}; errors: {crowd.errors()[-8:]}")
        time.sleep(0.01)
    return time.monotonic() - moment
