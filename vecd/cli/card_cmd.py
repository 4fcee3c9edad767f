"""vecctl card: which cards there are, whose turn it is, and what is wrong with one."""

from argparse import ArgumentParser

from vecd.cli.command import Answer, Command, by_name
from vecd.cli.output import in_full, table

COLUMNS = (
    ("CARD", "name"),
    ("DRIVER", "driver"),
    ("STATUS", "status"),
    ("LEVEL", "level"),
    ("OWNER", "owner"),
    ("HELD", "held"),
    ("FLIGHT", "inflight"),
    ("CONNECTED", "instances"),
    ("OUT OF SERVICE", "quarantined"),
)


def _list(answer: Answer) -> str:
    return table(COLUMNS, answer["cards"], "no card has registered")


def _show(answer: Answer) -> str:
    return in_full(answer["card"])


def _name(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="CARD", help="a card's name, as in card list")


COMMANDS = (
    Command("card", "list", "every registered card", "card.list", _list),
    Command("card", "show", "one card in full", "card.show", _show, arguments=_name, request=by_name),
)
