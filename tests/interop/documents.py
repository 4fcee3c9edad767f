"""What the tests read out of the documents: tables, numbers, worked examples."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
WIRE = (DOCS / "wire.md").read_text()
PROTOCOL = (DOCS / "protocol.md").read_text()


def table(name: str) -> list[list[str]]:
    """The rows of a table of wire.md, as plain text."""
    part = WIRE.split(f"<!-- table: {name} -->", 1)[1].lstrip("\n").split("\n\n", 1)[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines()[2:]]


def _names(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


STATUS = {row[1].strip("`"): int(row[0]) for row in table("statuses")}
REASON = {row[1].strip("`"): int(row[0]) for row in table("reasons")}
RULE = {row[1].strip("`"): int(row[2].removeprefix("R") or 0) for row in table("reasons")}
SENTENCE = {row[1].strip("`"): row[3] for row in table("reasons")}
# The statuses that may come with a reason.
WITH = {reason: set(_names(row[1])) for row in table("refusals") for reason in _names(row[0])}


def code(status: str, reason: str) -> tuple[int, int, int]:
    """Status, rule and reason of a refusal on a data connection."""
    return STATUS[status], RULE[reason], REASON[reason]


def wire_examples() -> list[bytes]:
    """The frames of "Examples"."""
    blocks = re.findall(r"^frame\(.*?\)\n\n((?:[0-9a-f ]+\n)+)", WIRE, re.MULTILINE)
    return [bytes.fromhex("".join(block.split())) for block in blocks]


def worked(name: str) -> bytes:
    """A value of the worked example of protocol.md, by the words before its equals sign."""
    found = re.search(rf"^{re.escape(name)}.*=\n((?: +[0-9a-f]+\n)+)", PROTOCOL, re.MULTILINE)
    assert found, name
    return bytes.fromhex("".join(found[1].split()))
