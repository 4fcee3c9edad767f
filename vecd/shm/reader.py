"""Everybody's side of the matrices: a mapping for reading only, and consistent snapshots for display.

A snapshot authorises nothing. Who acts has to enter the card word (card.h).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vecd._shm import ffi, lib
from vecd.base import errors
from vecd.base.errors import Internal
from vecd.shm import layout
from vecd.shm.layout import CELLS, KINDS, Entity


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The matrices at one moment: live entities by index, and every cell that is not empty, by its indices."""

    generation: int
    levels: int
    user: Mapping[int, Entity]
    instance: Mapping[int, Entity]
    card: Mapping[int, Entity]
    cells: Mapping[str, Mapping[tuple[int, ...], int]]

    def cell(self, table: str, *at: int) -> int:
        """The attributes in a cell; 0 for an empty one."""
        return self.cells[table].get(at, 0)


class Matrices:
    """Somebody's matrices, mapped for reading only."""

    def __init__(self, mapping: Any) -> None:
        self._map = mapping

    @classmethod
    def open(cls, fd: int) -> Matrices:
        """The matrices of a descriptor that was passed, which stays the caller's.

        Integrity if they are not sealed, or are no matrices; Version if they are of another version.
        """
        mapping = ffi.new("const struct vec_matrices **")
        status = lib.vec_matrices_open(fd, mapping)
        if status < 0:
            raise errors.by_status(-status)("these are not matrices that a guard sealed")
        return cls(mapping[0])

    def close(self) -> None:
        """The mapping is gone; twice is once."""
        if self._map is not None:
            lib.vec_matrices_unmap(self._map)
            self._map = None

    @property
    def generation(self) -> int:
        """Of the guard's start that made them."""
        value: int = self._live().generation
        return value

    def snapshot(self, tries: int = 100) -> Snapshot:
        """A consistent copy. Busy if the guard was changing them at every try."""
        copy = ffi.new("struct vec_matrices *")
        layout.require(lib.vec_matrices_snapshot(self._live(), copy, tries), "the matrices are being changed")
        return Snapshot(
            generation=copy.generation,
            levels=copy.levels,
            cells={table: _cells(getattr(copy, table), len(row.kinds)) for table, row in CELLS.items()},
            **{kind: _entities(getattr(copy, kind), count, copy.levels) for kind, count in KINDS.items()},
        )

    def _live(self) -> Any:
        if self._map is None:
            raise Internal("the matrices are closed")
        return self._map


def _entities(rows: Any, count: int, levels: int) -> dict[int, Entity]:
    found = {}
    for index in range(count):
        row = rows[index]
        if row.live:
            may = frozenset(level for level in range(1, levels + 1) if row.may[level - 1])
            owner = None if row.owner == layout.NONE else row.owner
            found[index] = Entity(bytes(ffi.buffer(row.id)), row.level, may, owner)
    return found


def _cells(array: Any, dimensions: int) -> dict[tuple[int, ...], int]:
    if dimensions == 1:
        held = bytes(ffi.buffer(array))
        # Most rows are empty: look at single cells only where there is something.
        return {(at,): value for at, value in enumerate(held) if value} if any(held) else {}
    found: dict[tuple[int, ...], int] = {}
    for at, row in enumerate(array):
        found.update({(at, *rest): value for rest, value in _cells(row, dimensions - 1).items()})
    return found
