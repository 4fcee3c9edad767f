"""vecctl log: the audit logs, read from their files. No daemon is asked, and none need run."""

from __future__ import annotations

import contextlib
import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vecd.audit import cross, files, proof, roots
from vecd.audit.records import CardFormat, Format, GuardFormat, facts_of, members
from vecd.audit.verify import Finding, HandOver, Report, Segment, Verifier
from vecd.base.errors import Exists, Failed, Integrity, Malformed, Unknown
from vecd.base.paths import Paths
from vecd.cli.command import Answer, Command
from vecd.cli.output import facts, table

NS = 1_000_000_000
SHOWN = 20


class Tampered(Integrity):
    """A log is not what was written; `findings` has everything that was found."""

    sentence = "an audit log is not what was written"
    findings: list[dict[str, Any]] = []

    def to_dict(self) -> dict[str, Any]:
        """With the findings, which the one message cannot hold."""
        return super().to_dict() | {"findings": self.findings}


# ---- which log


def _directory(paths: Paths, chain: str) -> Path:
    """The log of this chain below --dir."""
    if chain == roots.GUARD:
        return paths.state_of("guard") / "audit"
    return paths.state_of("card", chain.removeprefix("card ")) / "audit"


def _chains(options: Namespace, paths: Paths) -> list[str]:
    """What is asked for: one log, or every one that there is; the guard's first."""
    if options.guard:
        return [roots.GUARD]
    if options.card:
        return [roots.card(options.card)]
    cards = paths.state / "card"
    try:
        names = sorted(path.name for path in cards.iterdir()) if cards.is_dir() else []
    except OSError as error:
        raise Failed(f"{cards} cannot be read", reason=error.strerror or "", hint="be root") from None
    return [roots.GUARD, *map(roots.card, names)]


def _form(chain: str) -> Format:
    return GuardFormat if chain == roots.GUARD else CardFormat


def _key_of(path: Path, named: bool) -> bytes | None:
    """The sign_key of a file of public keys; None where the file need not be there and is not."""
    try:
        return bytes.fromhex(json.loads(path.read_bytes())["sign_key"])
    except FileNotFoundError:
        if not named:
            return None
        raise Malformed(f"{path} is not there") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise Malformed(
            f"{path} is no file of public keys", hint="run/vecd/ca/ca.pub.json is the authority's"
        ) from None


def _hex_key(text: str | None) -> bytes | None:
    try:
        return bytes.fromhex(text) if text is not None else None
    except ValueError:
        raise Malformed(f"{text!r:.80} is not hexadecimal", hint="take the key from: vecctl status --json") from None


def _authority(options: Namespace, paths: Paths) -> bytes | None:
    return _key_of(Path(options.ca or paths.ca.with_name("ca.pub.json")), bool(options.ca))


# ---- verify


def _verify_arguments(parser: ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--card", metavar="CARD", help="the log of this card alone")
    which.add_argument("--guard", action="store_true", help="the log of the guard alone")
    which.add_argument(
        "--from", dest="files", nargs="+", metavar="FILE", help="the files of one log, wherever they lie"
    )
    which.add_argument("--proof", metavar="FILE", help="a proof of log prove-handover instead of a log")
    parser.add_argument("--key", metavar="HEX", help="the guard's public key (default: run/vecd/guard.pub.json)")
    parser.add_argument("--ca", metavar="FILE", help="the authority's public key (default: run/vecd/ca/ca.pub.json)")
    parser.add_argument("--within", type=int, metavar="SECONDS", help="fail where nothing was signed for so long")


def _verify(options: Namespace) -> Answer:
    paths = Paths(options.dir)
    if options.proof:
        return _verify_proof(options, paths)
    if options.files:
        reports = [_of_files([Path(one) for one in options.files])]
    else:
        reports = [_of_directory(paths, chain) for chain in _chains(options, paths)]
        if cross.ahead(reports):
            # It was read first, so that it speaks of no root that is not in a card's log yet.
            reports[0].hashes |= _of_directory(paths, roots.GUARD).hashes
        cross.against(reports)
    for report in reports:
        if report.chain == roots.GUARD:
            own = _hex_key(options.key)
            cross.by_key(report, own or _key_of(paths.guard_key, named=False))
        else:
            where = Path(options.files[0]).parent if options.files else _directory(paths, report.chain)
            cross.by_certificate(report, files.keys(where), _authority(options, paths))
        if options.within is not None:
            _recent(report, options.within)
    return _judged(reports)


def _of_directory(paths: Paths, chain: str) -> Report:
    where = _directory(paths, chain)
    found = files.segments(where)
    report = Verifier(chain, _form(chain)).run(found)
    now = files.segments(where)
    if not report.good and now and found and now[0].first != found[0].first:
        # Old files were removed by their owner while they were read.
        return Verifier(chain, _form(chain)).run(now)
    return report


def _of_files(given: list[Path]) -> Report:
    """One log of files that were named; its chain is what its first root says."""
    for path in given:
        if not path.is_file():
            raise Malformed(f"{path} is not a file")
    found = files.segments_of(given)
    chain = next((chain for segment in found if (chain := _chain_of(segment))), "")
    if not chain:
        raise Malformed(
            "these are not the files of a log", hint="name NUMBER.records and NUMBER.roots of one directory"
        )
    return Verifier(chain, _form(chain)).run(found)


def _chain_of(segment: Segment) -> str:
    try:
        return str(json.loads((segment.roots() or b"").split(b"\n")[0])["chain"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _recent(report: Report, seconds: int) -> None:
    age = (datetime.now(UTC).timestamp() * NS - report.signed_at) / NS
    if age > seconds:
        what = f"nothing was signed for {age:.0f} s: the log may have been cut back"
        report.findings.append(
            Finding("", report.end, what, f"a root of the last {seconds} s", _time(report.signed_at))
        )


def _judged(reports: list[Report]) -> Answer:
    findings = [{"chain": report.chain, **one.to_dict()} for report in reports for one in report.findings]
    if not findings:
        return {"good": True, "chains": [report.to_dict() for report in reports]}
    first = findings[0]
    where = ", ".join(
        str(one) for one in (first["file"], first["record"] is not None and f"record {first['record']}") if one
    )
    more = f"; {len(findings) - 1} more findings, which --json lists" if len(findings) > 1 else ""
    error = Tampered(
        f"{first['chain']}: {where + ': ' if where else ''}{first['what']}",
        reason=f"expected {first['expected'] or 'something else'}, found {first['found'] or 'nothing'}{more}",
        hint=first["next"],
        subject=first["chain"],
        object=first["file"],
    )
    error.findings = findings
    raise error


def _time(at_ns: Any) -> str:
    """For people; what is no time of ours reads as it stands there."""
    try:
        return datetime.fromtimestamp(at_ns / NS, UTC).isoformat(timespec="milliseconds") if at_ns else "never"
    except (TypeError, ValueError, OverflowError, OSError):
        return str(at_ns)


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


def _verified(answer: Answer) -> str:
    if "root" in answer:
        return _proved(answer)
    rows = [{**one, "since": _time(one["since"]), "signed_at": _time(one["signed_at"])} for one in answer["chains"]]
    notes = [f"note: {one['chain']}: {note}" for one in answer["chains"] for note in one["notes"]]
    return "\n".join([table(COLUMNS, rows), *notes])


# ---- show


def _show_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--card", metavar="CARD", help="the log of this card instead of the guard's")
    parser.add_argument("--subject", metavar="NAME", help="only records that name this guest, instance or card")
    parser.add_argument("-n", dest="count", type=int, default=SHOWN, metavar="N", help=f"how many (default: {SHOWN})")


def _show(options: Namespace) -> Answer:
    """The last records that fit, oldest first. Nothing is checked."""
    paths = Paths(options.dir)
    chain = roots.card(options.card) if options.card else roots.GUARD
    where = _directory(paths, chain)
    wanted = options.subject
    names = _names(paths) if options.card else {}
    found: list[dict[str, Any]] = []
    for segment in reversed(files.segments(where)):
        rows = list(_rows(segment, chain, names))
        kept = [row for row in rows if wanted is None or _is_about(row, wanted)]
        found = kept[-max(0, options.count - len(found)) :] + found if options.count > len(found) else found
        if len(found) >= options.count:
            break
    if not found and not where.is_dir():
        raise Unknown(f"there is no log in {where}", hint="vecctl --dir D, or VECD_DIR=D")
    return {"chain": chain, "records": found}


def _rows(segment: Segment, chain: str, names: dict[int, str]) -> Iterator[dict[str, Any]]:
    for entry in _form(chain).split(segment.records() or b"")[0]:
        if chain == roots.GUARD:
            try:
                yield {} if entry.wrong else members(entry.content)
            except ValueError:
                yield {}
        else:
            row = facts_of(entry.content).to_dict()
            yield row | {"name": names.get(row["instance"])}


def _is_about(row: dict[str, Any], name: str) -> bool:
    fields = row.get("fields")
    told = {**(fields if isinstance(fields, dict) else {}), **row}
    about = (told.get(key) for key in ("subject", "object", "card", "instance", "name", "next"))
    return any(str(one) == name or str(one).startswith(f"{name}.") for one in about if one is not None)


def _names(paths: Paths) -> dict[int, str]:
    """Instances by index, as the guard's log has them; a guard's log that cannot be read names nobody."""
    names: dict[int, str] = {}
    with contextlib.suppress(Failed):
        for segment in files.segments(_directory(paths, roots.GUARD)):
            for line in (segment.records() or b"").splitlines():
                # Few have one, and there may be millions.
                if b'"index":' in line:
                    with contextlib.suppress(ValueError, KeyError, TypeError):
                        row = json.loads(line)
                        names[row["index"]] = str(row["subject"])
    return names


GUARD_COLUMNS = (
    ("RECORD", "seq"),
    ("TIME", "time"),
    ("WHAT", "what"),
    ("SAID", "said"),
    ("SUBJECT", "subject"),
    ("OBJECT", "object"),
    ("BY", "by"),
    ("REASON", "reason"),
)
CARD_COLUMNS = (
    ("RECORD", "sequence"),
    ("TIME", "time"),
    ("KIND", "kind"),
    ("INSTANCE", "instance"),
    ("REQUESTS", "requests"),
    ("REFUSED", "refused"),
    ("FLAGS", "flags"),
    ("GENERATION", "generation"),
)


def _guard_row(row: Answer) -> dict[str, Any]:
    by, inner = ({**one} if isinstance(one := row.get(name), dict) else {} for name in ("by", "fields"))
    said = " ".join(str(row[key]) for key in ("decision", "rule", "attribute", "event", "log") if key in row)
    what = row.get("reason") or inner.get("reason") or inner.get("what")
    return {
        **{key: row.get(key, inner.get(key)) for key in ("seq", "what", "subject", "object")},
        "subject": row.get("subject") or inner.get("subject") or row.get("instance"),
        "object": row.get("object") or inner.get("object") or row.get("card") or inner.get("card"),
        "time": _time(row.get("time", 0)),
        "said": said,
        "by": f"{by.get('door')} uid {by.get('uid')} pid {by.get('pid')}" if by else None,
        "reason": what,
    }


def _shown(answer: Answer) -> str:
    rows = answer["records"]
    if answer["chain"] == roots.GUARD:
        return table(GUARD_COLUMNS, map(_guard_row, rows), "no such record")
    return table(
        CARD_COLUMNS,
        [{**row, "time": _time(row["time"]), "instance": row["name"] or row["instance"]} for row in rows],
        "no such record",
    )


# ---- prove


def _prove_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("card", metavar="CARD", help="a card's name")
    parser.add_argument("--seq", type=int, metavar="N", help="the first hand-over from record N on (default: the last)")
    parser.add_argument("--out", metavar="FILE", help="write the proof to a new file")


def _signed(found: list[Segment]) -> int:
    """Up to which sequence the log is signed now; 0 where that cannot be read, which the verifier says."""
    lines = (found[-1].roots() or b"").splitlines() if found else []
    for text in reversed(lines):
        with contextlib.suppress(ValueError):
            return roots.parse(text).sequence
    return 0


def _prove(options: Namespace) -> Answer:
    """The proof of one hand-over, from a log that was verified first. Raises Tampered, Unknown."""
    paths, chain = Paths(options.dir), roots.card(options.card)
    where = _directory(paths, chain)
    found_now = files.segments(where)
    signed = _signed(found_now)

    def keep(kept: list[HandOver], this: HandOver) -> bool:
        if options.seq is not None:
            return not kept and this.last >= options.seq
        # The last one that a root speaks of.
        if this.first < signed:
            kept.clear()
        return this.first < signed

    report = Verifier(chain, CardFormat, keep=keep).run(found_now)
    _judged([report])
    if not report.kept:
        raise Unknown(f"card {options.card} was not handed over", reason="no two instances worked one after the other")
    this = report.kept[0]
    found = proof.span(files.segments(where), this.last, this.first)
    certificates = {row["key"]: row.get("certificate", "") for row in files.keys(where)}
    made = proof.make(options.card, this, found, certificates.get(found.root.key.hex(), ""), _names(paths))
    proof.check(made, None)
    if not options.out:
        return made
    try:
        with open(options.out, "x", encoding="utf-8") as file:
            file.write(json.dumps(made, indent=1) + "\n")
    except FileExistsError:
        raise Exists(f"{options.out} exists already", hint="name a new file") from None
    except OSError as error:
        raise Failed(f"{options.out}: {error.strerror}") from None
    return made | {"file": options.out}


def _verify_proof(options: Namespace, paths: Paths) -> Answer:
    try:
        given = json.loads(Path(options.proof).read_bytes())
    except OSError as error:
        raise Malformed(f"{options.proof}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise Malformed(f"{options.proof} is not JSON", hint="vecctl log prove-handover writes one") from None
    if not isinstance(given, dict):
        raise Malformed(f"{options.proof} is no proof", hint="vecctl log prove-handover writes one")
    authority = _authority(options, paths)
    root = proof.check(given, authority)
    notes = [] if authority else ["whose key signed was not checked: name the authority's with --ca FILE"]
    return {**given, "good": True, "signed_at": root.time, "notes": notes}


def _who(end: Answer) -> str:
    return f"{end['name'] or 'instance'} ({end['instance']})"


def _proved(answer: Answer) -> str:
    root = roots.parse(answer["root"])
    a, b = answer["from"], answer["to"]
    rows = [
        ("card", answer["card"]),
        ("from", f"{_who(a)}, last in record {a['record']}"),
        ("to", f"{_who(b)}, first in record {b['record']}"),
        ("wiped", [f"record {one}" for one in answer["wipes"]]),
        ("signed", f"root {root.number}, {_time(root.time)}, over records up to {root.sequence - 1}"),
        ("key", root.key.hex()),
        ("file", answer.get("file")),
    ]
    shown = [{**one, "time": _time(one["time"])} for one in answer["shown"]]
    notes = [f"note: {one}" for one in answer.get("notes", [])]
    return "\n".join([facts([row for row in rows if row[1]]), "", table(CARD_COLUMNS, shown), *notes])


COMMANDS = (
    Command(
        "log",
        "verify",
        "check the audit logs: every record, every root, and each log against the others; exit code 7 for a finding",
        "",
        _verified,
        arguments=_verify_arguments,
        local=_verify,
    ),
    Command(
        "log",
        "show",
        "the last records, as they stand there unchecked",
        "",
        _shown,
        arguments=_show_arguments,
        local=_show,
    ),
    Command(
        "log",
        "prove-handover",
        "a proof that a card was wiped between two instances, for whoever has the authority's public key",
        "",
        _proved,
        arguments=_prove_arguments,
        local=_prove,
    ),
)
