"""The matrices say what the state is: which cell of shm.h a change of the state is, and what stands in it."""

from collections.abc import Callable, Iterable

from vecd.ppm.state import CARD, INSTANCE, MANAGER, USER, Change, R, State, W
from vecd.ppm.state import A as APPEND
from vecd.ppm.state import C as CONNECT
from vecd.services.guard_parts.entries import INSTANCES_MAX, Card, Instance, User
from vecd.shm.layout import Entity
from vecd.shm.writer import Matrices

KINDS = {User: USER, Instance: INSTANCE, Card: CARD}
PUBLISHED = ("live", "level", "M", "b")


class Publication:
    """One state in one memory. `named` gives the registered thing of a name."""

    def __init__(self, matrices: Matrices, state: State, named: Callable[[str], User | Instance | Card]) -> None:
        self._matrices = matrices
        self._state = state
        self._named = named
        # Kind and index by name, also of what ended in the change that is being published.
        self._places: dict[str, tuple[str, int]] = {}

    def cells(self, changes: Iterable[Change]) -> None:
        """The cells that changed are in the memory, all in one bracket of the seqlock."""
        wanted = [change for change in changes if change.table in PUBLISHED]
        if not wanted:
            return
        with self._matrices.change():
            for change in wanted:
                if change.table in ("live", "level"):
                    self._entity(str(change.object))
                else:
                    self._cell(change.table, str(change.subject), str(change.object))

    def whole(self) -> None:
        """The memory of a guard that has just started says what the state is. Nobody reads it yet."""
        state = self._state
        with self._matrices.change():
            for name in state.live:
                if name == MANAGER:
                    continue
                self._entity(str(name))
                kind, index = self._place(str(name))
                self._matrices.store(f"manager_{kind}_m", index, value=state.may(MANAGER, name))
                self._matrices.store(f"manager_{kind}_b", index, value=state.holds(MANAGER, name))
                if kind == INSTANCE:
                    self._matrices.store("user_m", index, value=state.may(state.world[name].owner, name))
            passes = {name: self._passes(str(name)) for name in state.connected}
            for card in state.mapped:
                row = bytearray(INSTANCES_MAX)
                for instance, byte in state.M[card].items():
                    if instance != MANAGER:
                        row[self._places[str(instance)][1]] = byte & passes[instance]
                self._matrices.fill("card_m", self._place(str(card))[1], row)

    def ended(self, names: Iterable[str]) -> None:
        """The names may come back with another index."""
        for name in names:
            self._places.pop(name, None)

    def _place(self, name: str) -> tuple[str, int]:
        if name not in self._places:
            entity = self._named(name)
            self._places[name] = (KINDS[type(entity)], entity.index)
        return self._places[name]

    def _entity(self, name: str) -> None:
        kind, index = self._place(name)
        if name not in self._state.live:
            self._matrices.set_entity(kind, index, None)
            return
        world = self._state.world[name]
        owner = None if world.owner is None else self._place(str(world.owner))[1]
        level = self._state.level[name]
        self._matrices.set_entity(kind, index, Entity(self._named(name).id, level, frozenset(world.may), owner))

    def _cell(self, table: str, subject: str, target: str) -> None:
        kind, index = self._place(target)
        byte = self._state.may(subject, target) if table == "M" else self._state.holds(subject, target)
        column = table.lower()
        if subject == MANAGER:
            self._matrices.store(f"manager_{kind}_{column}", index, value=byte)
        elif kind == INSTANCE:
            self._matrices.store(f"user_{column}", index, value=byte)
            if table == "M":
                for card in list(self._state.granted.get(target, ())):
                    self._access(target, str(card))
        elif table == "M":
            self._access(subject, target)
        else:
            # r, w and a of the slot owner stand in the card word alone.
            self._matrices.store("card_b", index, self._place(subject)[1], value=byte & CONNECT)

    def _access(self, instance: str, card: str) -> None:
        """
        M[i][k] as the card may use it: data go through the instance, so what its user may not put into it (a, w)
        or get out of it (r, w) the card may not take either. The card checks one cell, and it is this one.
        """
        value = self._state.may(instance, card) & self._passes(instance)
        self._matrices.store("card_m", self._place(card)[1], self._place(instance)[1], value=value)

    def _passes(self, instance: str) -> int:
        """What may go through the instance, by the rights of its user on it."""
        owner = self._state.world[instance].owner
        through = self._state.may(owner, instance) if owner is not None else 0
        passes = CONNECT | (W if through & W else 0)
        passes |= APPEND if through & (APPEND | W) else 0
        return passes | (R if through & (R | W) else 0)
