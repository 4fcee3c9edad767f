"""Asking on a control connection. From docs/wire.md, "Replies" and "Operations of the control half"."""

from __future__ import annotations

import json
from typing import Any

from .frames import ATTACH, HELLO, REPLY, Frame, Line

FAILURE = {"status", "error", "message", "rule", "reason", "hint", "subject", "object", "property"}


class ControlRefused(Exception):
    """The broker, or somebody behind it, refused."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.what: dict[str, Any] = json.loads(frame.data)
        assert set(self.what) == FAILURE, self.what
        assert self.what["status"] == frame.status, self.what
        super().__init__(f"{self.what['error']} {self.what['rule']}: {self.what['message']}: {self.what['reason']}")

    @property
    def status(self) -> int:
        return self.frame.status

    @property
    def rule(self) -> str:
        return self.what["rule"]


class Control(Line):
    """A control connection; an attach makes it a data connection."""

    def __init__(self, address: str, timeout: float = 10.0) -> None:
        super().__init__(address, timeout)
        self._last = 0

    def answer(self, op: int) -> bytes:
        """The data of the next reply, which is to `op` and the last request."""
        frame = self.receive()
        assert frame.op == op, frame
        assert frame.flags == REPLY and frame.but(status=0, data=b"") == Frame(op, REPLY, request=frame.request), frame
        # READY comes from the card, which was not told the request.
        assert frame.request == (0 if op == ATTACH and not frame.status else self._last), frame
        if frame.status:
            raise ControlRefused(frame)
        return frame.data

    def ask(self, op: int, data: bytes = b"") -> bytes:
        """The data of the reply; raises ControlRefused."""
        self._last += 1
        self.send(Frame(op, request=self._last, data=data).pack())
        return self.answer(op)

    def hello(self) -> dict[str, Any]:
        """The broker's id, and this guest's instances with their cards."""
        return json.loads(self.ask(HELLO))
