"""What the runs of all parties share: a state, a deadline, and a refusal that changes nothing."""

from __future__ import annotations

from .checks import in_state
from .messages import STATE_TIMEOUT_S


class Machine:
    """One run. `tick` is monotonic time in seconds; a state that lasts longer than its deadline closes the run."""

    def __init__(self, state: str, tick: float) -> None:
        self.state = state
        self.deadline: float | None = tick + STATE_TIMEOUT_S

    def expect(self, rule: str, tick: float, *states: str) -> None:
        """The run is in one of these states at this time. Raises ProtocolRefused."""
        self.expire(tick)
        in_state(self.state, states, rule)

    def enter(self, state: str, tick: float, seconds: float | None = STATE_TIMEOUT_S) -> None:
        """The run is in this state, for so many seconds; None: until something happens."""
        self.state = state
        self.deadline = None if seconds is None else tick + seconds

    def expire(self, tick: float) -> bool:
        """Whether the run is closed, by the clock if it was not before."""
        if self.deadline is not None and tick > self.deadline:
            self.close(f"timed out as {self.state}")
        return self.deadline is None and self.state.startswith("closed")

    def close(self, why: str) -> None:
        """The run is over and what it held is zeroised."""
        self.state, self.deadline = f"closed: {why}", None
