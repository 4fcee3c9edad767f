"""Who writes a log: records into segments, roots over them, and the end of old ones. docs/audit.md, "Files".

One thread at a time. Records are on the disk before the root over them is signed, so a root never speaks of what a
power failure could have taken. What could not be written stays here, in order, until it can be.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vecd.base.durable import sync_folder

from .files import KEYS, RECORDS, ROOTS, keys, segments, stem
from .records import NOTHING, Format
from .roots import ID_BYTES, NOTE_MAX, Root, Witness, parse
from .verify import FIRST, Segment, Verifier

SEGMENT_BYTES = 2 << 20
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Begun:
    """How a process found its log: where it goes on, and what was wrong with it."""

    sequence: int
    value: bytes
    # Why this is a new chain; "" where the old one is continued.
    anew: str = ""
    # The process before did not stop by will; so many bytes of its last record were there.
    unclean: bool = False
    torn: int = 0


class Keeper:
    """The log of one chain, from `begin` on. What writes raises OSError, and can be called again."""

    def __init__(
        self,
        directory: Path,
        chain: str,
        form: Format,
        *,
        keep_bytes: int,
        segment_bytes: int = SEGMENT_BYTES,
        draw: Callable[[int], bytes] = os.urandom,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._directory, self._chain, self._form = directory, chain, form
        self._most, self._segment_bytes = keep_bytes, segment_bytes
        self._draw, self._clock = draw, clock
        self._id = b""
        self.start = int.from_bytes(draw(8), "big")
        # The last root; None before the first one of a new chain.
        self.root: Root | None = None
        self._records = self._roots = -1
        self._first = 0
        # Of the open file of records: its size, and up to where its records are whole.
        self._size = self._whole = 0
        self._waiting = bytearray()
        # Next sequence and chain value behind what is in the file, and behind each stretch that waits, by its end.
        self._out: tuple[int, bytes] = (0, NOTHING)
        self._marks: list[tuple[int, int, bytes, bytes]] = []
        # Files whose removal is on record, and goes ahead once that is signed.
        self._doomed: list[Path] = []

    # ---- the beginning

    def begin(self, *, expected: bool) -> Begun:
        """The log goes on where it ended; what cannot be continued was moved away. A new chain wants a root first.

        expected: there has been a log here before, so that none is a fault.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = segments(self._directory)
        if not found:
            return self._anew("the log was missing" if expected else FIRST, 0)
        last = found[-1]
        tail = self._tail(last)
        report = Verifier(self._chain, self._form).run([tail])
        # Whether segments before this one are missing, `vecctl log verify` says: that finding names no file.
        wrong = [one for one in report.findings if one.file and "anew" not in one.what]
        if wrong:
            signed = [root.sequence for root in _readable(last.roots() or b"")]
            self._move_away()
            return self._anew(f"{wrong[0].file}: {wrong[0].what}", max(last.first, report.end, *signed, 0) + 1)
        return self._continue(last, tail)

    def _tail(self, last: Segment) -> Segment:
        """The end of the last segment, as a segment: it begins at the last whole root, if what stands before is what
        that root was signed over. A second's work, of which a whole segment has any number."""
        roots, data = last.roots() or b"", last.records() or b""
        lines = roots.splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n")]
        try:
            opening = parse(whole[-1] if len(whole) > 1 else b"")
        except ValueError:
            return last
        before, rest = self._form.behind(data, opening.sequence - last.first)
        if opening.sequence > last.first and (before is None or before.value != opening.value):
            return last
        kept = b"".join(lines[len(whole) - 1 :])
        return Segment(opening.sequence, last.records_name, last.roots_name, lambda: rest, lambda: kept)

    def _continue(self, last: Segment, tail: Segment) -> Begun:
        roots, data = tail.roots() or b"", tail.records() or b""
        lines = roots[: roots.rfind(b"\n") + 1].splitlines()
        self.root = parse(lines[-1])
        self._id = self.root.id
        entries, torn = self._form.split(data)
        sequence, value, content = tail.first, parse(lines[0]).value, b""
        for entry in entries:
            sequence, value, content = entry.number + 1, entry.value, entry.content
        if sequence == tail.first:
            before, _ = self._form.behind(last.records() or b"", sequence - last.first)
            content = before.content if before else b""
        self._open(last.first)
        whole = last.roots() or b""
        os.ftruncate(self._roots, whole.rfind(b"\n") + 1)
        self._size = self._whole = self._size - torn
        os.ftruncate(self._records, self._whole)
        self._out = (sequence, value)
        # A segment that was just begun: what came before is signed, but how it ended stands in another file.
        stopped = self._form.stops(content) if content else False
        clean = stopped and self.root.sequence == sequence
        return Begun(sequence, value, "", not clean, torn)

    def _anew(self, why: str, sequence: int) -> Begun:
        self._id, self.root = self._draw(ID_BYTES), None
        self._out = (sequence, NOTHING)
        return Begun(sequence, NOTHING, why[:NOTE_MAX])

    def _move_away(self) -> None:
        away = self._directory / f"damaged-{self._clock()}"
        away.mkdir(mode=0o700)
        for path in list(self._directory.iterdir()):
            if path.suffix in (RECORDS, ROOTS):
                path.rename(away / path.name)
        sync_folder(self._directory)

    def _open(self, first: int) -> None:
        self.close()
        self._first = first
        path = self._directory / stem(first)
        self._records = os.open(path.with_name(path.name + RECORDS), _FLAGS, 0o600)
        self._roots = os.open(path.with_name(path.name + ROOTS), _FLAGS, 0o600)
        self._size = self._whole = os.fstat(self._records).st_size

    def close(self) -> None:
        """The files are closed; what waits is given up."""
        for descriptor in (self._records, self._roots):
            if descriptor >= 0:
                os.close(descriptor)
        self._records = self._roots = -1

    def owner(self, key: bytes, **more: str) -> None:
        """keys.json names this key, with whatever shows whose it is."""
        row = {"key": key.hex(), **more}
        known = list(keys(self._directory))
        if row in known:
            return
        fresh = self._directory / f".{KEYS}.new"
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, _FLAGS | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(json.dumps({"schema": 1, "keys": [*known, row]}, indent=1).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(self._directory / KEYS)
        sync_folder(self._directory)

    # ---- records

    def add(self, records: bytes, sequence: int, value: bytes) -> None:
        """Whole records, the last of this sequence and chain value, go with the next `write`."""
        self._waiting += records
        self._marks.append((self._size + len(self._waiting), sequence + 1, value, records))

    @property
    def waiting(self) -> int:
        """Bytes that are not in the file yet."""
        return len(self._waiting)

    @property
    def segment(self) -> int:
        """The first sequence of the open segment."""
        return self._first

    @property
    def end(self) -> int:
        """The sequence behind the last record that was handed in."""
        return self._marks[-1][1] if self._marks else self._out[0]

    def write(self) -> None:
        """What waits is in the file, though perhaps not on the disk."""
        while self._waiting:
            done = os.write(self._records, self._waiting)
            del self._waiting[:done]
            self._size += done
            while self._marks and self._marks[0][0] <= self._size:
                self._whole, sequence, value, _ = self._marks.pop(0)
                self._out = (sequence, value)

    def drop(self) -> tuple[int, bytes, bytes]:
        """What waits is given up: sequence and chain value to go on from, and the records that are lost."""
        lost = b"".join(mark[3] for mark in self._marks)
        os.ftruncate(self._records, self._whole)
        self._size = self._whole
        self._waiting.clear()
        self._marks.clear()
        return *self._out, lost

    # ---- roots

    def prepare(self, key: bytes, witness: Witness | None, note: str = "") -> Root:
        """Everything that was handed in is on the disk; the root over it, to be signed."""
        self.write()
        if self._records >= 0:
            os.fdatasync(self._records)
        before = self.root
        return Root(
            chain=self._chain,
            id=self._id,
            start=self.start,
            number=before.number + 1 if before else 0,
            sequence=self._out[0],
            value=self._out[1],
            time=self._clock(),
            previous=before.hash if before else NOTHING,
            witness=witness,
            key=key,
            note=note[:NOTE_MAX],
        )

    def keep(self, root: Root, *, last: bool = False) -> None:
        """The signed root of `prepare` is on the disk, and a new segment is begun where this one is full.

        last: the process ends, so that its last record stays the last of a segment.
        """
        if self._roots < 0:
            self._begin_segment(root)
        else:
            self._append(root)
        self.root = root
        for path in self._doomed:
            path.unlink(missing_ok=True)
        self._doomed.clear()
        if self._whole >= self._segment_bytes and not last:
            self._begin_segment(root)

    def _append(self, root: Root) -> None:
        size, line = os.fstat(self._roots).st_size, root.line().encode()
        try:
            if os.write(self._roots, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fdatasync(self._roots)
        except OSError:
            # Half a root is none.
            os.ftruncate(self._roots, size)
            raise

    def _begin_segment(self, root: Root) -> None:
        path = self._directory / (stem(root.sequence) + ROOTS)
        fresh = path.with_name(f".{path.name}.new")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, _FLAGS | os.O_EXCL, 0o600)
        try:
            line = root.line().encode()
            if os.write(descriptor, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        fresh.rename(path)
        self._open(root.sequence)
        sync_folder(self._directory)

    # ---- the end of old ones

    def surplus(self) -> int | None:
        """The first sequence that shall be left, where the log is longer than it may be. The caller puts that on
        record; the files go with the next root."""
        if self._doomed:
            return None
        sizes = {path: path.stat().st_size for path in self._directory.iterdir() if path.suffix in (RECORDS, ROOTS)}
        total, firsts = sum(sizes.values()), sorted({int(path.stem) for path in sizes})
        left = 0
        # The open one stays whatever it takes.
        while total > self._most and left < len(firsts) - 1:
            old = [path for path in sizes if int(path.stem) == firsts[left]]
            total -= sum(sizes[path] for path in old)
            self._doomed += old
            left += 1
        return firsts[left] if left else None


def _readable(data: bytes) -> list[Root]:
    found = []
    for text in data.splitlines():
        try:
            found.append(parse(text))
        except ValueError:
            break
    return found
