"""vecctl token: enrolment, on the authority's own socket. The guard never sees a token."""

import json
import os
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from typing import Any

from vecd.base.errors import Exists, Failed
from vecd.cli.command import Answer, Command
from vecd.cli.output import SCHEMA, facts

ROLES = ("user", "card", "broker")


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--role", choices=ROLES, required=True, help="what may enrol with it")
    parser.add_argument("--name", required=True, metavar="NAME", help="the party's name")
    parser.add_argument("--card", metavar="CARD", help="pin a user to this card's id")
    parser.add_argument("--valid", type=int, metavar="SECONDS", help="for how long it may be used (default: a day)")
    parser.add_argument("--out", metavar="FILE", help="write the enrolment to a new file of mode 0600")


def _request(options: Namespace) -> dict[str, Any]:
    if options.out and os.path.lexists(options.out):
        # Asked before the call, so that no token is issued in vain.
        raise Exists(f"{options.out} exists already", hint="name a new file")
    request = {"role": options.role, "name": options.name}
    optional = {"card": options.card, "valid_s": options.valid}
    return request | {key: value for key, value in optional.items() if value is not None}


NOT_WRITTEN = "the token was issued but not written: ask for a new one"


def write_new(path: str, text: str) -> None:
    """`path` exists afterwards, readable by its owner alone, on the disk, and was not there before."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise Exists(f"{path} exists already", hint="name a new file: a token is not written over an old one") from None
    except OSError as error:
        raise Failed(f"{path}: {error.strerror}", hint=NOT_WRITTEN) from None
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        os.unlink(path)
        raise Failed(f"{path}: {error.strerror}", hint=NOT_WRITTEN) from None


def _finish(answer: Answer, options: Namespace) -> Answer:
    enrolment = {"role": options.role, "name": options.name, **answer}
    if not options.out:
        return enrolment
    write_new(options.out, json.dumps({"schema": SCHEMA, **enrolment}, indent=1) + "\n")
    return {key: value for key, value in enrolment.items() if key != "token"} | {"file": options.out}


def _show(answer: Answer) -> str:
    expires = datetime.fromtimestamp(answer["expires"], UTC).isoformat()
    shown = [(key, answer[key]) for key in ("role", "name", "id", "token", "card_id", "file") if key in answer]
    return facts([*shown, ("expires", expires)])


COMMANDS = (
    Command(
        "token",
        "new",
        "a one-time enrolment token, with the authority's public keys",
        "token.new",
        _show,
        door="ca-admin",
        arguments=_arguments,
        request=_request,
        finish=_finish,
        changes=True,
    ),
)
