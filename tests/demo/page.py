"""What `make demo` shows: a page that somebody understands who has never heard of this project."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

PAPER_MS = 3648  # start-up of one virtual machine in Xu et al. 2017, section V: "about 3,648 ms"

STEPS = {
    "1": "guest asks: who are you, card?",
    "2": "card answers, signed",
    "3": "broker carries both to the authority",
    "4": "authority checks both, signs one statement",
    "5": "card accepts the statement",
    "6": "guest gets the same statement",
    "7": "guest seals its key to that card alone",
    "8": "card opens it, shows what it holds",
    "9": "broker carries that to the authority",
    "10": "authority compares, numbers the key",
    "11": "card puts the key into service",
    "12": "guest gets the key's number",
}


LONG_HEX = re.compile(r"([0-9a-f]{12})[0-9a-f]{20,}")

REFUSED_BY = """\
  Each refusal names a rule of the reference monitor (R1 to R12), or the check that failed: of a start-up's message, by
  its number above, of a registration's, of a data connection (attach), of a key number, a tag or the boot. The code is
  the status that the caller is answered."""

FILES_ARE = """\
  Each came back from the card byte for byte, and so it did from the decryption named last: outside of the card, with
  the tenant's own copy of its key."""


def section(title: str) -> None:
    print(f"\n{title}\n{'-' * len(title)}")


def say(text: str = "") -> None:
    print(text, flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[int] = ()) -> None:
    """Columns as wide as their widest cell; those in `right` are aligned to the right."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        line = "  ".join(
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print(f"  {line.rstrip()}")


def refusal(number: int, entry: Mapping[str, Any]) -> None:
    """What was tried, who said no and why; of a register's value the beginning will do."""
    reason = LONG_HEX.sub(r"\1...", entry["reason"])
    print(f"  {number}. {entry['what']}")
    print(f"     refused by {entry['rule']} (code {entry['code']}): {reason}", flush=True)
    if said := entry.get("explained"):
        print(f"     {said['command']} says: {', '.join(said['reads'])}; next: {said['next']}")


def start_up(startup_ms: Mapping[str, Any]) -> None:
    rows = [[number, text, f"{startup_ms[number]:.2f}"] for number, text in STEPS.items()]
    total = startup_ms["total"]
    rows.append(["", f"messages 1-12 as a guest sees them, p50 of {total['runs']}", f"{total['p50']:.2f}"])
    rows.append(["", "the paper's virtual machine (2017, another machine)", f"{PAPER_MS:,}"])
    table(("message", "what happens", "ms"), rows, right=(0, 2))
