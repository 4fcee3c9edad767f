"""The proof of one hand-over of a card: the records from the last one of A to the first one of B, and a signed root.

Checkable with SHA-256, the signature scheme and the authority's public key alone: docs/audit.md, "To check a proof".
The signature over a chain value speaks of every record before it: the records from A's on and one root are enough.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vecd.base.errors import Integrity, Malformed, Unknown, VecError
from vecd.protocol.messages import CARD, Certificate, opened

from .records import FACTS_BYTES, NOBODY, RECORD_BYTES, VALUE_BYTES, CardFormat, Facts, Flag, Kind, after, facts_of
from .report import HandOver, Segment
from .roots import Root, card, parse

SCHEMA = 1
_MAKES_ONE = 'vecctl log prove-handover writes one; its members are in docs/audit.md, "To check a proof"'
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


# ---- making one


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


def make(name: str, hand_over: HandOver, found: Span, certificate: str, names: Mapping[int, str]) -> dict[str, Any]:
    """The proof, as it is given away."""
    facts = [facts_of(record) for record in found.records if facts_of(record).sequence <= hand_over.first]

    def end(instance: int, record: int) -> dict[str, Any]:
        called = names.get(instance, "")
        return {"instance": instance, "name": called if _NAME.fullmatch(called) else None, "record": record}

    return {
        "schema": SCHEMA,
        "card": name,
        "from": end(hand_over.before, hand_over.last),
        "to": end(hand_over.after, hand_over.first),
        **_for_people(facts),
        "value": found.value.hex(),
        "records": [record.hex() for record in found.records],
        "root": found.root.line().strip(),
        "certificate": certificate,
    }


def _for_people(facts: Sequence[Facts]) -> dict[str, Any]:
    """The records of the hand-over in words, and which of them show a wipe."""
    wipes = [one.sequence for one in facts[1:] if one.flags & Flag.SWITCHED or _whole_wipe(one)]
    return {"wipes": wipes, "shown": [one.to_dict() for one in facts]}


def _whole_wipe(facts: Facts) -> bool:
    return facts.kind in (Kind.CLEAN, Kind.BIND) and bool(facts.flags & Flag.READ_BACK)


# ---- its form


def _is_hex(x: Any, size: int | None = None) -> bool:
    good = isinstance(x, str) and re.fullmatch(r"(?:[0-9a-fA-F]{2})*", x) is not None
    return good and (size is None or len(x) == 2 * size)


def _is_number(x: Any, end: int = 1 << 64) -> bool:
    return type(x) is int and 0 <= x < end


def _is_name(x: Any) -> bool:
    return isinstance(x, str) and _NAME.fullmatch(x) is not None


def _is_end(x: Any) -> bool:
    return (
        isinstance(x, dict)
        and _is_number(x.get("instance"), NOBODY)
        and _is_number(x.get("record"))
        and (x.get("name") is None or _is_name(x["name"]))
    )


def _each(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda x: isinstance(x, list) and all(map(check, x))


def _is_root(x: Any) -> bool:
    try:
        return isinstance(x, str) and bool(parse(x))
    except ValueError:
        return False


_END = f"an object of instance (0 to {NOBODY - 1}), record (a number) and name (a name, or null)"
# Every member, what it has to be, and whether it is.
_FORM: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("schema", f"{SCHEMA}, the only one that is known here", lambda x: type(x) is int and x == SCHEMA),
    ("card", "a card's name", _is_name),
    ("from", _END, _is_end),
    ("to", _END, _is_end),
    ("value", f"{2 * VALUE_BYTES} hexadecimal digits", lambda x: _is_hex(x, VALUE_BYTES)),
    (
        "records",
        f"a list of records of {2 * RECORD_BYTES} hexadecimal digits",
        lambda x: bool(x) and _each(lambda one: _is_hex(one, RECORD_BYTES))(x),
    ),
    ("root", "a root, as its line in a file of roots", _is_root),
    ("certificate", "hexadecimal digits", _is_hex),
    ("wipes", "a list of numbers of records", _each(_is_number)),
    ("shown", "a list of objects, one for each record of the hand-over", _each(lambda one: isinstance(one, dict))),
)


def _formed(proof: Any) -> None:
    """Raises Malformed unless it has every member in its form."""
    if not isinstance(proof, dict):
        raise Malformed("this is no proof of a hand-over", reason="a proof is one JSON object", hint=_MAKES_ONE)
    for member, what, check in _FORM:
        if member not in proof:
            raise Malformed(f"the proof has no member {member!r}", reason=f"it has to be {what}", hint=_MAKES_ONE)
        if not check(proof[member]):
            found = repr(proof[member])
            found = f"{found[:60]}..." if len(found) > 60 else found
            raise Malformed(
                f"the member {member!r} of the proof is not {what}", reason=f"it is {found}", hint=_MAKES_ONE
            )


# ---- checking one


@dataclass(frozen=True, slots=True)
class Checked:
    """What a proof shows: the root that says so, and from its records what is said for people."""

    root: Root
    wipes: list[int]
    shown: list[dict[str, Any]]


def check(proof: Any, authority: bytes | None) -> Checked:
    """The proof shows that hand-over, with a wipe between. Raises Malformed for what is none by its form, Integrity
    with the first step that fails. Without the authority's key, whose key signed is not checked."""
    _formed(proof)
    records = [bytes.fromhex(one) for one in proof["records"]]
    a, b, root = proof["from"], proof["to"], parse(proof["root"])
    facts = _chained(records, bytes.fromhex(proof["value"]), root, a["record"])
    shown = _hand_over(facts, a, b)
    if root.chain != card(proof["card"]):
        raise _no("the root is of another chain", f"it is of {root.chain!r:.80}, the proof of card {proof['card']}")
    if not root.genuine():
        raise _no("the root is not signed by the key that it names", f"root {root.number}")
    if authority is not None:
        _owner(bytes.fromhex(proof["certificate"]), root, authority)
    people = _for_people(shown)
    if not _says(proof, people):
        raise _no("what the proof says for people is not what its records say", "wipes or shown were changed")
    return Checked(root, people["wipes"], people["shown"])


def _no(message: str, reason: str) -> Integrity:
    return Integrity(message, reason=reason, hint="this proves nothing: ask who gave it to you for the proof anew")


def _says(proof: Mapping[str, Any], people: Mapping[str, Any]) -> bool:
    """The proof's own words are these; a member that was added since it was written need not be there."""
    told, known = proof["shown"], people["shown"]
    if proof["wipes"] != people["wipes"] or len(told) != len(known):
        return False
    pairs = zip(told, known, strict=True)
    return all(row.get(name, value) == value for row, one in pairs for name, value in one.items())


def _chained(records: Sequence[bytes], value: bytes, root: Root, first: int) -> list[Facts]:
    facts = []
    for number, record in enumerate(records, first):
        value = after(value, record[:FACTS_BYTES])
        if record[FACTS_BYTES:] != value or facts_of(record).sequence != number:
            raise _no(f"record {number} is not what was chained", "its number or its chain value does not follow")
        facts.append(facts_of(record))
    if root.value != value or root.sequence != first + len(records):
        raise _no("the root was signed over other records", f"root {root.number}, before record {root.sequence}")
    return facts


def _hand_over(facts: Sequence[Facts], a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Facts]:
    """The records of the hand-over: from a's to b's."""
    last, first = a["record"], b["record"]
    ends = f"record {last} of instance {a['instance']}, record {first} of instance {b['instance']}"
    rows = {one.sequence: one for one in facts}
    if last not in rows or first not in rows or a["instance"] == b["instance"] or not last < first:
        raise _no("the records of the hand-over are not there", ends)
    found = [rows[n] for n in range(last, first + 1)]
    worked = found[0].flags & found[-1].flags & Flag.WORKED
    if not worked or (found[0].instance, found[-1].instance) != (a["instance"], b["instance"]):
        raise _no("these are not the last turn of the one and the first of the other", ends)
    if any(one.flags & Flag.WORKED for one in found[1:-1]):
        raise _no("somebody else worked between the two", ends)
    if not any(one.flags & Flag.SWITCHED or _whole_wipe(one) or one.kind == Kind.START for one in found[1:]):
        raise _no("no wipe that was read back stands between the two", ends)
    return found


def _owner(certificate: bytes, root: Root, authority: bytes) -> None:
    try:
        owner = opened(Certificate, certificate, authority, "cert", "registration 4")
    except VecError as error:
        raise _no("the certificate is not the authority's", error.reason or error.message) from None
    if owner.role != CARD or owner.pkS_x != root.key:
        raise _no("the certificate is not one of a card with this key", f"it is one of a {owner.role}")
