"""The verifier of one chain: segments in, findings out. docs/audit.md, "What is checked".

Pure: whoever reads the files hands in bytes. A segment is a stretch of records with the roots signed over it; its first
root repeats the last one of the segment before, so that each can be checked where the older ones were removed. After
a finding the next segment is checked all the same: it begins at a signed value of its own.

Torn is not tampered: what a crash leaves is at most one record, or one root, without its end, behind everything that
was signed. Whatever else differs is a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .records import NOTHING, CardFormat, Entry, Facts, Flag, Format, Kind, after, facts_of, members
from .report import Finding, HandOver, Report, Segment
from .roots import Root, card, parse

NS = 1_000_000_000
# Roots are signed once a second. So far behind the last one may records stand that a crash left.
UNSIGNED_NS = 10 * NS
# As plain numbers: an enumeration's members take their time, and there are millions of records.
_SWITCHED, _WORKED, _READ_BACK = int(Flag.SWITCHED), int(Flag.WORKED), int(Flag.READ_BACK)
_TURN, _KEY, _CLEAN, _BIND = int(Kind.TURN), int(Kind.KEY), int(Kind.CLEAN), int(Kind.BIND)
_START, _STOP, _REMOVED = int(Kind.START), int(Kind.STOP), int(Kind.REMOVED)
# The note of the very first root of a log, where nothing came before.
FIRST = "first start"


def _none(_kept: list[HandOver], _this: HandOver) -> bool:
    return False


class Verifier:
    """One chain, segment by segment, in order."""

    def __init__(
        self,
        chain: str,
        form: Format,
        *,
        where: str = "",
        keep: Callable[[list[HandOver], HandOver], bool] = _none,
    ) -> None:
        """where: what is named where a finding is of no one file. keep: whether a hand-over is put into `kept`, of
        which it sees what is there and may take out."""
        self.report = Report(chain)
        self._where = where
        self._form = form
        self._root: Root | None = None
        # The end of the segment before: sequence and chain value; None behind a finding.
        self._end: tuple[int, bytes] | None = None
        self._removed_to = 0
        self._stopped_at: int | None = None
        self._last_time = 0
        self._turns = _Turns(self.report, keep)

    def run(self, segments: Iterable[Segment]) -> Report:
        """Everything is checked; the report is the answer."""
        waiting: Segment | None = None
        for segment in segments:
            if waiting is not None:
                self._segment(waiting, last=False)
            waiting = segment
        if waiting is None:
            self._finding(self._where, None, "there is no log", "files NUMBER.records and NUMBER.roots", "none")
        else:
            self._segment(waiting, last=True)
            self._whole()
        return self.report

    # ---- one segment

    def _segment(self, segment: Segment, *, last: bool) -> None:
        report = self.report
        report.segments += 1
        before = len(report.findings)
        roots = self._read_roots(segment, last)
        if not roots:
            self._root = self._end = None
            return
        whole = len(report.findings) == before
        self._joins(segment, roots[0])
        # Behind a root that is none, nothing is known of the last one.
        self._root = roots[-1] if whole else None
        if report.first is None:
            report.first = segment.first
        data = segment.records()
        if data is None:
            if roots[-1].sequence > segment.first:
                self._finding(segment.records_name, segment.first, "the file is missing", "records that were signed")
            elif not last:
                self._finding(segment.records_name, segment.first, "the file is missing", "a file of records")
            self._end = None
            return
        self._records(segment, data, roots, last)

    def _read_roots(self, segment: Segment, last: bool) -> list[Root]:
        """The roots of a segment, each genuine and following the one before, as far as they are."""
        data = segment.roots()
        if data is None:
            self._finding(segment.roots_name, None, "the file is missing", "signed roots of these records")
            return []
        end = data.rfind(b"\n") + 1
        if end != len(data):
            if last and end:
                self.report.notes.append(f"{segment.roots_name}: the last root was torn by a crash")
            else:
                self._finding(
                    segment.roots_name, None, "the last root is cut off", "a whole line", f"{len(data)} bytes"
                )
        found: list[Root] = []
        for number, text in enumerate(data[:end].split(b"\n")[:-1], 1):
            where = f"{segment.roots_name}, line {number}"
            try:
                root = parse(text)
            except ValueError as error:
                self._finding(where, None, "this is no root", "a root as it was written", str(error))
                break
            if not self._follows(where, root, found[-1] if found else None, segment):
                break
            found.append(root)
            self.report.hashes[root.number] = root.hash
            self.report.keys[root.key] = self.report.keys.get(root.key, 0) + 1
            self.report.roots += number > 1 or self._root is None
            if root.witness is not None:
                self.report.seen.append((root.number, "", root.witness.number, root.witness.hash))
        if not found and not data[:end]:
            self._finding(segment.roots_name, None, "there is no root", "the root that opens these records")
        return found

    def _follows(self, where: str, root: Root, before: Root | None, segment: Segment) -> bool:
        """The root is genuine and the next one; what is not so is a finding."""
        chain = self.report.chain
        if root.chain != chain:
            return self._finding(where, root.sequence, "a root of another chain", chain, root.chain)
        if not root.genuine():
            return self._finding(where, root.sequence, "the signature is wrong", "one by the key that the root names")
        if before is None:
            if root.sequence != segment.first:
                return self._finding(
                    where, root.sequence, "another segment's roots", str(segment.first), str(root.sequence)
                )
            return True
        if root.number != before.number + 1 or root.previous != before.hash:
            wanted = f"root {before.number + 1}, which names root {before.number}"
            what = "a root is missing, changed or out of order"
            return self._finding(where, root.sequence, what, wanted, f"root {root.number}")
        if root.sequence < before.sequence or root.id != before.id:
            return self._finding(
                where, root.sequence, "the root goes back", f"at least {before.sequence}", str(root.sequence)
            )
        return True

    def _joins(self, segment: Segment, opening: Root) -> None:
        """The segment continues the one before, or says why it does not."""
        name, before = segment.roots_name, self._root
        if opening.number == 0 and opening.value == NOTHING:
            if opening.note != FIRST or before is not None or segment.first != 0:
                what = f"the log begins anew here: {opening.note or 'no reason is named'}"
                self._finding(name, segment.first, what, "the records before it", "a new chain")
        elif before is None:
            # Older segments were removed, or never there: a record in what follows has to say so.
            return
        elif opening != before:
            wanted = f"records from {before.sequence} on, and root {before.number}"
            found = f"records from {segment.first} on, and root {opening.number}"
            self._finding(name, segment.first, "a stretch of the log is missing or out of order", wanted, found)
        elif self._end is not None and self._end != (opening.sequence, opening.value):
            what = "the file before this one does not end where it was signed to end"
            self._finding(name, segment.first, what, str(opening.sequence), str(self._end[0]))

    def _records(self, segment: Segment, data: bytes, roots: list[Root], last: bool) -> None:
        report, name = self.report, segment.records_name
        entries, torn = self._form.split(data)
        sequence, value = segment.first, roots[0].value
        ahead = iter(roots[1:])
        root = next(ahead, None)
        time = 0
        self._end = None
        for entry in entries:
            while root is not None and root.sequence == sequence:
                if not self._covers(segment, root, value):
                    return
                root = next(ahead, None)
            wrong = self._wrong(entry, sequence, value)
            if wrong is not None:
                what, wanted, found = wrong
                self._finding(name, sequence, what, wanted, found)
                return
            time = self._take(entry, name)
            sequence, value = sequence + 1, entry.value
            report.end = sequence
        while root is not None and root.sequence == sequence:
            if not self._covers(segment, root, value):
                return
            root = next(ahead, None)
        if root is not None:
            what = "the file is cut off: records that were signed are missing"
            found = f"records up to {sequence - 1}" if sequence > segment.first else "no whole record"
            self._finding(name, sequence, what, f"records up to {roots[-1].sequence - 1}", found)
            return
        if torn and last:
            report.notes.append(f"{name}: the last record was torn by a crash ({torn} bytes of it are there)")
        elif torn:
            self._finding(name, sequence, "the last record is cut off", "a whole record", f"{torn} bytes")
            return
        report.signed, report.signed_at = roots[-1].sequence, roots[-1].time
        if sequence > roots[-1].sequence:
            self._unsigned(name, sequence, time, roots[-1], last)
        self._end = (sequence, value)

    def _wrong(self, entry: Entry, sequence: int, value: bytes) -> tuple[str, str, str] | None:
        if entry.wrong:
            return "the record was changed", "a record as it was written", entry.wrong
        if entry.number != sequence:
            what = "missing" if entry.number > sequence else "put in, or in another place"
            return f"a record is {what}, or was changed", f"record {sequence}", f"record {entry.number}"
        wanted = after(value, entry.content)
        if wanted != entry.value:
            what = "the record was changed, or one before it is missing"
            return what, f"chain value {wanted.hex()}", entry.value.hex()
        return None

    def _covers(self, segment: Segment, root: Root, value: bytes) -> bool:
        if root.value == value:
            return True
        what = f"the records are not those that root {root.number} was signed over"
        return self._finding(
            segment.records_name, root.sequence - 1, what, f"chain value {root.value.hex()}", value.hex()
        )

    def _unsigned(self, name: str, sequence: int, time: int, root: Root, last: bool) -> None:
        count = sequence - root.sequence
        if not last:
            self._finding(name, root.sequence, "records without a root", "a root over them", f"{count} records")
        elif self._stopped_at is not None and self._stopped_at >= root.sequence:
            what = "the process had stopped, and the root that it signed at its end is missing"
            self._finding(name, root.sequence, what, "a root over the last record", f"root {root.number}")
        elif time - root.time > UNSIGNED_NS:
            seconds = (time - root.time) // NS
            what = f"no root was signed for the last {seconds} s: roots are missing"
            self._finding(name, root.sequence, what, "a root a second", f"{count} records without")
        else:
            self.report.notes.append(f"{name}: {count} records behind the last root: a second's work, not signed yet")

    # ---- what records say

    def _take(self, entry: Entry, name: str) -> int:
        report = self.report
        report.records += 1
        if self._form is CardFormat:
            facts = facts_of(entry.content)
            if what := self._turns.take(facts):
                self._finding(name, facts.sequence, *what)
            if facts.kind == _REMOVED:
                self._removed_to = max(self._removed_to, facts.word)
            self._stop(facts.sequence, facts.kind == _STOP)
            time = facts.time
        else:
            time = self._last_time
            try:
                record = members(entry.content)
                time = record["time"]
                if type(time) is not int:
                    raise ValueError("time is no number")
                self._guard_record(entry.number, record)
            except (ValueError, KeyError, TypeError) as error:
                none = "the record is chained, and is none that the guard writes"
                self._finding(name, entry.number, none, "its members", f"{type(error).__name__}: {error}")
            self._last_time = time
        report.since = report.since or time
        report.until = time
        return time

    def _guard_record(self, number: int, record: dict[str, Any]) -> None:
        report, what = self.report, record.get("what")
        report.spoken |= _cards_in(record)
        self._stop(number, what == "stop")
        if what == "removed":
            self._removed_to = max(self._removed_to, int(record.get("first", 0)))
        elif what == "root":
            report.seen.append((number, str(record["log"]), record["number"], bytes.fromhex(record["hash"])))
        elif what == "decision":
            report.decisions += 1
            report.refused += record.get("decision") != "yes"
            if "index" in record:
                report.names[record["index"]] = record["subject"]
        elif what == "turn":
            report.hand_overs += 1

    def _stop(self, sequence: int, stop: bool) -> None:
        self._stopped_at = sequence if stop else None

    def _whole(self) -> None:
        """What can be said only at the end: whether what is not there any more was removed by its owner."""
        first = self.report.first
        if first and self._removed_to < first and not any("anew" in one.what for one in self.report.findings):
            what = "the log does not begin at its beginning, and no record says that older ones were removed"
            self._finding(self._where, first, what, "a record of the removal", f"first record {first}")

    def _finding(self, file: str, record: int | None, what: str, expected: str = "", found: str = "") -> bool:
        self.report.findings.append(Finding(file, record, what, expected, found))
        return False


def _cards_in(record: dict[str, Any]) -> set[str]:
    """The chains of cards whose process this record of the guard speaks of: what happened to it, what it asked, its
    roots. A decision about a card that has no process names none."""
    what, fields, by = record.get("what"), record.get("fields"), record.get("by")
    if what == "root":
        return {str(record["log"])}
    if what == "cards":
        return set(map(str, record.get("roots", ())))
    names = [fields.get("card")] if what == "event" and isinstance(fields, dict) else []
    door = str(by.get("door")) if isinstance(by, dict) else ""
    names += [door.removeprefix("card/")] if door.startswith("card/") else []
    return {card(str(name)) for name in names if name is not None}


class _Turns:
    """The life of a card, as its records tell it: who worked last, and whether that was wiped before the next."""

    def __init__(self, report: Report, keep: Callable[[list[HandOver], HandOver], bool]) -> None:
        self._report, self._keep = report, keep
        self._owner: int | None = None
        self._last = -1
        # Since somebody worked: everything was wiped (R12, or another process); what was private was not (R11).
        self._clean, self._dirty = True, False

    def take(self, facts: Facts) -> tuple[str, str, str] | None:
        """Count it; what no card may do is answered with (what, expected, found)."""
        report, flags, wrong = self._report, facts.flags, None
        report.requests += facts.requests
        report.refused += facts.refused
        report.turns += facts.kind in (_TURN, _KEY)
        report.switches += bool(flags & _SWITCHED)
        # Engine and buffer were overwritten and read back; or they are those of another process.
        whole = flags & _SWITCHED or facts.kind in (_CLEAN, _BIND) and flags & _READ_BACK
        if whole or facts.kind == _START:
            self._clean, self._dirty = True, False
        if not flags & _WORKED:
            return None
        if facts.instance != self._owner:
            if not self._clean:
                what = f"the card went from instance {self._owner} to {facts.instance} without a wipe"
                wrong = what, "the flag switched", f"flags {flags:#x}"
            if self._owner is not None:
                report.hand_overs += 1
                this = HandOver(self._last, facts.sequence, self._owner, facts.instance)
                if self._keep(report.kept, this):
                    report.kept.append(this)
        elif self._dirty:
            wrong = (
                "the card worked on what was not wiped after the turn before",
                "the flag switched",
                f"flags {flags:#x}",
            )
        self._owner, self._last = facts.instance, facts.sequence
        self._clean, self._dirty = False, not flags & _READ_BACK
        return wrong
