"""What the guard asks of a card: instances come and go, rights are withdrawn, the engine is wiped and looked at."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from vecd.base import events, log
from vecd.base.errors import Malformed
from vecd.cards.api import Card
from vecd.protocol.card import CardParty
from vecd.services.card_parts.instances import Instance, Instances


class Guarded:
    """The answers to the door `card`. Each is given only when what it says is done."""

    def __init__(self, name: str, card: Card, party: CardParty, instances: Instances) -> None:
        self._name = name
        self._card = card
        self._party = party
        self._instances = instances

    async def answer(self, call: str, args: dict[str, Any]) -> Mapping[str, Any]:
        return await CALLS[call](self, args)

    async def connect(self, args: dict[str, Any]) -> Mapping[str, Any]:
        instance = self._instances.connect(args["instance"], args["id"], args["user"], args["name"])
        log.event(events.INSTANCE_CONNECTED, card=self._name, subject=instance.name)
        return {}

    async def drop(self, args: dict[str, Any]) -> Mapping[str, Any]:
        await self.drop_instance(args["instance"], "the guard withdrew c")
        return await self.residue({})

    async def rescind(self, args: dict[str, Any]) -> Mapping[str, Any]:
        await asyncio.to_thread(self._card.rescind, args["instance"], args["attributes"])
        return {}

    async def clean(self, args: dict[str, Any]) -> Mapping[str, Any]:
        wiped = await asyncio.to_thread(self._card.clean)
        if wiped:
            log.event(events.CARD_WIPED, card=self._name)
        return {"wiped": wiped, **await self.residue({})}

    async def residue(self, args: dict[str, Any]) -> Mapping[str, Any]:
        found = await asyncio.to_thread(self._card.residue)
        return {"context": found.context, "output": found.output, "keys": list(found.keys)}

    async def report(self, args: dict[str, Any]) -> Mapping[str, Any]:
        counters = dataclasses.asdict(await asyncio.to_thread(self._card.counters))
        turns = dataclasses.asdict(await asyncio.to_thread(self._card.shared))
        turns = {"share": "strict" if turns.pop("strict") else "fair", **turns}
        turns |= {name: counters.pop(name) for name in ("slots", "overruns", "missed")}
        return {**counters, "instances": len(self._instances.all()), "turns": turns}

    async def schedule(self, args: dict[str, Any]) -> Mapping[str, Any]:
        share = args["share"]
        if share not in ("fair", "strict"):
            raise Malformed(f"card.schedule: share {share[:16]!r}", reason="it is fair or strict")
        try:
            weights = {int(index): int(weight) for index, weight in args["weights"]}
        except (TypeError, ValueError):
            raise Malformed("card.schedule: weights are pairs of an index and a weight") from None
        await asyncio.to_thread(self._card.schedule, share == "strict", args["slot_us"], weights)
        return {}

    async def drop_instance(self, index: int, reason: str) -> None:
        """Nothing of the instance is left on this card but residue in the engine, which a wipe takes."""
        instance = self._instances.drop(index)
        await asyncio.to_thread(self._card.drop_instance, index)
        if instance is not None:
            self._forget(instance)
            log.event(events.INSTANCE_DROPPED, card=self._name, subject=instance.name, reason=reason)

    def _forget(self, instance: Instance) -> None:
        for number in instance.keys:
            self._party.dropped(number)
            log.event(
                events.KEY_DESTROYED, card=self._name, key=number, subject=instance.name, reason="c is gone with it"
            )
        for sid in instance.attached:
            self._party.forget(sid)


CALLS: Mapping[str, Callable[[Guarded, dict[str, Any]], Awaitable[Mapping[str, Any]]]] = {
    "instance.connect": Guarded.connect,
    "instance.drop": Guarded.drop,
    "instance.rescind": Guarded.rescind,
    "card.clean": Guarded.clean,
    "card.residue": Guarded.residue,
    "card.report": Guarded.report,
    "card.schedule": Guarded.schedule,
}
