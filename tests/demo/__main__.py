"""python -m tests.demo --out build/demo"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.demo import page
from tests.demo.story import CARDS, Story
from tests.integration.cipher_machine import CipherMachine

INTRODUCTION = """\
vecd: a cipher machine on this computer. Guests' keys live in encryption cards that the guests share, and no guest
can reach another one's. Here: two soft cards (OpenSSL in a process of its own), a software TPM, and three tenants
in processes of their own. A reference monitor (rules R1 to R12) decides every request."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/demo"), help="where report.json goes")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    target = arguments.out / "report.json"
    target.unlink(missing_ok=True)
    started = time.monotonic()
    page.say(INTRODUCTION)
    # A short folder: a Unix socket's path has 108 bytes.
    with tempfile.TemporaryDirectory(prefix="vecd-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        machine = CipherMachine(folder / "m", CARDS)
        story = Story(machine, folder)
        try:
            machine.wait_ready()
            story.tell()
        finally:
            machine.close()
        story.tell_of_the_boot()
        report = story.report
    target.write_text(json.dumps(report.as_dict(), indent=1) + "\n")
    page.say(
        f"\nAll of it is in {target}: {len(report.tenants)} tenants, {len(report.files)} files, "
        f"{len(report.refusals)} refusals, in {time.monotonic() - started:.0f} s."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
