"""Processes of ours as `vecd dev` runs them: started like systemd would, watched by pidfd, ended in time.

A child is a session of its own, so that Ctrl-C reaches `vecd dev` alone and the order of the end is its to say; it
dies with `vecd dev`, however that dies (PDEATHSIG). "Ready" is sd_notify's READY=1 from the child's own pid.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import vecd
from vecd.base import heap

# A process that died is started again after 0.02 s, twice that each time it died before it was ready, at most 2 s.
REST_FIRST_S, REST_MOST_S = 0.02, 2.0
_PR_SET_PDEATHSIG = 1
_UCRED = struct.Struct("3i")
_libc = ctypes.CDLL(None)

# What a child gets of our environment; the rest is ours.
_KEPT = ("PATH", "LANG", "LC_ALL", "TERM", "NO_COLOR", "TZ", "VECD_DEBUG", "TSS2_LOG")


class Notices:
    """The NOTIFY_SOCKET of all children: who said READY."""

    def __init__(self) -> None:
        # In the abstract name space: children of any uid reach it, and the kernel says whose word it is.
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.address = f"vecd-dev-{os.getpid()}-{os.urandom(8).hex()}"
        self._socket.bind("\0" + self.address)

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> list[tuple[int, dict[str, str]]]:
        """What was said since: (pid of the sender, fields)."""
        said: list[tuple[int, dict[str, str]]] = []
        while True:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(_UCRED.size))
            except BlockingIOError:
                return said
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                    lines = data.decode(errors="replace").splitlines()
                    fields = dict(line.split("=", 1) for line in lines if "=" in line)
                    said.append((_UCRED.unpack(payload)[0], fields))

    def close(self) -> None:
        self._socket.close()


class Child:
    """One process: what to run, and the one that runs now."""

    def __init__(
        self,
        role: str,
        command: Sequence[str],
        *,
        name: str = "",
        uid: int = -1,
        user: int = -1,
        output: Path | None = None,
    ) -> None:
        self.role = role
        self.name = name
        self.command = list(command)
        # What it becomes, for the report; `user`: what it is started as.
        self.uid = uid if uid >= 0 else os.geteuid()
        self.user = user
        # Where its 1 and 2 go instead of our stderr.
        self.output = output
        self.process: subprocess.Popen[bytes] | None = None
        # Of the one that runs, or ran last.
        self.pid = 0
        self.pidfd = -1
        self.ready = False
        self.status = ""
        self.started_s = 0.0
        # How often it died since it was ready last.
        self.deaths = 0
        # When it is to be started again; None: it runs, or it stays as it is.
        self.again_s: float | None = None

    @property
    def title(self) -> str:
        return f"{self.role} {self.name}".strip()

    def start(self, environment: Mapping[str, str]) -> None:
        """It runs, with 0 on /dev/null, 1 and 2 on our stderr or its own file, and nothing else open."""
        us = os.getpid()

        def in_child() -> None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != us:
                os._exit(1)

        # A card that had to set these itself would start twice.
        more = heap.environment() if self.role == "card" else {}
        as_user = {} if self.user < 0 else {"user": self.user, "group": self.user, "extra_groups": []}
        self.ready, self.status, self.again_s = False, "", None
        self.started_s = time.monotonic()
        with open(self.output, "ab") if self.output else contextlib.nullcontext(2) as out:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**environment, **more},
                cwd="/",
                start_new_session=True,
                preexec_fn=in_child,
                **as_user,  # type: ignore[call-overload]
            )
        self.pid = self.process.pid
        self.pidfd = os.pidfd_open(self.pid)

    def ended(self) -> int | None:
        """The exit code (negative: the signal) of a process that ended, told once; None while it runs."""
        if self.process is None or (code := self.process.poll()) is None:
            return None
        os.close(self.pidfd)
        self.process, self.pidfd, self.ready = None, -1, False
        self.deaths += 1
        # One that had been ready is back soon, however often it dies; one that cannot get ready takes its time.
        self.again_s = time.monotonic() + min(REST_FIRST_S * 2 ** (self.deaths - 1), REST_MOST_S)
        return code

    def stop(self, timeout_s: float) -> bool:
        """It ended: by SIGTERM within the time-out, or (False) by SIGKILL."""
        if self.process is None:
            return True
        gently = True
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            gently = False
            self.process.kill()
            self.process.wait()
        self.ended()
        self.again_s = None
        return gently


def of_role(role: str, root: Path, *, name: str = "", uid: int = -1) -> Child:
    """`python -m vecd ROLE`, by the interpreter that runs us."""
    command = [sys.executable, "-m", "vecd", role, "--dir", str(root), *(["--name", name] if name else [])]
    return Child(role, command, name=name, uid=uid)


def environment(notices: Notices) -> dict[str, str]:
    """What children see: where our code is, where to say READY, and little else."""
    kept = {key: value for key, value in os.environ.items() if key in _KEPT}
    code = str(Path(vecd.__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (code, os.environ.get("PYTHONPATH"))))
    return kept | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", "NOTIFY_SOCKET": f"@{notices.address}"}


def sleep_until(fds: Sequence[int], deadline_s: float) -> None:
    """Returns when one of the descriptors is readable, or at the deadline of the monotonic clock."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    poll.poll(max(0.0, deadline_s - time.monotonic()) * 1000)
