"""What was found, kept in found.json, so that docs/protocol.md can be held equal to it without finding it again.

`python -m tests.model.attacker.record` finds it all again (minutes), or what it is given the names of; the tests that
explore hold their part of it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from textwrap import fill

from .explore import Explorer, Report
from .scopes import WORDS, explorer
from .symbolic import perfect
from .trace import written
from .without import ABLATIONS, needed_in, single

_FILE = Path(__file__).with_name("found.json")


def kept() -> dict[str, dict]:
    """{"scopes": {name: numbers}, "attacks": {name: trace}, "single": {check: scope}}."""
    return json.loads(_FILE.read_text())


def explored(name: str) -> tuple[Explorer, Report]:
    with perfect():
        ready = explorer(name)
        return ready, ready.run()


def numbers(report: Report) -> dict[str, int]:
    return {"states": report.states, "steps": report.transitions, "messages": report.tried, "refused": report.refused}


def scopes() -> str:
    """The scopes and how much there is in each, for docs/protocol.md."""
    rows = ["| scope | what is in it | states | steps | messages given | refused |", "|---|---|---|---|---|---|"]
    for name, n in kept()["scopes"].items():
        what = " | ".join(f"{n[key]:,}" for key in ("states", "steps", "messages", "refused"))
        rows.append(f"| {name} | {WORDS[name]} | {what} |")
    return "\n".join(rows)


def attacks() -> str:
    """What is taken out and what follows, for docs/protocol.md."""
    found = kept()["attacks"]
    rows = ["| taken out | what that is | found |", "|---|---|---|"]
    for a in ABLATIONS:
        what = f"an attack in {a.scope}, below" if a.broken else "nothing in any scope (2c, 3r, 3x and 1n not tried)"
        rows.append(f"| {a.name} | {a.words} | {what} |")
    traces = [f"Without {a.name}:\n\n```\n{found[a.name]}\n```" for a in ABLATIONS if a.broken]
    return "\n\n".join(("\n".join(rows), *traces))


def single_checks() -> str:
    """What each check is for by itself, for docs/protocol.md."""
    found = kept()["single"]
    needed = [f"{number} ({scope})" for number, scope in found.items() if scope]
    others = [number for number, scope in found.items() if not scope]
    text = (
        f"Each of {len(found)} checks was left out alone, in 1ro, 2s and 2a or, for registration, in reg E and reg X.",
        f"A claim fails without {', '.join(needed)}. None fails without one of the other {len(others)}:",
        f"another check makes good for it, or what a seal or a signature is over: {', '.join(others)}.",
    )
    return fill(" ".join(text), 120)


def main(*only: str) -> None:
    """Finds all of it again, or what has these names."""
    found = kept() if only else {"scopes": {}, "attacks": {}}
    wanted = set(only) or {*WORDS, *(a.name for a in ABLATIONS)}
    found["scopes"].update({name: numbers(explored(name)[1]) for name in WORDS if name in wanted})
    found["attacks"].update({a.name: written(*a.attack()) for a in ABLATIONS if a.broken and a.name in wanted})
    if not only or "single" in only:
        found["single"] = {number: needed_in(number) for number in single()}
    _FILE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
