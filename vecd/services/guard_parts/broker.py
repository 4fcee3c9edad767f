"""The broker: what it gets when it says hello, and what it may ask about guests."""

import asyncio
import time
from typing import Any

from vecd.base import events, ipc, log
from vecd.base.errors import Busy, VecError
from vecd.ppm.state import C
from vecd.services.guard_parts.cards import relay
from vecd.services.guard_parts.context import Guard

# Listeners that are on their way to the broker at the same time: a thousand one by one would take a second.
AT_ONCE = 32


async def hello(guard: Guard, peer: ipc.Peer) -> dict[str, Any]:
    """The broker is in service; listeners and relays follow on the same connection, after the answer."""
    if guard.broker.connected and guard.broker.peer is not peer:
        raise Busy("a broker is connected already", hint="ask again in a moment")
    guard.broker.peer, guard.broker.since = peer, time.time()
    peer.name = "broker"
    guard.spawn(_supply(guard))
    return {"guests": len(guard.listeners)}


def left(guard: Guard, peer: ipc.Peer) -> None:
    """Attached connections do not notice; the next broker gets everything anew."""
    if guard.broker.peer is peer:
        guard.broker.peer = None
        log.event(events.PEER_GONE, door="broker", peer="the broker")


async def _supply(guard: Guard) -> None:
    names = list(guard.listeners)
    for at in range(0, len(names), AT_ONCE):
        await asyncio.gather(*(offer(guard, name) for name in names[at : at + AT_ONCE]))
    for link in list(guard.links.values()):
        await relay(guard, link)


async def offer(guard: Guard, name: str) -> None:
    """The broker, where there is one, accepts on the guest's listeners. One that comes later gets them then."""
    peer, user = guard.broker.peer, guard.book.register.users.get(name)
    if peer is None or peer.closed.is_set() or user is None:
        return
    for kind, sock in guard.listeners.get(name, []):
        try:
            arguments = {"name": name, "id_u": user.id, "kind": kind, "cid": user.cid if kind == "vsock" else None}
            await peer.call("listener.add", arguments, [sock.fileno()], timeout=guard.limits.answer_s)
        except VecError as error:
            log.event(events.CALL_REFUSED, door="broker", call="listener.add", peer="broker", reason=error)


async def withdraw(guard: Guard, name: str) -> None:
    """The broker accepts nobody for the guest any more, and has ended its connections."""
    peer = guard.broker.peer
    if peer is None or peer.closed.is_set():
        return
    try:
        await peer.call("listener.remove", {"name": name}, timeout=guard.limits.answer_s)
    except VecError as error:
        log.event(events.CALL_REFUSED, door="broker", call="listener.remove", peer="broker", reason=error)


def who(guard: Guard, name: str) -> dict[str, Any]:
    """The user behind a listener, its instances, the cards that M lets each connect to, and which may hold its keys."""
    book = guard.book
    user = book.user(name)
    instances = []
    for one in book.instances_of(name):
        cards = [card for card in book.register.cards.values() if book.state.may(one.name, card.name) & C]
        instances.append(
            {
                "instance": one.id,
                "index": one.index,
                "name": one.name,
                "cards": [
                    {"name": card.name, "id": card.id, "holds": guard.may_hold_keys(card.name)} for card in cards
                ],
            }
        )
    return {"id": user.id, "instances": instances, "cid": user.cid}
