"""What is said of a log that was verified: nothing, or all of its findings in one error."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from vecd.audit.report import Report
from vecd.base.errors import Integrity

NS = 1_000_000_000


class Tampered(Integrity):
    """A log is not what was written; `findings` has everything that was found."""

    sentence = "an audit log is not what was written"
    findings: list[dict[str, Any]] = []

    def to_dict(self) -> dict[str, Any]:
        """With the findings, which the one message cannot hold."""
        return super().to_dict() | {"findings": self.findings}


def judged(reports: list[Report]) -> list[Report]:
    """The reports, if nothing was found. Raises Tampered."""
    findings = [{"chain": report.chain, **one.to_dict()} for report in reports for one in report.findings]
    if not findings:
        return reports
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


def time_text(at_ns: Any) -> str:
    """For people; what is no time of ours reads as it stands there."""
    try:
        return datetime.fromtimestamp(at_ns / NS, UTC).isoformat(timespec="milliseconds") if at_ns else "never"
    except (TypeError, ValueError, OverflowError, OSError):
        return str(at_ns)
