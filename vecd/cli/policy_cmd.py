"""vecctl policy: the files of policy.d against the rules, against what holds, and made to hold."""

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from vecd.base import folder
from vecd.base.paths import Paths
from vecd.cli.command import Answer, Command
from vecd.cli.output import cell, facts, table
from vecd.ppm import policy
from vecd.ppm.policy import Problem

SUFFIX = ".toml"
REQUESTS = (
    ("RULE", "rule"),
    ("SUBJECT", "subject"),
    ("OBJECT", "object"),
    ("ATTR", "attribute"),
    ("LEVEL", "level"),
    ("DECISION", "decision"),
    ("WHERE", "place"),
)


def _check_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "files", metavar="FILE|DIR", nargs="*", help="all together are one policy (default: etc/vecd/policy.d)"
    )


def _check(options: Namespace) -> Answer:
    """Raises ConfigError or Denied with every problem; asks no daemon."""
    files: dict[str, bytes] = {}
    for path in [Path(one) for one in options.files] or [Paths(options.dir).policy_files]:
        # Whoever only asks may ask about files that the guard would not believe.
        if path.is_dir():
            files |= folder.read(path, SUFFIX, trusted=False)
        elif options.files:
            files[os.fsencode(path).decode("utf-8", "backslashreplace")] = folder.read_file(path)
    checked = policy.check(files)
    if checked.policy is None:
        error = policy.refusal(checked.problems)
        error.hint = ""
        error.problems = tuple(_row(one) for one in checked.problems)
        raise error
    found = checked.policy
    return {
        "files": list(files),
        "version": found.version,
        "levels": found.levels,
        "closed": found.closed,
        "guests": len(found.guests),
        "instances": len(found.instances),
        "cards": len(found.cards),
        "rights": len(found.cells),
    }


def _row(problem: Problem) -> dict[str, Any]:
    return {
        "file": problem.place.file,
        "line": problem.place.line,
        "message": problem.message,
        "rule": problem.rule,
        "property": problem.property,
        "hint": problem.hint,
    }


def _checked(answer: Answer) -> str:
    closed = "closed: no other guests" if answer["closed"] else "other guests may be added"
    return facts(
        [
            ("policy", "the rules allow it"),
            ("version", answer["version"]),
            ("levels", f"{answer['levels']}, {closed}"),
            ("names", f"{answer['guests']} guests, {answer['instances']} instances, {answer['cards']} cards"),
            ("rights", f"on {answer['rights']} pairs"),
        ]
    )


def _change(answer: Answer) -> str:
    counts = ", ".join(f"{number} {rule}" for rule, number in answer["counts"].items())
    same = answer["version"] == (answer["applied"] or "")
    lines = [
        facts(
            [
                ("files", answer["version"] or f"none in {answer['folder']}"),
                ("applied", "the same" if same else answer["applied"] or "nothing"),
                ("requests", counts or "none: what holds is what the files say"),
                ("waiting", f"{answer['waiting']} pairs of guests or cards that are not there yet"),
            ]
        )
    ]
    if answer["requests"]:
        lines += ["", table(REQUESTS, answer["requests"])]
    lines += [f"! {cell(_line(problem))}" for problem in answer["problems"]]
    if answer["left_out"]:
        lines.append(f"and {answer['left_out']} more")
    return "\n".join(lines)


def _line(problem: Answer) -> str:
    return f"{problem['file']}:{problem['line']}: {problem['message']}; {problem['hint']}".removesuffix("; ")


def _applied(answer: Answer) -> str:
    done = "nothing was changed: --dry-run" if answer["dry_run"] else "applied"
    return "\n".join([_change(answer), "", done, *(cell(note) for note in answer["notes"])])


def _loses(options: Namespace) -> str:
    return "rights that the files do not give are rescinded, and the keys behind them destroyed"


COMMANDS = (
    Command(
        "policy",
        "check",
        "would these files be a policy: form, names, and by the rules every right; asks no daemon",
        "",
        _checked,
        arguments=_check_arguments,
        local=_check,
    ),
    Command(
        "policy",
        "diff",
        "what the files say against what holds, as requests with the decision on each",
        "policy.diff",
        _change,
    ),
    Command(
        "policy",
        "apply",
        "what holds is what the files say: all of it, or nothing",
        "policy.apply",
        _applied,
        request=lambda options: {"dry_run": bool(options.dry_run)},
        changes=True,
        rehearses=True,
        loses=_loses,
    ),
)
