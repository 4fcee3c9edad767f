"""The card processes: their hello, what a restarted guard or card means, and their end."""

import contextlib
import os
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

from vecd.base import events, ipc, log
from vecd.base.errors import Busy, Denied, Exhausted, Exists, Gone, Malformed, VecError
from vecd.ppm import request as requests
from vecd.ppm.state import C
from vecd.services.guard_parts import policy, turns
from vecd.services.guard_parts.context import CardLink, Guard
from vecd.services.guard_parts.entries import CARDS_MAX, ID_BYTES, Card, Instance
from vecd.services.guard_parts.revoke import ask, end, retire, wipe, withdraw
from vecd.services.guard_parts.seen import in_quarantine, loaded, observe, out_of_service, serving
from vecd.shm.layout import FREE
from vecd.shm.writer import CardWord

# What the broker is told of a card that has not registered yet.
NO_ID = bytes(ID_BYTES)
GENERATION_MASK = 2**34 - 1
# Between two roots of a card's log (s); and of what it says is wrong there.
ROOT_LEAST_S = 0.2
ALARM_MAX, ALARMS_MAX = 300, 8


def arrived(guard: Guard, link: CardLink, peer: ipc.Peer) -> None:
    """A card process connected. It gets its relay to the broker at once: it may have to register first."""
    link.peer, link.driver, link.since, link.alarms = peer, "", time.time(), ()
    peer.name = link.name
    # The connection's own pidfd goes with the connection; the process has to be reached after it.
    link.pidfd = None if peer.pidfd is None else os.dup(peer.pidfd)
    guard.spawn(relay(guard, link))


def admit(guard: Guard, link: CardLink) -> None:
    """One process a card, and none of one in quarantine; raises Busy or Hardware."""
    if why := guard.quarantined(link.name):
        raise in_quarantine(link.name, why)
    if link.peer is not None:
        raise Busy(f"a process of card {link.name} is connected already", hint="ask again in a moment")


async def left(guard: Guard, link: CardLink, peer: ipc.Peer) -> None:
    """The connection ended: its instances lose c, its word is retired, the broker is told."""
    async with link.lock:
        if link.peer is not peer:
            return
        reason = peer.reason.message if peer.reason is not None else "its connection ended"
        retire(guard, link, link.out or reason)
    broker = guard.broker.peer
    if broker is not None and not broker.closed.is_set():
        try:
            await broker.call("card.remove", {"name": link.name}, timeout=guard.limits.answer_s)
        except VecError as error:
            log.event(events.CALL_REFUSED, door="broker", call="card.remove", peer="broker", reason=error)


async def hello(
    guard: Guard, link: CardLink, peer: ipc.Peer, arguments: Mapping[str, Any]
) -> tuple[dict[str, Any], Sequence[int]]:
    """R7 k on the first time; a new word; R1 again for what M still allows of what the card reports."""
    identity, driver = arguments["id"], arguments["driver"]
    if len(identity) != ID_BYTES or not driver.isprintable() or len(driver) > 64:
        raise Malformed("card.hello: id or driver is not one")
    reported = _reported(arguments)
    async with link.lock:
        guard.book.commit()
        if link.peer is not peer:
            raise Gone(f"card {link.name}: this connection has ended")
        if link.word is not None:
            raise Exists(f"card {link.name} has said hello already")
        link.sign_key = guard.certified(arguments["certificate"], identity)
        card = _registered(guard, link, identity)
        link.driver, link.word = driver, CardWord.create(_next_generation(link))
        back, drop = _readmit(guard, card, reported)
        if back:
            link.word.connect()
        fds = [guard.book.matrices.fd, link.word.fd]
    guard.spawn(_into_service(guard, link, peer))
    instances = [
        {"instance": one.index, "id": one.id, "user": guard.book.user(one.owner).id, "name": one.name} for one in back
    ]
    return {"card": card.index, "instances": instances, "drop": drop}, fds


def _next_generation(link: CardLink) -> int:
    """Of a new word: unlike that of any word before it, also of a guard that is no more. Milliseconds never repeat
    within half a year, and a word moves on more slowly than they do."""
    link.generation = max(link.generation + 1, time.time_ns() // 1_000_000 & GENERATION_MASK) & GENERATION_MASK
    return link.generation


def _registered(guard: Guard, link: CardLink, identity: bytes) -> Card:
    """The card as it stands in the book. One of another id under this name is another card: the old one is retired,
    and the rights to it with it."""
    book = guard.book
    known = book.register.cards.get(link.name)
    if known is not None and known.id == identity:
        return known
    if known is None and book.register.taken(link.name):
        raise Exists(f"{link.name!r} is the name of a guest", hint="give the card another name")
    if book.has_id(Card, identity) not in (None, known):
        raise Exists(f"the id of card {link.name} is that of another card")
    # A card of another id takes the place of the one that had the name.
    place = known.index if known is not None else book.free_place(Card, CARDS_MAX)
    if place is None:
        raise Exhausted(f"{CARDS_MAX} cards are registered", hint="retire one")
    card = Card(link.name, identity, place)
    # Two changes, since a name is free again only after its end was published.
    before = None
    if known is not None:
        before = {str(subject): byte for subject, byte in book.state.M[link.name].items()}
        with book.change():
            book.destroy(link.name)
    with book.change():
        book.create_card(card)
        policy.joined(guard, link.name, before)
    return card


def _reported(arguments: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What the card says it has: key slots, and instances with or without one. Raises Malformed."""
    rows = [*arguments["slots"], *arguments["instances"]]
    reported = [{"instance": row} if isinstance(row, int) else row for row in rows]
    for row in reported:
        if not isinstance(row, Mapping) or type(row.get("instance")) is not int:
            raise Malformed("card.hello: a slot or an instance is not one")
    return reported


def _readmit(guard: Guard, card: Card, reported: Sequence[Mapping[str, Any]]) -> tuple[list[Instance], list[int]]:
    """R1 for what the card reports and M still allows: the instances that are connected again, key numbers to drop."""
    back: dict[int, Instance] = {}
    refused: set[int] = set()
    drop: list[int] = []
    for row in reported:
        index = row["instance"]
        instance = guard.book.instance_at(index)
        # Of a user of whom something is being taken away at this moment nothing comes back.
        same = instance is not None and _same(guard, instance, row) and not guard.busy_with(instance.owner)
        if same and instance is not None and index not in refused | back.keys():
            if _connect_again(guard, card, instance):
                back[index] = instance
            else:
                refused.add(index)
        if (not same or index in refused) and type(row.get("key")) is int:
            drop.append(row["key"])
    return list(back.values()), drop


def _same(guard: Guard, instance: Instance, slot: Mapping[str, Any]) -> bool:
    """The slot belongs to this very instance, not to one that had its index before."""
    user, own = slot.get("user"), slot.get("id")
    return (user is None or user == guard.book.user(instance.owner).id.hex()) and (
        own is None or own == instance.id.hex()
    )


def _connect_again(guard: Guard, card: Card, instance: Instance) -> bool:
    """What M still allows of the instance's session holds again; False if the rules refuse its c."""
    book = guard.book
    try:
        with book.change():
            for request in opening(instance.owner, instance.name):
                book.ask(request)
            book.ask(requests.connect(instance.name, card.name))
    except Denied as error:
        log.event(events.INSTANCE_DROPPED, card=card.name, subject=instance.name, reason=error.message)
        return False
    return True


def opening(user: str, instance: str) -> list[requests.Request]:
    """What a user asks of an instance when a session opens: R1, R2 a, R4 r."""
    return [requests.connect(user, instance), requests.append(user, instance), requests.read(user, instance)]


async def root(guard: Guard, link: CardLink, peer: ipc.Peer, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The last root of the card's audit log is on record here, and what the card says is wrong there."""
    if link.peer is not peer or link.word is None:
        raise Busy(f"card {link.name} says hello first")
    if guard.audit is None:
        return {"number": -1, "hash": b""}
    now = time.monotonic()
    if now - link.root_s < ROOT_LEAST_S:
        raise Busy(f"card {link.name}: a root a second is enough", hint="send the next one")
    link.root_s = now
    link.alarms = tuple(str(one)[:ALARM_MAX] for one in arguments["alarms"][:ALARMS_MAX])
    return guard.audit.take_root(link.name, link.sign_key, arguments["root"])


async def _into_service(guard: Guard, link: CardLink, peer: ipc.Peer) -> None:
    """After its hello was answered: wiped and read back where it is connected, then offered by the broker."""
    try:
        async with link.lock:
            if link.peer is not peer or link.word is None or link.out:
                return
            word = loaded(guard, link, link.word)
            if word is None:
                return
            residue = await ask(guard, link, "card.residue") if word.status == FREE else await wipe(guard, link)
            known = {one.index for one in guard.book.connected(link.name)}
            if left_over := set(residue["keys"]) - known:
                out_of_service(guard, link, f"it keeps key slots of instances {sorted(left_over)} that it had to drop")
                return
            observe(guard, link)
            with contextlib.suppress(VecError):
                await turns.tell(guard, link)
    except VecError as error:
        async with link.lock:
            # One that hung up meanwhile is taken in as one that ended.
            if link.peer is peer and not link.out and not peer.closed.is_set():
                await end(guard, link, f"it did not start: {error.message}")
        return
    what = f"driver {link.driver}, {len(known)} instances connected again"
    log.event(events.CARD_IN_SERVICE, card=link.name, what=what)
    await relay(guard, link)


async def relay(guard: Guard, link: CardLink) -> None:
    """Broker and card process have the two ends of a fresh socketpair, where both are there."""
    async with link.relay_lock:
        card, broker = link.peer, guard.broker.peer
        if card is None or card.closed.is_set() or broker is None or broker.closed.is_set() or link.out:
            return
        known = guard.book.register.cards.get(link.name)
        identity = known.id if known is not None and link.word is not None else NO_ID
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            await card.call("card.broker", {}, [ours.fileno()], timeout=guard.limits.answer_s)
            arguments = {"name": link.name, "id": identity}
            await broker.call("card.add", arguments, [theirs.fileno()], timeout=guard.limits.answer_s)
        except VecError as error:
            log.event(events.CALL_REFUSED, door="relay", call="card.add", peer=link.name, reason=error)
        finally:
            ours.close()
            theirs.close()


async def connect(guard: Guard, user: bytes, instance_id: bytes, card_id: bytes) -> dict[str, Any]:
    """R1, R2 a and R4 r of the user on its instance, then R1 of the instance on the card: all of it, or nothing."""
    book = guard.book
    owner, instance, card = book.user_by_id(user), book.instance_by_id(instance_id), book.card_by_id(card_id)
    guard.rates.spend(owner.name, "guest.connect")
    async with guard.user_lock(owner.name):
        fresh = not book.state.holds(owner.name, instance.name)
        with book.change():
            for request in opening(owner.name, instance.name):
                book.ask(request)
    try:
        await _connect_card(guard, instance, card)
    except BaseException:
        async with guard.user_lock(owner.name):
            idle = instance.name in book.state.live and not book.cards_of(instance.name)
            if fresh and idle and book.state.holds(owner.name, instance.name):
                with book.change():
                    book.ask(requests.release(owner.name, instance.name, "c"))
        raise
    return {"index": instance.index}


async def _connect_card(guard: Guard, instance: Instance, card: Card) -> None:
    book, link = guard.book, guard.link(card.name)
    async with link.lock:
        book.commit()
        request = requests.connect(instance.name, card.name)
        observe(guard, link)
        if book.monitor.check(request):
            # A refusal by the rules says more than a card that is away; a yes needs the card.
            serving(guard, link)
            if link.share == turns.STRICT:
                # Without a slot it could do nothing there.
                await turns.tell(guard, link)
        word = link.word
        with book.change():
            decision = book.ask(request)
        if not decision.changes or word is None:
            return
        try:
            word.connect()
            whose = {"id": instance.id, "user": book.user(instance.owner).id, "name": instance.name}
            await ask(guard, link, "instance.connect", {"instance": instance.index, **whose})
        except VecError as error:
            # It may have heard us nevertheless: c goes again, with all that belongs to it.
            with book.change():
                book.ask(requests.release(instance.name, card.name, "c"))
            notes = await withdraw(guard, link, instance, C)
            raise Busy(
                f"card {card.name} did not take {instance.name}",
                reason="; ".join([error.message, *notes]),
                object=card.name,
            ) from None
    log.event(events.INSTANCE_CONNECTED, card=card.name, subject=instance.name)
