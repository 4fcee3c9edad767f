"""Search the memory of a process for bytes, from outside, as root can."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PIECE = 1 << 22
_RANGE = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) .*?(\S*)$")


@dataclass(frozen=True)
class Mapping:
    """One row of smaps; `flags` are the two letters of VmFlags: lo locked, dd never dumped, dc not for a child."""

    start: int
    end: int
    readable: bool
    flags: frozenset[str]


@dataclass(frozen=True)
class Search:
    """Where the bytes were found, how much was read, and what the kernel would not show."""

    found: tuple[Mapping, ...]
    read: int
    closed: tuple[Mapping, ...]


def mappings(pid: int) -> list[Mapping]:
    rows: list[Mapping] = []
    at: tuple[int, int, bool] | None = None
    for line in Path(f"/proc/{pid}/smaps").read_bytes().splitlines():
        if match := _RANGE.match(line):
            at = (int(match[1], 16), int(match[2], 16), match[3].startswith(b"r"))
        elif line.startswith(b"VmFlags:") and at is not None:
            rows.append(Mapping(*at, frozenset(line.decode().split()[1:])))
    return rows


def search(pid: int, *needles: bytes) -> Search:
    """Every readable mapping that holds one of the needles."""
    found, closed, read = [], [], 0
    longest = max(map(len, needles))
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for mapping in mappings(pid):
            if not mapping.readable:
                continue
            try:
                at, tail = mapping.start, b""
                while at < mapping.end:
                    memory.seek(at)
                    piece = memory.read(min(PIECE, mapping.end - at))
                    if not piece:
                        break
                    read += len(piece)
                    at += len(piece)
                    window = tail + piece
                    if any(needle in window for needle in needles):
                        found.append(mapping)
                        break
                    tail = window[-longest + 1 :]
            except (OSError, OverflowError):
                closed.append(mapping)
    return Search(tuple(found), read, tuple(closed))
