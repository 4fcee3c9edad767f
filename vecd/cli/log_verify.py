"""vecctl log verify: every record and root of one log, or of all of them and each against the others."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from pathlib import Path

from vecd.audit import cross, files, roots
from vecd.audit.report import Finding, Report, Segment
from vecd.audit.verify import Verifier
from vecd.base.errors import Malformed
from vecd.base.paths import Paths
from vecd.cli import log_proof, log_which
from vecd.cli.command import Answer
from vecd.cli.log_findings import NS, judged, time_text
from vecd.cli.log_which import directory, form, number, public_key
from vecd.cli.output import table

# Of one log that was read without the others.
ALONE = "not held against the other logs, which alone know of an end that was cut off: run vecctl log verify"


def arguments(parser: ArgumentParser) -> None:
    """Of `log verify`."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--card", metavar="CARD", help="the log of this card alone")
    which.add_argument("--guard", action="store_true", help="the log of the guard alone")
    which.add_argument(
        "--from", dest="files", nargs="+", metavar="FILE", help="the files of one log, wherever they lie"
    )
    which.add_argument("--proof", metavar="FILE", help="a proof of log prove-handover instead of a log")
    parser.add_argument(
        "--key", type=public_key, metavar="HEX", help="the guard's public key (default: run/vecd/guard.pub.json)"
    )
    parser.add_argument("--ca", metavar="FILE", help="the authority's public key (default: run/vecd/ca/ca.pub.json)")
    parser.add_argument(
        "--within", type=number(1), metavar="SECONDS", help="fail where nothing was signed for so long, from 1 on"
    )


def verify(options: Namespace) -> Answer:
    """Every log that is asked for is what was written. Raises Tampered with all findings, Unknown, Malformed, Caller,
    Failed."""
    paths = Paths(options.dir)
    alone = options.guard or options.card is not None
    if options.proof:
        return log_proof.check(options, paths)
    if options.files:
        reports = [_of_files([Path(one) for one in options.files])]
    elif alone:
        chain = roots.GUARD if options.guard else roots.card(options.card)
        reports = [_of_directory(paths, log_which.one(paths, chain))]
    else:
        reports = _all(paths)
    for report in reports:
        if report.chain == roots.GUARD:
            cross.by_key(report, log_which.guards(options, paths))
        elif report.segments:
            _certified(report, options, paths)
        if options.within is not None and report.segments:
            _recent(report, options.within)
    if options.files or alone:
        reports[0].notes.append(ALONE)
    judged(reports)
    return {"good": True, "chains": [report.to_dict() for report in reports]}


def _all(paths: Paths) -> list[Report]:
    chains = log_which.every(paths)
    written = [chain for chain in chains if chain == roots.GUARD or log_which.used(paths, chain)]
    reports = [_of_directory(paths, chain) for chain in written]
    if cross.ahead(reports):
        # It was read first, so that it speaks of no root that is not in a card's log yet.
        reports[0].hashes |= _of_directory(paths, roots.GUARD).hashes
    # A card that the guard speaks of had a log, though its whole directory be gone or empty.
    reports += [_of_directory(paths, chain) for chain in sorted(cross.gone(reports))]
    cross.against(reports)
    known = {report.chain for report in reports}
    return reports + [_never(paths, chain) for chain in chains if chain not in known]


def _never(paths: Paths, chain: str) -> Report:
    """Of a card whose directory was made, and which never came into service."""
    where = directory(paths, chain).parent
    return Report(chain, notes=[f"{where} is empty, and the guard's log does not speak of this card: it never started"])


def _of_directory(paths: Paths, chain: str) -> Report:
    where = directory(paths, chain)
    found = files.segments(where)
    report = Verifier(chain, form(chain), where=str(where)).run(found)
    now = files.segments(where)
    if not report.good and now and found and now[0].first != found[0].first:
        # Old files were removed by their owner while they were read.
        return Verifier(chain, form(chain), where=str(where)).run(now)
    return report


def _of_files(given: list[Path]) -> Report:
    """One log of files that were named; its chain is what its roots say."""
    found = files.named(given)
    # By folder, which has the files of one log: what is of another one there is for the verifier to find.
    chains: dict[Path, str] = {}
    for segment in found:
        if chain := _chain_of(segment):
            chains.setdefault(Path(segment.roots_name).parent, chain)
    if not chains:
        raise Malformed(
            "these are not the files of a log", hint="name NUMBER.records and NUMBER.roots of one directory"
        )
    (folder, first), *others = chains.items()
    other = next(((there, chain) for there, chain in others if chain != first), None)
    if other:
        raise Malformed(
            f"the files in {folder} are of the log {first!r:.80}, those in {other[0]} of {other[1]!r:.80}",
            reason="what is named has to be one log",
            hint="name the files of one log at a time",
        )
    return Verifier(first, form(first), where=str(folder)).run(found)


def _chain_of(segment: Segment) -> str:
    try:
        return str(json.loads((segment.roots() or b"").split(b"\n")[0])["chain"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _certified(report: Report, options: Namespace, paths: Paths) -> None:
    """The keys of a card's log, by the files of keys that lie beside it."""
    given = [Path(one).parent for one in options.files or ()] or [directory(paths, report.chain)]
    rows: list[dict[str, str]] = []
    why = ""
    for where in dict.fromkeys(given):
        more, wrong = files.keys_or_why(where)
        rows += more
        why = why or wrong
    cross.by_certificate(
        report, rows, log_which.authority(options, paths), file=str(given[0] / files.KEYS), why="" if rows else why
    )


def _recent(report: Report, seconds: int) -> None:
    age = (datetime.now(UTC).timestamp() * NS - report.signed_at) / NS
    if age > seconds:
        what = f"nothing was signed for {age:.0f} s: the log may have been cut back"
        report.findings.append(
            Finding("", report.end, what, f"a root of the last {seconds} s", time_text(report.signed_at))
        )


COLUMNS = (
    ("LOG", "chain"),
    ("RECORDS", "records"),
    ("SINCE", "since"),
    ("SIGNED UNTIL", "signed_at"),
    ("ROOTS", "roots"),
    ("DECISIONS", "decisions"),
    ("REQUESTS", "requests"),
    ("REFUSED", "refused"),
    ("HAND-OVERS", "hand_overs"),
)


def shown(answer: Answer) -> str:
    """For people: a row for each log, and what was not checked; or what a proof shows."""
    if "root" in answer:
        return log_proof.shown(answer)
    rows = [
        {**one, "since": time_text(one["since"]), "signed_at": time_text(one["signed_at"])} for one in answer["chains"]
    ]
    notes = [f"note: {one['chain']}: {note}" for one in answer["chains"] for note in one["notes"]]
    return "\n".join([table(COLUMNS, rows), *notes])
