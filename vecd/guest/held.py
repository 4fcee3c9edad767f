"""A key as the caller gives it: bytes, or a callable that fetches them when they are needed.

Bytes are copied into memory that is overwritten when done with; what the caller holds is the caller's. With a callable
this process has the key for the moments in which it is loaded only, also when it is loaded again after
a reconnection.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from vecd.base.secret import wipe

Raw = bytes | bytearray | memoryview
Given = Raw | Callable[[], Raw]


class Held:
    """The key's bytes for the length of a `with`; `view` is zero afterwards."""

    def __init__(self, given: Given) -> None:
        self._given = given
        self._copy = bytearray()

    @property
    def view(self) -> memoryview:
        return memoryview(self._copy)

    def __enter__(self) -> Held:
        raw = self._given() if callable(self._given) else self._given
        self._copy = bytearray(raw)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        wipe(self._copy)
