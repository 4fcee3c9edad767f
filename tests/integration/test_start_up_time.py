"""Messages 1 to 12 over the real processes take less than 50 ms at the median (the paper: 3,648 ms)."""

import statistics

from tests.integration.cipher_machine import CipherMachine
from vecd.guest import Card

RUNS = 20
# A busy neighbour may spoil one round; a slow start-up spoils all of them.
ROUNDS = 3
LIMIT_MS = 50.0


def test_a_start_up_takes_less_than_50_ms(cipher_machine: CipherMachine) -> None:
    guest = cipher_machine.add("quick")
    medians: list[float] = []
    for _ in range(ROUNDS):
        totals = []
        for _ in range(RUNS):
            with Card.connect(guest.address, identity=guest.identity) as card:
                card.load_key(guest.key, alg="AES-256-GCM")
                totals.append(card.timings["total"])
        medians.append(statistics.median(totals))
        if medians[-1] < LIMIT_MS:
            break
    print(f"messages 1-12: p50 of {RUNS} runs {medians[-1]:.1f} ms")
    assert min(medians) < LIMIT_MS, f"p50 of {ROUNDS} rounds of {RUNS}: {medians}"
