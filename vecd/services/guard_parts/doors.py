"""The guard's doors: who may knock, and which call is answered by which part.

Who somebody is says the kernel (SO_PEERCRED): on `admin` root, the guard's own uid and two groups; on a card's door
the uid of that card; on `broker` the broker's.
"""

import asyncio
import grp
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from vecd.base import ipc
from vecd.base.config import Config
from vecd.base.errors import Busy, Caller, Refused, VecError
from vecd.control import calls
from vecd.services.guard_parts import access, broker, cards, guests, policy, quarantine, turns, views
from vecd.services.guard_parts.context import CardLink, Guard
from vecd.services.guard_parts.record import ASKER, Asker

ROLE = "guard"
# Operators at once, and one broker with its successor.
ADMIN_MAX, BROKER_MAX, CARD_MAX = 32, 4, 4
# Of a full door: who asked nothing for so long (s) makes room for the next; and places that are root's alone.
IDLE_S, ROOT_MORE = 1.0, 4

Arguments = dict[str, Any]
Asked = Callable[[Guard, ipc.Peer, Arguments], Awaitable[Mapping[str, Any]]]


def _now(view: Callable[[Guard, Arguments], Mapping[str, Any]]) -> Asked:
    """A call that is answered at once."""

    async def answer(guard: Guard, _peer: ipc.Peer, arguments: Arguments) -> Mapping[str, Any]:
        return view(guard, arguments)

    return answer


async def _card(guard: Guard, _peer: ipc.Peer, arguments: Arguments) -> Mapping[str, Any]:
    return {"card": await views.card_in_full(guard, arguments["name"])}


async def _add(guard: Guard, peer: ipc.Peer, arguments: Arguments) -> Mapping[str, Any]:
    return await guests.add(guard, arguments, peer.uid)


async def _remove(guard: Guard, _peer: ipc.Peer, arguments: Arguments) -> Mapping[str, Any]:
    return await guests.remove(guard, arguments["name"])


async def _rescind(guard: Guard, _peer: ipc.Peer, arguments: Arguments) -> Mapping[str, Any]:
    return await access.rescind(guard, arguments["subject"], arguments["object"], arguments["attribute"])


async def _explain(guard: Guard, _peer: ipc.Peer, arguments: Arguments) -> Mapping[str, Any]:
    return await access.explain(guard, arguments)


async def _diff(guard: Guard, _peer: ipc.Peer, _arguments: Arguments) -> Mapping[str, Any]:
    return await policy.diff(guard)


async def _apply(guard: Guard, _peer: ipc.Peer, arguments: Arguments) -> Mapping[str, Any]:
    return await policy.apply(guard, dry_run=bool(arguments["dry_run"]))


def _step(guard: Guard, arguments: Arguments) -> Mapping[str, Any]:
    guard.rates.spend(guard.book.user_by_id(arguments["id_u"]).name, arguments["step"])
    return {}


async def _hello(guard: Guard, peer: ipc.Peer, _arguments: Arguments) -> Mapping[str, Any]:
    return await broker.hello(guard, peer)


async def _connect(guard: Guard, _peer: ipc.Peer, arguments: Arguments) -> Mapping[str, Any]:
    return await cards.connect(guard, arguments["id_u"], arguments["instance"], arguments["card"])


async def _release(guard: Guard, _peer: ipc.Peer, arguments: Arguments) -> Mapping[str, Any]:
    return await guests.release(guard, arguments["id_u"], arguments["instance"], arguments["card"])


def _of_cell(
    decide: Callable[[Guard, str, str, str, ipc.Reply], bool],
) -> Callable[[Guard, Arguments, ipc.Reply], bool]:
    """A call about one cell."""
    return lambda guard, one, reply: decide(guard, one["subject"], one["object"], one["attribute"], reply)


# What needs no waiting, or says that it does. Asked first.
AT_ONCE: Mapping[str, Callable[[Guard, Arguments, ipc.Reply], bool]] = {
    "access.give": _of_cell(access.give),
    "access.rescind": _of_cell(access.rescind_at_once),
}


async def _readmit(guard: Guard, _peer: ipc.Peer, arguments: Arguments) -> Mapping[str, Any]:
    return await quarantine.readmit(guard, arguments["name"])


# The same of the broker's.
ASKED_ON_THE_WAY: Mapping[str, Callable[[Guard, Arguments], Mapping[str, Any]]] = {
    "guest.step": _step,
    "guest.who": lambda guard, one: broker.who(guard, one["name"]),
}

ANSWERS: Mapping[str, Asked] = {
    "status": _now(lambda guard, _: views.status(guard)),
    "card.list": _now(lambda guard, one: views.cards(guard, one["after"])),
    "card.show": _card,
    "card.readmit": _readmit,
    "guest.list": _now(lambda guard, one: views.guests(guard, one["after"])),
    "guest.show": _now(lambda guard, one: {"guest": views.guest(guard, guard.book.user(one["name"]))}),
    "guest.add": _add,
    "guest.remove": _remove,
    "access.show": _now(lambda guard, one: access.show(guard, one["after"])),
    "access.rescind": _rescind,
    "access.explain": _explain,
    "policy.diff": _diff,
    "policy.apply": _apply,
    "broker.hello": _hello,
    "guest.connect": _connect,
    "guest.release": _release,
}


def _gid(group: str) -> int | None:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None


BOTH, READ, NEITHER = frozenset(("read", "change")), frozenset(("read",)), frozenset[str]()


class People:
    """Who may look and who may change."""

    def __init__(self, config: Config) -> None:
        self._uids = {0, os.geteuid()}
        self._admin, self._read = _gid(config.guard.admin_group), _gid(config.guard.read_group)
        self._names = f"{config.guard.admin_group} (change) or {config.guard.read_group} (read)"

    def may(self, peer: ipc.Peer) -> frozenset[str]:
        """Of "read" and "change", what the caller may."""
        if peer.uid in self._uids or self._admin == peer.gid or self._admin in peer.groups:
            return BOTH
        return READ if self._read == peer.gid or self._read in peer.groups else NEITHER

    def admit(self, peer: ipc.Peer) -> None:
        """Raises Caller for those who may nothing."""
        if not self.may(peer):
            raise Caller(f"uid {peer.uid} may not ask the guard", hint=f"be root, or in the group {self._names}")

    def make_room(self, door: ipc.Server, newcomer: ipc.Peer) -> bool:
        """
        At the limit, whoever has asked nothing for longest goes; but for root one more is let in at any time.

        Whether the newcomer is served: not where everybody else is being answered at this moment.
        """
        idle = [peer for peer in door.peers if peer.idle]
        if idle:
            longest = min(idle, key=lambda peer: peer.asked_s)
            quiet_s = asyncio.get_running_loop().time() - longest.asked_s
            if quiet_s >= IDLE_S or newcomer.uid in self._uids:
                longest.close(Busy("another caller needs the place", reason=f"nothing was asked for {quiet_s:.0f} s"))
                return True
        return newcomer.uid in self._uids and len(door.peers) < ADMIN_MAX + ROOT_MORE

    def require(self, peer: ipc.Peer, call: str) -> None:
        """Raises Caller unless the caller may make this call."""
        needs = calls.CALLS[call].needs
        if needs not in self.may(peer):
            raise Caller(f"uid {peer.uid} may not {needs}: {call}", hint=f"be root, or in the group {self._names}")


def only(uid: int) -> Callable[[ipc.Peer], None]:
    """Admits one uid; -1 is our own."""
    wanted = os.geteuid() if uid < 0 else uid

    def admit(peer: ipc.Peer) -> None:
        if peer.uid != wanted:
            raise Caller(f"uid {peer.uid} may not knock here", reason=f"this door is for uid {wanted}")

    return admit


@contextmanager
def _asked_by(guard: Guard, peer: ipc.Peer, door: str, call: str) -> Iterator[None]:
    """What is brought about inside is on record as asked by this peer, and a refusal of the call as well."""
    ASKER.set(Asker(door, peer.uid, peer.pid))
    try:
        yield
    except Refused as error:
        guard.book.record.refused(call, error)
        raise


async def open_doors(guard: Guard, config: Config) -> None:
    """The doors are open: the cards' first, then the broker's, then the operator's."""
    guard.book.shared = partial(turns.moved, guard)
    for row in config.card:
        link = guard.link(row.name)
        link.share, link.slot_us = row.share, row.slot_us
        await _card_door(guard, link, row.uid)
    await _broker_door(guard, config.broker.uid)
    await _admin_door(guard, People(config))


async def _admin_door(guard: Guard, people: People) -> None:
    async def answer(peer: ipc.Peer, call: str, arguments: Arguments, _fds: list[int]) -> Mapping[str, Any]:
        with _asked_by(guard, peer, "admin", call):
            people.require(peer, call)
            return await ANSWERS[call](guard, peer, arguments)

    def at_once(peer: ipc.Peer, call: str, arguments: Arguments, reply: ipc.Reply) -> bool:
        # As _asked_by, without its generator: this is asked ten thousand times a second.
        ASKER.set(Asker("admin", peer.uid, peer.pid))
        try:
            people.require(peer, call)
            quick = AT_ONCE.get(call)
            return quick is not None and quick(guard, arguments, reply)
        except Refused as error:
            guard.book.record.refused(call, error)
            raise

    # Everybody may knock, so that who may not is told so.
    listener = ipc.listen(guard.paths.admin, mode=0o666)
    guard.doors["admin"] = await ipc.serve(
        listener,
        answer,
        table=calls.door("admin", ROLE),
        admit=people.admit,
        limit=ADMIN_MAX,
        name="admin",
        at_once=at_once,
        whole=True,
        full=people.make_room,
    )


async def _broker_door(guard: Guard, uid: int) -> None:
    async def answer(peer: ipc.Peer, call: str, arguments: Arguments, _fds: list[int]) -> Mapping[str, Any]:
        with _asked_by(guard, peer, "broker", call):
            if call != "broker.hello" and guard.broker.peer is not peer:
                raise Caller("the broker says hello first")
            return await ANSWERS[call](guard, peer, arguments)

    def at_once(peer: ipc.Peer, call: str, arguments: Arguments, reply: ipc.Reply) -> bool:
        quick = ASKED_ON_THE_WAY.get(call)
        if quick is None or guard.broker.peer is not peer:
            return False
        with _asked_by(guard, peer, "broker", call):
            reply(quick(guard, arguments))
        return True

    def closed(peer: ipc.Peer) -> None:
        broker.left(guard, peer)

    listener = ipc.listen(guard.paths.broker, mode=0o600, uid=uid)
    guard.doors["broker"] = await ipc.serve(
        listener,
        answer,
        table=calls.door("broker", ROLE),
        admit=only(uid),
        limit=BROKER_MAX,
        on_close=closed,
        name="broker",
        at_once=at_once,
        whole=True,
    )


async def _card_door(guard: Guard, link: CardLink, uid: int) -> None:
    uid_check = only(uid)

    def admit(peer: ipc.Peer) -> None:
        uid_check(peer)
        cards.admit(guard, link)

    async def answer(
        peer: ipc.Peer, call: str, arguments: Arguments, _fds: list[int]
    ) -> Mapping[str, Any] | tuple[Mapping[str, Any], Sequence[int]]:
        with _asked_by(guard, peer, f"card/{link.name}", call):
            if call == "audit.root":
                return await cards.root(guard, link, peer, arguments)
            return await cards.hello(guard, link, peer, arguments)

    def connected(peer: ipc.Peer) -> None:
        cards.arrived(guard, link, peer)

    async def closed(peer: ipc.Peer) -> None:
        try:
            await cards.left(guard, link, peer)
        except VecError:
            # What could not be put right is on record; the door stays open for the next process.
            link.out = link.out or "its end could not be taken in"

    name = f"card/{link.name}"
    guard.doors[name] = await ipc.serve(
        ipc.listen(guard.paths.card(link.name), mode=0o600, uid=uid),
        answer,
        table=calls.door("card", ROLE),
        admit=admit,
        limit=CARD_MAX,
        on_connect=connected,
        whole=True,
        on_close=closed,
        name=name,
    )
