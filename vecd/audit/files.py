"""A log as it lies on the disk: a directory of segments, NUMBER.records and NUMBER.roots, and keys.json beside them.

docs/audit.md, "Files". Reading only; keeper.py writes. Whoever may write there may have put anything in the place of a
file: what is no plain file is not waited for, and a link is not followed.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from vecd.base.errors import Caller, Failed, Malformed, VecError

from .report import Segment

RECORDS, ROOTS, KEYS = ".records", ".roots", "keys.json"
_NAME = re.compile(r"(\d{20})\.(records|roots)")
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

# Why something cannot be read: the class of the error, and what to do about it.
_OWNER = "be root, or the log's owner"
_UNREADABLE: dict[int | None, tuple[type[VecError], str]] = {
    errno.EACCES: (Caller, _OWNER),
    errno.EPERM: (Caller, _OWNER),
    errno.ELOOP: (Failed, "links are not followed here: put what it shall lead to in its place"),
    errno.EISDIR: (Failed, "name a file"),
    errno.ENOTDIR: (Failed, "a log is a directory: move away what is in its place"),
}
_DISK = "look at the disk that it lies on"


def unreadable(path: Path, error: OSError) -> VecError:
    """What to raise where this cannot be read."""
    kind, hint = _UNREADABLE.get(error.errno, (Failed, _DISK))
    who = f" by uid {os.geteuid()}" if kind is Caller else ""
    return kind(f"{path} cannot be read{who}", reason=error.strerror or "", hint=hint)


def stem(first: int) -> str:
    """The name of a segment's files, without what follows the dot."""
    return f"{first:020d}"


def plain(path: Path) -> bytes | None:
    """The content of a plain file; None where there is none. Raises Caller, Failed."""
    try:
        opened = os.open(path, _FLAGS)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(path, error) from None
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise Failed(
                f"{path} is no plain file",
                reason="a log is made of plain files",
                hint="find out who put it there, and put back the file from your copies",
            )
        with open(opened, "rb", closefd=False) as file:
            return file.read()
    except OSError as error:
        raise unreadable(path, error) from None
    finally:
        os.close(opened)


def used(directory: Path) -> bool:
    """Something is in it. Raises Caller, Failed where that cannot be seen."""
    try:
        with os.scandir(directory) as found:
            return any(found)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise unreadable(directory, error) from None


def segments(directory: Path) -> list[Segment]:
    """The log of a directory, in order. Raises Caller, Failed where it cannot be read."""
    try:
        return segments_of(sorted(directory.iterdir()))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(directory, error) from None


def segments_of(paths: Iterable[Path]) -> list[Segment]:
    """The segments that these files make, of which each has a name of its own; other names are not ours."""
    known = {path.name: path for path in paths if _NAME.fullmatch(path.name)}
    firsts = sorted({int(name[:20]) for name in known})
    return [_segment(first, known) for first in firsts]


def named(paths: Sequence[Path]) -> list[Segment]:
    """The segments of files that somebody named as those of one log: none is passed over. Raises Malformed, Caller."""
    known: dict[str, Path] = {}
    for path in paths:
        _is_of_a_log(path)
        if path.name == KEYS:
            continue
        if (other := known.setdefault(path.name, path)) is not path:
            raise Malformed(
                f"{other} and {path} have the same name",
                reason="no two files of a log do: these are of two logs, or two copies of one",
                hint="name the files of one log at a time",
            )
    return segments_of(known.values())


def _is_of_a_log(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise Malformed(f"{path} is not there", hint="name the files of one log") from None
    except OSError as error:
        raise unreadable(path, error) from None
    if not (_NAME.fullmatch(path.name) or path.name == KEYS):
        raise Malformed(
            f"{path} is no file of a log",
            reason="those are called NUMBER.records, NUMBER.roots and keys.json",
            hint="leave it away, or give it back the name that it had",
        )
    if not stat.S_ISREG(mode):
        raise Malformed(f"{path} is no plain file", hint="copy what it leads to, and name the copy")


def _segment(first: int, known: dict[str, Path]) -> Segment:
    records, roots = known.get(stem(first) + RECORDS), known.get(stem(first) + ROOTS)
    # A file that is missing is named where the other one of its pair lies.
    beside = records or roots or Path()
    return Segment(
        first,
        str(records or beside.with_suffix(RECORDS)),
        str(roots or beside.with_suffix(ROOTS)),
        _reader(records),
        _reader(roots),
    )


def _reader(path: Path | None) -> Callable[[], bytes | None]:
    return lambda: None if path is None else plain(path)


def keys(directory: Path) -> Sequence[dict[str, str]]:
    """The keys that signed here, oldest first, as their owner wrote them down: key, and a card's certificate and id.
    Of a file that is none of keys, none."""
    try:
        return keys_or_why(directory)[0]
    except VecError:
        return []


def keys_or_why(directory: Path) -> tuple[Sequence[dict[str, str]], str]:
    """The same, and why there are none: the file is missing, or garbled. Raises Caller, Failed."""
    data = plain(directory / KEYS)
    if data is None:
        return [], "missing"
    try:
        found = json.loads(data)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return [], "garbled"
    rows = found if isinstance(found, list) else []
    good = [row for row in rows if isinstance(row, dict) and all(isinstance(x, str) for x in row.values())]
    return good, "" if good else "garbled"
