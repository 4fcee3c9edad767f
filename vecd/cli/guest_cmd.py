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
    ("INSTANCES", "instances"),
    ("CARDS", "cards"),
    ("CONNECTED", "connected"),
    ("UID", "uid"),
    ("CID", "cid"),
    ("SOCKET", "socket"),
)
INSTANCES = (("INSTANCE", "name"), ("ID", "id"), ("INDEX", "index"), ("CARDS", "cards"), ("CONNECTED", "connected"))


def hex_id(text: str) -> bytes:
    """A party's id: 16 bytes, as the authority prints them."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        raise Malformed(f"{text!r} is not hexadecimal", hint="an id has 32 hexadecimal digits") from None
    if len(value) != 16:
        raise Malformed(f"an id has 16 bytes, this one has {len(value)}", hint="take it from: vecctl token new")
    return value


def enrolled(path: str, name: str) -> dict[str, str]:
    """Who may enrol with an enrolment file: the user's id, and the id of the card that its token is pinned to.

    The token is not read. Raises Malformed for a file that is none, or that is somebody else's.
    """
    try:
        file = json.loads(Path(path).read_text())
        role, whose, identity, pinned = file["role"], file["name"], hex_id(file["id"]), file.get("card_id")
        card = {} if pinned is None else {"pinned": hex_id(pinned).hex()}
    except OSError as error:
        raise Malformed(f"{path}: {error.strerror}", hint="name the file that vecctl token new wrote") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Malformed(f"{path} is not an enrolment file", hint="vecctl token new writes one") from None
    for what, found, wanted in (("role", role, "user"), ("name", whose, name)):
        if found != wanted:
            raise Malformed(
                f"{path} is the enrolment of {role!s:.40} {whose!s:.40}, not of user {name}",
                reason=f"its {what} is {found!r:.40}; with it, whoever has the file would be {name}",
                hint="name the file of this guest, or give the id by --id if one id is meant to have two names",
            )
    return {"id": identity.hex(), **card}


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
    who = enrolled(options.enrolment, options.name) if options.enrolment else {"id": hex_id(options.id).hex()}
    request: dict[str, Any] = {"name": options.name, **who, "cards": options.card}
    optional = {"uid": options.uid, "cid": options.cid}
    return request | {key: value for key, value in optional.items() if value is not None}


def _name(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a guest's name, as in guest list")


def _list(answer: Answer) -> str:
    return table(COLUMNS, map(_whole, answer["guests"]), "no guest has been added")


def _whole(guest: Answer) -> Answer:
    """A guest with the cards of all its instances; the answer's own `cards` are those of the first one."""
    rows = guest["instances"]
    cards = {key: sorted({card for row in rows for card in row[key]}) for key in ("cards", "connected")}
    return {**guest, **cards, "instances": [row["name"] for row in rows]}


def _show(answer: Answer) -> str:
    guest = answer["guest"]
    about = {key: value for key, value in guest.items() if key not in ("instance", "cards", "connected")}
    return f"{in_full(about)}\n\n{table(INSTANCES, guest['instances'], 'no instance')}"


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
