"""vecctl policy: the files of policy.d against the rules, against what holds, and made to hold."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from vecd.base import folder
from vecd.base.errors import ConfigError
from vecd.base.paths import Paths
from vecd.cli.command import Answer, Command
from vecd.cli.output import cell, facts, table
from vecd.ppm import policy

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
    wrong: list[folder.Wrong] = []
    doubts: list[folder.Wrong] = []
    for path in [Path(one) for one in options.files] or [Paths(options.dir).policy_files]:
        whole = path.is_dir() or not options.files
        seen = folder.look(path, SUFFIX) if whole else folder.look_at(path)
        if whole and not seen.files and not seen.wrong:
            raise ConfigError(
                f"there is no policy file in {folder.shown(path)}",
                reason=f"a policy is one or more *{SUFFIX}" if path.exists() else "there is no such folder",
                hint="write one there, name files, or say where vecd runs: vecctl --dir D",
            )
        files |= seen.files
        wrong += seen.wrong
        doubts += seen.doubts
    checked = policy.check(files, complete=not wrong) if files or not wrong else policy.Checked(None, ())
    if checked.policy is None or wrong:
        error = folder.refusal("the policy", wrong) if wrong else policy.refusal(checked.problems)
        error.hint = ""
        error.problems = (*(one.row() for one in wrong), *(one.row() for one in checked.problems))
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
        # Whoever only asks may ask about files that the guard would not believe.
        "notes": [f"{one.message}: policy apply would refuse it as it lies there; {one.hint}" for one in doubts],
    }


def _checked(answer: Answer) -> str:
    closed = "closed: no other guests" if answer["closed"] else "other guests may be added"
    shown = facts(
        [
            ("policy", "the rules allow it"),
            ("version", answer["version"]),
            ("levels", f"{answer['levels']}, {closed}"),
            ("names", f"{answer['guests']} guests, {answer['instances']} instances, {answer['cards']} cards"),
            ("rights", f"on {answer['rights']} pairs"),
        ]
    )
    return "\n".join([shown, *(f"note: {cell(note)}" for note in answer["notes"])])


def _change(answer: Answer) -> str:
    counts = ", ".join(f"{number} {rule}" for rule, number in answer["counts"].items())
    possible, applied = answer["possible"], answer["applied"] or "nothing"
    # Of files that cannot be, nobody worked out what they would change.
    requests = "none: what holds is what the files say" if possible else "not worked out"
    waiting = f"{answer['waiting']} pairs of guests or cards that are not there yet"
    lines = [
        facts(
            [
                ("files", answer["version"] or f"none in {answer['folder']}"),
                ("applied", "the same" if answer["version"] == applied else applied),
                ("possible", possible),
                ("requests", counts or requests),
                ("waiting", waiting if possible or counts else "not worked out"),
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
    place = policy.Place(problem["file"], problem["line"])
    return f"{place}: {problem['message']}; {problem['hint']}".removesuffix("; ")


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
