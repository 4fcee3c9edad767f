"""Types that our processes exchange: a row of the table of calls, and what its arguments may be.

A type is a word: "str", "int", "bool", "bytes" (hex in JSON, bytes in Python), "list", "dict", "fd", "any",
"list[str]", "list[int]", "list[bytes]", "list[dict]"; with "?" behind it, it may be missing or null.
A "fd" is not in the JSON: the row says how many descriptors come with the packet, in the order of the row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import Malformed

# A string longer than this is no name, no id and no path of ours.
STR_MAX = 4096
# Key numbers are unsigned 64 bit; -1 stands for "none" in a few answers.
INT_MIN, INT_MAX = -(2**63), 2**64 - 1


@dataclass(frozen=True, slots=True)
class Call:
    """One call: its name, the door it comes through, who answers it, what it takes and gives.

    needs: "read" or "change" for people's doors, "" where the door alone decides.
    """

    name: str
    door: str
    needs: str
    args: Mapping[str, str]
    answer: Mapping[str, str]
    doc: str
    # The process that answers; the other end of the door asks.
    to: str = "guard"
    fds_in: int = field(init=False, default=0)
    fds_out: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fds_in", sum(kind == "fd" for kind in self.args.values()))
        object.__setattr__(self, "fds_out", sum(kind == "fd" for kind in self.answer.values()))


class Table(Mapping[str, Call]):
    """The rows of one door as one side sees it: `serves` are those it answers, the others it asks."""

    def __init__(self, rows: Iterable[Call], serves: Iterable[str]) -> None:
        self._rows = {row.name: row for row in rows}
        self.serves = frozenset(serves)

    def __getitem__(self, name: str) -> Call:
        return self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def _str(value: Any) -> str:
    if not isinstance(value, str) or len(value) > STR_MAX:
        raise ValueError(f"a string of at most {STR_MAX} characters")
    return value


def _int(value: Any) -> int:
    # bool is an int to Python, not to us.
    if not isinstance(value, int) or isinstance(value, bool) or not INT_MIN <= value <= INT_MAX:
        raise ValueError("an integer of at most 64 bits")
    return value


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _bytes(value: Any) -> bytes:
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    try:
        # fromhex alone would skip white space.
        if isinstance(value, str) and (value.isalnum() or not value):
            return bytes.fromhex(value)
    except ValueError:
        pass
    raise ValueError("bytes, as an even number of hex digits")


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("a list")
    return value


def _dict(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("an object")
    return value


def _any(value: Any) -> Any:
    return value


def _each(convert: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    return lambda value: [convert(item) for item in _list(value)]


_CONVERT: Mapping[str, Callable[[Any], Any]] = {
    "str": _str,
    "int": _int,
    "bool": _bool,
    "bytes": _bytes,
    "list": _list,
    "dict": _dict,
    "any": _any,
    "list[str]": _each(_str),
    "list[int]": _each(_int),
    "list[bytes]": _each(_bytes),
    "list[dict]": _each(_dict),
}


class _Shape:
    """A row taken apart once: its names, and for each how to check it."""

    __slots__ = ("checks", "free", "known", "row")

    def __init__(self, row: Mapping[str, str]) -> None:
        # Kept, so that nobody else gets its id.
        self.row = row
        self.known = frozenset(name for name, kind in row.items() if kind != "fd" and name != "*")
        self.free = "*" in row
        self.checks = tuple(
            (name, _CONVERT[kind.removesuffix("?")], kind.endswith("?"))
            for name, kind in row.items()
            if name in self.known
        )


_shapes: dict[int, _Shape] = {}


def _shape(row: Mapping[str, str]) -> _Shape:
    found = _shapes.get(id(row))
    if found is None:
        found = _shapes[id(row)] = _Shape(row)
    return found


def convert(where: str, row: Mapping[str, str], given: Any, *, strict: bool) -> dict[str, Any]:
    """The values of `given`, checked and converted by the row; an optional one that is missing is None.

    strict: a name that the row does not have is refused, otherwise it is handed through as it came (answers may
    grow). Raises Malformed, naming what is wrong. A row does not change once it was used.
    """
    if not isinstance(given, dict):
        raise Malformed(f"{where}: the arguments must be an object")
    shape = _shape(row)
    out: dict[str, Any] = {}
    if not shape.known.issuperset(given):
        if strict and not shape.free:
            extra = min(given.keys() - shape.known)
            known = ", ".join(name for name, _, _ in shape.checks) or "none"
            raise Malformed(f"{where}: no argument {extra[:64]!r} is known; known are: {known}")
        out = {name: value for name, value in given.items() if name not in shape.known}
    for name, check, optional in shape.checks:
        value = given.get(name)
        if value is None:
            if not optional:
                raise Malformed(f"{where}: {name} is missing")
            out[name] = None
            continue
        try:
            out[name] = check(value)
        except ValueError as e:
            raise Malformed(f"{where}: {name} must be {e}") from None
    return out
