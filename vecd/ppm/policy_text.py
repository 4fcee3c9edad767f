"""
The text of a policy file: TOML, and the line on which every value stands.

tomllib decides what a file means. It keeps no lines, so the file is read a second time, statement by statement,
and each statement by tomllib again: a TOML statement ends with the first line end at which it is complete, because
nothing that is complete can be continued on the next line. So no grammar of ours can come to differ from tomllib's.

A file that is not TOML is a Problem with a line, never an exception: not UTF-8, nested too deeply, a number of a
thousand digits, a NUL. Sizes are limited before anything is read.
"""

import codecs
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

# A policy for 4,095 instances on 64 cards has about half a million bytes.
BYTES_MAX = 4 * 2**20
# One value may stand over several lines, as a list of names does.
VALUE_LINES_MAX = 1000

# A key of more parts than anybody writes: a.b.c.d and so on.
_PART = r"""(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')"""
_DEEP = re.compile(rf"(?<![A-Za-z0-9_-]){_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{16}}")

# Keys and places in lists, from the top: ("guest", 2, "name") is the name in the third [[guest]].
Path = tuple[str | int, ...]


class Place(NamedTuple):
    """A line of a file, counted from 1; line 0 is the file, or the folder, as a whole."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Problem(NamedTuple):
    """
    One reason why a policy is refused: where, what, and the next step.

    rule and property are set where the rules of the model refuse; otherwise the file is not well formed.
    also: other places that are meant, as where a name stood first.
    """

    place: Place
    message: str
    hint: str = ""
    rule: str = ""
    property: str = ""
    also: tuple[Place, ...] = ()

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" + (f"; {self.hint}" if self.hint else "")

    def row(self) -> dict[str, Any]:
        """As programs read it: one of the `problems` of an error, or of an answer."""
        return {
            "file": self.place.file,
            "line": self.place.line,
            "message": self.message,
            "rule": self.rule,
            "property": self.property,
            "hint": self.hint,
        }


class Text(NamedTuple):
    """What a file says, and where."""

    file: str
    content: Mapping[str, Any]
    lines: Mapping[Path, int]

    def place(self, path: Path) -> Place:
        """The line of the value, or of what it is in."""
        while path and path not in self.lines:
            path = path[:-1]
        return Place(self.file, self.lines.get(path, 1))


def read(file: str, data: bytes) -> Text | Problem:
    """The file's content with lines, or why it cannot be read."""
    if len(data) > BYTES_MAX:
        return Problem(
            Place(file, 1), f"the file has {len(data)} bytes", f"up to {BYTES_MAX} are read: write several files"
        )
    if data.startswith(codecs.BOM_UTF8):
        return Problem(Place(file, 1), "the file begins with a byte order mark", "save it as plain UTF-8")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return Problem(Place(file, line), f"byte {data[error.start]:#04x} is not UTF-8", "save the file as UTF-8")
    text = text.replace("\r\n", "\n")
    deep = _DEEP.search(text)
    if deep:
        # tomllib's time for a key grows with the square of its parts.
        line = text.count("\n", 0, deep.start()) + 1
        return Problem(Place(file, line), "it is nested too deeply", "a policy has tables of plain values")
    try:
        content = tomllib.loads(text)
        lines = _lines(text)
    except _TooLong as error:
        return Problem(Place(file, error.line), f"a value over more than {VALUE_LINES_MAX} lines", "write several rows")
    except RecursionError:
        return Problem(Place(file, _deepest(text)), "it is nested too deeply", "a policy has tables of plain values")
    except (ValueError, OverflowError) as error:
        line, what = _where(text, str(error))
        return Problem(Place(file, line), f"this is not TOML: {what}", "https://toml.io has the rules")
    return Text(file, content, lines)


class _TooLong(Exception):
    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line


def _where(text: str, message: str) -> tuple[int, str]:
    """Line and words of what tomllib says: "Expected ... (at line 3, column 5)"."""
    found = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
    if found is None:
        # What tomllib leaves to Python, such as a number with more digits than an integer may have.
        return _offender(text), message.partition(":")[0]
    last = text.rstrip("\n").count("\n") + 1
    return (int(found[1]) if found[1] else last), message[: found.start()]


def _offender(text: str) -> int:
    """The first line up to which the text fails without saying where."""
    lines = text.split("\n")
    low, high = 1, len(lines)
    while low < high:
        middle = (low + high) // 2
        try:
            tomllib.loads("\n".join(lines[:middle]))
            fails = False
        except tomllib.TOMLDecodeError:
            # It ends in the middle of a value, which is no failure of this part.
            fails = False
        except (ValueError, OverflowError, RecursionError):
            fails = True
        low, high = (low, middle) if fails else (middle + 1, high)
    return low


def _deepest(text: str) -> int:
    """The first line with more brackets than anybody writes."""
    return next((n for n, line in enumerate(text.split("\n"), 1) if len(re.findall(r"[\[{]", line)) > 50), 1)


def _statements(text: str) -> Iterator[tuple[int, Mapping[str, Any], bool]]:
    """Each statement: the line of its begin, what it means on its own, and whether it is a header."""
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        begin, chunk = at, lines[at]
        at += 1
        start = chunk.lstrip(" \t")
        if not start or start[0] == "#":
            continue
        while True:
            # A value over several lines ends with a bracket or with quotes: without one there is no need to try.
            if at == begin + 1 or _CLOSES.search(lines[at - 1]):
                try:
                    meaning = tomllib.loads(chunk)
                    break
                except tomllib.TOMLDecodeError:
                    pass
            if at >= len(lines) or at - begin >= VALUE_LINES_MAX:
                raise _TooLong(begin + 1)
            chunk += "\n" + lines[at]
            at += 1
        yield begin + 1, meaning, start[0] == "["


_CLOSES = re.compile(r"""\]|\}|"{3}|'{3}""")


def _lines(text: str) -> dict[Path, int]:
    """Where each table and each key of a text that is TOML stands."""
    found: dict[Path, int] = {(): 1}
    # How many of each [[table]] there are so far: what follows belongs to the last one.
    rows: dict[Path, int] = {}
    table: Path = ()
    for line, meaning, header in _statements(text):
        if not header:
            for path in _paths(meaning):
                found.setdefault(_resolve(table, path, rows), line)
            continue
        path, value = _chain(meaning)
        table = _resolve((), path[:-1], rows) + path[-1:]
        if isinstance(value, list):
            rows[table] = rows.get(table, 0) + 1
        if table in rows:
            table += (rows[table] - 1,)
        found.setdefault(table, line)
    return found


def _chain(meaning: Mapping[str, Any]) -> tuple[Path, Any]:
    """The keys of a header, and {} or [{}] behind the last one."""
    path: Path = ()
    value: Any = meaning
    while isinstance(value, Mapping) and value:
        ((key, value),) = value.items()
        path += (key,)
    return path, value


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """The paths of every key and of every place in a list that a statement sets."""
    if path:
        yield path
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _paths(inner, (*path, key))


def _resolve(table: Path, path: Path, rows: Mapping[Path, int]) -> Path:
    """The path from the top, where a [[table]] on the way stands for its last row."""
    for key in path:
        table += (key,)
        if table in rows:
            table += (rows[table] - 1,)
    return table
