"""A disk that takes nothing, under the keeper of a log alone."""

from __future__ import annotations

import errno
import os
from typing import Any

from vecd.audit import keeper


class FullDisk:
    """os.write of the keeper answers ENOSPC while `full`, after `left` more bytes."""

    def __init__(self, monkeypatch: Any) -> None:
        self.full, self.left = False, 0
        self.os = type("Os", (), {**vars(os), "write": staticmethod(self._write)})
        monkeypatch.setattr(keeper, "os", self.os)

    def _write(self, descriptor: int, data: bytes) -> int:
        if not self.full:
            return os.write(descriptor, data)
        if not self.left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        part, self.left = bytes(data[: self.left]), 0
        return os.write(descriptor, part)
