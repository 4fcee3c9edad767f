"""A log as it lies on the disk: a directory of segments, NUMBER.records and NUMBER.roots, and keys.json beside them.

docs/audit.md, "Files". Reading only; keeper.py writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from vecd.base.errors import Failed

from .verify import Segment

RECORDS, ROOTS, KEYS = ".records", ".roots", "keys.json"
_NAME = re.compile(r"(\d{20})\.(records|roots)")


def stem(first: int) -> str:
    """The name of a segment's files, without what follows the dot."""
    return f"{first:020d}"


def _reader(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Failed(
            f"{path} cannot be read", reason=error.strerror or "", hint="be root, or the log's owner"
        ) from None


def segments(directory: Path) -> list[Segment]:
    """The log of a directory, in order. Raises Failed where it cannot be read."""
    try:
        return segments_of(sorted(directory.iterdir()))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Failed(f"{directory} cannot be read", reason=error.strerror or "", hint="be root") from None


def segments_of(paths: Iterable[Path]) -> list[Segment]:
    """The segments that these files make; other names are not ours."""
    known = {path.name: path for path in paths if _NAME.fullmatch(path.name)}
    firsts = sorted({int(name[:20]) for name in known})
    return [_segment(first, known) for first in firsts]


def _segment(first: int, known: dict[str, Path]) -> Segment:
    records, roots = known.get(stem(first) + RECORDS), known.get(stem(first) + ROOTS)
    return Segment(
        first,
        str(records or stem(first) + RECORDS),
        str(roots or stem(first) + ROOTS),
        lambda: _reader(records),
        lambda: _reader(roots),
    )


def keys(directory: Path) -> Sequence[dict[str, str]]:
    """The keys that signed here, oldest first, as their owner wrote them down: key, and a card's certificate and id."""
    try:
        found = json.loads((directory / KEYS).read_bytes())["keys"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    rows = found if isinstance(found, list) else []
    return [row for row in rows if isinstance(row, dict) and all(isinstance(x, str) for x in row.values())]
