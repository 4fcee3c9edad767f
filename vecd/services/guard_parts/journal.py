"""The guard's journal: what changed in the register since its last snapshot, one line a commit, in their order.

    crc32 of the rest, 8 hex digits    a space    [number, [operation, ...]]    a newline

The first line has number 0 and names the epoch: the journal belongs to the snapshot of the same epoch and to no other.
A line is written whole and synced before anything in it is answered, so a crash leaves at most one line that is not
whole, the last one, and nobody was told of it: it is cut off. A line that is not whole with good ones behind it is
damage.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vecd.base.durable import sync_folder
from vecd.base.errors import ConfigError, Failed

Operation = Sequence[Any]

_ENCODER = json.JSONEncoder(separators=(",", ":"))
_HEAD = 9


@dataclass(frozen=True, slots=True)
class Position:
    """Where the next line goes: its number, and the offset in the file."""

    number: int = 0
    offset: int = 0


def beside(snapshot: Path, epoch: int) -> Path:
    """The journal of this epoch of a snapshot."""
    return snapshot.with_name(f"{snapshot.stem}.{epoch}.journal")


def all_beside(snapshot: Path) -> list[Path]:
    """Every journal that lies beside a snapshot, of whatever epoch."""
    return sorted(snapshot.parent.glob(f"{snapshot.stem}.*.journal"))


def line(number: int, operations: Sequence[Operation]) -> bytes:
    """One commit, as it is written."""
    text = _ENCODER.encode([number, operations]).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _content(raw: bytes) -> tuple[int, list[list[Any]]] | None:
    """Number and operations of a whole line; None for anything else."""
    if raw[-1:] != b"\n" or len(raw) <= _HEAD or b"%08x " % zlib.crc32(raw[_HEAD:-1]) != raw[:_HEAD]:
        return None
    try:
        content = json.loads(raw[_HEAD:])
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, list) or len(content) != 2 or type(content[0]) is not int:
        return None
    operations = content[1]
    whole = isinstance(operations, list) and all(isinstance(one, list) and one for one in operations)
    return (content[0], operations) if whole else None


def lines(path: Path, epoch: int) -> Iterator[tuple[int, list[list[Any]], Position]]:
    """(line of the file, operations, where the next line goes) of each commit. Raises ConfigError for damage."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", reason="the journal cannot be read") from None
    *whole, rest = data.split(b"\n")
    raw = [one + b"\n" for one in whole] + ([rest] if rest else [])
    offset = 0
    for at, one in enumerate(raw):
        content = _content(one)
        if content is None:
            if any(_content(later) for later in raw[at + 1 :]):
                raise _damaged(path, at + 1, "the line is not what its checksum says, and others follow")
            return
        number, operations = content
        if number != at:
            raise _damaged(path, at + 1, f"commit {number} stands where {at} belongs")
        if at == 0 and operations != [["epoch", epoch]]:
            raise _damaged(path, 1, "it belongs to another snapshot")
        offset += len(one)
        yield at + 1, operations if at else [], Position(number + 1, offset)


def _damaged(path: Path, at: int, what: str) -> ConfigError:
    return ConfigError(
        f"{path}, line {at}: {what}",
        reason="the stored policy is damaged",
        hint="restore the guard's folder from a backup, or move it away to start with no guests at all",
    )


class Journal:
    """The journal of one epoch, open for appending. After a failure it is broken: the next commit is a snapshot."""

    def __init__(self, path: Path, epoch: int, position: Position) -> None:
        self.path = path
        self.epoch = epoch
        self.position = position
        self.broken = False
        self._fd = -1

    @property
    def size(self) -> int:
        """Bytes that a start has to read."""
        return self.position.offset

    @classmethod
    def begin(cls, path: Path, epoch: int, operations: Sequence[Operation] = ()) -> Journal:
        """A new journal with these operations already in it, on the disk. Raises Failed."""
        path.unlink(missing_ok=True)
        journal = cls(path, epoch, Position())
        journal._write(
            line(0, [["epoch", epoch]]) + (line(1, operations) if operations else b""), 2 if operations else 1
        )
        try:
            sync_folder(path.parent)
        except OSError as error:
            raise _failed(path, error) from None
        return journal

    def append(self, operations: Sequence[Operation]) -> None:
        """The commit is on the disk. Raises Failed: then nothing of it is there, or the journal is broken."""
        if self.broken:
            raise Failed(f"{self.path} cannot be written", reason="an earlier write came to nothing")
        if not self.position.number:
            self._write(line(0, [["epoch", self.epoch]]), 1)
        self._write(line(self.position.number, operations), self.position.number + 1)

    def _write(self, data: bytes, number: int) -> None:
        try:
            if self._fd < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                self._fd = os.open(self.path, flags, 0o600)
                # A line that a crash left half, of which nobody was told.
                os.ftruncate(self._fd, self.position.offset)
            rest, at = memoryview(data), self.position.offset
            while rest:
                written = os.pwrite(self._fd, rest, at)
                rest, at = rest[written:], at + written
        except OSError as error:
            self._take_back()
            raise _failed(self.path, error) from None
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            # What the disk has of it now, nobody can say.
            self.broken = True
            raise _failed(self.path, error) from None
        self.position = Position(number, self.position.offset + len(data))

    def _take_back(self) -> None:
        """What was begun is cut off; where not even that can be made sure of, the file is not used any more."""
        try:
            if self._fd >= 0:
                os.ftruncate(self._fd, self.position.offset)
                os.fdatasync(self._fd)
        except OSError:
            self.broken = True

    def close(self) -> None:
        """Nothing more is appended; what was is there."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1


def _failed(path: Path, error: OSError) -> Failed:
    return Failed(
        f"{path} cannot be written: {error.strerror}",
        reason="a change that would be forgotten is not made",
        hint=f"make room in {path.parent}",
    )
