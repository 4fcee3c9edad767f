"""Logs against each other, and against the keys that their owners are known by. docs/audit.md, "What is checked".

The guard has every card's roots on record, and each root of a card names the last one of the guard that it had seen. So
whoever cuts back one log has to cut back the others, and needs all their keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from vecd.base.errors import VecError
from vecd.base.paths import name
from vecd.protocol.messages import CARD, Certificate, opened

from .report import Finding, Report
from .roots import GUARD, card

RULE = "registration 4"


def against(reports: Sequence[Report]) -> None:
    """What one log says of the other's roots is so; whatever is not is a finding of the log that lacks it."""
    by_chain = {report.chain: report for report in reports}
    guard = by_chain.get(GUARD)
    for report in reports:
        if report is guard:
            for record, chain, number, hashed in report.seen:
                _holds(by_chain.get(chain), number, hashed, f"record {record} of the guard's log")
        else:
            for own, _, number, hashed in report.seen:
                _holds(guard, number, hashed, f"root {own} of the log of {report.chain}")


def ahead(reports: Sequence[Report]) -> bool:
    """A card names a root of the guard that is newer than what was read of the guard: it was read too early."""
    guard = next((report for report in reports if report.chain == GUARD), None)
    if guard is None or not guard.hashes:
        return False
    last = max(guard.hashes)
    return any(number > last for report in reports if report is not guard for _, _, number, _ in report.seen)


def _holds(report: Report | None, number: int, hashed: bytes, where: str) -> None:
    # Where everything of it was read and is sound; else there is a finding already, or nothing to compare.
    if report is None or not report.hashes or any("anew" in one.what for one in report.findings):
        return
    first, last = min(report.hashes), max(report.hashes)
    if number < first or report.hashes.get(number) == hashed:
        return
    if number > last:
        what = "the log was cut back: its last roots are missing, and the records that they were signed over"
        finding = Finding("", report.end, what, f"root {number}, as {where} says", f"roots up to {last}")
    else:
        what = f"root {number} is another one than {where} says"
        finding = Finding("", None, what, hashed.hex(), report.hashes.get(number, b"").hex())
    if not any(one.what == finding.what for one in report.findings):
        report.findings.append(finding)


def gone(reports: Sequence[Report]) -> set[str]:
    """The chains of cards that the guard's log speaks of, of which no log was read."""
    spoken = {one for report in reports for one in report.spoken if _is_card(one)}
    return spoken - {report.chain for report in reports}


def _is_card(chain: str) -> bool:
    try:
        return chain == card(name(chain.removeprefix("card "), "card"))
    except VecError:
        return False


def by_certificate(
    report: Report, rows: Iterable[Mapping[str, str]], authority: bytes | None, *, file: str, why: str = ""
) -> None:
    """Every key that signed a card's log is one that the authority certified for a card. The rows are those of `file`;
    why: there are none, because the file is missing or garbled."""
    if authority is None:
        report.notes.append("whose keys signed was not checked: name the authority's key with --ca FILE")
        return
    if why and report.keys:
        what = f"the file of the card's keys is {why}: whose key signed cannot be checked"
        wanted = "the keys that signed here, with their certificates"
        found = "no such file" if why == "missing" else "something else"
        report.findings.append(Finding(file, None, what, wanted, found, "put the file back from your copies"))
        return
    certified = {bytes.fromhex(row["key"]): row.get("certificate", "") for row in rows if _is_hex(row.get("key", ""))}
    for key in report.keys:
        if why := _not_certified(key, certified.get(key, ""), authority):
            what = "a key signed here that is not this card's"
            report.findings.append(Finding(file, None, what, "a certificate of the authority for it", why))


def _is_hex(text: str) -> bool:
    try:
        return bool(bytes.fromhex(text))
    except ValueError:
        return False


def _not_certified(key: bytes, certificate: str, authority: bytes) -> str:
    if not _is_hex(certificate):
        return "no certificate"
    try:
        owner = opened(Certificate, bytes.fromhex(certificate), authority, "cert", RULE)
    except VecError as error:
        return error.reason or error.message
    return "" if owner.role == CARD and owner.pkS_x == key else f"one of a {owner.role} with another key"


def by_key(report: Report, key: bytes | None) -> None:
    """The guard's log was signed with this key and no other."""
    if key is None:
        report.notes.append("whose key signed was not checked: name the guard's with --key HEX")
    elif others := [one for one in report.keys if one != key]:
        what = "the log is not signed with the guard's key"
        report.findings.append(Finding("", None, what, key.hex(), others[0].hex()))
