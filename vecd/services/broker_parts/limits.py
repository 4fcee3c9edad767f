"""How many strangers may stand at the door: connections that have not proved who they are.

At most 8 per peer (a peer is a listener, which `guest add` pinned to one user) and 512 in all. At a limit the
oldest connection that has not said one whole frame yet makes room: a guest proves itself within milliseconds, so
whoever holds connections open and says nothing loses them, and 600 silent ones keep nobody out. Where everybody
waiting has spoken, the newcomer is refused. Pure: no socket, no clock; arrival order is the age.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

PER_PEER = 8
IN_ALL = 512
PROVEN_PER_PEER = 64


@dataclass(eq=False)
class Knock:
    """One connection, from its arrival on."""

    peer: str
    spoke: bool = field(default=False)
    proven: bool = field(default=False)


class Limits:
    """Everybody who is connected to the broker's guest side."""

    def __init__(self, per_peer: int = PER_PEER, in_all: int = IN_ALL, proven_per_peer: int = PROVEN_PER_PEER) -> None:
        self._per_peer = per_peer
        self._in_all = in_all
        self._proven_per_peer = proven_per_peer
        self._waiting: dict[Knock, None] = {}
        self._proven: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        """Connections that have not proved who they are."""
        return len(self._waiting)

    def admit(self, peer: str) -> tuple[Knock | None, Knock | None]:
        """(the newcomer or None when it is refused, whoever has to make room for it or None)."""
        of_peer = [knock for knock in self._waiting if knock.peer == peer]
        evicted = None
        if len(of_peer) >= self._per_peer:
            evicted = next((knock for knock in of_peer if not knock.spoke), None)
            if evicted is None:
                return None, None
        elif len(self._waiting) >= self._in_all:
            evicted = self._oldest_silent_of_the_loudest()
            if evicted is None:
                return None, None
        if evicted is not None:
            del self._waiting[evicted]
        knock = Knock(peer)
        self._waiting[knock] = None
        return knock, evicted

    def proved(self, knock: Knock) -> bool:
        """The connection proved who it is; False: its peer has too many proven ones and it must go."""
        if knock.proven:
            return True
        if self._proven[knock.peer] >= self._proven_per_peer:
            return False
        self._waiting.pop(knock, None)
        self._proven[knock.peer] += 1
        knock.proven = True
        return True

    def gone(self, knock: Knock) -> None:
        """The connection is closed; harmless when it was evicted before."""
        self._waiting.pop(knock, None)
        if knock.proven:
            knock.proven = False
            self._proven[knock.peer] -= 1
            if not self._proven[knock.peer]:
                del self._proven[knock.peer]

    def _oldest_silent_of_the_loudest(self) -> Knock | None:
        silent = Counter(knock.peer for knock in self._waiting if not knock.spoke)
        if not silent:
            return None
        loudest = silent.most_common(1)[0][0]
        return next(knock for knock in self._waiting if knock.peer == loudest and not knock.spoke)
