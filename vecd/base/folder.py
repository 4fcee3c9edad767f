"""A folder of drop-in files that are believed: read whole, in name order, and only where nobody else could write.

Who may write a file, or put another one in its place, decides what it says. So each file and its folder have to
belong to root or to the reader, writable by their owner alone; the check is made on the descriptor that is then read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import ConfigError

FILES_MAX = 256
BYTES_MAX = 8 * 2**20
# In the sentence of one error; its `problems` are all of them.
TOLD_MAX = 8
# Without O_NONBLOCK a fifo would be waited for.
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


class Wrong(Exception):
    """What is wrong with one file or folder. what: a sentence with {} in the place of its path."""

    def __init__(self, path: Path, what: str, reason: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.path, self.what, self.reason, self.hint = shown(path), what, reason, hint

    @property
    def message(self) -> str:
        """The sentence with the path."""
        return self.what.format(self.path)

    def row(self) -> dict[str, Any]:
        """As one of the `problems` of an error; what is about a whole file is at its first line."""
        message = ": ".join(one for one in (self.what.format("it"), self.reason) if one)
        return {"file": self.path, "line": 1, "message": message, "rule": "", "property": "", "hint": self.hint}


@dataclass(slots=True)
class Seen:
    """Path and content of what could be read, in order; what could not be; and what somebody else could have made."""

    files: dict[str, bytes] = field(default_factory=dict)
    wrong: list[Wrong] = field(default_factory=list)
    doubts: list[Wrong] = field(default_factory=list)


def read(folder: Path, suffix: str) -> dict[str, bytes]:
    """
    Path and content of every file of the folder, in name order; empty where there is no such folder. Raises
    ConfigError, with everything that `look` found: these files are believed.
    """
    seen = look(folder, suffix)
    found = [*seen.doubts, *seen.wrong]
    if found:
        raise refusal(folder, found)
    return seen.files


def refusal(what: Path | str, found: list[Wrong]) -> ConfigError:
    """One error of everything that is wrong."""
    first = found[0]
    if len(found) == 1:
        error = ConfigError(first.message, reason=first.reason, hint=first.hint)
    else:
        reasons = [": ".join(part for part in (one.message, one.reason) if part) for one in found[:TOLD_MAX]]
        if len(found) > TOLD_MAX:
            reasons.append(f"and {len(found) - TOLD_MAX} more")
        error = ConfigError(
            f"{what} cannot be used for {len(found)} reasons", reason="; ".join(reasons), hint=first.hint
        )
    error.problems = tuple(one.row() for one in found)
    return error


def look(folder: Path, suffix: str) -> Seen:
    """
    What is in the folder; nothing where there is no such folder. Names that begin with a dot are passed over. Wrong is
    any other that does not end in `suffix`, what is no plain file, too large, or cannot be read; doubtful is what
    somebody else may write.
    """
    seen = Seen()
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return seen
    except OSError as error:
        seen.wrong.append(Wrong(folder, "{} cannot be read", error.strerror or ""))
        return seen
    with _closing(opened):
        # Who may write where the folder lies can put another one in its place.
        for path, found in ((folder.parent, os.stat(folder.parent)), (folder, os.fstat(opened))):
            with _told(seen.doubts):
                _only_ours(path, found)
        names = sorted(name for name in os.listdir(opened) if not name.startswith("."))
        if len(names) > FILES_MAX:
            seen.wrong.append(Wrong(folder, f"{{}} has {len(names)} files", f"up to {FILES_MAX} are read"))
            return seen
        left = BYTES_MAX
        for name in names:
            path = folder / name
            with _told(seen.wrong):
                if not name.endswith(suffix):
                    raise Wrong(path, "{} is not read", f"its name has to end in {suffix}", "move it away")
                data = _content(seen, path, name, os.O_NOFOLLOW, opened, left)
                left -= len(data)
    return seen


def look_at(path: Path) -> Seen:
    """One file that somebody named. A link is followed, which `read` would not do: that is a doubt."""
    seen = Seen()
    if path.is_symlink():
        seen.doubts.append(Wrong(path, "{} is a link", "links are not followed", "copy the file"))
    with _told(seen.wrong):
        _content(seen, path, str(path), 0, None, BYTES_MAX)
    return seen


def _content(seen: Seen, path: Path, name: str, flags: int, folder: int | None, most: int) -> bytes:
    """The file is among those that were seen, with its content. Raises Wrong."""
    try:
        opened = os.open(name, _FLAGS | flags, dir_fd=folder)
    except OSError as error:
        hint = "links are not followed: copy the file" if flags and path.is_symlink() else ""
        raise Wrong(path, "{} cannot be read", error.strerror or "", hint) from None
    with _closing(opened):
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            raise Wrong(path, "{} is no plain file", hint="move it away" if flags else "name a file, or a folder")
        with _told(seen.doubts):
            _only_ours(path, found)
        chunks, size = [], found.st_size
        while size <= most and (chunk := os.read(opened, 1 << 20)):
            chunks.append(chunk)
            size = max(size, sum(map(len, chunks)))
        if size > most:
            reason = f"up to {BYTES_MAX} bytes are read{', of all files together' if flags else ''}"
            raise Wrong(path, "{} is too large", reason, "take out what is not needed")
    seen.files[shown(path)] = data = b"".join(chunks)
    return data


def _only_ours(path: Path, found: os.stat_result) -> None:
    if found.st_uid not in (0, os.geteuid()):
        raise Wrong(
            path,
            f"{{}} belongs to uid {found.st_uid}",
            "what it says is believed, so it has to be root's or the reader's own",
            f"chown root {shown(path)}",
        )
    if found.st_mode & 0o022:
        raise Wrong(
            path,
            "others may write {}",
            f"its mode is {stat.S_IMODE(found.st_mode):04o}, and what it says is believed",
            f"chmod go-w {shown(path)}",
        )


def shown(path: Path) -> str:
    """A path that may be printed and sent: bytes that are no text are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@contextmanager
def _told(among: list[Wrong]) -> Iterator[None]:
    """What is wrong is told, and the next file is looked at."""
    try:
        yield
    except Wrong as wrong:
        among.append(wrong)


@contextmanager
def _closing(opened: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(opened)
