"""A whole cipher machine for tests: `vecd dev` under a directory of its own, and guests with their own identities."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vecd.base.blocking import BlockingPeer
from vecd.base.errors import VecError
from vecd.base.paths import Paths
from vecd.guest import Card, enrol

READY_S = 60.0
STOP_S = 20.0


@dataclass
class Guest:
    """A guest that was added, and enrolled unless the test does that itself."""

    name: str
    address: str
    identity: Path
    enrolment: dict[str, Any]
    key: bytes
    instance: str

    def connect(self, **options: Any) -> Card:
        """A card for this guest; the time-out is a test's."""
        return Card.connect(self.address, identity=self.identity, **{"timeout": 15.0, **options})


class CipherMachine:
    """Started when constructed, ready when `wait_ready` returned, ended by `close`."""

    def __init__(
        self, root: Path, cards: tuple[str, ...], settings: str = "", module: str = "vecd", policy: str = ""
    ) -> None:
        self.root = root
        self.module = module
        self.cards = cards
        self.paths = Paths(root)
        self.log_path = root.with_suffix(".log")
        self.home = root.parent / "guests"
        self.home.mkdir()
        if settings:
            self.paths.config.mkdir(parents=True)
            self.paths.config_file.write_text(settings)
        if policy:
            self.write_policy(policy)
        self._log = self.log_path.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, "dev", "--dir", str(root), "--cards", ",".join(cards)],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def write_policy(self, text: str) -> Path:
        """The one file of policy.d."""
        file = self.paths.policy_files / "10-test.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        for path in (file.parent.parent, file.parent, file):
            path.chmod(0o644 if path == file else 0o755)
        return file

    def wait_ready(self) -> None:
        """Every card is in service."""
        self.wait_for(lambda: len(self.status()) == len(self.cards), READY_S, "every card in service")

    def wait_for(self, holds: Any, seconds: float, what: str) -> Any:
        """The first true value of `holds()`; fails with the machine's log."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"vecd dev ended with {self.process.returncode}\n{self.log[-6000:]}")
            with contextlib.suppress(VecError):
                value = holds()
                if value:
                    return value
            time.sleep(0.02)
        raise AssertionError(f"not within {seconds:g} s: {what}\n{self.log[-6000:]}")

    def status(self) -> dict[str, str]:
        """Name and status of each card that serves."""
        return {
            card["name"]: card["status"]
            for card in self.admin("card.list")["cards"]
            if card["status"] in ("free", "control", "using")
        }

    def admin(self, call: str, **args: Any) -> Mapping[str, Any]:
        """A call at the guard's door, as vecctl makes it."""
        with BlockingPeer(self.paths.admin) as guard:
            return guard.call(call, args, timeout=15.0)

    def authority(self, call: str, **args: Any) -> Mapping[str, Any]:
        """A call at the authority's own door."""
        with BlockingPeer(self.paths.ca_admin) as authority:
            return authority.call(call, args, timeout=15.0)

    def add(self, name: str, *cards: str, enrolled: bool = True, alg: str = "AES-256-GCM", usage: int = 3) -> Guest:
        """A guest that may reach these cards (default: the first)."""
        token = dict(self.authority("token.new", role="user", name=name))
        wanted = list(cards) or [self.cards[0]]
        added = self.admin("guest.add", name=name, id=token["id"], cards=wanted, uid=os.geteuid())
        size = 16 if alg.startswith("AES-128") else 32
        guest = Guest(
            name,
            f"unix:{added['socket']}",
            self.home / f"{name}.json",
            token,
            secrets.token_bytes(size),
            f"{name}.1",
        )
        if enrolled:
            enrol(guest.address, token, guest.identity, key=guest.key, alg=alg, usage=usage, timeout=15.0)
        return guest

    def pids(self, role: str, name: str = "") -> list[int]:
        """The processes of a role that run now, by their command lines."""
        wanted = [
            b"vecd",
            role.encode(),
            b"--dir",
            str(self.root).encode(),
            *([b"--name", name.encode()] if name else []),
        ]
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with contextlib.suppress(OSError):
                    line = (entry / "cmdline").read_bytes().split(b"\0")
                    at = line.index(b"vecd") if b"vecd" in line else -1
                    if at >= 0 and line[at : at + len(wanted)] == wanted:
                        found.append(int(entry.name))
        return found

    def close(self) -> None:
        """Everything has ended; fails when it does not end by itself."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(STOP_S)
            raise
        finally:
            self._log.close()


@contextlib.contextmanager
def running(*cards: str, settings: str = "", module: str = "vecd", policy: str = "") -> Iterator[CipherMachine]:
    """A machine in a short directory (a Unix socket's path has 108 bytes), gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="vecd-"))
    folder.chmod(0o755)
    try:
        machine = CipherMachine(folder / "m", cards, settings, module, policy)
        try:
            machine.wait_ready()
            yield machine
        finally:
            machine.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
