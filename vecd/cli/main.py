"""vecctl: one argparse tree over the rows of every NOUN_cmd.py.

The JSON that it prints is the public API of the project, described in docs/vecctl.md. Exit codes are
those of the error's class (vecd/base/errors.py): 0 done, 1 failed, 2 usage, 3 daemon not
reachable, 4 no such thing, 5 refused by the reference monitor, 6 caller not allowed, 7 integrity,
8 busy, 9 hardware, 10 timed out. 130 is an interruption (Ctrl-C), as of any command.
"""

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from vecd.base.errors import Caller, Failed, Malformed, Unreachable, VecError
from vecd.base.ipc import BlockingPeer
from vecd.base.paths import Paths
from vecd.cli import access_cmd, card_cmd, guest_cmd, log_cmd, model_cmd, output, policy_cmd, status_cmd, token_cmd
from vecd.cli.command import Answer, Command

COMMANDS: tuple[Command, ...] = (
    *status_cmd.COMMANDS,
    *card_cmd.COMMANDS,
    *guest_cmd.COMMANDS,
    *access_cmd.COMMANDS,
    *policy_cmd.COMMANDS,
    *token_cmd.COMMANDS,
    *model_cmd.COMMANDS,
    *log_cmd.COMMANDS,
)

NOUNS = {
    "status": "everything on one page",
    "card": "encryption cards",
    "guest": "guests and their instances",
    "access": "who may do what, and why",
    "policy": "who may have what, from files",
    "token": "enrolment at the authority",
    "model": "the rules alone: no daemon is asked, nothing is changed",
    "log": "the audit logs, from their files: no daemon is asked",
}

DOORS: Mapping[str, Callable[[Paths], Path]] = {
    "admin": lambda paths: paths.admin,
    "ca-admin": lambda paths: paths.ca_admin,
}

# What to do when a door does not answer, and when it does not open for this caller.
START = "start it (vecd dev --dir D starts everything), and name its directory: vecctl --dir D, or VECD_DIR=D"
MEMBERS = {
    "admin": "be root or the guard's own user, or in one of its groups (vecd.toml: guard.admin_group, read_group)",
    "ca-admin": "be root or the authority's own user, or in its group (vecd.toml: authority.admin_group)",
}

INTERRUPTED = 128 + signal.SIGINT
CONNECT_S = 3.0
# A revocation may wait for a drain, a card's answer and the end of a killed card process.
ANSWER_S = 30.0


class _Parser(argparse.ArgumentParser):
    """argparse that raises instead of leaving, so that a usage error is an object in JSON mode too."""

    def __init__(self, **options: Any) -> None:
        # An option that was guessed from its beginning would mean another one in a later release.
        super().__init__(**options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise Malformed(message, hint=" ".join(self.format_usage().split()))


def _common(parser: argparse.ArgumentParser, first: bool) -> None:
    """--dir and --json are taken before and after NOUN VERB; only the root parser sets their defaults."""
    unset = argparse.SUPPRESS
    root = os.environ.get("VECD_DIR") or "/"
    parser.add_argument(
        "--dir", metavar="D", default=root if first else unset, help="the root vecd runs under (default: VECD_DIR or /)"
    )
    parser.add_argument("--json", action="store_true", default=False if first else unset, help="print one JSON object")


def parser() -> argparse.ArgumentParser:
    """The one tree: help, usage errors and the documentation's test come from it."""
    tree = _Parser(prog="vecctl", description="Ask and instruct the daemons of vecd.")
    _common(tree, first=True)
    nouns = tree.add_subparsers(metavar="NOUN", required=True, dest="noun")
    verbs: dict[str, argparse._SubParsersAction] = {}
    for command in COMMANDS:
        if not command.verb:
            leaf = nouns.add_parser(command.noun, help=command.help, description=command.help)
        else:
            if command.noun not in verbs:
                noun = nouns.add_parser(command.noun, help=NOUNS[command.noun], description=NOUNS[command.noun])
                verbs[command.noun] = noun.add_subparsers(metavar="VERB", required=True, dest="verb")
            leaf = verbs[command.noun].add_parser(command.verb, help=command.help, description=command.help)
        command.arguments(leaf)
        _common(leaf, first=False)
        if command.changes:
            dry_run = "decide it, change nothing" if command.rehearses else "print the call that would be sent"
            leaf.add_argument("--dry-run", action="store_true", help=dry_run)
            leaf.add_argument("--yes", action="store_true", help="do not ask before something is destroyed")
        leaf.set_defaults(command=command)
    return tree


def _consent(command: Command, options: argparse.Namespace) -> None:
    """What is destroyed is agreed to by --yes, or at a terminal by a word."""
    loss = command.loses(options)
    if not loss or options.yes:
        return
    if sys.stdin is not None and sys.stdin.isatty() and not options.json:
        print(f"vecctl: {loss}. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return
    raise Malformed(f"{command.name}: {loss}", hint="add --yes if that is wanted")


def ask(paths: Paths, command: Command, request: dict[str, object]) -> Answer:
    """The daemon's answer to one call, all of its pages; or the error it answered with."""
    door = command.door
    try:
        peer = BlockingPeer(DOORS[door](paths), CONNECT_S)
    except Unreachable as error:
        if error.reason == os.strerror(errno.EACCES):
            raise Caller(f"{error.message} by uid {os.geteuid()}", reason=error.reason, hint=MEMBERS[door]) from None
        raise Unreachable(error.message, reason=error.reason, hint=START) from None
    try:
        answer = peer.call(command.call, request, ANSWER_S)
        while command.pages and (after := answer.pop("next", None)) is not None:
            further = peer.call(command.more or command.call, {**request, "after": after}, ANSWER_S)
            for name in command.pages:
                grown = answer[name]
                (grown.update if isinstance(grown, dict) else grown.extend)(further[name])
            answer["next"] = further.get("next")
        return answer
    finally:
        peer.close()


# Lines that are printed at once: a call of write for each would take longer than making them.
LINES = 512


def _print_lines(lines: Iterable[str]) -> None:
    """Every line as it comes, a few hundred at a time; what was made before an error is out before the error is."""
    held: list[str] = []
    try:
        for line in lines:
            held.append(line)
            if len(held) >= LINES:
                output.print_answer("\n".join(held))
                held.clear()
    finally:
        if held:
            output.print_answer("\n".join(held))


def _run(options: argparse.Namespace) -> None:
    command: Command = options.command
    if command.lines:
        _print_lines(command.lines(options))
        return
    if command.local:
        answer = command.local(options)
        output.print_answer(output.answer_json(answer) if options.json else command.show(answer))
        return
    request = command.request(options)
    rehearsal = command.rehearses and options.dry_run
    if command.changes and options.dry_run and not rehearsal:
        answer = {"dry_run": True, "door": command.door, "call": command.call, "args": request}
        text = f"would send {command.call} to {command.door}: {request}"
        output.print_answer(output.answer_json(answer) if options.json else text)
        return
    if command.changes and not rehearsal:
        _consent(command, options)
    answer = command.finish(ask(Paths(options.dir), command, request), options)
    output.print_answer(output.answer_json(answer) if options.json else command.show(answer))


def _no_more_output() -> None:
    """Nothing is flushed at exit to where it cannot go."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code and never raises."""
    words = list(sys.argv[1:] if argv is None else argv)
    as_json = any(word.partition("=")[0] == "--json" for word in words)
    try:
        _run(parser().parse_args(words))
    except VecError as error:
        output.print_error(error, as_json)
        return error.exit_code
    except SystemExit as ending:
        # --help alone ends this way.
        return int(ending.code or 0)
    except BrokenPipeError:
        # Whoever read our output has seen enough; stdout must not be flushed again at exit.
        _no_more_output()
        return 0
    except OSError as error:
        _no_more_output()
        output.print_error(Failed("the answer cannot be written", reason=error.strerror or ""), as_json)
        return Failed.exit_code
    except KeyboardInterrupt:
        print("vecctl: interrupted; what was asked may have been done", file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
