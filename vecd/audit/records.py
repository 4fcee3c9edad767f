"""Records of the two kinds of chain, byte for byte, and the hash that chains them. docs/audit.md, "The card's chain"
and "The guard's chain".

A card's record is 64 bytes, made in C (cext/include/vec/audit.h, which a test holds equal to this file). The guard's
is a line of JSON whose last member is the chain value over everything before it.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from enum import IntEnum, IntFlag
from hashlib import sha256
from typing import Any, NamedTuple

VALUE_BYTES = 32
# The chain value before the first record.
NOTHING = bytes(VALUE_BYTES)
FACTS_BYTES, RECORD_BYTES = 32, 64
NOBODY = 0xFFF

_FACTS = struct.Struct("<QQQHBBHH")
GENERATION_SHIFT = 30


class Kind(IntEnum):
    """VEC_AUDIT_* of enum vec_audit_kind."""

    TURN = 1
    KEY = 2
    CLEAN = 3
    BIND = 4
    QUIESCE = 5
    DROP = 6
    START = 16
    STOP = 17
    REMOVED = 18
    LOST = 19


# Of these `word` is a number and not the card word.
NUMBERS = {Kind.START: "start", Kind.STOP: "", Kind.REMOVED: "first", Kind.LOST: "turns"}


class Flag(IntFlag):
    """VEC_AUDIT_* of the flags."""

    SWITCHED = 1
    WORKED = 2
    WIPED = 4
    READ_BACK = 8
    CUT = 16
    OUT_OF_SERVICE = 32
    ANEW = 64
    UNCLEAN = 128


class Facts(NamedTuple):
    """One record of a card, as struct vec_audit_facts has it."""

    sequence: int
    time: int
    word: int
    instance: int
    kind: int
    flags: int
    requests: int = 0
    refused: int = 0

    @property
    def generation(self) -> int:
        """Of the card word after it."""
        return self.word >> GENERATION_SHIFT

    def pack(self) -> bytes:
        """The 32 bytes that are hashed."""
        return _FACTS.pack(*self)

    def to_dict(self) -> dict[str, Any]:
        """For people and programs, with names for kind and flags."""
        known = self.kind in Kind.__members__.values()
        number = NUMBERS.get(Kind(self.kind)) if known else None
        meaning = {"generation": self.generation} if number is None else {number: self.word} if number else {}
        return {
            "sequence": self.sequence,
            "time": self.time,
            "kind": Kind(self.kind).name.lower() if known else f"kind {self.kind}",
            "instance": None if self.instance == NOBODY else self.instance,
            "flags": [flag.name.lower() for flag in Flag if self.flags & flag and flag.name],
            "requests": self.requests,
            "refused": self.refused,
            **meaning,
        }


def facts_of(record: bytes) -> Facts:
    """The facts of 64 (or 32) bytes."""
    return Facts(*_FACTS.unpack_from(record))


def after(value: bytes, content: bytes) -> bytes:
    """The chain value behind `value` and this content."""
    return sha256(value + content).digest()


class Entry(NamedTuple):
    """One record where it stands: what is hashed, the chain value beside it, and why it is none, if it is none."""

    number: int
    content: bytes
    value: bytes
    wrong: str = ""


# What stands between the content of a guard's line and its chain value, and behind it.
_CHAIN, _END = b',"chain":"', b'"}'
_SEQ = re.compile(rb'\{"seq":(0|[1-9][0-9]{0,18}),')
_TAIL = len(_CHAIN) + 2 * VALUE_BYTES + len(_END)


def line(content: str, value: bytes) -> str:
    """The guard's line: `content` is a JSON object without its last brace."""
    return f'{content},"chain":"{value.hex()}"}}\n'


def members(content: bytes) -> dict[str, Any]:
    """The members of a guard's record. Raises ValueError for what is no object."""
    try:
        found = json.loads(content + b"}")
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


class CardFormat:
    """The records of a card."""

    name = "card"

    @staticmethod
    def split(data: bytes) -> tuple[Iterator[Entry], int]:
        """The whole records in these bytes, and how many bytes of one more."""
        whole = len(data) // RECORD_BYTES

        def entries() -> Iterator[Entry]:
            for at in range(0, whole * RECORD_BYTES, RECORD_BYTES):
                number = int.from_bytes(data[at : at + 8], "little")
                yield Entry(number, data[at : at + FACTS_BYTES], data[at + FACTS_BYTES : at + RECORD_BYTES])

        return entries(), len(data) - whole * RECORD_BYTES

    @staticmethod
    def behind(data: bytes, count: int) -> tuple[Entry | None, bytes]:
        """The last of so many records, if they are there, and what stands behind it."""
        at = count * RECORD_BYTES
        before = list(CardFormat.split(data[at - RECORD_BYTES : at])[0]) if count else []
        return before[0] if before else None, data[at:]

    @staticmethod
    def stops(content: bytes) -> bool:
        """The record with which a process ends."""
        return facts_of(content).kind == Kind.STOP


class GuardFormat:
    """The records of the guard."""

    name = "guard"

    @staticmethod
    def split(data: bytes) -> tuple[Iterator[Entry], int]:
        """The whole lines in these bytes, and how many bytes of one more."""
        end = data.rfind(b"\n") + 1
        lines = data[:end].split(b"\n")[:-1]
        return map(GuardFormat._entry, lines), len(data) - end

    @staticmethod
    def behind(data: bytes, count: int) -> tuple[Entry | None, bytes]:
        """The last of so many lines, if they are there, and what stands behind it."""
        parts = data.split(b"\n", count)
        before = GuardFormat._entry(parts[count - 1]) if 0 < count < len(parts) else None
        return before, parts[count] if count < len(parts) else b""

    @staticmethod
    def stops(content: bytes) -> bool:
        """The record with which a process ends."""
        return bool(members(content).get("what") == "stop")

    @staticmethod
    def _entry(text: bytes) -> Entry:
        content, tail = text[:-_TAIL], text[-_TAIL:]
        hexed = tail[len(_CHAIN) : -len(_END)]
        if not (tail.startswith(_CHAIN) and tail.endswith(_END)):
            return Entry(-1, text, b"", "the line does not end with its chain value")
        try:
            value = bytes.fromhex(hexed.decode("ascii"))
        except ValueError:
            return Entry(-1, content, b"", "the line does not end with its chain value")
        begins = _SEQ.match(content)
        # One value has one spelling.
        if begins is None or value.hex().encode() != hexed:
            return Entry(-1, content, b"", "the line is no record of ours")
        return Entry(int(begins[1]), content, value)


Format = type[CardFormat] | type[GuardFormat]
