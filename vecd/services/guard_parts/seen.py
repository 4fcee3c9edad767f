"""What the guard sees of a card: its word, checked, and what the state has to know of it before a rule is asked.

Status, slot owner and the owner's r, w, a stand in the card word alone. A word that no rule allows, or that
contradicts M and b, takes the card out of service: whatever it says next is worth nothing.
"""

from vecd.base import events, log
from vecd.base.errors import Busy, Hardware, Integrity, VecError
from vecd.ppm.state import CONTROL, FREE
from vecd.services.guard_parts.context import CardLink, Guard
from vecd.shm.layout import STATUS_NAMES, USING, Word
from vecd.shm.writer import CardWord


def out_of_service(guard: Guard, link: CardLink, reason: str) -> None:
    """Nothing enters the card any more, the broker does not offer it, and the operator is told why."""
    if link.out:
        return
    link.out = reason
    log.event(events.CARD_OUT, card=link.name, reason=reason)
    if link.word is not None:
        link.word.abort()
    guard.spawn(withhold(guard, link))


def lies(guard: Guard, link: CardLink, why: str) -> None:
    """The card is out of service for good, on the disk as well; the patrol ends its process (quarantine.py)."""
    if link.lied:
        return
    link.lied = True
    out_of_service(guard, link, why)
    if guard.book.quarantine(link.name, why):
        log.event(events.STORE_FAILED, reason=f"card {link.name} is in quarantine until the guard starts again")


def loaded(guard: Guard, link: CardLink, word: CardWord) -> Word | None:
    """What the card word says; None where no rule allows it: then the card lies."""
    try:
        return word.load()
    except Integrity as error:
        lies(guard, link, f"{error.message}: {error.reason}")
        return None


async def withhold(guard: Guard, link: CardLink) -> None:
    """The broker offers the card to nobody."""
    peer = guard.broker.peer
    if peer is None or peer.closed.is_set():
        return
    try:
        await peer.call("card.remove", {"name": link.name}, timeout=guard.limits.answer_s)
    except VecError as error:
        log.event(events.CALL_REFUSED, door="broker", call="card.remove", peer="broker", reason=error)


def serving(guard: Guard, link: CardLink) -> Word:
    """The card's word, and the state agrees with it. Raises Hardware for a card that is out of service, Busy for one
    whose process is being started again."""
    word = observe(guard, link)
    if link.out:
        raise Hardware(
            f"card {link.name} is out of service",
            reason=link.out,
            object=link.name,
            hint=f"end the process of card {link.name}, and start it again",
        )
    if why := guard.quarantined(link.name):
        raise in_quarantine(link.name, why)
    if word is None:
        raise Busy(
            f"card {link.name} has no process",
            reason="it has not said hello since it ended",
            object=link.name,
            hint="its supervisor starts it again: ask again in a moment, or look at vecctl status",
        )
    return word


def in_quarantine(card: str, why: str) -> Hardware:
    """What is said of a card whose last process lied."""
    return Hardware(
        f"card {card} is in quarantine",
        reason=why,
        object=card,
        hint=f"find out why; vecctl card readmit {card} lets its next process in",
    )


def observe(guard: Guard, link: CardLink) -> Word | None:
    """
    The state has what the card's word says; the word, or None where there is none or it is impossible.

    While somebody owns the slot its private data are taken to be in the card: that only a wipe or the card's own
    word can tell, and a rule that is asked meanwhile must not take the card for clean.
    """
    if link.name not in guard.book.register.cards:
        return None
    if link.word is None or link.out:
        _absent(guard, link)
        return None
    word = loaded(guard, link, link.word)
    if word is None:
        _absent(guard, link)
        return None
    owner = None
    try:
        if word.owner is not None:
            instance = guard.book.instance_at(word.owner)
            if instance is None:
                raise Integrity(f"card {link.name}: the slot owner {word.owner} is no instance")
            owner = instance.name
        using = word.status == USING
        changes = guard.book.monitor.observe_card(
            link.name,
            status=STATUS_NAMES[word.status],
            current=owner,
            held=word.held,
            context=owner if using else None,
            output=owner,
        )
    except Integrity as error:
        lies(guard, link, f"{error.message}: {error.reason}" if error.reason else error.message)
        _absent(guard, link)
        return None
    guard.book.published.cells(changes)
    if any(change.table == "current" for change in changes):
        guard.book.record.note("turn", card=link.name, instance=owner, generation=word.generation)
    return word


def observed_at_rest(guard: Guard, link: CardLink) -> bool:
    """The state has what the card's word says, and no step and no request is under way there."""
    word = observe(guard, link)
    return word is not None and not word.quiesced and not word.inflight


def _absent(guard: Guard, link: CardLink) -> None:
    """Nobody has a turn on a card without a process, or on one whose word is worth nothing; c is still as decided."""
    status = CONTROL if guard.book.state.mapped.get(link.name) else FREE
    changes = guard.book.monitor.observe_card(
        link.name, status=status, current=None, held=0, context=None, output=None, keys=()
    )
    guard.book.published.cells(changes)
