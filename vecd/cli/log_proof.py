"""vecctl log prove-handover, and log verify --proof: that a card was wiped between two instances."""

from __future__ import annotations

import contextlib
import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from vecd.audit import files, proof, roots
from vecd.audit.records import CardFormat
from vecd.audit.report import HandOver, Report, Segment
from vecd.audit.verify import Verifier
from vecd.base.errors import Exists, Failed, Malformed, Unknown
from vecd.base.paths import Paths
from vecd.cli import log_which
from vecd.cli.command import Answer
from vecd.cli.log_findings import judged, time_text
from vecd.cli.log_show import CARD_COLUMNS
from vecd.cli.output import facts, table

WRITES_ONE = "vecctl log prove-handover writes one"


def arguments(parser: ArgumentParser) -> None:
    """Of `log prove-handover`."""
    parser.add_argument("card", metavar="CARD", help="a card's name")
    parser.add_argument(
        "--seq",
        type=log_which.number(0),
        metavar="N",
        help="the first hand-over from record N on (default: the last)",
    )
    parser.add_argument("--out", metavar="FILE", help="write the proof to a new file")


# ---- making one


def prove(options: Namespace) -> Answer:
    """The proof of one hand-over, from a log that was verified first. Raises Tampered, Unknown."""
    paths = Paths(options.dir)
    chain = log_which.one(paths, roots.card(options.card))
    where = log_which.directory(paths, chain)
    found_now = files.segments(where)
    signed = _signed(found_now)

    def keep(kept: list[HandOver], this: HandOver) -> bool:
        if options.seq is not None:
            return not kept and this.last >= options.seq
        # The last one that a root speaks of.
        if this.first < signed:
            kept.clear()
        return this.first < signed

    report = Verifier(chain, CardFormat, where=str(where), keep=keep).run(found_now)
    judged([report])
    if not report.kept:
        raise _none(options, report)
    this = report.kept[0]
    found = proof.span(files.segments(where), this.last, this.first)
    certificates = {row["key"]: row.get("certificate", "") for row in files.keys(where) if "key" in row}
    certificate = certificates.get(found.root.key.hex(), "")
    made = proof.make(options.card, this, found, certificate, log_which.names_of(paths))
    proof.check(made, None)
    if not options.out:
        return made
    try:
        with open(options.out, "x", encoding="utf-8") as file:
            file.write(json.dumps(made, indent=1) + "\n")
    except FileExistsError:
        raise Exists(f"{options.out} exists already", hint="name a new file") from None
    except OSError as error:
        raise Failed(
            f"{options.out} cannot be written", reason=error.strerror or "", hint="name another file"
        ) from None
    return made | {"file": options.out}


def _signed(found: list[Segment]) -> int:
    """Up to which sequence the log is signed now; 0 where that cannot be read, which the verifier says."""
    lines = (found[-1].roots() or b"").splitlines() if found else []
    for text in reversed(lines):
        with contextlib.suppress(ValueError):
            return roots.parse(text).sequence
    return 0


def _none(options: Namespace, report: Report) -> Unknown:
    """What to say where no hand-over is the one that was asked for."""
    card, count = options.card, report.hand_overs
    if not count:
        return Unknown(
            f"card {card} was not handed over",
            reason="no two instances worked one after the other",
            hint=f"vecctl log show --card {card} has what it did",
        )
    if options.seq is None:
        return Unknown(
            f"card {card} was not handed over in what is signed",
            reason=f"no root stands behind any of the {count} hand-overs yet",
            hint="ask again in a second",
        )
    return Unknown(
        f"card {card} was not handed over from record {options.seq} on",
        reason=f"the log ends before record {report.end}, and has {count} hand-overs before that one",
        hint="name an earlier record, or none for the last hand-over",
    )


# ---- checking one


def check(options: Namespace, paths: Paths) -> Answer:
    """What a proof shows, said from its records. Raises Malformed for what is none, Integrity for a false one."""
    if options.within is not None or options.key is not None:
        raise Malformed(
            "--proof takes neither --within nor --key", hint="--ca FILE names the key that it is checked by"
        )
    try:
        given = json.loads(Path(options.proof).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise Malformed(f"{options.proof} is not there", hint=WRITES_ONE) from None
    except OSError as error:
        raise files.unreadable(Path(options.proof), error) from None
    except (ValueError, RecursionError):
        raise Malformed(f"{options.proof} is not JSON", hint=WRITES_ONE) from None
    authority = log_which.authority(options, paths)
    checked = proof.check(given, authority)
    shown = {"wipes": checked.wipes, "shown": checked.shown}
    return {
        "good": True,
        "certified": authority is not None,
        "verdict": _verdict(given, checked, authority is not None),
        **{name: given[name] for name in ("card", "from", "to")},
        **shown,
        **{name: given[name] for name in ("value", "records", "root", "certificate")},
        "signed_at": checked.root.time,
        "not_proved": [f"{end}.name" for end in ("from", "to") if given[end].get("name") is not None],
        "notes": [] if authority else ["whose key signed was not checked: name the authority's with --ca FILE"],
    }


def _verdict(given: Answer, checked: proof.Checked, certified: bool) -> str:
    """One sentence: what is proved, and first what is not."""
    ends = f"between instance {given['from']['instance']} and instance {given['to']['instance']}"
    how = "was wiped and read back" if checked.wipes else "began anew, as another process,"
    if certified:
        return f"proved: card {given['card']} {how} {ends}; so signed a card that the authority certified"
    return (
        "NOT PROVED whose card this is: who signed was not checked, for want of the authority's key (--ca FILE). "
        f"Records and signature fit: whoever has that key says that card {given['card']} {how} {ends}"
    )


def _who(end: Answer) -> str:
    name = f" ({end['name']}: not proved)" if end.get("name") else ""
    return f"instance {end['instance']}{name}"


def shown(answer: Answer) -> str:
    """For people: the verdict, if it was checked here, and the hand-over."""
    root = roots.parse(answer["root"])
    a, b = answer["from"], answer["to"]
    rows: list[tuple[str, Any]] = [
        ("card", answer["card"]),
        ("from", f"{_who(a)}, last in record {a['record']}"),
        ("to", f"{_who(b)}, first in record {b['record']}"),
        ("wiped", ", ".join(f"record {one}" for one in answer["wipes"])),
        ("signed", f"root {root.number}, {time_text(root.time)}, over records up to {root.sequence - 1}"),
        ("key", root.key.hex()),
        ("file", answer.get("file")),
    ]
    records = [{**one, "time": time_text(one["time"])} for one in answer["shown"]]
    verdict = [answer["verdict"], ""] if "verdict" in answer else []
    return "\n".join([*verdict, facts([row for row in rows if row[1]]), "", table(CARD_COLUMNS, records)])
