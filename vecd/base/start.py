"""How every daemon begins: arguments, configuration, log, and the sandbox.

start = begin("broker", argv)
... open what needs no sandbox ...
lock_down(start, uid=start.config.broker.uid, fds=[...])
... open sockets, serve, notify.ready() ...
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from . import config, events, heap, log, notify, sandbox
from . import paths as names
from .config import Config
from .paths import Paths


@dataclass(frozen=True, slots=True)
class Start:
    role: str
    # The card's name; empty for roles of which there is one.
    name: str
    paths: Paths
    config: Config
    # Descriptors of log and notification, which the sandbox has to know.
    fds: tuple[int, ...]


def begin(role: str, argv: Sequence[str] = (), *, first: Callable[[Paths], None] | None = None) -> Start:
    """Arguments are parsed, the configuration is read, log and notify socket are open. Raises ConfigError.

    first: done as soon as the paths are known, before anything else can fail.
    """
    parser = argparse.ArgumentParser(prog=f"vecd {role}", description=f"Run the {role}, in the foreground.")
    parser.add_argument("--dir", metavar="D", default="/", help="the root it runs under (default: /)")
    if role == "card":
        parser.add_argument("--name", metavar="NAME", required=True, help="which [[card]] this is")
    args = parser.parse_args(list(argv))
    name = names.name(args.name, "card") if role == "card" else ""
    paths = Paths(args.dir)
    if first is not None:
        first(paths)
    # The kernel's limit on a file's mode: what a role writes is its own unless it says otherwise.
    os.umask(0o077)
    fds = [log.open(f"vecd-{role}" + (f"@{name}" if name else "")), notify.prepare()]
    log.event(events.STARTING, role=role, card=name or None)
    loaded = config.load(paths)
    log.event(events.CONFIG, what=", ".join(map(str, config.files(paths))) or "defaults")
    return Start(role, name, paths, loaded, tuple(fd for fd in fds if fd is not None))


def lock_down(start: Start, *, uid: int = -1, gid: int = -1, fds: Iterable[int | None] = ()) -> sandbox.Facts:
    """The process is locked down and that is proved and logged; raises NotLockedDown (exit 77).

    uid: whom to become when root. fds: what is open already, beside log and notification.
    """
    # A role that is not root has the uid it was started with, and proves that it is the configured one.
    facts = sandbox.enter(sandbox.spec(start.role, uid=uid, gid=gid, fds=[*start.fds, *fds]))
    if sandbox.ROLES[start.role].overwrite_freed and (why := heap.why_not()):
        raise sandbox.NotLockedDown(
            f"{start.role} is not locked down",
            reason=why,
            hint="start it as python -m vecd, on glibc, without -I and -E",
        )
    log.event(events.LOCKED_DOWN, role=start.role, what=facts.text)
    if sandbox.ROLES[start.role].lock_memory:
        if facts.memory:
            log.event(events.MEMORY_ARENA_ONLY, role=start.role, reason=facts.memory)
        else:
            log.event(events.MEMORY_LOCKED, role=start.role)
    return facts
