"""vecctl access: the matrix M, and why the monitor says what it says."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import Any

from vecd.cli.command import Answer, Command
from vecd.cli.output import cell, facts, table

ATTRIBUTES = {"r": "read", "w": "read and write", "a": "append", "c": "connect (trust relation)", "e": "manager"}

COLUMNS = (("SUBJECT", "subject"), ("OBJECT", "object"), ("M", "allowed"), ("b", "held"))


def _attribute(text: str) -> str:
    letter = text.removesuffix("*") or text
    if letter not in ATTRIBUTES:
        raise ArgumentTypeError(f"{text!r} is no attribute: one of {', '.join(ATTRIBUTES)}")
    return letter


def _triple(parser: ArgumentParser, attributes: str = "r, w, a or c") -> None:
    parser.add_argument("subject", metavar="SUBJECT", help="a guest (A) or an instance (A.1)")
    parser.add_argument("object", metavar="OBJECT", help="an instance (A.1) or a card (c0)")
    parser.add_argument("attribute", metavar="ATTRIBUTE", type=_attribute, help=attributes)


def _request(options: Namespace) -> dict[str, Any]:
    return {"subject": options.subject, "object": options.object, "attribute": options.attribute}


def _explain_arguments(parser: ArgumentParser) -> None:
    _triple(parser, "r, w, a, c, or the manager's e")
    parser.add_argument(
        "--operation",
        metavar="OP",
        help="explain this instead: a data operation (encrypt), a rule (R6) or a word for one (release)",
    )


def _explain_request(options: Namespace) -> dict[str, Any]:
    return _request(options) | ({"operation": options.operation} if options.operation else {})


def _show(answer: Answer) -> str:
    return table(COLUMNS, answer["cells"], "M is empty: no guest has been added")


def _changed(answer: Answer) -> str:
    return "\n".join([f"{answer['rule']}: {answer['reason']}", *answer["notes"]])


def _explained(answer: Answer) -> str:
    cause = answer["cause"]
    # A no that the card's next turn removes: people are told when, and what is in the way until then.
    waits = answer["allowed"] and answer.get("in_turn")
    plain = [
        ("answer", "yes, at its next turn" if waits else "yes" if answer["allowed"] else "no"),
        ("rule", answer["rule"]),
        ("property", answer["property"]),
        ("until then" if waits else "reason", answer["reason"]),
        ("cause", f"{cause['text']}, and would have to be {cause['needs']}" if cause else ""),
        ("next", answer["next"]),
    ]
    lines = [facts([(key, value) for key, value in plain if value])]
    for heading, rows in (
        ("read", [one["text"] for one in answer["reads"]]),
        ("steps to a yes", [f"{one['rule']}: {one['step']}" for one in answer["plan"]]),
        ("notes", answer["notes"]),
    ):
        lines += [heading, *(f"  {cell(row)}" for row in rows)] if rows else []
    return "\n".join(lines)


def _loses(options: Namespace) -> str:
    if options.attribute == "c":
        return f"the keys of {options.subject} behind {options.object} are destroyed"
    return ""


COMMANDS = (
    Command(
        "access", "show", "every cell of M and b that is not empty", "access.show", _show, pages=("cells", "levels")
    ),
    Command(
        "access",
        "give",
        "R9: SUBJECT may ask for ATTRIBUTE on OBJECT from now on",
        "access.give",
        _changed,
        arguments=_triple,
        request=_request,
        changes=True,
    ),
    Command(
        "access",
        "rescind",
        "R10: take it back; after the answer nothing runs under the old right",
        "access.rescind",
        _changed,
        arguments=_triple,
        request=_request,
        changes=True,
        loses=_loses,
    ),
    Command(
        "access",
        "explain",
        "would the monitor allow it now, by which rule, and what it read to decide",
        "access.explain",
        _explained,
        arguments=_explain_arguments,
        request=_explain_request,
    ),
)
