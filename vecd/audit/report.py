"""What the verifier takes and what it answers: segments in, a report with its findings out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong where, what was expected there, and what to do next."""

    file: str
    record: int | None
    what: str
    expected: str = ""
    found: str = ""
    next: str = "keep all files as they are, and compare them with your copies: records behind a finding prove nothing"

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Segment:
    """One pair of files, by the sequence of its first record; None for a file that is not there."""

    first: int
    records_name: str
    roots_name: str
    records: Callable[[], bytes | None]
    roots: Callable[[], bytes | None]


@dataclass(slots=True)
class HandOver:
    """From the last record of one instance to the first of the next."""

    last: int
    first: int
    before: int
    after: int

    def to_dict(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class Report:
    """What was found in one chain. Empty `findings` is a yes."""

    chain: str
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    records: int = 0
    first: int | None = None
    # The sequence behind the last record, and behind the last one that is signed.
    end: int = 0
    signed: int = 0
    since: int = 0
    until: int = 0
    signed_at: int = 0
    segments: int = 0
    roots: int = 0
    decisions: int = 0
    turns: int = 0
    requests: int = 0
    refused: int = 0
    switches: int = 0
    hand_overs: int = 0
    # Those that were asked for.
    kept: list[HandOver] = field(default_factory=list)
    keys: dict[bytes, int] = field(default_factory=dict)
    # Roots of this chain by number, and what it says of the other side: (record or root number, chain, witness).
    hashes: dict[int, bytes] = field(default_factory=dict)
    seen: list[tuple[int, str, int, bytes]] = field(default_factory=list)
    # Of a guard's chain: the chains of cards that had a process, and names of instances by index, as R1 says them.
    spoken: set[str] = field(default_factory=set)
    names: dict[int, str] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        return not self.findings

    def to_dict(self) -> dict[str, Any]:
        """For --json."""
        numbers = (
            "records first end signed since until signed_at segments roots "
            "decisions turns requests refused switches hand_overs"
        )
        return {
            "chain": self.chain,
            "good": self.good,
            **{name: getattr(self, name) for name in numbers.split()},
            "keys": [key.hex() for key in self.keys],
            "findings": [one.to_dict() for one in self.findings],
            "notes": self.notes,
        }
