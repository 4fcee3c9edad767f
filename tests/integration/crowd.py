"""Sixteen guests that never stop asking, and what each of their calls ended in.

Each has a thread: it encrypts and checks the answer outside of the card, and now and then starts all over with a fresh
connection, so that the authority is needed as well.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.integration.cipher_machine import Guest
from vecd.base.errors import VecError
from vecd.guest import Card, Key

CALL_S = 8.0
# Beyond its own time-out a call may take this long before it counts as hung.
GRACE_S = 2.0
ROUNDS_PER_CONNECTION = 40
SIZES = (16, 1000, 20000)


@dataclass
class Outcome:
    """What one guest has seen so far; written by its thread alone."""

    right: int = 0
    wrong: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    # Begin of the current call, and begin of the last one that ended well (monotonic s).
    since: float | None = None
    good_since: float = 0.0


class Crowd:
    """`with Crowd(guests) as crowd:` they work until the block is left."""

    def __init__(self, guests: list[Guest]) -> None:
        self._stop = threading.Event()
        self.outcomes = {guest.name: Outcome() for guest in guests}
        self._threads = [
            threading.Thread(target=self._work, args=(guest, number), daemon=True)
            for number, guest in enumerate(guests)
        ]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(CALL_S + GRACE_S)

    def all_served_since(self, moment: float) -> bool:
        """Every guest had an answer to something it asked after `moment`."""
        return all(outcome.good_since >= moment for outcome in self.outcomes.values())

    def hung(self) -> list[str]:
        """Guests whose call is neither answered nor ended by an error within its time."""
        now = time.monotonic()
        return [
            name
            for name, outcome in self.outcomes.items()
            if outcome.since is not None and now - outcome.since > CALL_S + GRACE_S
        ]

    def wrong(self) -> list[str]:
        return [f"{name}: {what}" for name, outcome in self.outcomes.items() for what in outcome.wrong]

    def errors(self) -> list[str]:
        return [f"{name}: {what}" for name, outcome in self.outcomes.items() for what in outcome.errors]

    def _work(self, guest: Guest, number: int) -> None:
        outcome, card, key, rounds = self.outcomes[guest.name], None, None, number
        outside = AESGCM(guest.key)
        while not self._stop.is_set():
            begun = outcome.since = time.monotonic()
            try:
                if card is None or key is None:
                    card = card or guest.connect(timeout=CALL_S)
                    key = card.load_key(guest.key)
                self._round(card, key, outside, outcome)
                outcome.right += 1
                outcome.good_since = begun
                rounds += 1
                if rounds % ROUNDS_PER_CONNECTION == 0:
                    # What is not released stays loaded: the next connection loads the key once more.
                    card.close(release=False)
                    card = key = None
            except VecError as error:
                outcome.errors.append(f"{type(error).__name__}: {error}")
            except (AssertionError, InvalidTag) as error:
                outcome.wrong.append(f"{type(error).__name__}: {error}")
            finally:
                outcome.since = None
        if card is not None:
            card.close()

    @staticmethod
    def _round(card: Card, key: Key, outside: AESGCM, outcome: Outcome) -> None:
        data, aad = os.urandom(SIZES[outcome.right % len(SIZES)]), os.urandom(12)
        sealed = card.encrypt(key, data, aad)
        assert outside.decrypt(sealed.iv, sealed.ciphertext + sealed.tag, aad) == data, "encrypted to something else"
        assert card.decrypt(key, sealed, aad) == data, "decrypted to something else"
