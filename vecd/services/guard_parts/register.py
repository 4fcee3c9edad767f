"""The files of what the guard must not forget (entries.py): STATE/guard/policy.json, and the journal beside it.

b is never stored: a right that is held belongs to processes that live. The file is a snapshot, versioned JSON with one
record a line, replaced by rename after it is on the disk, so that a crash leaves the old one or the new one; what
changed since stands in the journal beside it (journal.py), as operations. Damage to either stops the start with file
and line: an empty policy in its place would give away names and indices a second time.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from json.decoder import JSONObject  # type: ignore[attr-defined]
from json.scanner import py_make_scanner  # type: ignore[attr-defined]
from pathlib import Path
from typing import Any, TypeVar

from vecd.base import durable
from vecd.base.errors import ConfigError, Failed
from vecd.services.guard_parts import journal
from vecd.services.guard_parts.entries import (
    CARDS_MAX,
    ID_BYTES,
    INSTANCES_MAX,
    LEVELS,
    LEVELS_MAX,
    USERS_MAX,
    Card,
    Instance,
    Register,
    User,
    card_of,
    cell,
    instance_of,
    number,
    quarantined,
    require,
    stored,
    user_of,
)
from vecd.services.guard_parts.journal import Position

__all__ = [
    "CARDS_MAX",
    "ID_BYTES",
    "INSTANCES_MAX",
    "USERS_MAX",
    "Card",
    "Instance",
    "Register",
    "User",
    "load",
    "parse",
    "read",
    "store",
    "text_of",
]

SCHEMA = 1

_T = TypeVar("_T")


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


def _section(path: Path, document: Mapping[str, Any], section: str, read: Callable[[Any], _T]) -> list[_T]:
    records = document.get(section)
    if not isinstance(records, list):
        raise damaged(path, 1, f"{section!r} is not a list")
    values = []
    for record in records:
        line = getattr(record, "line", 1)
        if not isinstance(record, dict):
            raise damaged(path, line, f"an entry of {section!r} is not an object")
        try:
            values.append(read(record))
        except KeyError as error:
            raise damaged(path, line, f"{section}: {error.args[0]!r} is missing") from None
        except (ValueError, TypeError) as error:
            raise damaged(path, line, f"{section}: {error}") from None
    return values


def damaged(path: Path, line: int, what: str) -> ConfigError:
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
        raise damaged(path, error.lineno, error.msg) from None
    except RecursionError:
        raise damaged(path, 1, "nested too deeply") from None


def _register(path: Path, document: Any) -> Register:
    if not isinstance(document, dict):
        raise damaged(path, 1, "not an object")
    if document.get("schema") != SCHEMA:
        raise damaged(path, 1, f"schema {document.get('schema')!r} is not {SCHEMA}")
    document.setdefault("epoch", 0)
    document.setdefault("quarantine", [])
    document.setdefault("levels", LEVELS)
    document.setdefault("policy", "")
    try:
        generation = number(document, "generation", 2**64 - 1)
        next_instance = number(document, "next_instance", INSTANCES_MAX)
        epoch = number(document, "epoch", 2**64 - 1)
        levels = number(document, "levels", LEVELS_MAX)
        require(isinstance(document["policy"], str), "policy is not a version")
    except (KeyError, ValueError) as error:
        raise damaged(path, 1, str(error)) from None
    users = _section(path, document, "users", user_of)
    instances = _section(path, document, "instances", instance_of)
    cards = _section(path, document, "cards", card_of)
    cells = _section(path, document, "access", cell)
    register = Register(
        generation,
        next_instance,
        {one.name: one for one in users},
        {one.name: one for one in instances},
        {one.name: one for one in cards},
        epoch=epoch,
        quarantine=dict(_section(path, document, "quarantine", quarantined)),
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
                raise damaged(path, line, f"the name {record['name']!r} stands twice")
            if record["index"] in indices:
                raise damaged(path, line, f"the index {record['index']} stands twice")
            names.add(record["name"])
            indices.add(record["index"])
            if section == "instances" and record["owner"] not in register.users:
                raise damaged(path, line, f"the owner {record['owner']!r} is no user")


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
                raise damaged(path, getattr(record, "line", 1), f"{subject!r} on {target!r} is no cell of M")
            if (subject, target) in access:
                raise damaged(path, getattr(record, "line", 1), f"the cell {subject!r} on {target!r} stands twice")
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
        "users": [stored(one) for one in register.users.values()],
        "instances": [stored(one) for one in register.instances.values()],
        "cards": [stored(one) for one in register.cards.values()],
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
        raise damaged(path, path.read_bytes().count(b"\n", 0, error.start) + 1, "not UTF-8") from None
    register, position = parse(path, text), Position()
    own = journal.beside(path, register.epoch)
    for line, operations, after in journal.lines(own, register.epoch):
        position = after
        try:
            for operation in operations:
                register.apply(operation)
        except (ValueError, KeyError, TypeError) as error:
            raise damaged(own, line, str(error)) from None
    return register, position


def store(path: Path, register: Register) -> None:
    """The snapshot is on the disk under `path` afterwards; raises Failed and leaves the old file otherwise."""
    write(path, text_of(register))
    put(path, path)


def write(path: Path, text: str) -> None:
    """The text is on the disk beside `path`, until `put`. Raises Failed."""
    try:
        durable.write_beside(path, text)
    except OSError as error:
        raise _failed(path, error) from None


def put(written: Path, path: Path) -> None:
    """What was written beside `written` is `path`. Raises Failed."""
    try:
        durable.put(written, path)
    except OSError as error:
        raise _failed(path, error) from None


def _failed(path: Path, error: OSError) -> Failed:
    return Failed(
        f"{path} cannot be written: {error.strerror}",
        reason="a change that would be forgotten is not made",
        hint=f"make room in {path.parent}",
    )
