"""How the users of a card share its key slots. Pure.

A guest that connects anew loads its key anew, and the slot that it had stays until its instance lets go of the card.
So of one key a user has a few slots at most, and the oldest gives way: whoever still names its number is told that
there is no such key, which the guest library answers by loading it again. And no user may take so many slots
that nobody else finds one.
"""

from __future__ import annotations

from collections.abc import Iterable

from vecd.base.errors import Exhausted

# As many as a guest has connections before it has proved who it is (broker.per_peer).
COPIES_MAX = 8


def share(slots: int) -> int:
    """How many of the card's key slots one user may have."""
    return max(1, slots // 2)


def giving_way(copies: Iterable[int], held: int, slots: int) -> list[int]:
    """The key numbers that give way to one more slot of a key whose `copies` are loaded; numbers grow with time.

    held: slots of that user in all. Raises Exhausted where the user has its share and no copy can go.
    """
    ordered = sorted(copies)
    at_most = COPIES_MAX if held < share(slots) else min(COPIES_MAX, len(ordered))
    gone = ordered[: max(0, len(ordered) - at_most + 1)]
    if held - len(gone) >= share(slots):
        raise Exhausted(
            f"this user has {held} of the card's {slots} key slots",
            reason=f"one user may have {share(slots)}",
            hint="release a key, or have slots raised in the [[card]] of vecd.toml",
        )
    return gone
