"""Whether the measured boot was accepted: attest says so in boot.json, and only for the boot it saw."""

import json
from pathlib import Path
from typing import Any

from vecd.base.errors import Integrity

SCHEMA = 1
# What a clock that is set during the boot may be off, seconds.
SLACK_S = 120
STAT = Path("/proc/stat")


def booted_s(stat: Path = STAT) -> int:
    """When this kernel started, seconds of the wall clock."""
    for line in stat.read_text().splitlines():
        if line.startswith("btime "):
            return int(line.split()[1])
    raise Integrity(f"{stat} does not say when the machine started")


def accepted(path: Path, started_s: int, required: bool) -> dict[str, Any]:
    """What attest accepted, for `vecctl status`. Raises Integrity where there is nothing, or it is of another boot."""
    try:
        document = json.loads(path.read_text())
        at, policy, pcrs = document["accepted_s"], document["policy"], document["pcrs"]
        if document["schema"] != SCHEMA or type(at) is not int or not isinstance(pcrs, dict):
            raise ValueError
    except FileNotFoundError:
        if not required:
            return {"verdict": "not accepted", "detail": "attest.required is false", "pcrs": {}}
        raise Integrity(
            "the boot was not accepted",
            reason=f"{path} is not there: attest has not run, or refused",
            hint="run attest, or read its log: it says why",
        ) from None
    except (OSError, ValueError, KeyError, TypeError):
        raise Integrity(f"{path} is not what attest writes", hint="run attest again") from None
    if at < started_s - SLACK_S:
        raise Integrity("the boot was not accepted", reason=f"{path} is of an earlier boot", hint="run attest again")
    detail = f"policy {str(policy)[:16]}, {sum(len(bank) for bank in pcrs.values())} registers"
    return {"verdict": "accepted", "detail": detail, "policy": policy, "accepted_s": at, "pcrs": pcrs}
