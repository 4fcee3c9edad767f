"""The demonstration's machine: `vecd dev` as the tests run it, and what an operator types."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.integration.cipher_machine import CipherMachine
from vecd.base.errors import Integrity, from_dict

CALL_S = 30.0
BOOT_S = 60.0


def vecctl(root: Path, *arguments: str) -> dict[str, Any]:
    """One command of the operator; its JSON. Raises the VecError that it printed."""
    command = [sys.executable, "-m", "vecd.cli.main", "--dir", str(root), "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CALL_S, check=False)
    answer = json.loads(done.stdout or done.stderr)
    if done.returncode:
        raise from_dict(answer["error"])
    return answer


def changed_boot(machine: CipherMachine, pcr: int) -> Integrity:
    """The machine, which has ended, starts once more with one register changed: what attest said of it."""
    command = [sys.executable, "-m", "vecd", "dev", "--dir", str(machine.root), "--cards", ",".join(machine.cards)]
    done = subprocess.run(
        [*command, "--tamper-pcr", str(pcr)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BOOT_S,
        check=False,
    )
    marker = f"BOOT_DIFFERS: PCR {pcr} "
    said = [line.partition("BOOT_DIFFERS: ")[2] for line in done.stdout.splitlines() if marker in line]
    if done.returncode == 0 or not said:
        raise AssertionError(f"a changed boot was not refused (exit {done.returncode}):\n{done.stdout}")
    return Integrity("the boot is refused", rule="boot policy", reason=said[0].partition("; if you meant")[0])
