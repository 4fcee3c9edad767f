"""The broker: guests come in here, and it relays between them, the cards and the authority.

It has no privilege, decides nothing and never sees a key: what passes is sealed to its receiver and signed by its
sender. Listening sockets and the channels to the cards come from the guard, as descriptors. An attached data connection
is the card's; when this process dies, guests that are attached do not notice.
"""

from __future__ import annotations

import asyncio
import resource
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

from vecd.base import events, ipc, log, notify
from vecd.base.config import Broker as Settings
from vecd.base.errors import EXIT_OK, Busy, Caller, Malformed, Unreachable, VecError
from vecd.base.start import Start, begin, lock_down
from vecd.control import calls
from vecd.protocol import registration, suites
from vecd.protocol.broker import BrokerParty, registration2
from vecd.protocol.identity import Identity
from vecd.services import enrolment
from vecd.services.broker_parts.cards import Cards
from vecd.services.broker_parts.limits import Limits
from vecd.services.broker_parts.linger import Linger
from vecd.services.broker_parts.link import Link
from vecd.services.broker_parts.listen import Listeners
from vecd.services.broker_parts.steps import Steps
from vecd.services.running import until_told

ROLE = "broker"
LINGER_TICK_S = 0.25
ENROL_REST_S = 0.2


def main(argv: Sequence[str]) -> int:
    """Runs until it is told to stop; 0 then."""
    start = begin(ROLE, argv)
    # Guests that wait, guests that are served, cards and listeners: as many descriptors as the machine gives.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    lock_down(start, uid=start.config.broker.uid)
    asyncio.run(until_told(ROLE, _serve(start)))
    return EXIT_OK


async def _serve(start: Start) -> None:
    authority = Link("authority", str(start.paths.ca), calls.door("ca", ROLE))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(authority.run())
        identity = await _identity(start, authority)
        broker = Broker(start.config.broker, BrokerParty(identity), str(start.paths.broker), authority)
        tasks.create_task(broker.guard.run())
        tasks.create_task(broker.release_idle())
        await broker.guard.up.wait()
        log.event(events.READY, role=ROLE, reason="the guard is reached")
        notify.ready("the guard is reached")


async def _identity(start: Start, authority: Link) -> Identity:
    """This broker's identity; at the first start it is registered with its token. Waits for the authority."""
    directory = start.paths.state_of(ROLE)
    identity = enrolment.stored(directory)
    if identity is not None:
        return identity
    invitation_path = start.paths.enrol(ROLE)
    invitation = enrolment.require(invitation_path, ROLE, ROLE, directory)
    keys = suites.generate()
    while True:
        await authority.up.wait()
        enrol = registration.enrol_broker(invitation, keys, secrets.token_bytes, time.monotonic())
        message2 = registration2(invitation.id, keys, invitation.ca, enrol.message)
        try:
            answer = await authority.call("ca.register", {"body": message2})
        except (Busy, Unreachable):
            await asyncio.sleep(ENROL_REST_S)
            continue
        identity = enrol.accept(answer["body"], int(time.time()), time.monotonic())
        enrolment.store(directory, identity, invitation_path)
        log.event(events.REGISTERED, role=ROLE, subject=identity.name, serial=identity.read_certificate().serial)
        return identity


class Broker:
    """A registered broker with its links, and the answers to what the guard and the cards ask it."""

    def __init__(self, settings: Settings, party: BrokerParty, guard_path: str, authority: Link) -> None:
        limits = Limits(settings.peer_connections, settings.all_connections, settings.proven_connections)
        self._party = party
        self._authority = authority
        self._linger = Linger(settings.linger_s)
        self._cards = Cards(calls.door("relay", ROLE), self._asked_by_card)
        self.guard = Link(
            "guard", guard_path, calls.door("broker", ROLE), handler=self._asked_by_guard, greet=self._greet
        )
        self._steps = Steps(party, self.guard, authority, self._cards, self._linger)
        self._listeners = Listeners(settings.state_s, limits, self._steps.answer)

    async def release_idle(self) -> None:
        """Instances without a connection for their time let go of their cards; for ever."""
        while True:
            await asyncio.sleep(LINGER_TICK_S)
            for card, instance, id_u in self._linger.due(time.monotonic()):
                try:
                    await self._steps.release_idle(card, instance, id_u)
                except Busy:
                    # The guard or the card is away: asked again at the next tick.
                    continue
                except VecError as error:
                    log.event(events.CALL_REFUSED, door="broker", call="guest.release", peer="guard", reason=error)
                    self._linger.forget(card, instance)

    async def _greet(self, peer: ipc.Peer) -> None:
        # A new guard says anew who may come in, by which socket.
        self._listeners.clear()
        await peer.call("broker.hello")

    async def _asked_by_guard(
        self, peer: ipc.Peer, call: str, args: dict[str, Any], fds: list[int]
    ) -> Mapping[str, Any]:
        if call == "listener.add":
            sock = socket.socket(fileno=fds.pop(0))
            self._listeners.add(args["name"], args["id_u"], args["kind"], args["cid"], sock)
        elif call == "listener.remove":
            self._listeners.remove(args["name"])
        elif call == "card.add":
            self._cards.add(args["name"], args["id"], fds.pop(0))
            log.event(events.CARD_IN_SERVICE, card=args["name"], what="a channel to its process")
        elif call == "card.remove":
            self._cards.remove(args["name"])
            self._linger.forget(args["name"])
        else:
            raise Malformed(f"the broker does not answer {call}")
        return {}

    async def _asked_by_card(
        self, peer: ipc.Peer, call: str, args: dict[str, Any], fds: list[int]
    ) -> Mapping[str, Any]:
        card = self._cards.by_peer(peer)
        if call == "instance.connections":
            self._linger.counted(card.name, args["instance"], args["user"], args["open"], time.monotonic())
            return {}
        if call == "relay.register":
            message2 = self._party.relay_registration(args["body"], "card")
            answer = await self._authority.call("ca.register", {"body": message2})
            return {"body": answer["body"]}
        raise Caller(f"a card may not ask {call}")
