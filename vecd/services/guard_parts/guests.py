"""Guests: added with their instance, rights and socket; removed with everything that they had anywhere."""

import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vecd.base import events, log
from vecd.base import paths as names
from vecd.base.errors import ConfigError, Denied, Exhausted, Exists, Failed, Malformed
from vecd.ppm import request as requests
from vecd.ppm.policy import Policy
from vecd.ppm.state import C
from vecd.services.guard_parts import broker, policy
from vecd.services.guard_parts.context import CardLink, Guard
from vecd.services.guard_parts.entries import (
    FIRST_INSTANCE,
    ID_BYTES,
    INSTANCES_MAX,
    USERS_MAX,
    Card,
    Instance,
    User,
)
from vecd.services.guard_parts.revoke import withdraw
from vecd.services.guard_parts.seen import observe

BACKLOG = 64
VSOCK_PORT = 9750
UID_MAX = 2**32 - 2
# The first CID that a guest may have: below are the hypervisor, the machine itself and the host.
CID_MIN, CID_MAX = 3, 2**32 - 2
# What an instance may do with its user, and with each card it was given.
RIGHTS = "rac"


async def add(guard: Guard, arguments: Mapping[str, Any], caller: int) -> dict[str, Any]:
    """R7 of the user and its instance, R9 for what they may do, and a socket that is this guest's alone."""
    name, identity = _checked_name(arguments["name"]), arguments["id"]
    uid = caller if arguments["uid"] is None else arguments["uid"]
    cid = arguments["cid"]
    if len(identity) != ID_BYTES:
        raise Malformed(f"guest.add: id has {len(identity)} bytes, not {ID_BYTES}")
    if not 0 <= uid <= UID_MAX:
        raise Malformed(f"guest.add: uid {uid}", reason=f"a uid is 0 to {UID_MAX}")
    if cid is not None and not CID_MIN <= cid <= CID_MAX:
        raise Malformed(f"guest.add: cid {cid}", reason=f"a guest's CID is {CID_MIN} to {CID_MAX}")
    book = guard.book
    async with guard.lock, guard.user_lock(name):
        cards = [book.card(one) for one in dict.fromkeys(arguments["cards"])]
        managed = policy.admits(guard, name, identity, [card.name for card in cards])
        if managed is None and not cards:
            raise Malformed(
                f"guest {name} would have no card", reason="the policy does not name it", hint="add --card CARD"
            )
        user, instances = _new(guard, name, identity, uid, cid, managed)
        rights = list(_rights(guard, user, instances, cards, managed))
        _reaches(guard, name, arguments["pinned"], {target for _, target, letters in rights if letters})
        # The socket first: what can fail, fails before anything is decided.
        listeners = _listen(guard, user)
        try:
            with book.change():
                book.create_user(user)
                for instance in instances:
                    book.create_instance(instance)
                for subject, target, letters in rights:
                    for letter in letters:
                        book.ask(requests.give(subject, target, letter))
        except BaseException:
            _close(guard, user, listeners)
            raise
        guard.listeners[name] = listeners
    reached = {str(card) for one in instances for card in book.state.granted[one.name]}
    log.event(events.GUEST_ADDED, subject=name, cards=",".join(sorted(reached)))
    await broker.offer(guard, name)
    return {"name": name, "instance": instances[0].id, "socket": str(guard.paths.guest(name))}


def _checked_name(name: str) -> str:
    try:
        names.name(name, "guest")
    except ConfigError as error:
        raise Malformed(error.message, reason=error.reason) from None
    if "." in name:
        raise Malformed(f"the guest's name {name!r} has a dot", reason="what stands behind a dot names its instances")
    return name


def _new(
    guard: Guard, name: str, identity: bytes, uid: int, cid: int | None, managed: Policy | None
) -> tuple[User, list[Instance]]:
    """A user and its instances with free names, ids and indices; raises Exists or Exhausted."""
    book = guard.book
    # What the policy says of it; without a policy one instance, at the level that R7 gives.
    rows = managed.instances_of(name) if managed is not None else ()
    own = {row.name: (row.level or FIRST_INSTANCE, tuple(sorted(row.may or ()))) for row in rows}
    own = own or {f"{name}.1": (FIRST_INSTANCE, ())}
    for taken in (name, *own):
        if book.register.taken(taken):
            raise Exists(f"the name {taken!r} is taken", hint="vecctl guest list, vecctl card list")
    same = book.has_id(User, identity)
    if same is not None:
        raise Exists(f"guest {same.name} has this id", hint="enrol the new guest with a token of its own")
    same = next((user for user in book.register.users.values() if cid is not None and user.cid == cid), None)
    if same is not None:
        raise Exists(f"guest {same.name} has CID {cid}", hint="one CID is one guest's")
    row, columns = book.free_place(User, USERS_MAX), book.free_columns(len(own))
    if row is None or not columns:
        raise Exhausted("there is no room for another guest", reason=f"{USERS_MAX} users, {INSTANCES_MAX} instances")
    user = User(name, identity, row, uid, cid)
    if managed is not None:
        guest = managed.guests[name]
        user = replace(user, level=guest.level, may=tuple(sorted(guest.may)))
    drawn = ((one, secrets.token_bytes(ID_BYTES), column) for one, column in zip(own, columns, strict=True))
    return user, [Instance(one, identity, column, name, *own[one]) for one, identity, column in drawn]


def _rights(
    guard: Guard, user: User, instances: list[Instance], cards: list[Card], managed: Policy | None
) -> Iterator[tuple[str, str, str]]:
    """Subject, object and letters of what the guest gets: what the policy gives it on what is there, or RIGHTS."""
    known = cards if managed is None else list(guard.book.register.cards.values())
    for instance in instances:
        pairs = [(user.name, instance.name), *((instance.name, card.name) for card in known)]
        for subject, target in pairs:
            yield subject, target, RIGHTS if managed is None else managed.rights(subject, target)


def _reaches(guard: Guard, name: str, pinned: bytes | None, targets: set[str]) -> None:
    """Raises Malformed for a guest whose token is for a card that it may not use: it could never begin."""
    if pinned is None or any(
        guard.book.register.cards[one].id == pinned for one in targets & {*guard.book.register.cards}
    ):
        return
    card = next((one.name for one in guard.book.register.cards.values() if one.id == pinned), None)
    raise Malformed(
        f"guest {name} would not get the card that its token is for",
        reason=f"the token is pinned to card {card}" if card else f"no card has the id {pinned.hex()}",
        hint=f"add --card {card}, or make it a token for another card"
        if card
        else "vecctl card list; make a new token",
    )


async def remove(guard: Guard, name: str) -> dict[str, Any]:
    """Nobody is let in as the guest, its rights are gone from every card, then R8 of its instances and of itself."""
    book = guard.book
    async with guard.user_lock(name):
        user = book.user(name)
        await broker.withdraw(guard, name)
        _close(guard, user, guard.listeners.pop(name, []))
        try:
            notes = await _release(guard, user)
            with book.change():
                for instance in book.instances_of(name):
                    book.destroy(instance.name)
                book.destroy(name)
        except BaseException:
            # It is still a guest: it keeps its socket.
            guard.listeners[name] = _listen(guard, user)
            await broker.offer(guard, name)
            raise
    log.event(events.GUEST_REMOVED, subject=name)
    return {"name": name, "notes": notes}


async def _release(guard: Guard, user: User) -> list[str]:
    """R6 c of the user on its instances: everything of theirs is gone from every card."""
    book = guard.book
    instances = book.instances_of(user.name)
    notes: list[str] = []
    async with guard.reached(instances) as links:
        for link in links:
            observe(guard, link)
        for instance in instances:
            touched = [link for link in links if book.state.holds(instance.name, link.name) & C]
            if book.state.holds(user.name, instance.name) & C:
                with book.change():
                    book.ask(requests.release(user.name, instance.name, "c"))
            notes += await _settle(guard, touched, instance)
    return notes


async def _settle(guard: Guard, links: list[CardLink], instance: Instance) -> list[str]:
    notes: list[str] = []
    for link in links:
        notes += await withdraw(guard, link, instance, C)
    return notes


async def release(guard: Guard, user: bytes, instance_id: bytes, card_id: bytes) -> dict[str, Any]:
    """R6 c of the instance on the card: its key slots are destroyed, and the card is clean before the next turn."""
    book = guard.book
    owner, instance, card = book.user_by_id(user), book.instance_by_id(instance_id), book.card_by_id(card_id)
    guard.rates.spend(owner.name, "guest.release")
    if instance.owner != owner.name:
        raise Denied(
            f"{instance.name} is not an instance of {owner.name}", rule="R6", subject=owner.name, object=instance.name
        )
    async with guard.locked([card]) as (link,):
        observe(guard, link)
        with book.change():
            book.ask(requests.release(instance.name, card.name, "c"))
        notes = await _settle(guard, [link], instance)
    return {"notes": notes}


# ---- sockets


def reopen(guard: Guard) -> None:
    """Every guest of the register has its sockets, and nobody else. Raises ConfigError where one cannot be had."""
    for path in guard.paths.guests.glob("*.sock"):
        # Of a guest whose end, or whose beginning, came to nothing with the guard before this one.
        if path.stem not in guard.book.register.users:
            path.unlink(missing_ok=True)
    for user in guard.book.register.users.values():
        try:
            guard.listeners[user.name] = _listen(guard, user)
        except Failed as error:
            raise ConfigError(error.message, reason=error.reason, hint=error.hint) from None


def _listen(guard: Guard, user: User) -> list[tuple[str, socket.socket]]:
    """The guest's sockets, listening: whoever connects before the broker is there waits in the backlog."""
    listeners = [("unix", _unix(guard.paths.guest(user.name), user.uid))]
    if user.cid is not None:
        try:
            listeners.append(("vsock", _vsock(guard)))
        except OSError as error:
            _close(guard, user, listeners)
            raise Failed(f"guest {user.name}: AF_VSOCK: {error.strerror}", hint="modprobe vhost_vsock") from None
    return listeners


def _unix(path: Path, uid: int) -> socket.socket:
    """A stream listener of mode 0600 that is `uid`'s, in place of what stood there."""
    address = names.socket_path(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    before = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        listener.bind(address)
        if uid != os.geteuid():
            # ROOT: the guest's VMM runs as another user, and the socket is its alone (CAP_CHOWN).
            os.chown(address, uid, -1)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        path.unlink(missing_ok=True)
        raise Failed(
            f"{path}: {error.strerror}",
            reason=f"the guest's socket cannot be made for uid {uid}",
            hint="only root can give a socket to another uid",
        ) from None
    finally:
        os.umask(before)
    return listener


def _vsock(guard: Guard) -> socket.socket:
    """The vsock listener. There is one port for all CIDs, so guests share it; which CID is whose, `guest.who` says."""
    for listeners in guard.listeners.values():
        for kind, listener in listeners:
            if kind == "vsock":
                return listener.dup()
    listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.bind((socket.VMADDR_CID_ANY, VSOCK_PORT))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _close(guard: Guard, user: User, listeners: list[tuple[str, socket.socket]]) -> None:
    for _, listener in listeners:
        listener.close()
    guard.paths.guest(user.name).unlink(missing_ok=True)
