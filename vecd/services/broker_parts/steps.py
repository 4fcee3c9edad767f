"""What each control frame makes happen between guest, guard, card and authority. One row per operation in STEPS.

The broker is the relay of docs/protocol.md: it checks early what others check again, it decides nothing, and
all it carries is sealed or signed. One guest's messages are taken one after the other (a lock for each user);
different guests do not wait for each other.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from vecd.base.errors import Busy, Gone, Malformed, ProtocolRefused, TimedOut, Unknown, VecError
from vecd.protocol.broker import BrokerParty, Relay
from vecd.services.broker_parts.cards import CardChannel, Cards
from vecd.services.broker_parts.guest import GuestConnection
from vecd.services.broker_parts.linger import Linger
from vecd.services.broker_parts.link import Link
from vecd.wire import codec, ops

# Which card a session is on; older ones are found by asking the user's cards.
SESSIONS_KEPT = 4096
# How long a guest that asks too often waits for its refusal, with all its connections.
TOO_OFTEN_S = 0.05


class Steps:
    """The answers to frames, over the links of this broker."""

    def __init__(self, party: BrokerParty, guard: Link, authority: Link, cards: Cards, linger: Linger) -> None:
        self._party = party
        self._guard = guard
        self._authority = authority
        self._cards = cards
        self._linger = linger
        self._locks: dict[bytes, asyncio.Lock] = {}
        self._sessions: OrderedDict[bytes, str] = OrderedDict()

    async def answer(self, guest: GuestConnection, header: codec.Header, data: bytes) -> bytes | None:
        """The data of the answer; None when the connection was handed to a card."""
        name = ops.CONTROL_NUMBER[header.op].name
        async with self._lock(guest.id_u):
            # How often a guest may ask, the guard says. While it is away nothing of that comes to it.
            if self._guard.up.is_set():
                await self._paid(guest, name)
            return await STEPS[name](self, guest, data)

    async def release_idle(self, card: str, instance: bytes, id_u: bytes) -> None:
        """An instance without a connection for its time lets go of its card, unless somebody came back meanwhile."""
        async with self._lock(id_u):
            if (card, instance) not in [(name, one) for name, one, _ in self._linger.due(time.monotonic())]:
                return
            channel = next((one for one in self._cards if one.name == card), None)
            if channel is not None:
                await self._released(channel, id_u, instance)
            self._linger.forget(card, instance)

    # -- one method for each operation --------------------------------------------------------------------------
    async def hello(self, guest: GuestConnection, data: bytes) -> bytes:
        """Who this broker is, what this guest may reach, how long the last run's relayed messages took (ms)."""
        who = await self._guard.call("guest.who", {"name": guest.guest})
        told = {
            "broker": self._party.identity.id.hex(),
            "instances": [
                {
                    "instance": one["instance"],
                    "name": one["name"],
                    "cards": [{"name": card["name"], "id": card["id"]} for card in one["cards"]],
                }
                for one in who["instances"]
            ],
            "timings": guest.times,
        }
        return json.dumps(told).encode()

    async def register(self, guest: GuestConnection, data: bytes) -> bytes:
        """Registration 1 and 4 of a user."""
        message2 = self._party.relay_registration(data, "user", guest.id_u)
        answer = await self._authority.call("ca.register", {"body": message2})
        guest.proved()
        return self._party.check_certificate(answer["body"], guest.id_u)

    async def verify(self, guest: GuestConnection, data: bytes) -> bytes:
        """Messages 1-6. Who is not who it says it is gets no right: R1 comes between 4 and 5."""
        clock = _Clock(guest.times, fresh=True)
        relay = self._relay(guest)
        to_card = relay.verify(data, time.monotonic())
        instance = await self._instance(guest, to_card.id_c)
        card = await self._reached(guest, instance, to_card.id_c)
        message2 = (await card.call("verify.open", {"body": to_card.body}))["body"]
        clock.lap("2")
        message3 = relay.card_answered(message2, time.monotonic())
        clock.lap("3")
        both = await self._authority.call("ca.verify", {"body": message3})
        clock.lap("4")
        await self._admit(guest, instance, card)
        clock.lap("R1")
        to_card, message6 = relay.certified(both["to_card"], both["to_user"], time.monotonic())
        await card.call("verify.accept", {"body": to_card.body})
        clock.lap("5")
        guest.proved()
        return message6

    async def load(self, guest: GuestConnection, data: bytes) -> bytes:
        """Messages 7-12."""
        clock = _Clock(guest.times)
        relay = self._relay(guest)
        to_card = relay.load(data, time.monotonic())
        instance = await self._instance(guest, to_card.id_c)
        card = self._cards.by_id(to_card.id_c)
        await self._still_connected(guest, instance, card)
        answer = await card.call("key.load", {"body": to_card.body})
        clock.lap("8")
        message9 = relay.card_loaded(answer["body"], time.monotonic())
        clock.lap("9")
        both = await self._authority.call("ca.loaded", {"sid": answer["sid"], "body": message9})
        clock.lap("10")
        to_card, message12 = relay.confirmed(both["to_card"], both["to_user"], time.monotonic())
        try:
            await card.call("key.accept", {"body": to_card.body, "instance": instance}, timeout=10.0)
        except ProtocolRefused:
            # The authority said keybad: the card has zeroised K, and the user's half says so to the user.
            if both["ok"]:
                raise
        clock.lap("11")
        self._linger.touched(card.name, instance, guest.id_u, time.monotonic())
        self._remember(answer["sid"], card)
        guest.proved()
        return message12

    async def key(self, guest: GuestConnection, data: bytes) -> bytes:
        """A further key is registered."""
        body = self._relay(guest).key(data, time.monotonic())
        answer = await self._authority.call("ca.key", {"id_u": guest.id_u, "body": body})
        guest.proved()
        return bytes(answer["body"])

    async def keyrev(self, guest: GuestConnection, data: bytes) -> bytes:
        """A key is revoked, and no card has it any more.

        Raises what a card answered that may still have it, Busy where it cannot be reached: the user asks again (with
        a new nonce), and everything is said again.
        """
        body = self._relay(guest).key(data, time.monotonic(), "keyrev")
        answer = await self._authority.call("ca.keyrev", {"id_u": guest.id_u, "body": body})
        guest.proved()
        # A user's keys are where an instance of its holds c, so where M has it, and only in a process.
        who = await self._guard.call("guest.who", {"name": guest.guest})
        holding = {card["id"] for one in who["instances"] for card in one["cards"] if card["holds"]}
        failed: VecError | None = None
        for one in answer["to_cards"]:
            if one["id"] in holding:
                try:
                    card = self._cards.by_id(bytes.fromhex(one["id"]))
                    await card.call("key.destroy", {"body": one["body"]})
                except VecError as error:
                    failed = failed or error
        if failed is not None:
            raise failed
        return bytes(answer["body"])

    async def attach(self, guest: GuestConnection, data: bytes) -> None:
        """The connection belongs to the card from here; the card itself says READY on it."""
        if guest.frames != 1:
            raise Malformed("ATTACH is the first frame of a connection of its own", rule="attach")
        to_card = self._relay(guest).attach(data, time.monotonic())
        card = self._cards.by_id(to_card.id_c)
        await self._still_connected(guest, to_card.instance, card)
        try:
            await card.peer.call("attach", {"body": to_card.body}, (guest.descriptor,))
        except (Gone, TimedOut):
            # Whether the card has the descriptor is not known: a word of ours could stand in the middle of its own.
            return
        self._linger.touched(card.name, to_card.instance, guest.id_u, time.monotonic())
        self._remember(to_card.sid, card)

    async def release(self, guest: GuestConnection, data: bytes) -> bytes:
        """R6 c, when the card of that run says that it may."""
        asked = self._relay(guest).release(data, time.monotonic())
        candidates, away = await self._candidates(guest, asked.sid)
        refusal: VecError = Unknown("no card knows this session")
        if away:
            # Whether it has forgotten the run is for it to say, once it is there again.
            refusal = Busy("the card is not in service", hint="ask again in a moment")
        for card in candidates:
            try:
                whose = await card.call("session.release", {"sid": asked.sid, "instance": asked.i})
            except VecError as error:
                refusal = error
                continue
            if whose["id_u"] != guest.id_u:
                raise ProtocolRefused("release was refused", rule="release", reason="the session is another user's")
            await self._released(card, guest.id_u, asked.i)
            self._linger.forget(card.name, asked.i)
            guest.proved()
            return b""
        raise refusal

    async def _paid(self, guest: GuestConnection, step: str) -> None:
        """The guest may take the step now. One that may not is told so, late enough that asking is no flood either."""
        try:
            await self._guard.call("guest.step", {"id_u": guest.id_u, "step": step})
        except Busy:
            await asyncio.sleep(TOO_OFTEN_S)
            raise

    # -- parts of them ------------------------------------------------------------------------------------------
    def _relay(self, guest: GuestConnection) -> Relay:
        return self._party.relay(guest.id_u, time.monotonic())

    async def _instance(self, guest: GuestConnection, id_c: bytes) -> bytes:
        """The user's first instance that was given the card; any of its own otherwise, so that the guard says no."""
        who = await self._guard.call("guest.who", {"name": guest.guest})
        instances = who["instances"]
        for one in instances:
            if any(card["id"] == id_c.hex() for card in one["cards"]):
                return bytes.fromhex(one["instance"])
        if not instances:
            raise Unknown(f"guest {guest.guest} has no instance", subject=guest.guest)
        return bytes.fromhex(instances[0]["instance"])

    async def _reached(self, guest: GuestConnection, instance: bytes, id_c: bytes) -> CardChannel:
        """The card's process; where there is none, what the guard says of such a card is the refusal."""
        try:
            return self._cards.by_id(id_c)
        except Busy:
            await self._connect(guest, instance, id_c)
            raise

    async def _connect(self, guest: GuestConnection, instance: bytes, id_c: bytes) -> None:
        """The guard decided that this instance is connected to the card; raises Denied by the rule that refuses."""
        await self._guard.call("guest.connect", {"id_u": guest.id_u, "instance": instance, "card": id_c})

    async def _admit(self, guest: GuestConnection, instance: bytes, card: CardChannel) -> None:
        """The instance is connected, and a sign of life was seen of it just now."""
        await self._connect(guest, instance, card.id)
        self._linger.touched(card.name, instance, guest.id_u, time.monotonic())

    async def _still_connected(self, guest: GuestConnection, instance: bytes, card: CardChannel) -> None:
        """An instance that was idle and let go between two steps of its start-up is connected again, by the rules."""
        if not self._linger.knows(card.name, instance):
            await self._admit(guest, instance, card)

    async def _released(self, card: CardChannel, id_u: bytes, instance: bytes) -> None:
        await self._guard.call("guest.release", {"id_u": id_u, "instance": instance, "card": card.id})

    async def _candidates(self, guest: GuestConnection, sid: bytes) -> tuple[list[CardChannel], bool]:
        """The card of a session that came by here, otherwise every card this guest may reach; whether one is away."""
        name = self._sessions.get(sid)
        known = [card for card in self._cards if card.name == name]
        if known:
            return known, False
        who = await self._guard.call("guest.who", {"name": guest.guest})
        ids = {card["id"] for one in who["instances"] for card in one["cards"]}
        found = [card for card in self._cards if card.id.hex() in ids]
        return found, len(found) < len(ids)

    def _remember(self, sid: bytes, card: CardChannel) -> None:
        self._sessions[sid] = card.name
        while len(self._sessions) > SESSIONS_KEPT:
            self._sessions.popitem(last=False)

    def _lock(self, id_u: bytes) -> asyncio.Lock:
        return self._locks.setdefault(id_u, asyncio.Lock())


STEPS: Mapping[str, Callable[[Any, GuestConnection, bytes], Awaitable[bytes | None]]] = {
    "HELLO": Steps.hello,
    "REGISTER": Steps.register,
    "VERIFY": Steps.verify,
    "LOAD": Steps.load,
    "KEY": Steps.key,
    "KEYREV": Steps.keyrev,
    "ATTACH": Steps.attach,
    "RELEASE": Steps.release,
}


class _Clock:
    """Milliseconds between laps, by message number."""

    def __init__(self, table: dict[str, float], *, fresh: bool = False) -> None:
        if fresh:
            table.clear()
        self._table = table
        self._at = time.perf_counter()

    def lap(self, message: str) -> None:
        now = time.perf_counter()
        self._table[message] = round((now - self._at) * 1000.0, 3)
        self._at = now
