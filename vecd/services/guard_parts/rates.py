"""How often a guest may ask for what changes something: a bucket of tokens for each, so that others do not notice.

Each step has its price, about what it costs the guard, the card and the authority. A bucket holds `burst` tokens and
fills by `rate` a second; who has none left is told to come back, and when. A guest that comes back after a crash, even
with all its connections, needs a small part of a bucket.
"""

import time
from collections.abc import Callable, Mapping

from vecd.base.errors import Busy, Malformed

# Steps that a guest asks of the broker (wire.h), and what the broker asks of the guard because of them.
COSTS: Mapping[str, float] = {
    "HELLO": 1,
    "REGISTER": 20,
    "VERIFY": 10,
    "LOAD": 10,
    "KEY": 10,
    "KEYREV": 10,
    "ATTACH": 2,
    "RELEASE": 5,
    "guest.connect": 1,
    "guest.release": 5,
}


class Rates:
    """The buckets of all guests. One that is full is forgotten."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        # By guest: what it had left, and when.
        self._left: dict[str, tuple[float, float]] = {}
        self._swept_s = clock()

    def spend(self, guest: str, step: str) -> None:
        """The guest paid for the step. Raises Busy, which says when to ask again; Malformed for one without a price."""
        price = COSTS.get(step)
        if price is None:
            raise Malformed(f"there is no step {step[:64]!r}", hint=f"one of: {', '.join(COSTS)}")
        now_s = self._clock()
        left, at_s = self._left.get(guest, (self._burst, now_s))
        left = min(self._burst, left + (now_s - at_s) * self._rate)
        if left < price:
            self._left[guest] = (left, now_s)
            raise Busy(
                f"guest {guest} asks too often",
                reason=f"{step} costs {price:g} of {self._rate:g} tokens a second, and {self._burst:g} at once",
                subject=guest,
                hint=f"ask again in {max(1, round((price - left) / self._rate * 1000))} ms",
            )
        self._left[guest] = (left - price, now_s)
        self._sweep(now_s)

    def _sweep(self, now_s: float) -> None:
        """Buckets that are full again are as good as none."""
        full_s = self._burst / self._rate
        if now_s - self._swept_s < full_s:
            return
        self._swept_s = now_s
        self._left = {guest: one for guest, one in self._left.items() if now_s - one[1] < full_s}
