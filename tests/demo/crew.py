"""The tenants' processes, as the story gives them orders."""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
from pathlib import Path
from typing import Any

from vecd.base.errors import VecError, from_dict

ORDER_S = 120.0
END_S = 10.0


class Process:
    """One tenant; `do` gives an order and waits for its answer, `begin` and `answer` do the two apart."""

    def __init__(self, name: str, address: str, home: Path) -> None:
        self.name = name
        self.home = home
        command = [sys.executable, "-m", "tests.demo.tenant", "--address", address, "--home", str(home)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def do(self, order: str, **arguments: Any) -> dict[str, Any]:
        """What the order gives; raises the VecError that the tenant met."""
        self.begin(order, **arguments)
        return self.answer()

    def begin(self, order: str, **arguments: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": order, **arguments}) + "\n")

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as ready:
            ready.register(self._process.stdout, selectors.EVENT_READ)
            if not ready.select(ORDER_S):
                raise TimeoutError(f"tenant {self.name} does not answer")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"tenant {self.name} ended with {self._process.wait(END_S)}")
        said = json.loads(line)
        if "error" in said:
            raise from_dict(said["error"])
        return said["ok"]

    def refused(self, order: str, **arguments: Any) -> VecError:
        """The error that the order must end in."""
        try:
            answer = self.do(order, **arguments)
        except VecError as error:
            return error
        raise AssertionError(f"tenant {self.name}: {order} was not refused but answered {answer}")

    def end(self) -> None:
        """The process has ended."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(END_S)
