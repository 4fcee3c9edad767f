"""A folder of drop-in files that are believed: read whole, in name order, and only where nobody else could write.

Who may write a file, or put another one in its place, decides what it says. So each file and its folder have to
belong to root or to the reader, writable by their owner alone; the check is made on the descriptor that is then read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import ConfigError

FILES_MAX = 256
BYTES_MAX = 8 * 2**20


def read(folder: Path, suffix: str, *, trusted: bool = True) -> dict[str, bytes]:
    """
    Path and content of every file of the folder, in name order; empty where there is no such folder. Names that
    begin with a dot are passed over. Raises ConfigError for any other that does not end in `suffix`, for what is no
    plain file, what is too large, what cannot be read, and, unless trusted is False, what somebody else may write.
    """
    found: dict[str, bytes] = {}
    left = BYTES_MAX
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}", reason="the folder cannot be read") from None
    with _closing(opened):
        if trusted:
            # Who may write where the folder lies can put another one in its place.
            _only_ours(folder.parent, os.stat(folder.parent))
            _only_ours(folder, os.fstat(opened))
        names = sorted(name for name in os.listdir(opened) if not name.startswith("."))
        if len(names) > FILES_MAX:
            raise ConfigError(f"{folder} has {len(names)} files", reason=f"up to {FILES_MAX} are read")
        for name in names:
            path = folder / name
            if not name.endswith(suffix):
                raise ConfigError(
                    f"{_shown(path)} is not read", reason=f"its name has to end in {suffix}", hint="move it away"
                )
            data = _file(opened, name, path, left, trusted)
            left -= len(data)
            found[_shown(path)] = data
    return found


def read_file(path: Path) -> bytes:
    """The content of one file that somebody named. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{_shown(path)}: {error.strerror}", reason="the file cannot be read") from None
    if len(data) > BYTES_MAX:
        raise ConfigError(f"{_shown(path)} is too large", reason=f"up to {BYTES_MAX} bytes are read")
    return data


def _file(folder: int, name: str, path: Path, most: int, trusted: bool) -> bytes:
    try:
        # Without O_NONBLOCK a fifo would be waited for.
        opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        raise ConfigError(
            f"{_shown(path)}: {error.strerror}",
            reason="the file cannot be read",
            hint="links are not followed: copy the file" if path.is_symlink() else "",
        ) from None
    with _closing(opened):
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError(f"{_shown(path)} is no plain file", hint="move it away")
        if trusted:
            _only_ours(path, found)
        chunks, size = [], 0
        while chunk := os.read(opened, 1 << 20):
            chunks.append(chunk)
            size += len(chunk)
            if size > most:
                raise ConfigError(f"{path.parent} is too large", reason=f"up to {BYTES_MAX} bytes are read")
        return b"".join(chunks)


def _only_ours(path: Path, found: os.stat_result) -> None:
    if found.st_uid not in (0, os.geteuid()):
        raise ConfigError(
            f"{_shown(path)} belongs to uid {found.st_uid}",
            reason="what it says is believed, so it has to be root's or the reader's own",
            hint=f"chown root {_shown(path)}",
        )
    if found.st_mode & 0o022:
        raise ConfigError(
            f"others may write {_shown(path)}",
            reason=f"its mode is {stat.S_IMODE(found.st_mode):04o}, and what it says is believed",
            hint=f"chmod go-w {_shown(path)}",
        )


def _shown(path: Path) -> str:
    """A path that may be printed and sent: bytes that are no text are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@contextmanager
def _closing(opened: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(opened)
