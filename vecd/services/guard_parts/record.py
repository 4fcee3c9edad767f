"""What goes on record of the guard's work, in the order in which it happened: docs/audit.md, "The guard's chain".

To record is to append to a list; the line, its hash and the file are made by another thread (audit.py), so that a
decision costs the loop a microsecond. Who asked is known by a context variable that the doors set.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, NamedTuple

from vecd.audit.records import after
from vecd.base.errors import Exhausted, VecError
from vecd.ppm.request import Request
from vecd.ppm.rules import Decision
from vecd.ppm.state import Change, letters

TEXT_MAX = 512
# Records that wait for a disk which takes none; who comes later is counted.
WAITING_MAX = 200_000
# What takes rights away does not wait for a disk.
TAKES_AWAY = frozenset(("R6", "R8", "R10", "R12"))
# Tables whose values are sets of attributes.
_CELLS = frozenset(("M", "b"))


class Asker(NamedTuple):
    """Who asked, by the kernel's word."""

    door: str
    uid: int
    pid: int


ASKER: ContextVar[Asker | None] = ContextVar("asker", default=None)


def on_behalf(begin: Callable[[], None]) -> Callable[[], None]:
    """`begin`, for whoever asks now, also when it is called later by another."""
    asker = ASKER.get()

    def again() -> None:
        token = ASKER.set(asker)
        try:
            begin()
        finally:
            ASKER.reset(token)

    return again


class Record:
    """What waits to be written. `decision`, `undone` and `note` are the loop's, `take` the writer's."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, Asker | None, Decision | Mapping[str, Any], int | None]] = []
        self._lost = 0
        # The reason of the last decision, if it was a refusal.
        self._said = ""
        # Where a change may not be decided for the time being: the sentence that says why.
        self.refuses = ""
        # Told when something waits that did not before.
        self.wake: Callable[[], None] = lambda: None
        # The column of an instance, None for what is none.
        self.index_of: Callable[[Any], int | None] = lambda _: None

    def require(self, request: Request) -> None:
        """Raises Exhausted where what is asked could not be recorded; what takes a right away goes on."""
        if self.refuses and request.rule not in TAKES_AWAY:
            raise Exhausted(
                "nothing is decided that cannot be recorded",
                reason=self.refuses,
                hint='make room where the audit log lies, or set audit.on_full = "drop"',
            )

    def decision(self, decision: Decision) -> None:
        """A yes that changes something, a no or a ? is on record."""
        if decision and not decision.changes:
            return
        self._said = "" if decision else decision.reason
        index = self.index_of(decision.request.subject) if decision.rule == "R1" else None
        self._add(decision, index)

    def refused(self, call: str, error: VecError) -> None:
        """A call was refused: by a door, or by a decision, which then is on record already."""
        if error.reason != self._said or not self._said:
            self.note("refused", call=call, error=type(error).__name__, rule=error.rule, reason=str(error)[:TEXT_MAX])

    def undone(self, decisions: Iterable[Decision], why: str) -> None:
        """What was decided is taken back: the disk, or a later request of the same change, did not let it stand."""
        for one in decisions:
            if one.changes:
                self.note("undone", **_request(one.request), reason=why)

    def note(self, what: str, /, **fields: Any) -> None:
        """Something that is no decision is on record."""
        self._add({"what": what, **fields}, None)

    def _add(self, item: Decision | Mapping[str, Any], index: int | None) -> None:
        if len(self._waiting) >= WAITING_MAX:
            self._lost += 1
            return
        self._waiting.append((time.time_ns(), ASKER.get(), item, index))
        if len(self._waiting) == 1:
            self.wake()

    def __len__(self) -> int:
        return len(self._waiting)

    def lost(self, count: int) -> None:
        """So many records were given up; the next one says so."""
        self._lost += count

    def take(self, sequence: int, value: bytes) -> tuple[bytes, int, bytes]:
        """The lines of everything that waits, behind this sequence and chain value; those of the last one."""
        # Another thread appends: what is there now is taken, what comes meanwhile stays.
        count = len(self._waiting)
        items = self._waiting[:count]
        del self._waiting[:count]
        lines = []
        if self._lost:
            lost, self._lost = self._lost, 0
            items.append((time.time_ns(), None, {"what": "lost", "records": lost}, None))
        for at, asker, item, index in items:
            content = _content(sequence, at, asker, item, index).encode()
            value = after(value, content)
            lines.append(b'%b,"chain":"%b"}\n' % (content, value.hex().encode()))
            sequence += 1
        return b"".join(lines), sequence, value


class Silent(Record):
    """Nothing is recorded: books that no process keeps."""

    def _add(self, item: Decision | Mapping[str, Any], index: int | None) -> None:
        pass


# ---- how it reads


@lru_cache(8192)
def _quoted(text: str) -> str:
    return json.dumps(text[:TEXT_MAX])


@lru_cache(256)
def _by(asker: Asker) -> str:
    return json.dumps(asker._asdict(), separators=(",", ":"))


def _request(request: Request) -> dict[str, Any]:
    """What was asked, without what is not said."""
    subject = request.subject if request.to is None else request.to
    shown = {"rule": request.rule, "subject": str(subject), "object": str(request.object)}
    for name in ("attribute", "level", "next"):
        if (value := getattr(request, name)) is not None:
            shown[name] = value if type(value) is int else str(value)
    return shown


def _value(table: str, value: Any) -> str:
    if value is None or type(value) is bool:
        return json.dumps(value)
    if type(value) is int:
        return _quoted(letters(value)) if table in _CELLS else str(value)
    return _quoted(str(value))


def _changes(changes: Sequence[Change]) -> str:
    rows = [
        f"[{_quoted(one.table)},{_value('', one.subject)},{_value('', one.object)},"
        f"{_value(one.table, one.old)},{_value(one.table, one.new)}]"
        for one in changes
    ]
    return ",".join(rows)


def _content(sequence: int, at: int, asker: Asker | None, item: Decision | Mapping[str, Any], index: int | None) -> str:
    """A record as a JSON object without its last brace."""
    head = f'{{"seq":{sequence},"time":{at},'
    by = f',"by":{_by(asker)}' if asker else ""
    if not isinstance(item, Decision):
        return head + json.dumps(item, separators=(",", ":"), default=str)[1:-1] + by
    request = item.request
    subject = request.subject if request.to is None else request.to
    text = (
        f'{head}"what":"decision","decision":"{item.answer}","rule":{_quoted(str(item.rule))},'
        f'"subject":{_quoted(str(subject))},"object":{_quoted(str(request.object))}'
    )
    if request.attribute is not None:
        text += f',"attribute":{_quoted(str(request.attribute))}'
    if request.level is not None:
        text += f',"level":{json.dumps(request.level, default=str)}'
    if request.next is not None:
        text += f',"next":{_quoted(str(request.next))}'
    if index is not None:
        text += f',"index":{index}'
    if item:
        return f'{text},"changes":[{_changes(item.changes)}]{by}'
    return f'{text},"property":{_quoted(item.property)},"reason":{json.dumps(item.reason[:TEXT_MAX])}{by}'
