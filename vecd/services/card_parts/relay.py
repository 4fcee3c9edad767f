"""What the broker asks of a card: the card's half of verification, key loading, attach and release.

Everything is decided by the CardParty (docs/protocol.md) and by the pump; what stands here brings the two together.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from vecd.base import events, log
from vecd.base.errors import NoKey, TimedOut, VecError
from vecd.cards.api import Card
from vecd.cards.shares import giving_way
from vecd.protocol.card import Activation, CardParty
from vecd.services.card_parts.instances import Instances
from vecd.wire import ops

ATTACH_S = 5.0


class Relayed:
    """The answers to the door `relay`."""

    def __init__(self, name: str, card: Card, party: CardParty, instances: Instances, slots: int) -> None:
        self._name = name
        self._slots = slots
        self._card = card
        self._party = party
        self._instances = instances

    async def answer(self, call: str, args: dict[str, Any], fds: list[int]) -> Mapping[str, Any]:
        """The answer to one call; a descriptor that a card took is taken from the list."""
        return await CALLS[call](self, args, fds)

    async def verify_open(self, args: dict[str, Any], fds: list[int]) -> Mapping[str, Any]:
        return {"body": self._party.verify_open(args["body"], time.monotonic())}

    async def verify_accept(self, args: dict[str, Any], fds: list[int]) -> Mapping[str, Any]:
        self._party.verify_accept(args["body"], int(time.time()), time.monotonic())
        return {}

    async def key_load(self, args: dict[str, Any], fds: list[int]) -> Mapping[str, Any]:
        sid, body = self._party.key_load(args["body"], time.monotonic())
        return {"sid": sid, "body": body}

    async def key_accept(self, args: dict[str, Any], fds: list[int]) -> Mapping[str, Any]:
        """Message 11, then loadkey in a turn of the card: only after that the key slot is active."""
        key = self._party.key_accept(args["body"], int(time.time()), time.monotonic())
        if key is None:
            # "keybad": K is zeroised, and the user's own half of the statement tells the user.
            return {}
        try:
            instance = self._instances.named(args["instance"], key.id_u)
            await self._make_room(key)
        except VecError:
            self._undo(key)
            raise
        try:
            # From here on a drop of the instance knows of the key.
            instance.keys.add(key.number)
            await asyncio.to_thread(
                self._card.load_key,
                instance.index,
                key.number,
                ops.ALG_TEXT[key.alg].number,
                key.usage,
                key.handle,
            )
        except BaseException as error:
            if isinstance(error, TimedOut):
                # The pump may have done it after all.
                with contextlib.suppress(VecError):
                    await asyncio.to_thread(self._card.drop_key, instance.index, key.number)
            self._undo(key)
            raise
        log.event(events.KEY_ACTIVE, card=self._name, key=key.number, subject=instance.name)
        return {}

    async def key_destroy(self, args: dict[str, Any], fds: list[int]) -> Mapping[str, Any]:
        for key in self._party.key_destroy(args["body"]):
            await self._destroy(key.number, "its user revoked it")
        return {}

    async def attach(self, args: dict[str, Any], fds: list[int]) -> Mapping[str, Any]:
        attached = self._party.attach(args["body"], self._instances.owners(), time.monotonic())
        instance = self._instances.named(attached.instance, attached.id_u)
        descriptor = fds.pop(0)
        try:
            await asyncio.to_thread(self._card.attach, descriptor, instance.index, attached.tag, deadline_s=ATTACH_S)
        except BaseException:
            os.close(descriptor)
            self._party.forget(attached.sid)
            raise
        instance.attached.append(attached.sid)
        return {}

    async def session_release(self, args: dict[str, Any], fds: list[int]) -> Mapping[str, Any]:
        id_u = self._party.session_release(args["sid"], args["instance"], self._instances.owners(), time.monotonic())
        return {"id_u": id_u, "instance": args["instance"]}

    async def _make_room(self, key: Activation) -> None:
        """There is a slot for this key by its user's share. Raises Exhausted."""
        others = [one for one in self._party.slots.values() if one.id_u == key.id_u and one.number != key.number]
        copies = [one.number for one in others if one.kcv == key.kcv]
        for number in giving_way(copies, len(others), self._slots):
            self._party.dropped(number)
            await self._destroy(number, "later copies of the same key took its place")

    async def _destroy(self, number: int, reason: str) -> None:
        for instance in self._instances.all():
            if number in instance.keys:
                instance.keys.discard(number)
                with contextlib.suppress(NoKey):
                    await asyncio.to_thread(self._card.drop_key, instance.index, number)
                log.event(events.KEY_DESTROYED, card=self._name, key=number, subject=instance.name, reason=reason)

    def _undo(self, key: Activation) -> None:
        """The key did not become active: nothing of it is left."""
        for instance in self._instances.all():
            instance.keys.discard(key.number)
        self._party.dropped(key.number)
        # A handle that the pump used up is not there any more.
        with contextlib.suppress(VecError):
            self._card.drop(key.handle)


CALLS: Mapping[str, Callable[[Relayed, dict[str, Any], list[int]], Awaitable[Mapping[str, Any]]]] = {
    "verify.open": Relayed.verify_open,
    "verify.accept": Relayed.verify_accept,
    "key.load": Relayed.key_load,
    "key.accept": Relayed.key_accept,
    "key.destroy": Relayed.key_destroy,
    "attach": Relayed.attach,
    "session.release": Relayed.session_release,
}
