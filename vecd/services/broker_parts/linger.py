"""Which instances to release: those that had no data connection on a card for `linger_s`.

The card process counts the data connections of each instance and tells the broker when a count changes. A
verification counts as a sign of life too: its guest is about to attach. When an instance has been without either
for `linger_s`, the broker asks the guard for its release (R6 c), and the card forgets the instance's keys.
Pure: the time is an argument, in seconds of a monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class _Use:
    id_u: bytes
    connections: int
    idle_since_s: float


class Linger:
    """What every (card, instance) that is connected uses."""

    def __init__(self, linger_s: float) -> None:
        self._linger_s = linger_s
        self._uses: dict[tuple[str, bytes], _Use] = {}

    def touched(self, card: str, instance: bytes, id_u: bytes, now_s: float) -> None:
        """The instance was connected or loaded a key just now."""
        use = self._uses.setdefault((card, instance), _Use(id_u, 0, now_s))
        use.idle_since_s = now_s

    def counted(self, card: str, instance: bytes, id_u: bytes, connections: int, now_s: float) -> None:
        """The card counts so many data connections of the instance now."""
        use = self._uses.setdefault((card, instance), _Use(id_u, connections, now_s))
        if use.connections or connections:
            use.idle_since_s = now_s
        use.connections = connections

    def knows(self, card: str, instance: bytes) -> bool:
        """The instance was connected through this broker, or counted, and not released since."""
        return (card, instance) in self._uses

    def forget(self, card: str, instance: bytes | None = None) -> None:
        """The instance was released, or (without one) the card went away."""
        for key in [key for key in self._uses if key[0] == card and instance in (None, key[1])]:
            del self._uses[key]

    def due(self, now_s: float) -> list[tuple[str, bytes, bytes]]:
        """Every (card, instance, its user) whose time is over."""
        return [
            (card, instance, use.id_u)
            for (card, instance), use in self._uses.items()
            if not use.connections and now_s - use.idle_since_s >= self._linger_s
        ]
