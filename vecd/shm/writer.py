"""The guard's side of the shared memory: the only writer of the matrices, and its steps on the card words.

The guard makes both memories anew at every start, and a new card word whenever a card process says hello: an old word
may have been written off by the card (card.c, Death) and is never used again. The descriptors are passed as they are:
`Matrices.fd` is open for reading only.

Nothing here waits and nothing decides. Busy means: ask again, or use force.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vecd._shm import ffi, lib
from vecd.base import errors
from vecd.base.errors import Internal
from vecd.shm import layout
from vecd.shm.layout import CELLS, KINDS, Entity, Word


def _os_error(status: int, what: str) -> None:
    """Nothing, or the exception of a status, with what the kernel said. Call it right after the C function."""
    if status < 0:
        raise errors.by_status(-status)(f"{what}: {os.strerror(ffi.errno)}")


class Matrices:
    """M, b and the entities, mapped for writing here and for reading only everywhere else."""

    def __init__(self, fd: int, mapping: Any) -> None:
        self._fd = fd
        self._map = mapping
        self._changing = False

    @classmethod
    def create(cls, generation: int, levels: int = 4) -> Matrices:
        """Empty matrices. The generation differs from that of every earlier start. Failed if the kernel refuses."""
        fd, mapping = ffi.new("int *"), ffi.new("struct vec_matrices **")
        _os_error(lib.vec_matrices_create(generation, levels, fd, mapping), "the matrices cannot be made")
        return cls(fd[0], mapping[0])

    @property
    def fd(self) -> int:
        """The descriptor to pass on; open for reading only, and owned by this object."""
        return self._fd

    def close(self) -> None:
        """The mapping and the descriptor are gone; twice is once."""
        if self._map is not None:
            lib.vec_matrices_unmap(self._map)
            os.close(self._fd)
            self._map, self._fd = None, -1

    @contextmanager
    def change(self) -> Iterator[None]:
        """Readers see all of the changes inside, or none. It authorises nothing: that is the card word's."""
        if self._changing:
            raise Internal("the matrices are being changed already")
        mapping = self._live()
        self._changing = True
        lib.vec_matrices_begin(mapping)
        try:
            yield
        finally:
            lib.vec_matrices_end(mapping)
            self._changing = False

    def set_entity(self, kind: str, index: int, entity: Entity | None) -> None:
        """The entity stands there; None clears it. Inside `change`."""
        mapping = self._live()
        if not self._changing:
            raise Internal("entities are changed inside change()")
        self._index(kind, index)
        value = ffi.new("struct vec_entity *")
        value.owner = layout.NONE
        if entity is not None:
            levels = range(1, mapping.levels + 1)
            if len(entity.id) != 16 or entity.level not in levels or not entity.may <= set(levels):
                raise Internal(f"{kind} {index}: this cannot be written: {entity}")
            if (entity.owner is not None) != (kind == "instance"):
                raise Internal(f"{kind} {index}: an instance, and nothing else, has an owner")
            ffi.memmove(value.id, entity.id, 16)
            value.live, value.level = 1, entity.level
            for level in entity.may:
                value.may[level - 1] = 1
            if entity.owner is not None:
                self._index("user", entity.owner)
                value.owner = entity.owner
        lib.vec_entity_store(ffi.addressof(getattr(mapping, kind), index), value)

    def store(self, table: str, *at: int, value: int) -> None:
        """The cell holds the attributes `value`. An Internal for attributes that such a cell never holds."""
        cell = self._cell(table, at)
        if value & ~CELLS[table].attributes:
            raise Internal(f"a cell of {table} never holds {value:#04x}")
        lib.vec_cell_store(cell, value)

    def fill(self, table: str, index: int, row: bytes | bytearray) -> None:
        """The first cells of one row, of a table of rows, hold these. Before anybody reads: it is no atomic store."""
        if len(CELLS[table].kinds) != 2 or len(row) > KINDS[CELLS[table].kinds[1]]:
            raise Internal(f"this is no row of {table}")
        if any(value & ~CELLS[table].attributes for value in set(row)):
            raise Internal(f"a cell of {table} never holds one of {sorted(set(row))}")
        self._index(CELLS[table].kinds[0], index)
        ffi.memmove(getattr(self._live(), table)[index], row, len(row))

    def load(self, table: str, *at: int) -> int:
        """What the cell holds."""
        held: int = lib.vec_cell_load(self._cell(table, at))
        return held

    def _live(self) -> Any:
        if self._map is None:
            raise Internal("the matrices are closed")
        return self._map

    @staticmethod
    def _index(kind: str, index: int) -> None:
        if kind not in KINDS or not 0 <= index < KINDS[kind]:
            raise Internal(f"there is no {kind} {index}")

    def _cell(self, table: str, at: tuple[int, ...]) -> Any:
        if table not in CELLS or len(at) != len(CELLS[table].kinds):
            raise Internal(f"there is no cell {table}{at}")
        where = getattr(self._live(), table)
        for kind, index in zip(CELLS[table].kinds, at, strict=True):
            self._index(kind, index)
        for index in at[:-1]:
            where = where[index]
        return ffi.addressof(where, at[-1])


class CardWord:
    """One card's word in the guard: R1's effect on the card, revocation, settle. The caller holds that card's mutex."""

    def __init__(self, fd: int, mapping: Any) -> None:
        self._fd = fd
        self._map = mapping

    @classmethod
    def create(cls, generation: int = 0) -> CardWord:
        """A new word: free, no owner. Failed if the kernel refuses."""
        fd, mapping = ffi.new("int *"), ffi.new("vec_card_word **")
        _os_error(lib.vec_word_create(generation, fd, mapping), "the card word cannot be made")
        return cls(fd[0], mapping[0])

    @property
    def fd(self) -> int:
        """The descriptor to pass to that one card process; owned by this object."""
        return self._fd

    def close(self) -> None:
        """The mapping and the descriptor are gone; twice is once."""
        if self._map is not None:
            lib.vec_word_unmap(self._map)
            os.close(self._fd)
            self._map, self._fd = None, -1

    def load(self) -> Word:
        """The word as it stands. Integrity if no rule allows it: the card process wrote what it may not."""
        return layout.check(lib.vec_word_load(self._live()))

    def connect(self) -> None:
        """R1, after the matrices were changed: a free card is in control. Busy while q is set."""
        layout.require(lib.vec_card_connect(self._live()), "the card is quiesced")

    def settle(self) -> None:
        """The card is free: map, ctx and out are empty. Denied with a slot owner, Busy while anything is under way."""
        layout.require(lib.vec_card_settle(self._live()), "the card cannot be set free now")

    def revoke_begin(self, instance: int, lost: int) -> Word:
        """After the store to M and b: nothing enters any more. The word before; Busy while the card is in a step."""
        return self._revoke(lib.vec_card_revoke_begin, instance, lost)

    def revoke_force(self, instance: int, lost: int) -> Word:
        """The same over a card that does not finish its step, and an abort. End its process first if it may reply."""
        return self._revoke(lib.vec_card_revoke_force, instance, lost)

    def drained(self) -> bool:
        """Nothing is in flight."""
        return int(lib.vec_card_drained(self._live())) == 0

    def abort(self) -> None:
        """Nothing in flight counts any more. End the card process first: abort stops no thread."""
        lib.vec_card_abort(self._live())

    def revoke_end(self) -> None:
        """Requests may enter again, under the rights that are left. Busy while something is in flight."""
        layout.require(lib.vec_card_revoke_end(self._live()), "the revocation cannot end now")

    def _revoke(self, step: Any, instance: int, lost: int) -> Word:
        before = ffi.new("uint64_t *")
        layout.require(step(self._live(), instance, lost, before), f"instance {instance} cannot lose {lost:#04x} now")
        return layout.decode(before[0])

    def _live(self) -> Any:
        if self._map is None:
            raise Internal("the card word is closed")
        return self._map
