"""The patrol: once a second every card word is looked at, also where no rule asks, and so is the disk.

A rule finds a word that no rule allows when it looks at that card; the patrol finds it on a card of which nobody asks
anything, and finds what one look cannot show: a generation that goes back, an owner that came without a switch. What
a card did and undid between two looks is not seen. A card that lies is quarantined (quarantine.py).

Looking costs a load and a comparison for each card whose word stands still.
"""

import asyncio
from collections.abc import Callable

from vecd.base import events, log
from vecd.base.errors import Failed, VecError
from vecd.ppm.state import letters
from vecd.services.guard_parts.context import CardLink, Guard, Sight
from vecd.services.guard_parts.quarantine import confine
from vecd.services.guard_parts.seen import lies, loaded, observe
from vecd.shm.layout import FREE, STATUS_NAMES, Word
from vecd.shm.writer import CardWord

EVERY_S = 1.0
GENERATIONS = 2**34
# No card changes its generation more often in a second: 20,000 switches a second are many.
CHANGES_S = 1_000_000
# A step of a card that takes longer is worth an alarm; it may be a wipe, or a process that was halted.
STEP_S = 5.0


def transition(before: Word, after: Word, seconds: float, named: Callable[[int | None], str] = str) -> str:
    """Why no steps of guard and card lead from the one word to the other in this time, or ""."""
    moved = (after.generation - before.generation) % GENERATIONS
    if moved >= GENERATIONS // 2:
        return f"its generation went back, from {before.generation} to {after.generation}"
    if moved > CHANGES_S * (seconds + 1):
        return f"its generation moved on by {moved} in {seconds:.1f} s, and no card switches so often"
    if moved:
        return ""
    if after.owner is not None and after.owner != before.owner:
        was, now = named(before.owner), named(after.owner)
        return f"its slot went from {was} to {now} without a switch: the generation stayed"
    if after.status == FREE and before.status != FREE:
        return f"it became free from {STATUS_NAMES[before.status]} and was not settled: the generation stayed"
    return ""


def standing(guard: Guard, link: CardLink, word: Word) -> str:
    """What the word says that M, b or the guard's own steps do not allow, beyond what the state shows; or ""."""
    connected = guard.book.state.mapped.get(link.name)
    if word.status != FREE and not connected:
        return f"it is in {STATUS_NAMES[word.status]}, and nobody is connected"
    if word.owner is None:
        return ""
    allowed = guard.book.matrices.load("card_m", guard.book.card(link.name).index, word.owner)
    if word.held & ~allowed:
        name = _name(guard, word.owner)
        return f"{name} holds {letters(word.held)}, and M allows {letters(allowed) or 'nothing'} through its user"
    return ""


def look(guard: Guard) -> None:
    """Every card that nobody is busy with was looked at; one that lies is on its way into quarantine."""
    now_s = asyncio.get_running_loop().time()
    for link in list(guard.links.values()):
        # Who holds the lock is between two steps of its own on that very word.
        if link.word is not None and not link.out and not link.lock.locked():
            _look_at(guard, link, link.word, now_s)
        if link.lied and link.word is not None and not link.lock.locked():
            guard.spawn(confine(guard, link))


def _look_at(guard: Guard, link: CardLink, own: CardWord, now_s: float) -> None:
    before = link.sight if link.sight is not None and link.sight.of is own else None
    word = loaded(guard, link, own)
    if word is None:
        return
    if before is not None and before.word == word:
        link.sight = Sight(own, word, now_s, before.since_s)
        return
    link.sight = Sight(own, word, now_s, now_s)
    # The state takes the word in, and refuses what no rule could have made of it.
    if observe(guard, link) is None:
        return
    why = standing(guard, link, word)
    if before is not None and not why:
        why = transition(before.word, word, now_s - before.at_s, lambda index: _name(guard, index))
    if why:
        lies(guard, link, why)


def _name(guard: Guard, index: int | None) -> str:
    if index is None:
        return "nobody"
    instance = guard.book.instance_at(index)
    return f"instance {index}" if instance is None else instance.name


def alarms(guard: Guard) -> list[str]:
    """Cards that have been in one and the same step for long."""
    now_s, found = asyncio.get_running_loop().time(), []
    for link in guard.links.values():
        sight = link.sight
        if sight is None or sight.of is not link.word or not sight.word.quiesced or link.out:
            continue
        if now_s - sight.since_s >= STEP_S:
            found.append(f"card {link.name} has been in one step for {now_s - sight.since_s:.0f} s")
    return found


async def disk(guard: Guard) -> None:
    """What the disk did not take is there, if it takes it now; a long journal has become a snapshot."""
    book = guard.book
    book.commit()
    if book.store.behind:
        try:
            book.store.rewrite()
        except Failed as error:
            log.event(events.STORE_FAILED, reason=error)
        return
    if not book.store.due:
        return
    write = book.store.begin()
    try:
        size = await asyncio.to_thread(write)
        book.commit()
        book.store.end(size)
    except VecError as error:
        book.store.give_up()
        log.event(events.STORE_FAILED, reason=error)


async def patrol(guard: Guard, every_s: float = EVERY_S) -> None:
    """For ever."""
    while True:
        await asyncio.sleep(every_s)
        look(guard)
        await disk(guard)
