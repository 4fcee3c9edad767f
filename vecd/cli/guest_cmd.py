"""vecctl guest: users (guest VMs), their instances and the cards these may reach."""

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from vecd.base.errors import Malformed
from vecd.cli.command import Answer, Command, by_name
from vecd.cli.output import facts, in_full, table

COLUMNS = (
    ("GUEST", "name"),
    ("INSTANCE", "instance"),
    ("CARDS", "cards"),
    ("CONNECTED", "connected"),
    ("UID", "uid"),
    ("CID", "cid"),
    ("SOCKET", "socket"),
)


def hex_id(text: str) -> bytes:
    """A party's id: 16 bytes, as the authority prints them."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        raise Malformed(f"{text!r} is not hexadecimal", hint="an id has 32 hexadecimal digits") from None
    if len(value) != 16:
        raise Malformed(f"an id has 16 bytes, this one has {len(value)}", hint="take it from: vecctl token new")
    return value


def enrolled_id(path: str) -> bytes:
    """The id in an enrolment file; its token is not read further."""
    try:
        return hex_id(json.loads(Path(path).read_text())["id"])
    except OSError as error:
        raise Malformed(f"{path}: {error.strerror}", hint="name the file that vecctl token new wrote") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Malformed(f"{path} is not an enrolment file", hint="vecctl token new writes one") from None


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the guest's name; its instance becomes NAME.1")
    identity = parser.add_mutually_exclusive_group(required=True)
    identity.add_argument("--enrolment", metavar="FILE", help="take the id from a file of vecctl token new")
    identity.add_argument("--id", metavar="HEX", help="the 16-byte id that the authority gave")
    parser.add_argument(
        "--card",
        action="append",
        default=[],
        metavar="CARD",
        help="a card it may use; may be repeated, and left out where the policy names the guest",
    )
    parser.add_argument("--uid", type=int, metavar="N", help="who owns the guest's socket (default: the caller)")
    parser.add_argument("--cid", type=int, metavar="N", help="pin this vsock CID to the guest as well")


def _add_request(options: Namespace) -> dict[str, Any]:
    identity = enrolled_id(options.enrolment) if options.enrolment else hex_id(options.id)
    request: dict[str, Any] = {"name": options.name, "id": identity.hex(), "cards": options.card}
    optional = {"uid": options.uid, "cid": options.cid}
    return request | {key: value for key, value in optional.items() if value is not None}


def _name(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a guest's name, as in guest list")


def _list(answer: Answer) -> str:
    return table(COLUMNS, answer["guests"], "no guest has been added")


def _show(answer: Answer) -> str:
    return in_full(answer["guest"])


def _added(answer: Answer) -> str:
    return facts([("instance", answer["instance"]), ("socket", answer["socket"])])


def _removed(answer: Answer) -> str:
    return "\n".join([f"removed {answer['name']}", *answer["notes"]])


def _loses(options: Namespace) -> str:
    return f"every key of {options.name} loaded in a card is destroyed, and its connections end"


COMMANDS = (
    Command("guest", "list", "every guest", "guest.list", _list, pages=("guests",)),
    Command("guest", "show", "one guest in full", "guest.show", _show, arguments=_name, request=by_name),
    Command(
        "guest",
        "add",
        "a user, its instance, the rights to its cards and a socket of its own",
        "guest.add",
        _added,
        arguments=_add_arguments,
        request=_add_request,
        changes=True,
    ),
    Command(
        "guest",
        "remove",
        "release its cards, destroy its keys there, forget it",
        "guest.remove",
        _removed,
        arguments=_name,
        request=by_name,
        changes=True,
        loses=_loses,
    ),
)
