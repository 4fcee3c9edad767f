"""What the guard must not forget: users, instances, cards, M and quarantined cards, in STATE/guard/policy.json.

b is never stored: a right that is held belongs to processes that live. The file is a snapshot, versioned JSON with one
record a line, replaced by rename after it is on the disk, so that a crash leaves the old one or the new one; what
changed since stands in the journal beside it (journal.py), as operations. Damage to either stops the start with file
and line: an empty policy in its place would give away names and indices a second time.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from json.decoder import JSONObject  # type: ignore[attr-defined]
from json.scanner import py_make_scanner  # type: ignore[attr-defined]
from pathlib import Path
from typing import Any, TypeVar

from vecd.base.durable import sync_folder
from vecd.base.errors import ConfigError, Failed
from vecd.services.guard_parts import journal
from vecd.services.guard_parts.journal import Operation, Position

SCHEMA = 1
ID_BYTES = 16
# As in cext/include/vec/shm.h; a test holds them equal.
USERS_MAX, INSTANCES_MAX, CARDS_MAX = 1024, 4095, 64
LETTERS = "rwac"
# p; and the highest level of a guest.
LEVELS, LEVELS_MAX, FIRST_INSTANCE = 4, 16, 3

_T = TypeVar("_T")


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
        user = _user(record)
        _require(not self.taken(user.name), f"the name {user.name!r} is taken")
        self.users[user.name] = user

    def _instance(self, record: Mapping[str, Any]) -> None:
        instance = _instance(record)
        _require(not self.taken(instance.name), f"the name {instance.name!r} is taken")
        _require(instance.owner in self.users, f"the owner {instance.owner!r} is no user")
        self.instances[instance.name] = instance
        self.next_instance = (instance.index + 1) % INSTANCES_MAX

    def _card(self, record: Mapping[str, Any]) -> None:
        card = _card(record)
        _require(not self.taken(card.name), f"the name {card.name!r} is taken")
        self.cards[card.name] = card

    def _end(self, name: str) -> None:
        _require(name != "m" and self.taken(name), f"there is nothing called {name!r}")
        for table in (self.users, self.instances, self.cards):
            table.pop(name, None)
        for pair in [pair for pair in self.access if name in pair]:
            del self.access[pair]

    def _m(self, subject: str, target: str, attributes: str) -> None:
        _require(set(attributes) <= set(LETTERS), "attributes are not among r w a c")
        own = target in self.instances and self.instances[target].owner == subject
        _require(own or (subject in self.instances and target in self.cards), f"{subject!r} on {target!r} is no cell")
        if attributes:
            self.access[subject, target] = attributes
        else:
            self.access.pop((subject, target), None)

    def _level(self, name: str, level: int) -> None:
        _require(type(level) is int and FIRST_INSTANCE <= level < self.levels, f"{level!r} is no level of instances")
        self.instances[name] = replace(self.instances[name], level=level)

    def _policy(self, version: str) -> None:
        _require(isinstance(version, str) and len(version) <= 64, "the version is none")
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
    return (_KIND[type(one)], record(one))


def record(one: User | Instance | Card) -> dict[str, Any]:
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


class _Record(dict[str, Any]):
    """A JSON object that knows its line."""

    line = 0


class _Lines(json.JSONDecoder):
    """A decoder whose objects know their lines."""

    def __init__(self) -> None:
        super().__init__()
        self.parse_object = self._object
        self.scan_once = py_make_scanner(self)

    @staticmethod
    def _object(start: tuple[str, int], *arguments: Any) -> tuple[_Record, int]:
        pairs, end = JSONObject(start, *arguments)
        record = _Record(pairs)
        record.line = start[0].count("\n", 0, start[1]) + 1
        return record, end


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)


def _number(record: Mapping[str, Any], key: str, most: int) -> int:
    value = record[key]
    _require(type(value) is int and 0 <= value <= most, f"{key} is not a number from 0 to {most}")
    return value


def _name(record: Mapping[str, Any], key: str) -> str:
    value = record[key]
    _require(isinstance(value, str) and 0 < len(value) <= 64 and value.isprintable(), f"{key} is not a name")
    return value


def _id(record: Mapping[str, Any]) -> bytes:
    value = record["id"]
    _require(isinstance(value, str), "id is not text")
    data = bytes.fromhex(value)
    _require(len(data) == ID_BYTES, f"id has not {ID_BYTES} bytes")
    return data


def _levels(record: Mapping[str, Any]) -> tuple[int, tuple[int, ...]]:
    """Level and f_v; whether they can be, the rules say when the state is made."""
    may = record.get("may", [])
    _require(isinstance(may, list) and all(type(one) is int for one in may), "may is not a list of levels")
    return _number({"level": FIRST_INSTANCE, **record}, "level", LEVELS_MAX), tuple(may)


def _user(record: Mapping[str, Any]) -> User:
    cid = None if record["cid"] is None else _number(record, "cid", 2**32 - 1)
    index = _number(record, "index", USERS_MAX - 1)
    return User(_name(record, "name"), _id(record), index, _number(record, "uid", 2**32 - 2), cid, *_levels(record))


def _instance(record: Mapping[str, Any]) -> Instance:
    index = _number(record, "index", INSTANCES_MAX - 1)
    return Instance(_name(record, "name"), _id(record), index, _name(record, "owner"), *_levels(record))


def _card(record: Mapping[str, Any]) -> Card:
    return Card(_name(record, "name"), _id(record), _number(record, "index", CARDS_MAX - 1))


def _cell(record: Mapping[str, Any]) -> tuple[str, list[str], str]:
    """Subject, objects and attributes: what an instance may do on each of several cards is one record."""
    letters, objects = record["attributes"], record["object"]
    _require(
        isinstance(letters, str) and letters != "" and set(letters) <= set(LETTERS), "attributes are not among r w a c"
    )
    if not isinstance(objects, list):
        objects = [_name(record, "object")]
    _require(all(isinstance(one, str) for one in objects), "object is not a name, or a list of names")
    return _name(record, "subject"), objects, "".join(one for one in LETTERS if one in letters)


def _quarantined(record: Mapping[str, Any]) -> tuple[str, str]:
    why = record["reason"]
    _require(isinstance(why, str) and why != "", "reason is not text")
    return _name(record, "card"), why


def _section(path: Path, document: Mapping[str, Any], section: str, read: Callable[[Any], _T]) -> list[_T]:
    records = document.get(section)
    if not isinstance(records, list):
        raise _damaged(path, 1, f"{section!r} is not a list")
    values = []
    for record in records:
        line = getattr(record, "line", 1)
        if not isinstance(record, dict):
            raise _damaged(path, line, f"an entry of {section!r} is not an object")
        try:
            values.append(read(record))
        except KeyError as error:
            raise _damaged(path, line, f"{section}: {error.args[0]!r} is missing") from None
        except (ValueError, TypeError) as error:
            raise _damaged(path, line, f"{section}: {error}") from None
    return values


def _damaged(path: Path, line: int, what: str) -> ConfigError:
    return ConfigError(
        f"{path}, line {line}: {what}",
        reason="the stored policy is damaged",
        hint=f"restore {path.name} from a backup, or move it away to start with no guests at all",
    )


def parse(path: Path, text: str) -> Register:
    """The register a snapshot holds; raises ConfigError with file and line for anything this guard would not write."""
    try:
        return _register(path, json.loads(text))
    except (ConfigError, ValueError, RecursionError):
        # Once more, slowly, with a decoder that knows the lines.
        pass
    try:
        return _register(path, _Lines().decode(text))
    except json.JSONDecodeError as error:
        raise _damaged(path, error.lineno, error.msg) from None
    except RecursionError:
        raise _damaged(path, 1, "nested too deeply") from None


def _register(path: Path, document: Any) -> Register:
    if not isinstance(document, dict):
        raise _damaged(path, 1, "not an object")
    if document.get("schema") != SCHEMA:
        raise _damaged(path, 1, f"schema {document.get('schema')!r} is not {SCHEMA}")
    document.setdefault("epoch", 0)
    document.setdefault("quarantine", [])
    document.setdefault("levels", LEVELS)
    document.setdefault("policy", "")
    try:
        generation = _number(document, "generation", 2**64 - 1)
        next_instance = _number(document, "next_instance", INSTANCES_MAX)
        epoch = _number(document, "epoch", 2**64 - 1)
        levels = _number(document, "levels", LEVELS_MAX)
        _require(isinstance(document["policy"], str), "policy is not a version")
    except (KeyError, ValueError) as error:
        raise _damaged(path, 1, str(error)) from None
    users = _section(path, document, "users", _user)
    instances = _section(path, document, "instances", _instance)
    cards = _section(path, document, "cards", _card)
    cells = _section(path, document, "access", _cell)
    register = Register(
        generation,
        next_instance,
        {one.name: one for one in users},
        {one.name: one for one in instances},
        {one.name: one for one in cards},
        epoch=epoch,
        quarantine=dict(_section(path, document, "quarantine", _quarantined)),
        levels=levels,
        policy=document["policy"],
    )
    _check_names(path, document, register)
    _check_cells(path, document["access"], cells, register)
    return register


def _check_names(path: Path, document: Mapping[str, Any], register: Register) -> None:
    """No name, id or index twice, every owner there."""
    names: set[Any] = {"m"}
    for section in ("users", "instances", "cards"):
        indices: set[Any] = set()
        for record in document[section]:
            line = getattr(record, "line", 1)
            if record["name"] in names:
                raise _damaged(path, line, f"the name {record['name']!r} stands twice")
            if record["index"] in indices:
                raise _damaged(path, line, f"the index {record['index']} stands twice")
            names.add(record["name"])
            indices.add(record["index"])
            if section == "instances" and record["owner"] not in register.users:
                raise _damaged(path, line, f"the owner {record['owner']!r} is no user")


def _check_cells(
    path: Path, records: Iterable[Any], cells: Iterable[tuple[str, list[str], str]], register: Register
) -> None:
    """Both ends of every cell are there, and it stands once; then it is in the register."""
    access, instances, cards = register.access, register.instances, register.cards
    for record, (subject, targets, letters) in zip(records, cells, strict=True):
        of_instance = subject in instances
        for target in targets:
            own = target in instances and instances[target].owner == subject
            if not own and not (of_instance and target in cards):
                raise _damaged(path, getattr(record, "line", 1), f"{subject!r} on {target!r} is no cell of M")
            if (subject, target) in access:
                raise _damaged(path, getattr(record, "line", 1), f"the cell {subject!r} on {target!r} stands twice")
            access[subject, target] = letters


def text_of(register: Register) -> str:
    """The snapshot: one record a line, so that a difference is readable."""
    rights: dict[tuple[str, str], list[str]] = {}
    for (subject, target), letters in register.access.items():
        if letters:
            rights.setdefault((subject, letters), []).append(target)
    access = []
    for (subject, letters), targets in sorted(rights.items()):
        targets.sort()
        objects = targets[0] if len(targets) == 1 else targets
        access.append({"subject": subject, "object": objects, "attributes": letters})
    sections: dict[str, list[dict[str, Any]]] = {
        "users": [record(one) for one in register.users.values()],
        "instances": [record(one) for one in register.instances.values()],
        "cards": [record(one) for one in register.cards.values()],
        "access": access,
    }
    if register.quarantine:
        sections["quarantine"] = [{"card": card, "reason": why} for card, why in register.quarantine.items()]
    lines = [
        f'"schema": {SCHEMA}',
        f'"generation": {register.generation}',
        f'"next_instance": {register.next_instance}',
        f'"epoch": {register.epoch}',
        f'"levels": {register.levels}',
        f'"policy": {json.dumps(register.policy)}',
    ]
    for name, records in sections.items():
        body = ",\n".join("  " + json.dumps(one) for one in records)
        lines.append(f'"{name}": [\n{body}\n ]' if records else f'"{name}": []')
    return "{\n " + ",\n ".join(lines) + "\n}\n"


def load(path: Path) -> Register | None:
    """The stored register, or None where there has never been one; raises ConfigError when it cannot be trusted."""
    found = read(path)
    return None if found is None else found[0]


def read(path: Path) -> tuple[Register, Position] | None:
    """The stored register, and where its journal goes on. Raises ConfigError as `load`."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if left := journal.all_beside(path):
            raise ConfigError(
                f"{path} is not there, and its journal {left[-1].name} is",
                reason="what the journal continues is missing",
                hint=f"restore {path.parent} from a backup, or move it away to start with no guests at all",
            ) from None
        return None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", reason="the stored policy cannot be read") from None
    except UnicodeDecodeError as error:
        raise _damaged(path, path.read_bytes().count(b"\n", 0, error.start) + 1, "not UTF-8") from None
    register, position = parse(path, text), Position()
    own = journal.beside(path, register.epoch)
    for line, operations, after in journal.lines(own, register.epoch):
        position = after
        try:
            for operation in operations:
                register.apply(operation)
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(own, line, str(error)) from None
    return register, position


def store(path: Path, register: Register) -> None:
    """The snapshot is on the disk under `path` afterwards; raises Failed and leaves the old file otherwise."""
    write(path, text_of(register))
    put(path, path)


def beside(path: Path) -> Path:
    """Where a file is written that is to be put in the place of `path`."""
    return path.with_name(path.name + ".new")


def write(path: Path, text: str) -> None:
    """The text is on the disk beside `path`, until `put`. Raises Failed."""
    try:
        descriptor = os.open(beside(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _failed(path, error) from None


def put(written: Path, path: Path) -> None:
    """What was written beside `written` is `path`. Raises Failed."""
    try:
        os.rename(beside(written), path)
        sync_folder(path.parent)
    except OSError as error:
        raise _failed(path, error) from None


def _failed(path: Path, error: OSError) -> Failed:
    return Failed(
        f"{path} cannot be written: {error.strerror}",
        reason="a change that would be forgotten is not made",
        hint=f"make room in {path.parent}",
    )
