"""What vecctl shows of guests and cards: read from the book and the words, nothing decided."""

import os
import time
from typing import Any

from vecd.base.errors import Integrity, VecError
from vecd.ppm.state import C, letters
from vecd.services.guard_parts import patrol, policy, turns
from vecd.services.guard_parts.context import CardLink, Guard
from vecd.services.guard_parts.entries import Card, Instance, User
from vecd.services.guard_parts.pages import after_index, page
from vecd.shm.layout import CONTROL, FREE, STATUS_NAMES, Word

USING_LEVEL = 2


def status(guard: Guard) -> dict[str, Any]:
    """Everything on one page."""
    broker = guard.broker.peer if guard.broker.connected else None
    shown = cards(guard, None)
    alarms = [alarm for name in guard.book.register.cards if (alarm := _alarm(guard, guard.link(name)))]
    alarms += patrol.alarms(guard)
    registered = guard.book.register.cards
    waiting = [name for name, link in guard.links.items() if name not in registered]
    alarms += [f"card {name} has not registered" for name in waiting]
    if broker is None:
        alarms.append("no broker is connected: guests cannot open sessions")
    said = policy.status(guard)
    alarms += policy.alarms(said, guard.paths.policy_files)
    alarms += guard.audit.alarm_list() if guard.audit else []
    alarms += [f"card {name}: {one}" for name, link in guard.links.items() for one in link.alarms]
    return {
        "guard": {
            "pid": os.getpid(),
            "generation": guard.book.register.generation,
            "started": int(guard.started),
            "uptime_s": int(time.time() - guard.started),
        },
        "boot": guard.boot,
        "broker": {"connected": broker is not None, "pid": broker.pid if broker else None},
        "doors": [{"name": name, "connections": len(door.peers)} for name, door in sorted(guard.doors.items())],
        **shown,
        "guests": len(guard.book.register.users),
        "policy": {"applied": said["applied"], "differs": said["differs"]},
        "audit": guard.audit.status() if guard.audit else None,
        "alarms": alarms,
    }


def _alarm(guard: Guard, link: CardLink) -> str:
    name = link.name
    if why := guard.quarantined(name):
        return f"card {name} is in quarantine: {why}; vecctl card readmit {name} lets its next process in"
    if why := link.out or _impossible(link):
        return f"card {name} is out of service: {why}"
    return "" if link.peer is not None else f"card {name} has no process"


def _impossible(link: CardLink) -> str:
    try:
        if link.word is not None:
            link.word.load()
    except Integrity as error:
        return error.reason
    return ""


def cards(guard: Guard, after: str | None) -> dict[str, Any]:
    """The cards in the order of their places in the matrices: one page."""
    first = after_index(after)
    known = sorted(guard.book.register.cards.values(), key=lambda one: one.index)
    rows, more = page((str(one.index), card(guard, one)) for one in known if one.index > first)
    return {"cards": rows} | ({"next": more} if more is not None else {})


def guests(guard: Guard, after: str | None) -> dict[str, Any]:
    """The guests in the order of their places in the matrices: one page."""
    first = after_index(after)
    known = sorted(guard.book.register.users.values(), key=lambda one: one.index)
    rows, more = page((str(one.index), guest(guard, one)) for one in known if one.index > first)
    return {"guests": rows} | ({"next": more} if more is not None else {})


def card(guard: Guard, known: Card) -> dict[str, Any]:
    """One card as its word says; status "absent" without a process, "impossible" for a word no rule allows."""
    link = guard.link(known.name)
    row: dict[str, Any] = {
        "name": known.name,
        "id": known.id,
        "index": known.index,
        "connected": link.peer is not None,
        "pid": link.peer.pid if link.peer else None,
        "driver": link.driver or None,
        "share": link.share,
        "status": "absent",
        "level": None,
        "owner": None,
        "held": "",
        "inflight": 0,
        "quiesced": False,
        "generation": None,
        "quarantined": link.out or guard.quarantined(known.name) or None,
        "instances": [one.name for one in guard.book.connected(known.name)],
    }
    return row | _word(guard, link)


def _word(guard: Guard, link: CardLink) -> dict[str, Any]:
    if link.word is None:
        return {}
    try:
        word = link.word.load()
    except Integrity as error:
        return {"status": "impossible", "quarantined": link.out or error.reason}
    owner = None if word.owner is None else guard.book.instance_at(word.owner)
    return {
        "status": STATUS_NAMES[word.status],
        "level": _level(guard, link.name, word, owner),
        "owner": owner.name if owner else None,
        "held": letters(word.held),
        "inflight": word.inflight,
        "quiesced": word.quiesced,
        "generation": word.generation,
    }


def _level(guard: Guard, card: str, word: Word, owner: Instance | None) -> int:
    """f(k), as it follows from the word: in control that of the slot owner, without one as before."""
    state = guard.book.state
    if word.status != CONTROL:
        return state.levels.free if word.status == FREE else USING_LEVEL
    level = state.level[card if owner is None else owner.name]
    return level if level in state.levels.instance else state.levels.lowest_instance


async def card_in_full(guard: Guard, name: str) -> dict[str, Any]:
    """With what the card process itself says: residue and counters, or why it does not answer."""
    known = guard.book.card(name)
    link = guard.link(name)
    more: dict[str, Any] = {
        "since": int(link.since) if link.peer else None,
        "residue": None,
        "turns": None,
        "counters": None,
    }
    if link.peer is not None and link.word is not None:
        try:
            residue = await link.peer.call("card.residue", timeout=guard.limits.answer_s)
            more["residue"] = {
                "context": _name(guard, residue["context"]),
                "output": _name(guard, residue["output"]),
                "keys": [_name(guard, index) for index in residue["keys"]],
            }
            report = dict(await link.peer.call("card.report", timeout=guard.limits.answer_s))
            if "turns" in report:
                more["turns"] = turns.shown(guard, link, report.pop("turns"))
            more["counters"] = report
        except VecError as error:
            more["answer"] = error.message
    return card(guard, known) | more


def _name(guard: Guard, index: int) -> str | None:
    if index < 0:
        return None
    instance = guard.book.instance_at(index)
    return instance.name if instance else f"instance {index}"


def guest(guard: Guard, user: User) -> dict[str, Any]:
    """One guest with its default instance first."""
    book = guard.book
    instances = []
    for one in book.instances_of(user.name):
        cards = [card for card in book.register.cards if book.state.may(one.name, card) & C]
        connected = [card.name for card in book.cards_of(one.name)]
        instances.append(
            {"name": one.name, "id": one.id, "index": one.index, "cards": sorted(cards), "connected": connected}
        )
    return {
        "name": user.name,
        "id": user.id,
        "uid": user.uid,
        "cid": user.cid,
        "socket": str(guard.paths.guest(user.name)),
        "instance": instances[0]["name"] if instances else None,
        "cards": instances[0]["cards"] if instances else [],
        "connected": instances[0]["connected"] if instances else [],
        "instances": instances,
    }
