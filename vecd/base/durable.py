"""Files that are replaced whole: written beside, put in place by a rename, and what was renamed stays renamed."""

from __future__ import annotations

import os
from pathlib import Path


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """The names in this folder are on the disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def beside(path: Path) -> Path:
    """Where a file is written that is to be put in the place of `path`."""
    return path.with_name(path.name + ".new")


def write_beside(path: Path, text: str) -> None:
    """The text is on the disk beside `path`, 0600, until `put`. Raises OSError."""
    descriptor = os.open(beside(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def put(written: Path, path: Path) -> None:
    """What was written beside `written` is `path`, also after a crash. Raises OSError."""
    os.rename(beside(written), path)
    sync_folder(path.parent)
