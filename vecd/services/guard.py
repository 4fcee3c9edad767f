"""The guard: the process that holds the state (b, M, f, H), the only writer of the matrices, the only root.

It parses no byte of a guest. Every change of state goes the same way: the pure rule is asked, the cells that
change are published, then the answer is sent (guard_parts/book.py). It starts only on a boot that attest
accepted, and rebuilds everything from its register: kill it at any time.
"""

import asyncio
import gc
import os
import resource
import signal
import time
from collections.abc import Sequence

from vecd.base import events, log, notify
from vecd.base.errors import EXIT_OK, Failed
from vecd.base.paths import Paths
from vecd.base.start import Start, begin, lock_down
from vecd.ppm.policy import Policy
from vecd.services.guard_parts import applied, audit, boot, certificate, guests, register
from vecd.services.guard_parts.book import Book
from vecd.services.guard_parts.context import Guard, Limits
from vecd.services.guard_parts.doors import open_doors
from vecd.services.guard_parts.entries import Register
from vecd.services.guard_parts.journal import Position
from vecd.services.guard_parts.patrol import patrol
from vecd.services.guard_parts.rates import Rates
from vecd.shm.writer import Matrices

ROLE = "guard"
# The authority's public key, beside its sockets.
CA_FILE = "ca.pub.json"
# A rule makes some hundred objects and leaves no cycle behind.
COLLECT = (20_000, 20, 20)
# For 1,024 guests, each perhaps with a vsock listener as well, and 64 cards.
DESCRIPTORS = 4096


def main(argv: Sequence[str] = ()) -> int:
    """Runs until it is told to stop: 0 then, 1 on a boot that was not accepted, 77 and 78 as every daemon."""
    start = begin(ROLE, argv)
    # A socket for each guest, and three descriptors for each card.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most < DESCRIPTORS:
        log.event(events.LIMIT, what="descriptors of the guard, for every guest and card that there can be", limit=most)
    accepted = boot.accepted(start.paths.boot, boot.booted_s(), start.config.attest.required)
    prepare(start.paths)
    lock_down(start)
    asyncio.run(_run(start, accepted))
    return EXIT_OK


def prepare(paths: Paths) -> None:
    """The directories of the guard's doors and state are there; those that systemd made stay as they are."""
    wanted = ((paths.run, 0o755), (paths.cards, 0o711), (paths.guests, 0o711), (paths.state_of(ROLE), 0o700))
    for path, mode in wanted:
        if not path.exists():
            path.mkdir(parents=True)
            path.chmod(mode)


def open_book(paths: Paths) -> tuple[Book, Policy | None]:
    """
    The book of the stored register, of a generation that no start had before, and the policy that holds. Raises
    ConfigError for damage, and at a first start for a policy that is refused.
    """
    known = register.read(paths.policy)
    stored, position = (Register(), Position()) if known is None else known
    before = stored.policy, stored.levels
    holds = applied.at_start(paths, stored, fresh=known is None)
    generation = max(stored.generation + 1, time.time_ns())
    book = Book(paths.policy, stored, Matrices.create(generation, stored.levels), position)
    # A first start that cannot write would forget everything; a later one only its number.
    if known is None:
        stored.generation = generation
        book.store.rewrite()
    else:
        book.store.behind = before != (stored.policy, stored.levels)
        try:
            book.started(generation)
        except Failed as error:
            log.event(events.STORE_FAILED, reason=error)
    book.store.tidy()
    applied.forget_others(paths, stored.policy)
    if holds is not None and before != (stored.policy, stored.levels):
        # As at `policy apply`, so that every change of the policy is on record.
        what = f"at the start, {stored.levels} levels, {len(holds.guests)} guests, {len(holds.cells)} rights"
        log.event(events.POLICY_APPLIED, version=holds.version, what=what)
    counts = f"{len(stored.users)} guests, {len(stored.instances)} instances, {len(stored.cards)} cards"
    log.event(events.POLICY_RESTORED, what="nothing: there was no register" if known is None else counts)
    return book, holds


async def _run(start: Start, accepted: dict[str, object]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    kept = audit.started(start.paths.state_of(ROLE), start.config.audit)
    audit.publish(start.paths.guard_key, kept.keys)
    log.also(kept.hear)
    book, holds = open_book(start.paths)
    book.record = kept.record
    kept.record.index_of = lambda name: one.index if (one := book.register.instances.get(name)) else None
    if not kept.continues and book.register.users:
        kept.alarm("there are guests in the register, and no audit log from before this start")
    guard = Guard(
        paths=start.paths,
        book=book,
        policy=holds,
        certified=certificate.checker(start.paths.ca.with_name(CA_FILE)),
        rates=Rates(start.config.guard.guest_rate, start.config.guard.guest_burst),
        limits=Limits(drain_s=start.config.guard.drain_s, away_s=start.config.guard.guard_away_s),
        boot=accepted,
        audit=kept,
    )
    guard.spawn(kept.run())
    guests.reopen(guard)
    await open_doors(guard, start.config)
    guard.spawn(patrol(guard))
    # What there is stays: the collector of cycles need not look through it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT)
    what = f"{len(guard.links)} card doors, {len(guard.listeners)} guests, pid {os.getpid()}"
    log.event(events.READY, role=ROLE, reason=what)
    notify.ready(what)
    await stop.wait()
    log.event(events.STOPPING, role=ROLE, reason="it was told to")
    notify.stopping()
    # Who was not answered yet is, while there still are doors.
    guard.book.commit()
    for door in guard.doors.values():
        door.close()
    await kept.end()
