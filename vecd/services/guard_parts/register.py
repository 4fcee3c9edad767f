"""What the guard must not forget: users, instances, cards and M, in STATE/guard/policy.json.

b is never stored: a right that is held belongs to processes that live. The file is versioned JSON with one
record a line, replaced by rename after it is on the disk, so that a crash leaves the old one or the
new one. A damaged file stops the start with its name and line: an empty policy in its place would
give away names and indices a second time.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from json.decoder import JSONObject  # type: ignore[attr-defined]
from json.scanner import py_make_scanner  # type: ignore[attr-defined]
from pathlib import Path
from typing import Any, TypeVar

from vecd.base.durable import sync_folder
from vecd.base.errors import ConfigError, Failed

SCHEMA = 1
ID_BYTES = 16
# As in cext/include/vec/shm.h; a test holds them equal.
USERS_MAX, INSTANCES_MAX, CARDS_MAX = 1024, 4095, 64
LETTERS = "rwac"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class User:
    """A guest VM: its id from the authority, its row in the matrices, and who may connect as it."""

    name: str
    id: bytes
    index: int
    uid: int
    cid: int | None = None


@dataclass(frozen=True, slots=True)
class Instance:
    """A vEC-Instance; `index` is its column in the matrices and its owner field in a card word."""

    name: str
    id: bytes
    index: int
    owner: str


@dataclass(frozen=True, slots=True)
class Card:
    """A card that registered once; it may have no process at the moment."""

    name: str
    id: bytes
    index: int


@dataclass(frozen=True, slots=True)
class Register:
    """Everything that is stored; `access` is M without the manager's e*."""

    # Of the last start; the next one is greater, whatever the clock says.
    generation: int = 0
    # Instance indices are handed out in a circle: one that was freed is not the next to be used.
    next_instance: int = 0
    users: Mapping[str, User] = field(default_factory=dict)
    instances: Mapping[str, Instance] = field(default_factory=dict)
    cards: Mapping[str, Card] = field(default_factory=dict)
    access: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def names(self) -> set[str]:
        """Every name that is taken; users, instances and cards share one space."""
        return {*self.users, *self.instances, *self.cards, "m"}

    def instances_of(self, user: str) -> list[Instance]:
        """The user's instances, in the order of their indices."""
        return sorted((one for one in self.instances.values() if one.owner == user), key=lambda one: one.index)

    def with_access(self, access: Mapping[tuple[str, str], str]) -> "Register":
        """The same with another M."""
        return replace(self, access=dict(access))


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


def _user(record: Mapping[str, Any]) -> User:
    cid = None if record["cid"] is None else _number(record, "cid", 2**32 - 1)
    index = _number(record, "index", USERS_MAX - 1)
    return User(_name(record, "name"), _id(record), index, _number(record, "uid", 2**32 - 2), cid)


def _instance(record: Mapping[str, Any]) -> Instance:
    index = _number(record, "index", INSTANCES_MAX - 1)
    return Instance(_name(record, "name"), _id(record), index, _name(record, "owner"))


def _card(record: Mapping[str, Any]) -> Card:
    return Card(_name(record, "name"), _id(record), _number(record, "index", CARDS_MAX - 1))


def _cell(record: Mapping[str, Any]) -> tuple[tuple[str, str], str]:
    letters = record["attributes"]
    _require(
        isinstance(letters, str) and letters != "" and set(letters) <= set(LETTERS), "attributes are not among r w a c"
    )
    return (_name(record, "subject"), _name(record, "object")), "".join(one for one in LETTERS if one in letters)


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
    """The register a file holds; raises ConfigError with file and line for anything this guard would not write."""
    try:
        document = _Lines().decode(text)
    except json.JSONDecodeError as error:
        raise _damaged(path, error.lineno, error.msg) from None
    except RecursionError:
        raise _damaged(path, 1, "nested too deeply") from None
    if not isinstance(document, dict):
        raise _damaged(path, 1, "not an object")
    if document.get("schema") != SCHEMA:
        raise _damaged(path, 1, f"schema {document.get('schema')!r} is not {SCHEMA}")
    try:
        generation = _number(document, "generation", 2**64 - 1)
        next_instance = _number(document, "next_instance", INSTANCES_MAX)
    except (KeyError, ValueError) as error:
        raise _damaged(path, 1, str(error)) from None
    users = _section(path, document, "users", _user)
    instances = _section(path, document, "instances", _instance)
    cards = _section(path, document, "cards", _card)
    register = Register(
        generation,
        next_instance,
        {one.name: one for one in users},
        {one.name: one for one in instances},
        {one.name: one for one in cards},
        dict(_section(path, document, "access", _cell)),
    )
    _check_whole(path, document, register)
    return register


def _check_whole(path: Path, document: Mapping[str, Any], register: Register) -> None:
    """No name, id or index twice, every owner and every cell's ends there."""
    names: set[Any] = {"m"}
    for section in ("users", "instances", "cards"):
        indices: set[Any] = set()
        for record in document[section]:
            if record["name"] in names:
                raise _damaged(path, record.line, f"the name {record['name']!r} stands twice")
            if record["index"] in indices:
                raise _damaged(path, record.line, f"the index {record['index']} stands twice")
            names.add(record["name"])
            indices.add(record["index"])
            if section == "instances" and record["owner"] not in register.users:
                raise _damaged(path, record.line, f"the owner {record['owner']!r} is no user")
    seen: set[tuple[str, str]] = set()
    for record in document["access"]:
        subject, target = record["subject"], record["object"]
        own = target in register.instances and register.instances[target].owner == subject
        if not own and not (subject in register.instances and target in register.cards):
            raise _damaged(path, record.line, f"{subject!r} on {target!r} is no cell of M")
        if (subject, target) in seen:
            raise _damaged(path, record.line, f"the cell {subject!r} on {target!r} stands twice")
        seen.add((subject, target))


def text_of(register: Register) -> str:
    """The file: one record a line, so that a difference is readable."""
    users = [
        {"name": u.name, "id": u.id.hex(), "index": u.index, "uid": u.uid, "cid": u.cid}
        for u in register.users.values()
    ]
    instances = [
        {"name": i.name, "id": i.id.hex(), "index": i.index, "owner": i.owner} for i in register.instances.values()
    ]
    cards = [{"name": c.name, "id": c.id.hex(), "index": c.index} for c in register.cards.values()]
    access = [{"subject": s, "object": o, "attributes": x} for (s, o), x in sorted(register.access.items()) if x]
    sections: dict[str, list[dict[str, Any]]] = {
        "users": users,
        "instances": instances,
        "cards": cards,
        "access": access,
    }
    lines = [
        f'"schema": {SCHEMA}',
        f'"generation": {register.generation}',
        f'"next_instance": {register.next_instance}',
    ]
    for name, records in sections.items():
        body = ",\n".join("  " + json.dumps(record) for record in records)
        lines.append(f'"{name}": [\n{body}\n ]' if records else f'"{name}": []')
    return "{\n " + ",\n ".join(lines) + "\n}\n"


def load(path: Path) -> Register | None:
    """The stored register, or None where there has never been one; raises ConfigError when it cannot be trusted."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", reason="the stored policy cannot be read") from None
    except UnicodeDecodeError as error:
        raise _damaged(path, path.read_bytes().count(b"\n", 0, error.start) + 1, "not UTF-8") from None
    return parse(path, text)


def store(path: Path, register: Register) -> None:
    """The register is on the disk under `path` afterwards; raises Failed and leaves the old file otherwise."""
    fresh = path.with_name(path.name + ".new")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text_of(register))
            file.flush()
            os.fsync(file.fileno())
        os.rename(fresh, path)
        sync_folder(path.parent)
    except OSError as error:
        raise Failed(
            f"{path} cannot be written: {error.strerror}",
            reason="a change that would be forgotten is not made",
            hint=f"make room in {path.parent}",
        ) from None
