"""What holds is on the disk: a snapshot, and a journal of what changed since. Every commit is one write and one sync.

A new snapshot has the next epoch and a journal of its own; the rename that puts it in place is the one step that
decides which pair a start finds. While a snapshot is being written by the side, commits go on in the old journal, and
once more into the new one before the rename.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from vecd.base import durable
from vecd.base.errors import Failed
from vecd.services.guard_parts import journal, register
from vecd.services.guard_parts.entries import Register
from vecd.services.guard_parts.journal import Journal, Operation, Position

# A journal this long, and longer than the snapshot, is worth a new snapshot.
JOURNAL_MIN = 8 << 20

# Called in the loop, it copies what must not change meanwhile; what it returns makes the register of that, anywhere.
Freeze = Callable[[], Callable[[], Register]]


class Store:
    """The files of one register. Nothing here waits but for the disk."""

    def __init__(self, path: Path, epoch: int, position: Position, freeze: Freeze) -> None:
        self.path = path
        # Something holds that the disk does not have: the next commit is a whole snapshot.
        self.behind = False
        self._freeze = freeze
        self._journal = Journal(journal.beside(path, epoch), epoch, position)
        self._snapshot_size = _size(path)
        # Commits since a snapshot is being written by the side; None while none is.
        self._since: list[Operation] | None = None

    def commit(self, operations: Sequence[Operation]) -> None:
        """The operations are on the disk, and whatever was not yet. Raises Failed: then these are not."""
        if self.behind or self._journal.broken:
            self.rewrite()
        elif operations:
            self._journal.append(operations)
            if self._since is not None:
                self._since.extend(operations)

    def rewrite(self) -> None:
        """A new snapshot of what holds now is in place. Raises Failed: then what was before is."""
        self._since = None
        epoch = self._journal.epoch + 1
        whole = replace(self._freeze()(), epoch=epoch)
        text = register.text_of(whole)
        register.write(self.path, text)
        self._put(self.path, Journal.begin(journal.beside(self.path, epoch), epoch), len(text))

    # ---- by the side

    @property
    def due(self) -> bool:
        """A new snapshot would make the next start faster, and none is being written."""
        return self._since is None and self._journal.size > max(JOURNAL_MIN, self._snapshot_size)

    def begin(self) -> Callable[[], int]:
        """A snapshot of what holds now, to be written by calling what is returned, in any thread; then `end`."""
        make, epoch = self._freeze(), self._journal.epoch + 1
        self._since = []
        aside = self._aside

        def write() -> int:
            text = register.text_of(replace(make(), epoch=epoch))
            register.write(aside, text)
            return len(text)

        return write

    def end(self, size: int) -> None:
        """The snapshot that was written is in place, unless a later one is. Raises Failed: then what was before is."""
        since, self._since = self._since, None
        if since is None:
            return
        epoch = self._journal.epoch + 1
        self._put(self._aside, Journal.begin(journal.beside(self.path, epoch), epoch, since), size)

    def give_up(self) -> None:
        """The snapshot that was begun comes to nothing."""
        self._since = None

    @property
    def _aside(self) -> Path:
        return self.path.with_name(self.path.name + ".next")

    def _put(self, written: Path, fresh: Journal, size: int) -> None:
        old = self._journal
        try:
            register.put(written, self.path)
        except Failed:
            fresh.close()
            # Whether a start would find the old pair or the new one, nobody can say: neither is written to any more.
            old.broken = True
            raise
        self._journal, self.behind, self._snapshot_size = fresh, False, size
        old.close()
        with contextlib.suppress(OSError):
            old.path.unlink(missing_ok=True)

    def tidy(self) -> None:
        """What crashes left behind is gone."""
        left = [one for one in journal.all_beside(self.path) if one != self._journal.path]
        for one in [*left, durable.beside(self.path), durable.beside(self._aside)]:
            with contextlib.suppress(OSError):
                one.unlink(missing_ok=True)

    def close(self) -> None:
        """Nothing is written any more."""
        self._journal.close()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
