"""Quarantine: a card process that wrote what it may not into its word is ended, and its card stays out.

At once nothing enters the card, the broker offers it to nobody, and the reason is on the disk (seen.lies). Then, here,
its process is ended through its pidfd and its instances lose c, so that their guests go elsewhere. Neither a new
process of the card nor a new guard lets it back in. An operator does, by `vecctl card readmit`.
"""

from typing import Any

from vecd.base import events, log
from vecd.base.errors import Failed, Hardware
from vecd.services.guard_parts import revoke
from vecd.services.guard_parts.context import CardLink, Guard


async def confine(guard: Guard, link: CardLink) -> None:
    """The process of this card is ended, and everything it had is released; one that does not end stays locked out."""
    word, why = link.word, link.out
    async with link.lock:
        if word is not None and link.word is word:
            await revoke.end(guard, link, why)


async def readmit(guard: Guard, name: str) -> dict[str, Any]:
    """The card's next process is let in. Raises Failed where a restart would forget that."""
    guard.book.card(name)
    why, link = guard.quarantined(name), guard.link(name)
    if why and link.peer is not None:
        raise Hardware(
            f"card {name} still has the process that lied",
            reason=why,
            object=name,
            hint=f"end process {link.peer.pid} by hand, then readmit the card",
        )
    warning = guard.book.quarantine(name, "") if why else ""
    if why:
        log.event(events.CARD_READMITTED, card=name, reason=why)
    if warning:
        raise Failed(f"card {name} is readmitted, but only until the guard starts again", reason=warning)
    return {"name": name, "was": why or None}
