"""vecd dev: the five processes in one terminal, with soft cards and a software TPM.

The same code, sockets and checks as under systemd; only the privileges differ. Order: TPM, measurement, authority,
attest, guard, broker, cards; each is awaited (READY, or for attest its exit) before the next. What dies is started
again, as Restart=always would, but not after 77 or 78. On SIGINT or SIGTERM all end in the reverse order.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vecd.base import config, events, ipc, log
from vecd.base.errors import (
    EXIT_CONFIG,
    EXIT_FAILED,
    EXIT_OK,
    EXIT_SANDBOX,
    ConfigError,
    Exists,
    Failed,
    TimedOut,
    VecError,
)
from vecd.base.paths import Paths
from vecd.services import enrolment
from vecd.services.dev_parts import boot
from vecd.services.dev_parts import layout as layouts
from vecd.services.dev_parts.children import Child, Notices, environment, of_role, sleep_until

DEFAULT_CARDS = ("c0",)
LOCK = ".vecd-dev.lock"
# How often the TPM's socket is looked for while it starts.
TPM_TICK_S = 0.01
TPM_S = 10.0
# How often a process may die at the first start before all is given up; later it is started again for ever.
START_TRIES = 5
FINAL = (EXIT_SANDBOX, EXIT_CONFIG)


class Stopped(Exception):
    """SIGINT or SIGTERM arrived while something was awaited."""


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="vecd dev", description="Run all processes in one terminal, under D.")
    parser.add_argument("--dir", metavar="D", required=True, help="everything lies below it; made when not there")
    parser.add_argument("--cards", metavar="c0,c1", help="the soft cards (default: those of D's vecd.toml, or c0)")
    parser.add_argument("--once", action="store_true", help="start, wait until everything is ready, and end")
    parser.add_argument("--json", action="store_true", help="one JSON object a line on stdout")
    parser.add_argument("--one-uid", action="store_true", help="as root: run every role as root, without capabilities")
    parser.add_argument(
        "--tamper-pcr", metavar="N", type=int, choices=boot.RECORDED, help="change PCR N: the boot will be refused"
    )
    return parser.parse_args(list(argv))


def main(argv: Sequence[str] = ()) -> int:
    """Exit code: 0 ended as asked, 1 failed, 77 or 78 when a process ended so, 78 for a directory that cannot be."""
    args = _arguments(argv)
    log.open("vecd-dev")
    # Directories are given their modes one by one; what is written otherwise is the caller's.
    os.umask(0o022)
    paths = Paths(args.dir)
    with _only_one(paths) as loaded:
        cards = args.cards.split(",") if args.cards else [row.name for row in loaded.card] or DEFAULT_CARDS
        layout = layouts.plan(paths, loaded, cards, one_uid=args.one_uid)
        layouts.make(layout)
        # Read again: the fragment that was just written belongs to it.
        return Dev(layout, config.load(paths), as_json=args.json).run(once=args.once, tamper_pcr=args.tamper_pcr)


@contextlib.contextmanager
def _only_one(paths: Paths) -> Any:
    """The lock of D is ours; the configuration without our own fragment. Raises Exists while another holds it."""
    try:
        _ours(paths.root)
        fd = os.open(paths.root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as e:
        raise ConfigError(f"{paths.root} cannot be used", reason=e.strerror or "", hint="use another --dir") from None
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Exists(f"another vecd dev runs on {paths.root}", hint="end it, or use another --dir") from None
        (paths.run / "vecd.toml.d" / layouts.FRAGMENT).unlink(missing_ok=True)
        yield config.load(paths)
    finally:
        os.close(fd)


def _ours(root: Path) -> None:
    """D is there and the caller's alone to write; one that was there before keeps its mode. Raises ConfigError."""
    try:
        root.mkdir()
        root.chmod(0o755)
    except FileExistsError:
        found = root.stat()
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise ConfigError(
                f"others may write {root}",
                reason="it has to be the caller's own: what lies there is believed",
                hint="use a --dir that is not there yet, or a directory of your own",
            ) from None


class Dev:
    """All processes of one directory."""

    def __init__(self, layout: layouts.Layout, loaded: config.Config, *, as_json: bool) -> None:
        self._layout = layout
        self._settings = loaded.dev
        self._json = as_json
        self._notices = Notices()
        self._environment = environment(self._notices)
        # In the order of their start.
        self._children: list[Child] = []
        self._wake, wake = socket.socketpair()
        for end in (self._wake, wake):
            end.setblocking(False)
        self._wake_writer = wake
        self._signals = 0
        self._began_s = time.monotonic()

    # -- the whole ----------------------------------------------------------------------------------------------
    def run(self, *, once: bool, tamper_pcr: int | None) -> int:
        """Everything runs until a signal, `once`: until it is ready; then everything has ended."""
        before = {number: signal.signal(number, self._signal) for number in (signal.SIGINT, signal.SIGTERM)}
        signal.set_wakeup_fd(self._wake_writer.fileno())
        code = EXIT_OK
        try:
            self._up(tamper_pcr)
            if not once:
                self._watch()
        except Stopped:
            pass
        except VecError as e:
            log.event(events.FAILED, role="dev", reason=e)
            self._say("failed", reason=str(e))
            code = e.exit_code if isinstance(e, _Final) else EXIT_FAILED
        finally:
            self._down()
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._notices.close()
            self._wake.close()
            self._wake_writer.close()
        return code

    def _up(self, tamper_pcr: int | None) -> None:
        layout, root = self._layout, self._layout.paths.root
        self._start_tpm()
        first = boot.measure(layout, tamper_pcr=tamper_pcr)
        self._say("measured", what="recorded as the boot policy" if first else "to be held against the boot policy")
        self._ready(of_role("authority", root, uid=layout.uid("authority")))
        self._attest(of_role("attest", root, uid=layout.uid("attest")))
        self._ready(of_role("guard", root))
        self._enrol("broker")
        self._ready(of_role("broker", root, uid=layout.uid("broker")))
        for card in layout.cards:
            self._enrol("card", card)
            self._ready(of_role("card", root, name=card, uid=layout.uid("card", card)))
        running = sum(child.process is not None for child in self._children)
        self._say("up", processes=running, seconds=self._since(self._began_s))

    def _watch(self) -> None:
        """Whatever dies is started again; returns by Stopped alone."""
        while True:
            due = [child.again_s for child in self._children if child.again_s is not None]
            self._sleep(min(due, default=time.monotonic() + 3600))
            self._look()

    def _down(self) -> None:
        """Every process has ended, in the reverse order of the start."""
        for child in reversed(self._children):
            # A second signal is impatience.
            if not child.stop(0.0 if self._signals > 1 else self._settings.stop_s):
                log.event(events.CHILD_ENDED, role=child.title, reason="SIGKILL: it did not end in time")
        self._say("down", seconds=self._since(self._began_s))

    # -- single processes -----------------------------------------------------------------------------------------
    def _start_tpm(self) -> None:
        layout = self._layout
        for path in (layout.tpm_socket, Path(f"{layout.tpm_socket}.ctrl")):
            path.unlink(missing_ok=True)
        # The TPM belongs to the one role that asks it.
        uid = layout.uid("attest")
        child = Child("tpm", boot.swtpm(layout), uid=uid, user=uid, output=layout.tpm_log)
        self._start(child)
        deadline = time.monotonic() + TPM_S
        while not layout.tpm_socket.exists():
            self._sleep(time.monotonic() + TPM_TICK_S)
            if child.process is None or child.process.poll() is not None:
                raise Failed("swtpm did not start", hint=f"what it said is in {layout.tpm_log}")
            if time.monotonic() > deadline:
                raise TimedOut("swtpm made no socket", reason=f"waited {TPM_S:g} s")
        self._became_ready(child)

    def _attest(self, child: Child) -> None:
        """attest accepted the boot and is gone; else Failed."""
        self._start(child)
        deadline = time.monotonic() + self._settings.ready_s
        while (code := child.ended()) is None:
            self._sleep(deadline)
            self._heard()
            if time.monotonic() > deadline:
                raise TimedOut("attest is not done", reason=f"waited {self._settings.ready_s:g} s")
        child.again_s = None
        if code != EXIT_OK:
            policy = self._layout.paths.boot_policy / boot.POLICY
            raise _final(code, "attest refused the boot", hint=f"its reason is above; to record this boot: rm {policy}")
        self._say("accepted", role=child.role, seconds=self._since(child.started_s))

    def _enrol(self, role: str, card: str = "") -> None:
        """A party without identity finds a token that is good: a new one, since one that is there may be used up."""
        paths = self._layout.paths
        handed = paths.enrol(role, card)
        if (paths.state_of(role, card) / enrolment.NAME).exists():
            return
        with ipc.BlockingPeer.connect(paths.ca_admin) as authority:
            answer = authority.call("token.new", {"role": role, "name": card or role})
        layouts.hand_over(handed, json.dumps(answer), self._layout.uid(role, card))
        self._say("invited", role=role, name=card)

    def _ready(self, child: Child) -> None:
        """The process is started and said READY; else raises."""
        self._start(child)
        deadline = time.monotonic() + self._settings.ready_s
        while not child.ready:
            self._sleep(deadline)
            self._look()
            if child.deaths >= START_TRIES:
                raise Failed(f"{child.title} died {child.deaths} times before it was ready", hint="its reason is above")
            if time.monotonic() > deadline:
                raise TimedOut(f"{child.title} is not ready", reason=f"waited {self._settings.ready_s:g} s")

    def _start(self, child: Child) -> None:
        if child not in self._children:
            self._children.append(child)
        try:
            child.start(self._environment)
        except OSError as e:
            raise Failed(f"{child.title} cannot be started", reason=f"{child.command[0]}: {e.strerror}") from None

    # -- waiting --------------------------------------------------------------------------------------------------
    def _sleep(self, deadline_s: float) -> None:
        """Something happened, or the deadline came; a signal raises Stopped."""
        fds = [child.pidfd for child in self._children if child.pidfd >= 0]
        sleep_until([self._wake.fileno(), self._notices.fileno(), *fds], deadline_s)
        with contextlib.suppress(BlockingIOError):
            self._wake.recv(4096)
        if self._signals:
            raise Stopped

    def _look(self) -> None:
        """What was said and who died is known; whose time has come is started again."""
        self._heard()
        for child in list(self._children):
            if (code := child.ended()) is not None:
                self._died(child, code)
            if child.again_s is not None and child.again_s <= time.monotonic():
                self._start(child)

    def _heard(self) -> None:
        by_pid = {child.pid: child for child in self._children if child.process is not None}
        for pid, fields in self._notices.read():
            child = by_pid.get(pid)
            if child is not None:
                child.status = fields.get("STATUS", child.status)[:200]
                if fields.get("READY") == "1" and not child.ready:
                    self._became_ready(child)

    def _became_ready(self, child: Child) -> None:
        child.ready, child.deaths = True, 0
        log.event(events.CHILD_READY, role=child.title)
        self._say("ready", child, seconds=self._since(child.started_s))

    def _died(self, child: Child, code: int) -> None:
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        log.event(events.CHILD_ENDED, role=child.title, reason=how)
        self._say("ended", child, reason=how)
        if code in FINAL:
            raise _final(code, f"{child.title} ended with {how}", hint="its reason is above; it is not started again")
        if child.role == "tpm":
            # Its registers are gone with it: another one would be another machine.
            child.again_s = None

    def _signal(self, number: int, frame: object) -> None:
        self._signals += 1

    # -- telling --------------------------------------------------------------------------------------------------
    def _since(self, then_s: float) -> float:
        return round(time.monotonic() - then_s, 3)

    def _say(self, event: str, child: Child | None = None, **facts: Any) -> None:
        """One line on stdout, for people or (--json) for programs."""
        if child is not None:
            facts = {"role": child.role, "name": child.name, "pid": child.pid, "uid": child.uid, **facts}
        with contextlib.suppress(OSError, ValueError):
            if self._json:
                print(json.dumps({"event": event, **facts}), flush=True)
                return
            title = f"{facts.pop('role', '')} {facts.pop('name', '')}".strip() or "dev"
            seconds = facts.pop("seconds", None)
            rest = [
                f"{key} {value}" if key in ("pid", "uid", "processes") else str(value) for key, value in facts.items()
            ]
            if seconds is not None:
                rest.append(f"{seconds:.2f} s")
            print(f"{event:9} {title:12} {'  '.join(rest)}".rstrip(), flush=True)


class _Final(Failed):
    """A process ended in a way that a restart does not cure."""

    def __init__(self, code: int, message: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = code  # type: ignore[misc]


def _final(code: int, message: str, hint: str) -> _Final:
    return _Final(code if code in FINAL else EXIT_FAILED, message, hint)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
