"""A guest that opens and ends sessions as fast as it is let: flooding_guest ADDRESS IDENTITY KEY_HEX THREADS.

It never waits of its own accord: a refusal is asked again at once. Prints how many sessions it had, and how many
refusals, once a second, until it is ended.
"""

import sys
import threading
import time

from vecd.base.errors import VecError
from vecd.guest import Card

count = {"sessions": 0, "refused": 0}


def flood(address: str, identity: str, key: bytes) -> None:
    while True:
        try:
            with Card.connect(address, identity=identity, timeout=5.0, retry=False) as card:
                card.load_key(key)
            count["sessions"] += 1
        except VecError:
            count["refused"] += 1


if __name__ == "__main__":
    address, identity, key, threads = sys.argv[1:]
    for _ in range(int(threads)):
        threading.Thread(target=flood, args=(address, identity, bytes.fromhex(key)), daemon=True).start()
    while True:
        print(count["sessions"], count["refused"], flush=True)
        time.sleep(1.0)
