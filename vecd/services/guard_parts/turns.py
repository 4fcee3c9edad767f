"""Who shares a card's time, and with what weight: the guard tells the card (docs/cards.md, "Turns").

Configured are the instances that M lets connect, connected or not: so nobody's turns move because a neighbour comes or
goes. What an operator gives, rescinds or weighs anew does move them.
"""

import asyncio
from typing import Any

from vecd.base import events, log
from vecd.base.errors import VecError
from vecd.ppm.state import C
from vecd.services.guard_parts import policy
from vecd.services.guard_parts.context import CardLink, Guard
from vecd.services.guard_parts.revoke import ask

STRICT = "strict"
WEIGHT_DEFAULT = 1
# Changes that come together are told together.
GATHER_S = 0.02


def weights_of(guard: Guard, card: str) -> dict[int, int]:
    """Of every instance that M lets connect to the card its weight, by index."""
    book, given = guard.book, policy.weights(guard)
    found = {}
    for subject, byte in book.state.M.get(card, {}).items():
        instance = book.register.instances.get(str(subject))
        if instance is not None and byte & C:
            found[instance.index] = given.get(instance.name, WEIGHT_DEFAULT)
    return dict(sorted(found.items()))


def _wanted(guard: Guard, link: CardLink) -> dict[int, int]:
    """What the card has to be told: shared fairly, whoever is not named weighs 1, so that mostly there is nothing."""
    if link.share != STRICT and not policy.weights(guard):
        return {}
    weights = weights_of(guard, link.name)
    return weights if link.share == STRICT else {i: w for i, w in weights.items() if w != WEIGHT_DEFAULT}


async def tell(guard: Guard, link: CardLink) -> None:
    """The card divides its time as M and the policy say now. Raises what the card said; it goes on as before then."""
    async with link.turns_lock:
        word, wanted = link.word, _wanted(guard, link)
        if word is None or link.turns == (word, wanted):
            return
        rows = [[index, weight] for index, weight in wanted.items()]
        try:
            await ask(guard, link, "card.schedule", {"share": link.share, "slot_us": link.slot_us, "weights": rows})
        except VecError as error:
            link.turns_refused = error.message
            log.event(events.TURNS_REFUSED, card=link.name, reason=error)
            raise
        link.turns, link.turns_refused = (word, wanted), ""
    log.event(events.TURNS_SET, card=link.name, what=f"share = {link.share}, {len(wanted)} instances named")


def moved(guard: Guard, card: str) -> None:
    """Who is configured for the card, or with what weight, has changed: it is told before long."""
    link = guard.link(card)
    if link.word is None or link.turns_moved:
        return
    link.turns_moved = True
    guard.spawn(_soon(guard, link))


async def _soon(guard: Guard, link: CardLink) -> None:
    await asyncio.sleep(GATHER_S)
    link.turns_moved = False
    try:
        await tell(guard, link)
    except VecError:
        # It is on record, and vecctl card show has it.
        return


def shown(guard: Guard, link: CardLink, report: dict[str, Any]) -> dict[str, Any]:
    """What the card reports of its turns, with names."""
    rows = []
    for row in report["shares"]:
        instance = guard.book.instance_at(row["instance"])
        name = instance.name if instance else f"instance {row['instance']}"
        rows.append({**row, "instance": name})
    return {**report, "shares": rows, "refused": link.turns_refused or None}
