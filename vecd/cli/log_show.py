"""vecctl log show: the last records of a log, as they stand there. Nothing is checked."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any

from vecd.audit import files, roots
from vecd.audit.records import facts_of, members
from vecd.audit.report import Segment
from vecd.base.errors import Unknown
from vecd.base.paths import Paths
from vecd.cli.command import Answer
from vecd.cli.log_findings import time_text
from vecd.cli.log_which import directory, form, names_of, number
from vecd.cli.output import table

SHOWN = 20


def arguments(parser: ArgumentParser) -> None:
    """Of `log show`."""
    parser.add_argument("--card", metavar="CARD", help="the log of this card instead of the guard's")
    parser.add_argument("--subject", metavar="NAME", help="only records that name this guest, instance or card")
    parser.add_argument(
        "-n", dest="count", type=number(1), default=SHOWN, metavar="N", help=f"how many (default: {SHOWN})"
    )


def show(options: Namespace) -> Answer:
    """The last records that fit, oldest first. Nothing is checked. Raises Unknown, Caller, Failed."""
    paths = Paths(options.dir)
    chain = roots.GUARD if options.card is None else roots.card(options.card)
    where = directory(paths, chain)
    wanted = options.subject
    names = {} if chain == roots.GUARD else names_of(paths)
    found: list[dict[str, Any]] = []
    for segment in reversed(files.segments(where)):
        rows = list(_rows(segment, chain, names))
        kept = [row for row in rows if wanted is None or _is_about(row, wanted)]
        found = kept[len(found) - options.count :] + found
        if len(found) >= options.count:
            break
    if not found and not where.is_dir():
        raise Unknown(f"there is no log in {where}", hint="vecctl --dir D, or VECD_DIR=D")
    return {"chain": chain, "records": found}


def _rows(segment: Segment, chain: str, names: dict[int, str]) -> Iterator[dict[str, Any]]:
    for entry in form(chain).split(segment.records() or b"")[0]:
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
    # Who was refused at a door asked for nothing yet; the event has who it was.
    by = by or ({**inner} if "uid" in inner else {})
    said = " ".join(str(row[key]) for key in ("decision", "rule", "attribute", "event", "log") if key in row)
    what = row.get("reason") or inner.get("reason") or inner.get("what")
    return {
        **{key: row.get(key, inner.get(key)) for key in ("seq", "what", "subject", "object")},
        "subject": row.get("subject") or inner.get("subject") or row.get("instance"),
        "object": row.get("object") or inner.get("object") or row.get("card") or inner.get("card"),
        "time": time_text(row.get("time", 0)),
        "said": said,
        "by": f"{by.get('door')} uid {by.get('uid')} pid {by.get('pid')}" if by else None,
        "reason": what,
    }


def shown(answer: Answer) -> str:
    rows = answer["records"]
    if answer["chain"] == roots.GUARD:
        return table(GUARD_COLUMNS, map(_guard_row, rows), "no such record")
    return table(
        CARD_COLUMNS,
        [{**row, "time": time_text(row["time"]), "instance": row["name"] or row["instance"]} for row in rows],
        "no such record",
    )
