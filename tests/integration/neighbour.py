"""A neighbour in a process of its own: neighbour HOW ADDRESS IDENTITY KEY FOLDER SEED.

HOW is `flood`: large things only, as much as it can get; or `wild`: that, guests of the soak, who do everything there
is, and one that comes and goes. Ends when it is killed, with whatever is on its way then.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from pathlib import Path

from tests.integration.cipher_machine import Guest
from tests.integration.soak_guest import SoakGuest
from vecd.base.errors import VecError

MIB = 1 << 20
# Engine time for little of its own: parts of a mebibyte, each a turn.
LONG = 64 * MIB
SOAKING = 2
NICE = 10


def greedy(guest: Guest) -> None:
    """As much as it can get, in the largest requests there are."""
    while True:
        with contextlib.suppress(VecError), guest.connect() as card:
            card.load_key(guest.key)
            while True:
                card.null(bytes(MIB))
                card.digest(bytes(LONG))


def restless(guest: Guest) -> None:
    """A connection after the other, each given up in the middle of something."""
    while True:
        with contextlib.suppress(VecError):
            card = guest.connect(timeout=2.0)
            key = card.load_key(guest.key)
            asked = threading.Thread(target=_until_it_ends, args=(card, key), daemon=True)
            asked.start()
            time.sleep(0.03)
            card.close(release=False)


def _until_it_ends(card: object, key: object) -> None:
    # Whatever it meets: its connection is closed under it.
    with contextlib.suppress(Exception):
        while True:
            card.encrypt(key, bytes(300_000))  # type: ignore[attr-defined]


HOW = {"flood": (greedy, greedy), "wild": (greedy, restless)}


def main(argv: list[str]) -> int:
    # A guest has processors of its own. Here it must not take B's away: what is compared is the card's time.
    os.nice(NICE)
    how, address, identity, key, folder, seed = argv
    guest = Guest("A", address, Path(identity), {}, bytes.fromhex(key), "A.1")
    if how == "wild":
        for n in range(SOAKING):
            SoakGuest(guest, Path(folder), int(seed) + n, threading.Event()).thread.start()
    for work in HOW[how]:
        threading.Thread(target=work, args=(guest,), daemon=True).start()
    print("busy", flush=True)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
