"""Everything at once: sixteen guests that do what guests can, while processes are killed and halted and rights go.

What must hold at every moment: no wrong answer, nothing but errors of the library, no call that hangs. And when it is
over: every guest is served, nobody is left on a card, no descriptor is left open, the log has no mistake of ours.
VECD_SOAK_S makes it longer.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.cipher_machine import CipherMachine, running
from tests.integration.soak_guest import SoakGuest
from vecd.base.errors import VecError

SECONDS = float(os.environ.get("VECD_SOAK_S", "35"))
GUESTS = 16
CARDS = ("c0", "c1")
ROLES = ("guard", "broker", "authority", "card c0", "card c1")
# The longest halt, longer than any process waits for another but a client.
HALT_S = 3.0
SETTINGS = "[broker]\nlinger_s = 2.0\n"


def pids(machine: CipherMachine, role: str) -> list[int]:
    return machine.pids(*role.split())


def descriptors(machine: CipherMachine) -> dict[str, int]:
    return {role: len(os.listdir(f"/proc/{pids(machine, role)[0]}/fd")) for role in ROLES}


def disturb(machine: CipherMachine, chance: random.Random, stop: threading.Event, done: Counter[str]) -> None:
    """A process is killed, or halted for a while."""
    while not stop.wait(0.2 + chance.random() * 2):
        role = chance.choice(ROLES)
        how = chance.choice((signal.SIGKILL, signal.SIGSTOP))
        for pid in pids(machine, role)[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)
                done[f"{how.name} {role}"] += 1
                if how == signal.SIGSTOP:
                    stop.wait(chance.random() * HALT_S)
                    os.kill(pid, signal.SIGCONT)


def operate(machine: CipherMachine, guests: list[SoakGuest], chance: random.Random, stop: threading.Event) -> None:
    """An operator takes rights and gives them back, and asks again until told that it is done."""
    while not stop.wait(chance.random() * 0.5):
        number = chance.randrange(len(guests))
        guest, attribute = guests[number].guest, chance.choice("arc")
        right = {"subject": guest.instance, "object": CARDS[number % len(CARDS)]}
        if chance.random() < 0.3:
            right = {"subject": guest.name, "object": guest.instance}
        for call in ("access.rescind", "access.give"):
            while True:
                with contextlib.suppress(VecError):
                    machine.admin(call, **right, attribute=attribute)
                    break
                time.sleep(0.1)
            stop.wait(chance.random() * 0.3)


@pytest.mark.limit(SECONDS + 120)
def test_whatever_happens_nobody_gets_a_wrong_answer_and_all_is_well_afterwards(tmp_path: Path) -> None:
    with running(*CARDS, settings=SETTINGS) as machine:
        stop, seed = threading.Event(), int(os.environ.get("VECD_SOAK_SEED", time.time_ns() % 100_000))
        print(f"VECD_SOAK_SEED={seed}")
        added = [machine.add(f"g{number}", CARDS[number % len(CARDS)]) for number in range(GUESTS)]
        at_rest(machine)
        before = descriptors(machine)
        guests = [SoakGuest(guest, tmp_path, seed + number, stop) for number, guest in enumerate(added)]
        done: Counter[str] = Counter()
        others = [
            threading.Thread(target=disturb, args=(machine, random.Random(seed + 100), stop, done), daemon=True),
            threading.Thread(target=operate, args=(machine, guests, random.Random(seed + 101), stop), daemon=True),
        ]
        threads = [*(guest.thread for guest in guests), *others]
        for thread in threads:
            thread.start()
        end = time.monotonic() + SECONDS
        while time.monotonic() < end and not any(guest.wrong or guest.hung for guest in guests):
            time.sleep(0.1)
        stop.set()
        for thread in threads:
            thread.join(30)
        assert not [guest.doing for guest in guests if guest.thread.is_alive()], "a call hangs"
        assert [what for guest in guests for what in guest.wrong] == []
        assert not any(thread.is_alive() for thread in others), "an operator waits in vain"

        right = sum((guest.right for guest in guests), Counter())
        errors = sum((guest.errors for guest in guests), Counter())
        print(f"{right.total()} right, {errors.total()} ended in an error; {dict(done)}")
        assert right.total() > 50 * SECONDS and all(guest.right["one_shot"] for guest in guests)
        # Errors that nothing of all this explains.
        for never in ("ProtocolRefused: key", "BadStream", "no card knows this session", "Malformed", "Exhausted"):
            assert not [what for what in errors if never in what]

        machine.wait_for(lambda: len(machine.status()) == len(CARDS), 15.0, "every card in service again")
        for guest in added:
            with guest.connect() as card:
                key = card.load_key(guest.key)
                assert card.decrypt(key, card.encrypt(key, b"served")) == b"served"
        at_rest(machine)
        cells = machine.admin("access.show")["cells"]
        assert [cell for cell in cells if cell["object"] in CARDS and "c" in cell["held"]] == []
        machine.wait_for(lambda: no_more_than(descriptors(machine), before), 10.0, f"no descriptor is left: {before}")
        for word in ("our own mistake", "Traceback", "gives up", "never awaited"):
            assert word not in machine.log, machine.log[machine.log.index(word) - 500 :][:1500]


def at_rest(machine: CipherMachine) -> None:
    """Every card is free: whoever has no connection is released after a while."""
    machine.wait_for(lambda: set(machine.status().values()) == {"free"}, 15.0, "every card is free")


def no_more_than(now: dict[str, int], before: dict[str, int]) -> bool:
    """Those of a card become fewer with every guard that it meets, since its sockets were made before its start."""
    return all(now[role] <= before[role] + 2 for role in ROLES)
