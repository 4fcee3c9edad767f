"""Revocation: after the answer nothing runs, starts or is delivered under the old right (docs/shm.md).

The rule was asked, and M and b are published, before anything here runs; the caller holds the card's lock. Then

    begin    q is set in the card word, the bits are gone: from here no enter succeeds
    drain    what is in flight ends, within T1; else the card process is ended, and only then written off
    tell     the card destroys the key slots (c), or discards the output that needed the attribute
    end      q is cleared and the generation moves: no step of the card that read the old M succeeds
    clean    c only: R12(none) where something is left, wiped and read back; settle when nobody is connected

A card that does not answer in time is ended through its pidfd. Its supervisor starts it again, empty.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from typing import Any

from vecd.base import events, ipc, log
from vecd.base.errors import Busy, Hardware, VecError
from vecd.ppm import request as requests
from vecd.ppm.state import CONTROL, FREE, C
from vecd.services.guard_parts.context import CardLink, Guard
from vecd.services.guard_parts.entries import Instance
from vecd.services.guard_parts.seen import loaded, observe, out_of_service, withhold
from vecd.shm.writer import CardWord

# Instead of an instance, in what a card says is left in it.
NOBODY = -1
POLL_FIRST_S = 0.0005
POLL_MOST_S = 0.01


async def until(done: Callable[[], bool], seconds: float) -> bool:
    """Whether `done` was true within the time; it is asked at least once, and Busy counts as not yet."""
    loop = asyncio.get_running_loop()
    deadline, rest = loop.time() + seconds, POLL_FIRST_S
    while True:
        try:
            if done():
                return True
        except Busy:
            pass
        if loop.time() >= deadline:
            return False
        await asyncio.sleep(rest)
        rest = min(rest * 2, POLL_MOST_S)


class Passed(Enum):
    """How far `pass_by` came."""

    WHOLLY = "the word was changed"
    BEGUN = "q is ours, and somebody who entered before it is being waited for"
    NOT = "the card is in a step of its own"


def pass_by(word: CardWord, instance: Instance, lost: int) -> Passed:
    """Of an instance that has nothing on this card: no step that read the old M succeeds any more. Nothing waits."""
    try:
        word.revoke_begin(instance.index, lost)
    except Busy:
        return Passed.NOT
    try:
        word.revoke_end()
    except Busy:
        return Passed.BEGUN
    return Passed.WHOLLY


async def pass_on(guard: Guard, link: CardLink, instance: Instance, lost: int, passed: Passed) -> list[str]:
    """What `pass_by` could not end is ended; sentences about what else had to happen. Raises Hardware as `withdraw`."""
    word = link.word
    if passed is Passed.BEGUN and word is not None:
        # Without the lock: whoever has it and finds q waits for us.
        if not await until(word.drained, guard.limits.drain_s) and link.word is word:
            async with link.lock:
                why = f"what was in flight did not end within {guard.limits.drain_s * 1000:g} ms"
                return await _cut(guard, link, instance, lost, why)
        if link.word is word and not link.out:
            word.revoke_end()
        return []
    async with link.lock:
        return await withdraw(guard, link, instance, lost)


async def withdraw(guard: Guard, link: CardLink, instance: Instance, lost: int) -> list[str]:
    """
    The attributes of the instance on this card are gone for good; sentences about what else had to happen.

    Raises Hardware where a card neither answers nor ends: then, and only then, something may still come out of it.
    """
    word = link.word
    if word is None:
        return []
    if link.out:
        # q stands for good: nothing enters. The bits go all the same.
        word.revoke_force(instance.index, lost)
        return [f"card {link.name} is out of service: {link.out}"]

    def begin() -> bool:
        word.revoke_begin(instance.index, lost)
        return True

    loop = asyncio.get_running_loop()
    deadline = loop.time() + guard.limits.drain_s
    if not await until(begin, guard.limits.drain_s) or not await until(word.drained, deadline - loop.time()):
        why = f"what was in flight did not end within {guard.limits.drain_s * 1000:g} ms"
        return await _cut(guard, link, instance, lost, why)
    whose = {"instance": instance.index}
    call, arguments = ("instance.drop", whose) if lost & C else ("instance.rescind", whose | {"attributes": lost})
    try:
        answer = await ask(guard, link, call, arguments)
    except VecError as error:
        return await _cut(guard, link, instance, lost, f"{call}: {error.message}")
    word.revoke_end()
    if not lost & C:
        return []
    log.event(events.INSTANCE_DROPPED, card=link.name, subject=instance.name, reason="c was withdrawn")
    return await _clean(guard, link, instance, answer)


async def _clean(guard: Guard, link: CardLink, instance: Instance, residue: ipc.Answer) -> list[str]:
    """
    After c of the instance is gone: nothing of it is left in the card, which is free if it was the last.

    residue: what the card had when it had dropped the instance. Returns what an operator has to know. A wipe that
    cannot be checked takes the card out of service.
    """
    book, word = guard.book, link.word
    if word is None or link.out:
        return []
    now = loaded(guard, link, word)
    try:
        if now is not None and {residue["context"], residue["output"]} != {NOBODY}:
            # Who got the turn meanwhile got a clean card, and is wiped after it: the guard does not cut into that.
            residue = await wipe(guard, link) if now.owner is None else await ask(guard, link, "card.residue")
    except VecError as error:
        if not link.out:
            return await _cut(guard, link, instance, C, f"it could not be cleaned: {error.message}")
    if link.out:
        return [f"card {link.name} is out of service: {link.out}"]
    named = {residue["context"], residue["output"], *residue["keys"]}
    if instance.index in named:
        out_of_service(guard, link, f"something of {instance.name} is left after it was dropped and wiped")
        return [f"card {link.name} is out of service: {link.out}"]
    if book.connected(link.name):
        observe(guard, link)
        return []
    if named - {NOBODY}:
        out_of_service(guard, link, "nobody is connected, and it is not clean after a wipe")
        return [f"card {link.name} is out of service: {link.out}"]

    def settle() -> bool:
        word.settle()
        return True

    if not await until(settle, guard.limits.drain_s):
        return await _cut(guard, link, instance, C, "it does not come to rest")
    observe(guard, link)
    return []


async def wipe(guard: Guard, link: CardLink) -> ipc.Answer:
    """R12(none): the card was wiped and read back; what it still has then, as `card.residue`.

    Raises Hardware, with the card out of service, where it was not.
    """
    book = guard.book
    answer = await _patiently(lambda: ask(guard, link, "card.clean"), guard.limits.answer_s)
    if not answer["wiped"]:
        out_of_service(guard, link, "a wipe could not be checked")
        raise Hardware(f"card {link.name} is out of service", reason=link.out, object=link.name)
    log.event(events.CARD_WIPED, card=link.name)
    with book.change():
        if book.state.status_of(link.name) != FREE:
            book.ask(requests.switch(link.name, None))
    return answer


async def _patiently(question: Callable[[], Awaitable[ipc.Answer]], seconds: float) -> ipc.Answer:
    """The answer of a card that may be busy with a step of its own for a moment."""
    loop = asyncio.get_running_loop()
    deadline, rest = loop.time() + seconds, POLL_FIRST_S
    while True:
        try:
            return await question()
        except Busy:
            if loop.time() >= deadline:
                raise
        await asyncio.sleep(rest)
        rest = min(rest * 2, POLL_MOST_S)


async def ask(guard: Guard, link: CardLink, call: str, arguments: Mapping[str, Any] = {}) -> ipc.Answer:
    """The card's answer to one call; raises what it raised, TimedOut or Gone."""
    if link.peer is None:
        raise Hardware(f"card {link.name} has no process", object=link.name)
    return await link.peer.call(call, arguments, timeout=guard.limits.answer_s)


async def _cut(guard: Guard, link: CardLink, instance: Instance, lost: int, why: str) -> list[str]:
    """The card process is ended, then the word written off; its instances are dropped with it."""
    if not await end_process(guard, link, why):
        if link.word is not None:
            link.word.revoke_force(instance.index, lost)
        raise Hardware(
            f"card {link.name} neither answers nor ends",
            reason=f"{why}; the right is withdrawn, but what is inside the card may still come out",
            object=link.name,
            hint=f"end the process of card {link.name} by hand, and start it again",
        )
    retire(guard, link, why)
    return [f"card {link.name} was ended ({why}); it comes back with no keys in it"]


async def end(guard: Guard, link: CardLink, why: str) -> None:
    """A card that does not do its part is ended; where that is impossible it stays out of service."""
    if await end_process(guard, link, why):
        retire(guard, link, why)


async def end_process(guard: Guard, link: CardLink, why: str) -> bool:
    """Whether the card's process is no more; in any case the card is out of service."""
    if not link.out:
        link.out = why
        log.event(events.CARD_OUT, card=link.name, reason=why)
    guard.spawn(withhold(guard, link))
    peer, pidfd = link.peer, link.pidfd
    if peer is None:
        return True
    # A peer in this very process is a test's; ending it would end the guard.
    if pidfd is None or peer.pid == os.getpid():
        peer.close()
        return False
    try:
        # ROOT: a card runs as another user (CAP_KILL). The pidfd is of the very process that connected.
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return await _ended(pidfd, guard.limits.kill_s)


async def _ended(pidfd: int, seconds: float) -> bool:
    """Whether the process of the pidfd ended within the time: the descriptor is readable then."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), seconds)
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(pidfd)
    return True


def retire(guard: Guard, link: CardLink, reason: str) -> None:
    """
    The card's process is gone, or does not count: its instances lose c (R6), its word is written off and closed.

    The caller holds the card's lock. The link is ready for the next process; the card is free, without residue.
    """
    book = guard.book
    word, link.word = link.word, None
    if word is not None:
        try:
            link.generation = max(link.generation, word.load().generation + 1)
        except VecError:
            link.generation += 1
        word.abort()
        word.close()
    if link.pidfd is not None:
        os.close(link.pidfd)
        link.pidfd = None
    if link.peer is not None:
        link.peer.close()
        link.peer = None
    link.out, link.lied, link.sight = "", False, None
    # One that never was let in may have the name of something else.
    if link.name not in book.register.cards:
        return
    status = CONTROL if book.state.mapped[link.name] else FREE
    changes = book.monitor.observe_card(
        link.name, status=status, current=None, held=0, context=None, output=None, keys=()
    )
    book.published.cells(changes)
    lost = book.connected(link.name)
    with book.change():
        for instance in lost:
            book.ask(requests.release(instance.name, link.name, "c"))
    for instance in lost:
        log.event(events.INSTANCE_DROPPED, card=link.name, subject=instance.name, reason=reason)
    log.event(events.CARD_LOST, card=link.name, reason=reason)
