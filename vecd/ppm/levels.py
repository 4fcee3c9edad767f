"""
The levels of the model: L1 > L2 > ... > Lp, and which of them an entity may take.

A level is its number, so the *highest* level is the *smallest* number. Nobody
outside this file compares levels with < or >: `dominates(f, g)` reads as the
model writes it, f >= g. (docs/model.md, "Elements".)
"""

from dataclasses import dataclass

TOP = 1
"""L1: the manager alone."""

USING = 2
"""L2: a card that works on private data."""

FIRST_INSTANCE = 3
"""L3: the highest level of users, instances and cards in control."""

Level = int


def dominates(high: Level, low: Level) -> bool:
    """f(high) >= f(low) in the order of the model."""
    return high <= low


@dataclass(frozen=True, slots=True)
class Levels:
    """How many levels there are, and the sets that follow from it. Raises ValueError below four."""

    count: int

    def __post_init__(self) -> None:
        if type(self.count) is not int or self.count < 4:
            raise ValueError(
                f"the model needs at least 4 levels, not {self.count!r}: manager, card using, instances, free cards"
            )

    @property
    def free(self) -> Level:
        """Lp: free cards."""
        return self.count

    @property
    def instance(self) -> frozenset[Level]:
        """IL = {L3 .. L(p-1)}: users, instances and cards in control."""
        return frozenset(range(FIRST_INSTANCE, self.count))

    @property
    def lowest_instance(self) -> Level:
        """Where a card in control stands when nobody has the slot."""
        return self.count - 1

    @property
    def card(self) -> frozenset[Level]:
        """f_v of every card: {L2, Lp} and the instance levels. Without the latter no card could be in control (H11)."""
        return self.instance | {USING, self.free}
