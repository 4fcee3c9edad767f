"""The proof of one hand-over of a card: the records from the last one of A to the first one of B, and a signed root.

Checkable with SHA-256, the signature scheme and the authority's public key alone: docs/audit.md, "To check a proof".
The signature over a chain value speaks of every record before it: the records from A's on and one root are enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vecd.base.errors import Integrity, Unknown, VecError
from vecd.protocol.messages import CARD, Certificate, opened

from .records import FACTS_BYTES, RECORD_BYTES, CardFormat, Facts, Flag, Kind, after, facts_of
from .roots import Root, parse
from .verify import HandOver, Segment

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Span:
    """Records in a row, the chain value before them, and the first root behind them."""

    value: bytes
    records: tuple[bytes, ...]
    root: Root


def span(segments: Iterable[Segment], first: int, last: int) -> Span:
    """From record `first` to the first root behind record `last`. Raises Unknown where there is none."""
    before, found = b"", list[bytes]()
    for segment in segments:
        roots = [parse(text) for text in (segment.roots() or b"").splitlines()]
        data, value = segment.records() or b"", roots[0].value if roots else b""
        entries, _ = CardFormat.split(data)
        end = next((root for root in roots if root.sequence > last), None)
        for entry in entries:
            if end is not None and entry.number >= end.sequence:
                break
            if entry.number == first:
                before = value
            if before:
                found.append(entry.content + entry.value)
            value = entry.value
        if before and end is not None:
            return Span(before, tuple(found), end)
    raise Unknown(f"records {first} to {last} have no signed root behind them", hint="ask again in a second")


def make(card: str, hand_over: HandOver, found: Span, certificate: str, names: dict[int, str]) -> dict[str, Any]:
    """The proof, as it is given away."""
    shown = [facts_of(record) for record in found.records if facts_of(record).sequence <= hand_over.first]
    return {
        "schema": SCHEMA,
        "card": card,
        "from": {"instance": hand_over.before, "name": names.get(hand_over.before), "record": hand_over.last},
        "to": {"instance": hand_over.after, "name": names.get(hand_over.after), "record": hand_over.first},
        "wipes": [one.sequence for one in shown[1:] if one.flags & Flag.SWITCHED or _whole_wipe(one)],
        "shown": [one.to_dict() for one in shown],
        "value": found.value.hex(),
        "records": [record.hex() for record in found.records],
        "root": found.root.line().strip(),
        "certificate": certificate,
    }


def _whole_wipe(facts: Facts) -> bool:
    return facts.kind in (Kind.CLEAN, Kind.BIND) and bool(facts.flags & Flag.READ_BACK)


def check(proof: dict[str, Any], authority: bytes | None) -> Root:
    """The proof shows that hand-over, with a wipe between; the root that says so. Raises Integrity with the first step
    that fails. Without the authority's key, whose key signed is not checked."""
    try:
        records = [bytes.fromhex(one) for one in proof["records"]]
        value = bytes.fromhex(proof["value"])
        root = parse(proof["root"])
        a, b = proof["from"], proof["to"]
        certificate = bytes.fromhex(proof["certificate"])
        card = proof["card"]
        ends = [int(a["record"]), int(b["record"]), int(a["instance"]), int(b["instance"])]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Integrity("this is no proof of a hand-over", reason=str(error)) from None
    facts = _chained(records, value, root, ends[0])
    _hand_over(facts, *ends)
    if root.chain != f"card {card}" or not root.genuine():
        raise Integrity("the root is not signed by the key that it names", reason=root.chain)
    if authority is not None:
        _owner(certificate, root, authority)
    return root


def _chained(records: Sequence[bytes], value: bytes, root: Root, first: int) -> list[Facts]:
    facts = []
    for number, record in enumerate(records, first):
        value = after(value, record[:FACTS_BYTES])
        if len(record) != RECORD_BYTES or record[FACTS_BYTES:] != value or facts_of(record).sequence != number:
            raise Integrity(f"record {number} is not what was chained")
        facts.append(facts_of(record))
    if root.value != value or root.sequence != first + len(records):
        raise Integrity("the root was signed over other records", reason=f"root {root.number}")
    return facts


def _hand_over(facts: Sequence[Facts], last: int, first: int, before: int, after_: int) -> None:
    rows = {one.sequence: one for one in facts}
    a, b = rows.get(last), rows.get(first)
    if a is None or b is None or before == after_ or not last < first:
        raise Integrity("the records of the hand-over are not there")
    worked = a.flags & b.flags & Flag.WORKED
    if not worked or (a.instance, b.instance) != (before, after_):
        raise Integrity("these are not the last turn of the one and the first of the other")
    between = [rows[n] for n in range(last + 1, first + 1)]
    if any(one.flags & Flag.WORKED for one in between[:-1]):
        raise Integrity("somebody else worked between the two")
    if not any(one.flags & Flag.SWITCHED or _whole_wipe(one) or one.kind == Kind.START for one in between):
        raise Integrity("no wipe that was read back stands between the two")


def _owner(certificate: bytes, root: Root, authority: bytes) -> None:
    try:
        owner = opened(Certificate, certificate, authority, "cert", "registration 4")
    except VecError as error:
        raise Integrity("the certificate is not the authority's", reason=error.reason) from None
    if owner.role != CARD or owner.pkS_x != root.key:
        raise Integrity("the certificate is not one of a card with this key")
