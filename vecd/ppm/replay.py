"""
Traces: the rules alone, line by line, no daemon. docs/model.md, "Traces", has the format.

Any bytes on a line are a request: what is none is answered `?`. Only a missing or impossible world is an error, because
nothing after it would mean anything.
"""

import functools
import json
from collections.abc import Iterable, Iterator
from typing import Any

from vecd.base.errors import Malformed
from vecd.ppm.levels import Levels
from vecd.ppm.request import Request
from vecd.ppm.rules import RULES, UNCLEAR, decide
from vecd.ppm.state import CARD, INSTANCE, MANAGER, USER, Change, E, Key, State, letters

# The sets of levels are held in full: a trace with more would say nothing new, and take all memory.
LEVELS_MAX = 4096
_NOTHING = object()
_WORLD = {"levels", "users", "instances", "cards"}
_EXAMPLE = '{"world": {"levels": 4, "users": ["A"], "instances": {"a": "A"}, "cards": ["k"]}}'
_ALWAYS = ("subject", "object")
# What a rule's request has besides.
_NEEDS = {
    "R6": ("attribute",),
    "R9": ("to", "attribute"),
    "R10": ("to", "attribute"),
    "R11": ("level",),
    "R12": ("next",),
}
_MEMBERS = {"rule", "op", "subject", "object", "attribute", "to", "level", "next"}
_quoted = functools.lru_cache(4096)(json.encoder.encode_basestring_ascii)
_dumps = json.JSONEncoder(separators=(", ", ": ")).encode


def replay(lines: Iterable[str]) -> Iterator[str]:
    """One line of JSON for every request line, in order. Raises Malformed, with the line, for a world that is none."""
    state: State | None = None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        entry = _parse(line)
        if isinstance(entry, dict) and "world" in entry:
            try:
                state = world(_once(line))
            except ValueError as problem:
                raise Malformed(
                    f"line {number}: this is no world: {problem}", hint=f"for example: {_EXAMPLE}"
                ) from problem
            page = _Page(state)
            continue
        if state is None:
            what = "this line is not JSON" if entry is _NOTHING else "this one is not"
            raise Malformed(
                f"line {number}: the first line of a trace has to be a world, and {what}",
                reason="it begins with a byte order mark: write UTF-8 without one" if line.startswith("\ufeff") else "",
                hint=f"for example: {_EXAMPLE}",
            )
        request, wrong = request_of(entry)
        if wrong:
            yield _answer(UNCLEAR, request.rule, wrong, page.text)
            continue
        decision = decide(state, request)
        if decision.changes:
            state.apply(decision.changes)
            page.change(decision.changes)
        yield _answer(decision.answer, request.rule, decision.reason, page.text)


def _parse(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return _NOTHING


def _once(line: str) -> Any:
    """The world of a line that has nothing else. Raises ValueError, also for a name that stands twice in an object."""

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        once: dict[str, Any] = {}
        for name, value in found:
            if name in once:
                raise ValueError(f"{name!r:.40} stands twice")
            once[name] = value
        return once

    entry = json.loads(line, object_pairs_hook=pairs)
    if len(entry) > 1:
        raise ValueError("a line with a world has nothing else")
    return entry["world"]


def _answer(answer: str, rule: Any, reason: str, shown: str) -> str:
    name = rule[:20] if type(rule) is str else ""
    return f'{{"decision": {_dumps(answer)}, "rule": {_dumps(name)}, "reason": {_dumps(reason)}, "state": {shown}}}'


def world(data: Any) -> State:
    """The first state of a trace. Raises ValueError in words."""
    if not isinstance(data, dict) or not set(data) <= _WORLD or "levels" not in data:
        raise ValueError(f"it has levels, and may have users, instances and cards, and nothing else: {data!r:.80}")
    users, instances, cards = data.get("users", []), data.get("instances", {}), data.get("cards", [])
    if not isinstance(users, list) or not isinstance(instances, dict) or not isinstance(cards, list):
        raise ValueError("users and cards are lists of names, instances an object from name to user")
    for name in (*users, *instances, *instances.values(), *cards):
        if type(name) is not str:
            raise ValueError(f"{name!r:.40} is not a name: names are strings")
        if ">" in name:
            raise ValueError(f"the name {name!r:.40} has a '>', which stands between two names in a cell")
        if name == MANAGER:
            raise ValueError(f"{MANAGER!r} is the manager, who is there already")
    if type(data["levels"]) is int and data["levels"] > LEVELS_MAX:
        raise ValueError(f"{data['levels']} levels are more than the {LEVELS_MAX} that a trace may have")
    state = State(Levels(data["levels"]))
    for user in users:
        state.name(user, USER)
    for instance, owner in instances.items():
        state.name(instance, INSTANCE, owner)
    for card in cards:
        state.name(card, CARD)
        state.restore(
            state.snapshot()
            | {("live", None, card, True), ("level", None, card, state.levels.free), ("M", MANAGER, card, E)}
        )
    return state


def request_of(entry: Any) -> tuple[Request, str]:
    """The request of a line, and "" or why it is none. A rule is not an operation, nor the other way round."""
    if entry is _NOTHING:
        return Request("", "", ""), "the line is not JSON"
    if not isinstance(entry, dict) or ("rule" in entry) == ("op" in entry):
        return Request("", "", ""), "the line is not an object with either a rule or an op"
    rule = entry["rule"] if "rule" in entry else entry["op"]
    request = Request(
        rule,
        entry.get("subject"),
        entry.get("object"),
        entry.get("attribute"),
        entry.get("to"),
        entry.get("level"),
        entry.get("next"),
    )
    if type(rule) is not str or rule not in RULES or (rule[0] == "R") != ("rule" in entry):
        return request, f"there is no {'rule' if 'rule' in entry else 'operation'} {rule!r:.40}"
    missing = [name for name in (*_ALWAYS, *_NEEDS.get(rule, ())) if name not in entry]
    if missing:
        unknown = sorted(map(str, set(entry) - _MEMBERS))
        others = f"; it has {', '.join(unknown)!s:.60}, which no request has" if unknown else ""
        return request, f"{rule} needs {', '.join(missing)}{others}"
    return request, ""


class _Page:
    """
    The whole state in the form of a trace, as one line of JSON: attributes in the order r w a c e, empty cells left
    out. Made anew is only what changed: most lines of a trace change one cell or none.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        # By matrix and column: the cells of one object, in JSON.
        self._columns: dict[str, dict[Key, str]] = {"M": {}, "b": {}}
        self._cards: dict[Key, str] = {}
        self._parts: dict[str, str] = {}
        objects = sorted(state.world, key=str)
        for table, columns in self._columns.items():
            for key in objects:
                columns[key] = self._column(table, key)
        self._cards = {key: "" for key in objects if state.world[key].kind == CARD}
        self._make(dict.fromkeys(("M", "b", "live", "level", "cards")), self._cards)

    def change(self, changes: Iterable[Change]) -> None:
        """The state has these changes now."""
        parts: dict[str, None] = {}
        cards: dict[Key, None] = {}
        for table, _, key, _, _ in changes:
            if table in self._columns:
                self._columns[table][key] = self._column(table, key)
                parts[table] = None
            elif table == "level":
                parts[table] = None
            elif table == "live":
                parts[table] = None
                if key in self._cards:
                    cards[key] = None
            else:
                cards[key] = None
        if cards:
            parts["cards"] = None
        self._make(parts, cards)

    def _make(self, parts: Iterable[str], cards: Iterable[Key]) -> None:
        state, made = self._state, self._parts
        for key in cards:
            self._cards[key] = self._card(key) if key in state.live else ""
        for part in parts:
            if part == "live":
                made[part] = _dumps(sorted(state.live, key=str))
            elif part == "level":
                made[part] = _dumps({str(key): state.level[key] for key in sorted(state.level, key=str)})
            else:
                columns = self._cards if part == "cards" else self._columns[part]
                made[part] = "{" + ", ".join(filter(None, columns.values())) + "}"
        self.text = "{" + ", ".join(f'"{part}": {made[part]}' for part in ("M", "b", "live", "level", "cards")) + "}"

    def _column(self, table: str, key: Key) -> str:
        column = (self._state.M if table == "M" else self._state.b)[key]
        cells = sorted(column.items(), key=_first) if len(column) > 1 else column.items()
        return ", ".join(f'{_quoted(f"{s}>{key}")}: "{letters(byte)}"' for s, byte in cells)

    def _card(self, key: Key) -> str:
        state = self._state
        shown = {
            "status": state.status_of(key),
            "current": state.current.get(key),
            "context": state.context.get(key),
            "output": state.output.get(key),
            "keys": sorted(state.keys[key], key=str),
        }
        return f"{_quoted(str(key))}: {_dumps(shown)}"


def _first(item: tuple[Any, Any]) -> str:
    return str(item[0])
