"""How answers look: tables for people, one object with "schema" for programs, messages on stderr only."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vecd.base.errors import VecError

SCHEMA = 1


def cell(value: Any) -> str:
    """One value as it stands in a table: nothing is "-", a list is joined, a truth is yes or no."""
    if value is None or value == "" or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ",".join(cell(one) for one in value)
    text = str(value)
    # Names and reasons may have come from a peer: no control characters reach a terminal.
    return "".join(one if one.isprintable() else "?" for one in text)


def table(columns: Sequence[tuple[str, str]], rows: Iterable[Mapping[str, Any]], empty: str = "none") -> str:
    """Aligned columns; `columns` are (heading, key of the row)."""
    lines = [[heading for heading, _ in columns]]
    lines += [[cell(row.get(key)) for _, key in columns] for row in rows]
    if len(lines) == 1:
        return empty
    widths = [max(len(line[n]) for line in lines) for n in range(len(columns))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def facts(rows: Sequence[tuple[str, Any]]) -> str:
    """One thing in full: a name and a value a line."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name.ljust(width)}  {cell(value)}" for name, value in rows)


def in_full(thing: Mapping[str, Any]) -> str:
    """One thing with everything that fits a line: inner objects as name.part, rows of objects left to --json."""
    rows: list[tuple[str, Any]] = []
    for key, value in thing.items():
        if isinstance(value, Mapping):
            rows += [(f"{key}.{part}", inner) for part, inner in value.items()]
        elif not (isinstance(value, list) and value and isinstance(value[0], Mapping)):
            rows.append((key, value))
    return facts(rows)


def answer_json(answer: Mapping[str, Any]) -> str:
    """The public API: the answer of the call with the number of its schema."""
    return json.dumps({"schema": SCHEMA, **answer}, indent=1, sort_keys=False)


def error_object(error: VecError) -> dict[str, Any]:
    """An error as programs read it."""
    problems = {"problems": list(error.problems)} if error.problems else {}
    return {"schema": SCHEMA, "error": {**error.to_dict(), "exit_code": error.exit_code, **problems}}


def print_error(error: VecError, as_json: bool) -> None:
    """Say on stderr what failed, by which rule, and what to do next."""
    if as_json:
        print(json.dumps(error_object(error)), file=sys.stderr)
        return
    for row in error.problems:
        # As compilers print it, so that editors find the line.
        hint = f"; {row['hint']}" if row["hint"] else ""
        print(cell(f"{row['file']}:{row['line']}: {row['message']}{hint}"), file=sys.stderr)
    rule = f" ({error.rule})" if error.rule and error.rule not in str(error.message) else ""
    print(f"vecctl: {cell(error.message)}{rule}", file=sys.stderr)
    if error.reason and error.reason not in str(error.message) and not error.problems:
        print(f"  reason: {cell(error.reason)}", file=sys.stderr)
    if error.needs:
        print(f"  read: {cell(error.reads)}; it would need {cell(error.needs)}", file=sys.stderr)
    if error.hint:
        print(f"  hint: {cell(error.hint)}", file=sys.stderr)


def print_answer(text: str) -> None:
    """The answer is on stdout. Raises OSError where it cannot be written, and not only at the exit."""
    print(text, flush=True)
