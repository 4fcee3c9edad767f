"""Signed roots: what a chain had come to, signed with the key of whoever writes it. docs/audit.md, "Roots".

A root names the root before it, so that none can be left out, and the last root of the other side that its writer had
seen (a card: the guard's; the guard has the cards' roots as records), so that neither log can be cut back alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256

from vecd.protocol.encoding import enc, u64
from vecd.protocol.suites import verified

from .records import NOTHING

LABEL = "audit-root"
ID_BYTES = 16
NOTE_MAX = 512
GUARD = "guard"


def card(name: str) -> str:
    """The name of a card's chain."""
    return f"card {name}"


@dataclass(frozen=True, slots=True)
class Witness:
    """A root of the other side: its number and its hash."""

    number: int
    hash: bytes

    def pack(self) -> bytes:
        return u64(self.number) + self.hash


@dataclass(frozen=True, slots=True)
class Root:
    """What a chain had come to at a moment. `sequence` is that of the next record: those before it are covered."""

    chain: str
    id: bytes
    start: int
    number: int
    sequence: int
    value: bytes
    time: int
    previous: bytes
    witness: Witness | None
    key: bytes
    note: str = ""
    signature: bytes = b""

    def body(self) -> bytes:
        """What is signed, under the label "audit-root"."""
        return enc(
            self.chain.encode(),
            self.id,
            u64(self.start),
            u64(self.number),
            u64(self.sequence),
            self.value,
            u64(self.time),
            self.previous,
            self.witness.pack() if self.witness else b"",
            self.key,
            self.note.encode(),
        )

    @property
    def hash(self) -> bytes:
        """By which the next root, and the other side, name it."""
        return sha256(self.body()).digest()

    def signed(self, sign: Callable[[str, bytes], bytes]) -> Root:
        """The same with its signature; `sign` takes label and body."""
        return replace(self, signature=sign(LABEL, self.body()))

    def genuine(self) -> bool:
        """The signature is its key's. Whose key that is, is another question."""
        return verified(self.key, LABEL, self.body(), self.signature)

    def line(self) -> str:
        """One line of a file of roots; a root has one spelling."""
        return (
            json.dumps(
                {
                    "chain": self.chain,
                    "id": self.id.hex(),
                    "start": self.start,
                    "number": self.number,
                    "sequence": self.sequence,
                    "value": self.value.hex(),
                    "time": self.time,
                    "previous": self.previous.hex(),
                    "witness": [self.witness.number, self.witness.hash.hex()] if self.witness else None,
                    "key": self.key.hex(),
                    "note": self.note,
                    "signature": self.signature.hex(),
                },
                separators=(",", ":"),
            )
            + "\n"
        )


def parse(line: str | bytes) -> Root:
    """The root of a line. Raises ValueError for anything that `line()` would not have written."""
    try:
        text = line.decode("ascii") if isinstance(line, bytes) else line
        d = json.loads(text)
        root = Root(
            chain=d["chain"],
            id=bytes.fromhex(d["id"]),
            start=d["start"],
            number=d["number"],
            sequence=d["sequence"],
            value=bytes.fromhex(d["value"]),
            time=d["time"],
            previous=bytes.fromhex(d["previous"]),
            witness=None if d["witness"] is None else Witness(d["witness"][0], bytes.fromhex(d["witness"][1])),
            key=bytes.fromhex(d["key"]),
            note=d["note"],
            signature=bytes.fromhex(d["signature"]),
        )
        numbers = (root.start, root.number, root.sequence, root.time, root.witness.number if root.witness else 0)
        sized = all(type(n) is int and 0 <= n < 2**64 for n in numbers)
        same = sized and root.line() == (text if text.endswith("\n") else text + "\n")
        same = same and len(root.value) == len(root.previous) == len(NOTHING)
        # What is signed is text: another thing has no bytes, and raises here.
        _ = root.chain.encode(), root.note.encode()
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        same = False
    if not same:
        # In words of ours, whatever json and its neighbours found.
        raise ValueError("not a root as we write it")
    return root
