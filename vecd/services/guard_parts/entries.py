"""What the guard must not forget, as values: users, instances, cards, M; and what can happen to them, as operations.

An operation is what the journal holds (journal.py); register.py reads and writes the files. What is read from a
disk is checked here, field by field: ValueError, KeyError and TypeError say what is wrong with it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vecd.services.guard_parts.journal import Operation

ID_BYTES = 16
# As in cext/include/vec/shm.h; a test holds them equal.
USERS_MAX, INSTANCES_MAX, CARDS_MAX = 1024, 4095, 64
LETTERS = "rwac"
# p; and the highest level of a guest.
LEVELS, LEVELS_MAX, FIRST_INSTANCE = 4, 16, 3


@dataclass(frozen=True, slots=True)
class User:
    """A guest VM: its id from the authority, its row in the matrices, and who may connect as it."""

    name: str
    id: bytes
    index: int
    uid: int
    cid: int | None = None
    level: int = FIRST_INSTANCE
    # f_v; empty: all instance levels.
    may: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Instance:
    """A vEC-Instance; `index` is its column in the matrices and its owner field in a card word."""

    name: str
    id: bytes
    index: int
    owner: str
    level: int = FIRST_INSTANCE
    may: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Card:
    """A card that registered once; it may have no process at the moment."""

    name: str
    id: bytes
    index: int


@dataclass(slots=True)
class Register:
    """Everything that is stored. Reading is free; `apply` writes it."""

    # Of the last start; the next one is greater, whatever the clock says.
    generation: int = 0
    # Instance indices are handed out in a circle: one that was freed is not the next to be used.
    next_instance: int = 0
    users: dict[str, User] = field(default_factory=dict)
    instances: dict[str, Instance] = field(default_factory=dict)
    cards: dict[str, Card] = field(default_factory=dict)
    # M without the manager's e*, as it came from the disk. While the guard runs its state has it, not this.
    access: dict[tuple[str, str], str] = field(default_factory=dict)
    # Of the snapshot; a journal of another epoch is not its journal.
    epoch: int = 0
    # Cards that may not come back by themselves, and why.
    quarantine: dict[str, str] = field(default_factory=dict)
    # p; and the version of the policy that was applied last, "" where none was.
    levels: int = LEVELS
    policy: str = ""

    def names(self) -> set[str]:
        """Every name that is taken; users, instances and cards share one space."""
        return {*self.users, *self.instances, *self.cards, "m"}

    def taken(self, name: str) -> bool:
        """Whether somebody has this name."""
        return name == "m" or name in self.users or name in self.instances or name in self.cards

    def instances_of(self, user: str) -> list[Instance]:
        """The user's instances, in the order of their indices."""
        return sorted((one for one in self.instances.values() if one.owner == user), key=lambda one: one.index)

    def apply(self, operation: Operation) -> None:
        """What the journal says happened, has. Raises ValueError, KeyError or TypeError for what cannot have."""
        _APPLY[operation[0]](self, *operation[1:])

    # ---- one method for each kind of operation

    def _epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def _started(self, generation: int) -> None:
        self.generation = generation

    def _user(self, record: Mapping[str, Any]) -> None:
        user = user_of(record)
        require(not self.taken(user.name), f"the name {user.name!r} is taken")
        self.users[user.name] = user

    def _instance(self, record: Mapping[str, Any]) -> None:
        instance = instance_of(record)
        require(not self.taken(instance.name), f"the name {instance.name!r} is taken")
        require(instance.owner in self.users, f"the owner {instance.owner!r} is no user")
        self.instances[instance.name] = instance
        self.next_instance = (instance.index + 1) % INSTANCES_MAX

    def _card(self, record: Mapping[str, Any]) -> None:
        card = card_of(record)
        require(not self.taken(card.name), f"the name {card.name!r} is taken")
        self.cards[card.name] = card

    def _end(self, name: str) -> None:
        require(name != "m" and self.taken(name), f"there is nothing called {name!r}")
        instance = self.instances.get(name)
        pairs = [(name, card) for card in self.cards] if instance is not None else []
        pairs += [(one, name) for one in self.instances] if name in self.cards else []
        for pair in [*pairs, *([(instance.owner, name)] if instance is not None else [])]:
            self.access.pop(pair, None)
        for table in (self.users, self.instances, self.cards):
            table.pop(name, None)

    def _m(self, subject: str, target: str, attributes: str) -> None:
        require(set(attributes) <= set(LETTERS), "attributes are not among r w a c")
        own = target in self.instances and self.instances[target].owner == subject
        require(own or (subject in self.instances and target in self.cards), f"{subject!r} on {target!r} is no cell")
        if attributes:
            self.access[subject, target] = attributes
        else:
            self.access.pop((subject, target), None)

    def _level(self, name: str, level: int) -> None:
        require(type(level) is int and FIRST_INSTANCE <= level < self.levels, f"{level!r} is no level of instances")
        self.instances[name] = replace(self.instances[name], level=level)

    def _policy(self, version: str) -> None:
        require(isinstance(version, str) and len(version) <= 64, "the version is none")
        self.policy = version

    def _quarantine(self, card: str, why: str) -> None:
        if why:
            self.quarantine[card] = why
        else:
            self.quarantine.pop(card, None)


_APPLY: Mapping[str, Callable[..., None]] = {
    "epoch": Register._epoch,
    "started": Register._started,
    "user": Register._user,
    "instance": Register._instance,
    "card": Register._card,
    "end": Register._end,
    "M": Register._m,
    "level": Register._level,
    "policy": Register._policy,
    "quarantine": Register._quarantine,
}


def created(one: User | Instance | Card) -> Operation:
    """The operation that makes it known."""
    return (_KIND[type(one)], stored(one))


def stored(one: User | Instance | Card) -> dict[str, Any]:
    """It as it is stored."""
    fields: dict[str, Any] = {"name": one.name, "id": one.id.hex(), "index": one.index}
    if isinstance(one, User):
        fields |= {"uid": one.uid, "cid": one.cid}
    elif isinstance(one, Instance):
        fields["owner"] = one.owner
    if not isinstance(one, Card):
        fields |= {"level": one.level, "may": list(one.may)}
    return fields


_KIND: Mapping[type, str] = {User: "user", Instance: "instance", Card: "card"}


def require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)


def number(record: Mapping[str, Any], key: str, most: int) -> int:
    value = record[key]
    require(type(value) is int and 0 <= value <= most, f"{key} is not a number from 0 to {most}")
    return value


def a_name(record: Mapping[str, Any], key: str) -> str:
    value = record[key]
    require(isinstance(value, str) and 0 < len(value) <= 64 and value.isprintable(), f"{key} is not a name")
    return value


def an_id(record: Mapping[str, Any]) -> bytes:
    value = record["id"]
    require(isinstance(value, str), "id is not text")
    data = bytes.fromhex(value)
    require(len(data) == ID_BYTES, f"id has not {ID_BYTES} bytes")
    return data


def levels_of(record: Mapping[str, Any]) -> tuple[int, tuple[int, ...]]:
    """Level and f_v; whether they can be, the rules say when the state is made."""
    may = record.get("may", [])
    require(isinstance(may, list) and all(type(one) is int for one in may), "may is not a list of levels")
    return number({"level": FIRST_INSTANCE, **record}, "level", LEVELS_MAX), tuple(may)


def user_of(record: Mapping[str, Any]) -> User:
    cid = None if record["cid"] is None else number(record, "cid", 2**32 - 1)
    index = number(record, "index", USERS_MAX - 1)
    return User(a_name(record, "name"), an_id(record), index, number(record, "uid", 2**32 - 2), cid, *levels_of(record))


def instance_of(record: Mapping[str, Any]) -> Instance:
    index = number(record, "index", INSTANCES_MAX - 1)
    return Instance(a_name(record, "name"), an_id(record), index, a_name(record, "owner"), *levels_of(record))


def card_of(record: Mapping[str, Any]) -> Card:
    return Card(a_name(record, "name"), an_id(record), number(record, "index", CARDS_MAX - 1))


def cell(record: Mapping[str, Any]) -> tuple[str, list[str], str]:
    """Subject, objects and attributes: what an instance may do on each of several cards is one record."""
    letters, objects = record["attributes"], record["object"]
    require(
        isinstance(letters, str) and letters != "" and set(letters) <= set(LETTERS), "attributes are not among r w a c"
    )
    if not isinstance(objects, list):
        objects = [a_name(record, "object")]
    require(all(isinstance(one, str) for one in objects), "object is not a name, or a list of names")
    return a_name(record, "subject"), objects, "".join(one for one in LETTERS if one in letters)


def quarantined(record: Mapping[str, Any]) -> tuple[str, str]:
    why = record["reason"]
    require(isinstance(why, str) and why != "", "reason is not text")
    return a_name(record, "card"), why
