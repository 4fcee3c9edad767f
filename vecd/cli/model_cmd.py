"""vecctl model: the rules of the reference monitor on paper, before anything is done."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

from vecd.base.errors import Malformed
from vecd.cli.command import Command
from vecd.ppm.replay import replay


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "trace", metavar="TRACE.jsonl", help="JSON lines: a world, then one request a line; - is stdin (docs/model.md)"
    )


def _replay(options: Namespace) -> Iterator[str]:
    """One line of JSON for each request. Raises Malformed for what is no file, or no trace."""
    # A line that is not UTF-8 is a request like any other that makes no sense.
    if options.trace == "-":
        if sys.stdin is None:
            raise Malformed("there is no stdin", hint="name a file in place of -")
        yield from replay(line.decode("utf-8", "replace") for line in sys.stdin.buffer)
        return
    try:
        with open(options.trace, encoding="utf-8", errors="replace", newline="\n") as file:
            yield from replay(file)
    except OSError as error:
        raise Malformed(f"{options.trace} cannot be read", reason=error.strerror or str(error)) from None


COMMANDS = (
    Command(
        "model",
        "replay",
        "run a trace on the rules alone: decision, rule, reason and state after each request, as JSON lines",
        "",
        arguments=_arguments,
        lines=_replay,
    ),
)
