"""One row of vecctl: what is typed, which call is sent to which door, and how the answer reads for people.

Each NOUN_cmd.py holds the rows of its noun; main.py makes the one argparse tree of them. JSON
output is the answer of the call itself, so a row says nothing about it.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Answer = Mapping[str, Any]


def no_arguments(_parser: ArgumentParser) -> None:
    """A verb without arguments of its own."""


def no_request(_options: Namespace) -> dict[str, Any]:
    """A call without arguments."""
    return {}


def by_name(options: Namespace) -> dict[str, Any]:
    """A call that is about the one thing that was named."""
    return {"name": options.name}


def as_answered(answer: Answer, _options: Namespace) -> Answer:
    """Most answers are printed as they came."""
    return answer


def never_loses(_options: Namespace) -> str:
    """Most verbs destroy nothing."""
    return ""


def not_shown(_answer: Answer) -> str:
    """For a verb whose lines are printed as they come."""
    return ""


@dataclass(frozen=True)
class Command:
    """What is typed (`noun verb`), what is sent (`call` at `door`) and what is shown."""

    noun: str
    verb: str
    help: str
    # "" for a verb that asks no daemon: it has `local` or `lines`.
    call: str
    show: Callable[[Answer], str] = not_shown
    door: str = "admin"
    arguments: Callable[[ArgumentParser], None] = no_arguments
    request: Callable[[Namespace], dict[str, Any]] = no_request
    # After the answer, on this side: an enrolment file is written here. Returns what is printed.
    finish: Callable[[Answer, Namespace], Answer] = as_answered
    # A verb that asks no daemon: its answer is made here, and shown like any other. Raises VecError.
    local: Callable[[Namespace], Answer] | None = None
    # The same for one that prints lines as they come, JSON or not: all of its output, with and without --json.
    lines: Callable[[Namespace], Iterable[str]] | None = None
    # Of an answer that comes in pages: the fields that grow, and the call that gives the next page ("": the same one).
    pages: tuple[str, ...] = ()
    more: str = ""
    # A change takes --dry-run; one that destroys something says what, and takes --yes.
    changes: bool = False
    loses: Callable[[Namespace], str] = never_loses
    # --dry-run is sent: who is asked decides everything and changes nothing.
    rehearses: bool = False

    @property
    def name(self) -> str:
        """As typed."""
        return f"{self.noun} {self.verb}".strip()
