"""
What a policy says, row by row: tables, keys, types and names. What it may say is the table TABLES.

Nothing here is decided by the model: this is the form, `policy_trial` asks the rules. A row that is not well formed
is a Problem and left out; its name is kept among the `broken`, so that rows which mention it are not blamed for it.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from vecd.base import paths as names
from vecd.base.errors import ConfigError
from vecd.ppm.levels import FIRST_INSTANCE, Level
from vecd.ppm.policy_text import Place, Problem, Text
from vecd.ppm.state import LETTERS, MANAGER

SCHEMA = 1
LEVELS_DEFAULT = 4
# As in cext/include/vec/shm.h; a test holds them equal.
LEVELS_MAX, USERS_MAX, INSTANCES_MAX, CARDS_MAX = 16, 1024, 4095, 64
# Shares of a card's turns: the largest is this many times the smallest.
WEIGHT_DEFAULT, WEIGHT_MAX = 1, 100
ID_BYTES = 16
INSTANCE_NAME_MAX = 64
# Behind a guest's name and a dot, this stands for all its instances that the policy names.
ALL = "*"


@dataclass(frozen=True, slots=True)
class Row:
    """A named row; `places` has the line of the row under "" and of each key under its name."""

    name: str
    places: Mapping[str, Place] = field(compare=False, repr=False)

    def place(self, key: str = "") -> Place:
        """The line of the key, or of the row where the key was left out."""
        return self.places.get(key) or self.places[""]


@dataclass(frozen=True, slots=True)
class Guest(Row):
    """A user. may: f_v. identity: the only id that may be added under this name; None: any."""

    level: Level
    may: frozenset[Level]
    identity: bytes | None


@dataclass(frozen=True, slots=True)
class Instance(Row):
    """An instance of a guest. level and may are its guest's where they were left out. weight: its share of turns."""

    owner: str
    level: Level | None
    may: frozenset[Level] | None
    weight: int


@dataclass(frozen=True, slots=True)
class Card(Row):
    """A card that the policy speaks of. Its levels follow from its status."""


@dataclass(frozen=True, slots=True)
class Allow:
    """Every subject gets the rights on every object."""

    subjects: tuple[str, ...]
    objects: tuple[str, ...]
    rights: str
    place: Place


@dataclass(slots=True)
class Rows:
    """All rows of all files, in their order."""

    # p; 0 where it was not to be read.
    levels: int = LEVELS_DEFAULT
    closed: bool = False
    model: dict[str, Place] = field(default_factory=dict)
    guests: dict[str, Guest] = field(default_factory=dict)
    instances: dict[str, Instance] = field(default_factory=dict)
    cards: dict[str, Card] = field(default_factory=dict)
    allows: list[Allow] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    # Names that stand twice for different things: which of them a row means, nobody knows.
    twice: set[str] = field(default_factory=set)
    # Who is named as an owner, also by a row that is broken.
    owners: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)

    def named(self, name: str) -> Guest | Instance | Card | None:
        """The row of this name."""
        return self.guests.get(name) or self.instances.get(name) or self.cards.get(name)


# ---- values: each check returns the value, or raises ValueError with what it should have been


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise ValueError("a whole number")
    return value


def _p(value: Any) -> int:
    if not LEVELS_DEFAULT <= _whole(value) <= LEVELS_MAX:
        raise ValueError(f"the number of levels, {LEVELS_DEFAULT} to {LEVELS_MAX}")
    return int(value)


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("true or false")
    return value


def _levels(value: Any) -> frozenset[Level]:
    if not isinstance(value, list) or any(type(one) is not int for one in value):
        raise ValueError("a list of levels, such as [3]")
    if len(set(value)) != len(value):
        raise ValueError("a list that has each level once")
    return frozenset(value)


def _weight(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= WEIGHT_MAX:
        raise ValueError(f"a whole number from 1 to {WEIGHT_MAX}: a share of nothing is an instance without turns")
    return value


def _identity(value: Any) -> bytes:
    if not isinstance(value, str) or not re.fullmatch(f"[0-9a-fA-F]{{{2 * ID_BYTES}}}", value):
        raise ValueError(f"the {2 * ID_BYTES} hexadecimal digits that vecctl token new printed")
    return bytes.fromhex(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("text in quotes")
    return value


def _rights(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError('letters of "rwac"; what is not allowed is left out')
    letters = value.replace("e*", "e")
    if not set(letters) <= set(LETTERS):
        raise ValueError('letters of "rwac", in small letters; what is not allowed is left out')
    if len(set(letters)) != len(letters):
        raise ValueError("letters that stand once")
    # e* is left to R9, which refuses it.
    return letters


def _several(value: Any) -> tuple[str, ...]:
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list) or not given or any(not isinstance(one, str) for one in given):
        raise ValueError("a name, or a list of names")
    if len(set(given)) != len(given):
        twice = next(one for n, one in enumerate(given) if one in given[:n])
        raise ValueError(f"a list that has each name once, and {twice[:64]!r} stands twice")
    return tuple(given)


class Key(NamedTuple):
    """A key of a table: how its value is checked, and what it is when left out (REQUIRED: it may not be)."""

    check: Callable[[Any], Any]
    default: Any


REQUIRED = object()

TABLES: Mapping[str, Mapping[str, Key]] = {
    "model": {"levels": Key(_p, LEVELS_DEFAULT), "closed": Key(_boolean, False)},
    "guest": {
        "name": Key(_text, REQUIRED),
        "level": Key(_whole, FIRST_INSTANCE),
        "may": Key(_levels, None),
        "id": Key(_identity, None),
    },
    "instance": {
        "name": Key(_text, REQUIRED),
        "owner": Key(_text, REQUIRED),
        "level": Key(_whole, None),
        "may": Key(_levels, None),
        "weight": Key(_weight, WEIGHT_DEFAULT),
    },
    "card": {"name": Key(_text, REQUIRED)},
    "allow": {"subject": Key(_several, REQUIRED), "object": Key(_several, REQUIRED), "rights": Key(_rights, REQUIRED)},
}
# Of this table there is one; of the others one for each thing.
SINGLE = "model"

# Keys that people try, and what is true instead.
_INSTEAD = {
    ("card", "level"): "the level of a card follows from its status: free, control or using",
    ("card", "may"): "every card may take L2, Lp and the instance levels",
    ("guest", "weight"): "the weight is an instance's",
    ("guest", "cards"): "write [[allow]] for the guest's instance on the card",
    ("instance", "cards"): "write [[allow]] for the instance on the card",
    ("instance", "id"): "the guard draws the ids of instances",
}


# ---- tables


def rows(texts: Iterable[Text]) -> Rows:
    """The rows of all files together, each name once; what is not well formed is among the problems."""
    found = Rows()
    for text in texts:
        _file(text, found)
    for what, table, most in (
        ("guests", found.guests, USERS_MAX),
        ("instances", found.instances, INSTANCES_MAX),
        ("cards", found.cards, CARDS_MAX),
    ):
        if len(table) > most:
            first = list(table.values())[most]
            found.problems.append(Problem(first.place(), f"these are more than {most} {what}", "name fewer"))
    return found


def _file(text: Text, found: Rows) -> None:
    schema = text.content.get("schema")
    if type(schema) is not int or schema != SCHEMA:
        what = (
            f"schema = {_written(schema):.40} is not read here"
            if "schema" in text.content
            else "the file has no schema"
        )
        found.problems.append(Problem(text.place(("schema",)), what, f"begin the file with: schema = {SCHEMA}"))
        if "schema" in text.content:
            # What is written in another language is not guessed at.
            return
    for table, value in text.content.items():
        if table == "schema":
            continue
        if table not in TABLES:
            hint = _nearest(table, ["schema", *TABLES])
            found.problems.append(Problem(_first(text, table), f"the table {table[:64]!r} is not known", hint))
        elif table == SINGLE:
            if isinstance(value, dict):
                _model(text, value, found)
            else:
                found.problems.append(Problem(_first(text, table), f"{table} is one table", f"write [{table}]"))
        elif not isinstance(value, list) or any(not isinstance(row, dict) for row in value):
            found.problems.append(Problem(_first(text, table), f"{table} is a list of tables", f"write [[{table}]]"))
        else:
            for number, row in enumerate(value):
                _row(text, table, number, row, found)


def _first(text: Text, table: str) -> Place:
    return text.place((table,) if (table,) in text.lines else (table, 0))


def _model(text: Text, given: Mapping[str, Any], found: Rows) -> None:
    places = {key: text.place((SINGLE, key)) for key in given}
    problems: list[Problem] = []
    values = _keys(SINGLE, given, {"": text.place((SINGLE,)), **places}, problems)
    for key in given:
        if key in found.model:
            also = found.model[key]
            problems.append(
                Problem(places[key], f"model.{key} stands twice", f"it is at {also}: keep one", also=(also,))
            )
        elif key in TABLES[SINGLE]:
            found.model[key] = places[key]
            setattr(found, key, values.get(key, 0))
    found.problems += problems


def _keys(table: str, given: Mapping[str, Any], places: Mapping[str, Place], problems: list[Problem]) -> dict[str, Any]:
    """The values of a table's keys, checked, with what was left out; without those that are wrong."""
    known, values = TABLES[table], {}
    for key, value in given.items():
        if key not in known:
            hint = _INSTEAD.get((table, key)) or _nearest(key, list(known))
            problems.append(Problem(places[key], f"the key {key[:64]!r} is not known in {table}", hint))
            continue
        try:
            values[key] = known[key].check(value)
        except ValueError as error:
            problems.append(Problem(places[key], f"{table}: {key} = {_written(value):.60}: it must be {error}"))
    for key, (_, default) in known.items():
        if key in given:
            continue
        if default is REQUIRED:
            problems.append(Problem(places[""], f"this {table} has no {key}", f"add: {key} = ..."))
        else:
            values[key] = default
    return values


def _row(text: Text, table: str, number: int, given: Mapping[str, Any], found: Rows) -> None:
    top = (table, number)
    places = {"": text.place(top), **{key: text.place((*top, key)) for key in given}}
    problems: list[Problem] = []
    values = _keys(table, given, places, problems)
    complete = all(key in values for key in TABLES[table])
    if "owner" in values:
        found.owners.add(values["owner"])
    if table == "allow":
        if complete and not problems:
            found.allows.append(Allow(values["subject"], values["object"], values["rights"], places[""]))
        found.problems += problems
        return
    name = values.get("name")
    if name is not None:
        wrong = _NAMES[table](name)
        if wrong:
            problems.append(Problem(places["name"], wrong[0], wrong[1]))
        before = found.named(name)
        if before is not None:
            also = before.place("name")
            if _ADD[table] is not _ADD[type(before).__name__.lower()]:
                found.twice.add(name)
            problems.append(
                Problem(
                    places["name"],
                    f"the name {name[:64]!r} stands twice",
                    f"it is at {also}: guests, instances and cards share one space of names",
                    also=(also,),
                )
            )
    if problems or not complete:
        found.problems += problems
        # Which name this row should have had, so that nobody else is blamed; the first of two stays what it is.
        if name is not None and found.named(name) is None:
            found.broken.add(name)
        return
    _ADD[table](found, str(name), places, values)


def _guest(found: Rows, name: str, places: Mapping[str, Place], values: Mapping[str, Any]) -> None:
    may = frozenset([values["level"]]) if values["may"] is None else values["may"]
    guest = Guest(name, places, values["level"], may, values["id"])
    found.guests[name] = guest
    if guest.identity is None:
        return
    for other in found.guests.values():
        if other is not guest and other.identity == guest.identity:
            also = other.place("id")
            hint = f"it is at {also}: every guest is enrolled on its own"
            message = f"guest {name}: the id is that of guest {other.name}"
            found.problems.append(Problem(guest.place("id"), message, hint, also=(also,)))
            return


def _instance(found: Rows, name: str, places: Mapping[str, Place], values: Mapping[str, Any]) -> None:
    owner, of = values["owner"], name.partition(".")[0]
    if owner != of:
        message = f"instance {name} is named as one of {of}, and its owner is {owner[:64]!r}"
        found.problems.append(Problem(places["owner"], message, f"call it {owner[:32]}.1, or correct the owner"))
        found.broken.add(name)
        return
    found.instances[name] = Instance(name, places, owner, values["level"], values["may"], values["weight"])


def _card(found: Rows, name: str, places: Mapping[str, Place], _values: Mapping[str, Any]) -> None:
    found.cards[name] = Card(name, places)


_ADD: Mapping[str, Callable[[Rows, str, Mapping[str, Place], Mapping[str, Any]], None]] = {
    "guest": _guest,
    "instance": _instance,
    "card": _card,
}


# ---- names: what is wrong with one, and what to do; or None


def _plain(name: str, what: str) -> tuple[str, str] | None:
    try:
        names.name(name, what)
    except ConfigError as error:
        # A name elsewhere may have a dot; here it has an instance's behind it.
        return error.message, f"a name is 1 to {names.NAME_MAX} letters, digits, '_', '-', a letter or digit first"
    if name == MANAGER:
        return f"{name!r} is the manager's name", f"give the {what} another one"
    if "." in name:
        return f"the {what}'s name {name!r} has a dot", "what stands behind a dot names the instances of a guest"
    return None


def _instance_name(name: str) -> tuple[str, str] | None:
    of, dot, own = name.partition(".")
    if not dot:
        return f"instance {name[:64]!r} is not called as one of a guest", "write it as GUEST.NAME, such as A.1"
    # Behind the dot m is a name as any other.
    wrong = _plain(of, "guest") or (_plain(own, "instance") if own != MANAGER else None)
    if wrong:
        return f"instance {name[:80]!r}: {wrong[0]}", wrong[1]
    if len(name) > INSTANCE_NAME_MAX:
        return f"instance {name!r} has {len(name)} letters", f"up to {INSTANCE_NAME_MAX}, with the guest's name"
    return None


_NAMES: Mapping[str, Callable[[str], tuple[str, str] | None]] = {
    "guest": lambda name: _plain(name, "guest"),
    "instance": _instance_name,
    "card": lambda name: _plain(name, "card"),
}


def _written(value: Any) -> str:
    """A value as TOML writes it, or near to it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {_written(inner)}' for key, inner in value.items())}}}"
    return repr(value) if isinstance(value, str) else str(value)


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word[:64], known, 1, 0.0)
    return f"did you mean {near[0]!r}?" if near else ""
