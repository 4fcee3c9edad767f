"""One moment until which a whole call may take, so that five waits in a row do not take five time-outs."""

from __future__ import annotations

import time

from vecd.base.errors import TimedOut


class Deadline:
    """A moment of the monotonic clock."""

    __slots__ = ("_at", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at = time.monotonic() + seconds

    def left_s(self) -> float:
        """Seconds that are left, never negative."""
        return max(0.0, self._at - time.monotonic())

    def require(self, what: str) -> float:
        """Seconds that are left; TimedOut naming `what` when none are."""
        left_s = self.left_s()
        if left_s <= 0.0:
            raise TimedOut(f"{what}: no answer within {self.seconds:g} s")
        return left_s
