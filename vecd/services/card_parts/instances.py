"""What a card process knows of the instances it serves: who they are, their keys, their runs that are attached.

Pure bookkeeping beside the pump, which alone decides what happens to a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vecd.base.errors import Denied
from vecd.wire import ops

NOT_CONNECTED = ops.REASONS["NOT_CONNECTED"]


@dataclass
class Instance:
    """An instance that holds c on this card, as the guard told."""

    index: int
    id: bytes
    user: bytes
    name: str
    keys: set[int] = field(default_factory=set)
    # Runs with a data connection, oldest first.
    attached: list[bytes] = field(default_factory=list)
    connections: int = 0


class Instances:
    """By index, as the matrices have them."""

    def __init__(self) -> None:
        self._all: dict[int, Instance] = {}

    def connect(self, index: int, id: bytes, user: bytes, name: str) -> Instance:
        """The instance holds c; one that does so already stays as it is."""
        known = self._all.get(index)
        if known is None or (known.id, known.user) != (id, user):
            self._all[index] = Instance(index, id, user, name)
        return self._all[index]

    def drop(self, index: int) -> Instance | None:
        """The instance holds nothing here any more; who it was."""
        return self._all.pop(index, None)

    def get(self, index: int) -> Instance | None:
        return self._all.get(index)

    def named(self, id: bytes, user: bytes) -> Instance:
        """The instance of this id, if it is this user's. Raises Denied (R1) when it is not connected here."""
        for instance in self._all.values():
            if instance.id == id and instance.user == user:
                return instance
        rule = f"R{NOT_CONNECTED.rule}"
        raise Denied("the key cannot be bound", rule=rule, reason=NOT_CONNECTED.sentence, subject=id.hex())

    def owners(self) -> Mapping[bytes, bytes]:
        """Each instance's user, by ids."""
        return {instance.id: instance.user for instance in self._all.values()}

    def all(self) -> list[Instance]:
        return list(self._all.values())

    def counted(self, index: int, connections: int) -> tuple[Instance, list[bytes]] | None:
        """The instance has so many data connections now; with it, the runs whose connections must have ended.

        Which connection ended is not told, so the oldest runs go: all that a run without a connection could
        still do is to release, and a fresh run does that as well.
        """
        instance = self._all.get(index)
        if instance is None:
            return None
        instance.connections = connections
        surplus = max(0, len(instance.attached) - max(connections, 0))
        ended, instance.attached = instance.attached[:surplus], instance.attached[surplus:]
        return instance, ended
