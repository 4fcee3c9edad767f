"""The card process: the identity, the key slots and the data path of one card.

`python -m vecd card --name c0`. Identity, protocol and the guard's calls are Python in one loop; requests are
the pump's, in C, in a thread of its own (vecd/cards). The guard's door is all this process opens; everything else, the
channel to the broker and the guests' connections, comes as descriptors. When the guard goes away the card answers
BUSY and keeps its key slots for `guard_away_s`, looking for the guard every 50 ms; after that it wipes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from vecd.base import events, ipc, log, notify
from vecd.base.errors import EXIT_OK, Busy, Exists, Gone, TimedOut, Unreachable, VecError
from vecd.base.start import Start, begin, lock_down
from vecd.cards import api
from vecd.cards.api import EventKind
from vecd.control import calls
from vecd.protocol import registration
from vecd.protocol.card import CardParty
from vecd.protocol.identity import Identity, Invitation
from vecd.protocol.suites import Keys
from vecd.services import enrolment
from vecd.services.card_parts import identity as card_identity
from vecd.services.card_parts.audit import Audited
from vecd.services.card_parts.guarded import Guarded
from vecd.services.card_parts.instances import Instances
from vecd.services.card_parts.relay import Relayed
from vecd.services.running import until_told
from vecd.wire import ops

ROLE = "card"
# Connections to restarted guards that this process can ever make: its sandbox has no socket(2).
SPARE_SOCKETS = 128
LOOK_S = 0.05
# When the key slots are gone there is no hurry any more.
LOOK_LATE_S = 0.25
# Between two tries when the guard does not let the card in.
REFUSED_MOST_S = 2.0
EXPIRE_S = 1.0
REGISTER_REST_S = 0.2
OVERRUN_EVERY_S = 1.0
HELLO_S = 10.0
# Calls of the pump that wait at the same time.
THREADS = 16


def main(argv: Sequence[str]) -> int:
    """Runs until it is told to stop; 0 then, and every secret is wiped."""
    start = begin(ROLE, argv)
    settings = start.config.card_of(start.name)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if settings.share == "strict":
        _may_hurry()
    spares = ipc.spare(SPARE_SOCKETS)
    driver = api.load(settings.driver)
    lock_down(start, uid=settings.uid, fds=spares)
    with driver(keys=settings.slots, strict=int(settings.share == "strict")) as card:
        asyncio.run(until_told(f"{ROLE} {start.name}", _serve(start, card)))
    return EXIT_OK


def _may_hurry() -> None:
    """The pump may have the lowest real-time priority, so that other programs do not take its slots, where this process
    may allow it; not on a machine with one processor, where the guard might not get round to a revocation."""
    if (os.cpu_count() or 1) > 1:
        with contextlib.suppress(ValueError, OSError):
            # ROOT: RLIMIT_RTPRIO is raised (CAP_SYS_RESOURCE), for one thread and this one number.
            resource.setrlimit(resource.RLIMIT_RTPRIO, (1, 1))


async def _serve(start: Start, card: api.Card) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "vecd-card"))
    await CardService(start, card).run()


class CardService:
    """One card, from its registration to its end."""

    def __init__(self, start: Start, card: api.Card) -> None:
        self._start = start
        self._name = start.name
        self._slots = start.config.card_of(start.name).slots
        self._card = card
        self._door = start.paths.card(start.name)
        self._instances = Instances()
        self._audited = Audited(start.name, start.paths.state_of(ROLE, start.name), card, start.config.audit)
        self._guard_peer: ipc.Peer | None = None
        self._party: CardParty | None = None
        self._guarded: Guarded | None = None
        self._relayed: Relayed | None = None
        self._relay: ipc.Peer | None = None
        self._relay_there = asyncio.Event()
        # What the guard asks waits until what its hello answered was done here.
        self._bound = asyncio.Event()
        self._served = False
        self._tellings: set[asyncio.Task[None]] = set()
        self._overran_at = -OVERRUN_EVERY_S

    async def run(self) -> None:
        """Serves for ever, over any number of guards."""
        loop = asyncio.get_running_loop()
        identity = card_identity.stored(self._start.paths.state_of(ROLE, self._name), self._card)
        if identity is not None:
            await self._audited.begin(identity, registered=True)
            self._become(identity)
        loop.add_reader(self._card.event_fd(), self._happened)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._expire())
                tasks.create_task(self._recorded())
                tasks.create_task(self._with_guards())
        finally:
            loop.remove_reader(self._card.event_fd())
            await self._audited.end()

    # -- the guard ----------------------------------------------------------------------------------------------
    async def _with_guards(self) -> None:
        gone_at: float | None = None
        rest_s = LOOK_S
        while True:
            peer = await self._look()
            if peer is None:
                if gone_at is not None and time.monotonic() - gone_at >= self._start.config.guard.guard_away_s:
                    gone_at = None
                    await self._wipe_all()
                await asyncio.sleep(LOOK_S if gone_at is not None else LOOK_LATE_S)
                continue
            try:
                await self._serve(peer)
                gone_at, rest_s = None, LOOK_S
                await peer.closed.wait()
            except (Gone, TimedOut, Busy, Exists) as error:
                log.event(events.PEER_GONE, door=self._name, peer=f"guard ({error})")
                # Each time costs one of the sockets that were made before the start.
                await asyncio.sleep(rest_s)
                rest_s = min(rest_s * 2, REFUSED_MOST_S)
            finally:
                peer.close()
            if self._bound.is_set():
                self._bound.clear()
                gone_at = time.monotonic()
                await asyncio.to_thread(self._card.quiesce)
                log.event(events.GUARD_LOST, card=self._name)

    async def _recorded(self) -> None:
        while self._party is None:
            await asyncio.sleep(LOOK_S)
        await self._audited.run(lambda: self._guard_peer if self._bound.is_set() else None)

    async def _look(self) -> ipc.Peer | None:
        try:
            return await ipc.connect(
                self._door, self._asked_by_guard, table=calls.door("card", ROLE), timeout=LOOK_S, name="guard"
            )
        except Unreachable:
            return None

    async def _serve(self, peer: ipc.Peer) -> None:
        """The card is registered, known to the guard and bound to its memory."""
        if self._party is None:
            identity = await self._register(peer)
            await self._audited.begin(identity, registered=False)
            self._become(identity)
        party, guarded = self._party, self._guarded
        assert party is not None and guarded is not None
        known = self._instances.all()
        arguments = {
            "driver": self._card.driver,
            "id": party.identity.id,
            "certificate": party.identity.certificate,
            "slots": [
                {"key": number, "user": one.user.hex(), "instance": one.index, "id": one.id.hex()}
                for one in known
                for number in sorted(one.keys)
            ],
            "instances": [{"instance": one.index, "user": one.user.hex(), "id": one.id.hex()} for one in known],
        }
        answer = await peer.call("card.hello", arguments, timeout=HELLO_S)
        matrices, word = answer.fds
        try:
            await asyncio.to_thread(self._card.bind, matrices, word, answer["card"])
        finally:
            for descriptor in answer.fds:
                socket.close(descriptor)
        back = {one["instance"] for one in answer["instances"]}
        for one in known:
            if one.index not in back:
                await guarded.drop_instance(one.index, "the guard does not know it any more")
        self._guard_peer = peer
        self._bound.set()
        what = f"driver {self._card.driver}, {len(back)} instances kept"
        if self._served:
            log.event(events.GUARD_BACK, card=self._name)
        else:
            self._served = True
            log.event(events.READY, role=f"{ROLE} {self._name}", reason=what)
            notify.ready(what)

    async def _wipe_all(self) -> None:
        """The guard stayed away: nothing of anybody is left here."""
        guarded = self._guarded
        assert guarded is not None
        for one in self._instances.all():
            await guarded.drop_instance(one.index, "the guard stayed away")
        if self._party is not None:
            self._party.close()

    async def _asked_by_guard(
        self, peer: ipc.Peer, call: str, args: dict[str, Any], fds: list[int]
    ) -> Mapping[str, Any]:
        if call == "card.broker":
            self._meet_broker(fds.pop(0))
            return {}
        async with asyncio.timeout(HELLO_S):
            await self._bound.wait()
        if self._guarded is None:
            raise Busy(f"card {self._name} is not registered yet")
        return await self._guarded.answer(call, args)

    # -- the broker ---------------------------------------------------------------------------------------------
    def _meet_broker(self, descriptor: int) -> None:
        """The channel to the broker is this one; it hears first what is connected here.

        The channel before it is left to the broker to close: until it has this one, it asks there.
        """
        sock = socket.socket(fileno=descriptor)
        self._relay = ipc.wrap(sock, self._asked_by_broker, table=calls.door("relay", ROLE), name="broker")
        self._relay_there.set()
        for instance in self._instances.all():
            self._tell(instance.index)

    async def _asked_by_broker(
        self, peer: ipc.Peer, call: str, args: dict[str, Any], fds: list[int]
    ) -> Mapping[str, Any]:
        if self._relayed is None or not self._bound.is_set():
            raise Busy(f"card {self._name} waits for its guard", hint="ask again in a moment")
        return await self._relayed.answer(call, args, fds)

    async def _register(self, peer: ipc.Peer) -> Identity:
        """Registration 1-4 through the broker; the identity is on the disk afterwards."""
        invitation_path = self._start.paths.enrol(ROLE, self._name)
        directory = self._start.paths.state_of(ROLE, self._name)
        invitation = enrolment.require(invitation_path, ROLE, self._name, directory)
        keys, seeds = card_identity.fresh(self._card)
        try:
            identity = await self._registered(peer, invitation, keys)
            card_identity.store(self._start.paths.state_of(ROLE, self._name), identity, seeds, invitation_path)
        except BaseException:
            seeds.drop()
            raise
        serial = identity.read_certificate().serial
        log.event(events.REGISTERED, role=ROLE, subject=self._name, serial=serial)
        return identity

    async def _registered(self, peer: ipc.Peer, invitation: Invitation, keys: Keys) -> Identity:
        while not peer.closed.is_set():
            relay = await self._relay_or_end(peer)
            enrol = registration.enrol_card(invitation, keys, secrets.token_bytes, time.monotonic())
            try:
                answer = await relay.call("relay.register", {"body": enrol.message})
            except (Busy, Gone, TimedOut) as error:
                log.event(events.CALL_REFUSED, door="relay", call="relay.register", peer="broker", reason=error)
                await asyncio.sleep(REGISTER_REST_S)
                continue
            return enrol.accept(answer["body"], int(time.time()), time.monotonic())
        raise Gone("the guard went away before this card was registered")

    async def _relay_or_end(self, peer: ipc.Peer) -> ipc.Peer:
        """The channel to the broker, once there is one that lives; Gone when the guard goes away first."""
        while True:
            if self._relay is not None and not self._relay.closed.is_set():
                return self._relay
            self._relay_there.clear()
            waits = [asyncio.ensure_future(self._relay_there.wait()), asyncio.ensure_future(peer.closed.wait())]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for one in waits:
                one.cancel()
            if peer.closed.is_set():
                raise Gone("the guard went away")

    def _become(self, identity: Identity) -> None:
        party = CardParty(
            identity,
            self._card,
            secrets.token_bytes,
            algs={alg.text: alg.key for alg in ops.ALGS.values()},
            usages=ops.USE_ALL,
        )
        self._party = party
        self._guarded = Guarded(self._name, self._card, party, self._instances)
        self._relayed = Relayed(self._name, self._card, party, self._instances, self._slots)

    # -- the pump -----------------------------------------------------------------------------------------------
    def _happened(self) -> None:
        for event in self._card.events():
            if event.kind in (EventKind.CLOSED, EventKind.ATTACHED):
                self._counted(event)
            elif event.kind is EventKind.IDLE:
                self._later(self._clean())
            elif event.kind is EventKind.OVERRUN:
                self._overran(event)
            elif event.kind is EventKind.OUT_OF_SERVICE:
                log.event(events.CARD_OUT, card=self._name, reason=event.reason or "a wipe could not be checked")

    def _overran(self, event: api.Event) -> None:
        """On record, once a second at most: the counters have all of them."""
        now = time.monotonic()
        if now - self._overran_at < OVERRUN_EVERY_S:
            return
        self._overran_at = now
        instance = self._instances.get(event.instance)
        name = instance.name if instance is not None else f"instance {event.instance}"
        log.event(events.SLOT_OVERRUN, card=self._name, subject=name, late_us=event.value // 1000)

    def _counted(self, event: api.Event) -> None:
        found = self._instances.counted(event.instance, event.value)
        if found is None:
            return
        instance, ended = found
        if event.kind is EventKind.ATTACHED:
            log.event(events.ATTACHED, card=self._name, subject=instance.name)
        else:
            log.event(events.DETACHED, card=self._name, subject=instance.name, reason=event.reason or "it was closed")
            for sid in ended:
                if self._party is not None:
                    self._party.forget(sid)
        self._tell(instance.index)

    def _tell(self, index: int) -> None:
        """The broker knows how many data connections the instance has; one that is away will ask."""
        instance, relay = self._instances.get(index), self._relay
        if instance is not None and relay is not None and not relay.closed.is_set():
            count = {"user": instance.user, "instance": instance.id, "open": instance.connections}
            self._later(_told(relay, count))

    async def _clean(self) -> None:
        # Between two guards nothing is running, and the next bind wipes.
        if self._bound.is_set():
            with contextlib.suppress(VecError):
                await asyncio.to_thread(self._card.clean)

    def _later(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tellings.add(task)
        task.add_done_callback(self._tellings.discard)

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(EXPIRE_S)
            if self._party is not None:
                self._party.expire(time.monotonic())


async def _told(relay: ipc.Peer, count: Mapping[str, Any]) -> None:
    with contextlib.suppress(VecError):
        await relay.call("instance.connections", count)
