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

SHARES = (
    ("INSTANCE", "instance"),
    ("WEIGHT", "weight"),
    ("SLOTS", "slots"),
    ("TURNS", "turns"),
    ("ENGINE MS", "engine_ms"),
)


def _list(answer: Answer) -> str:
    return table(COLUMNS, answer["cards"], "no card has registered")


def _show(answer: Answer) -> str:
    card = dict(answer["card"])
    if not card.get("turns"):
        return in_full(card)
    # Of whom there are many is a table of its own.
    shares = card["turns"].get("shares", [])
    card["turns"] = {key: value for key, value in card["turns"].items() if key != "shares"}
    rows = [{**row, "engine_ms": row["engine_ns"] // 1_000_000} for row in shares]
    return f"{in_full(card)}\n\n{table(SHARES, rows, 'nobody had a turn')}"


def _name(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="CARD", help="a card's name, as in card list")


def _readmitted(answer: Answer) -> str:
    if answer["was"] is None:
        return f"card {answer['name']} was not in quarantine"
    return f"card {answer['name']} may come back; it was out for: {answer['was']}"


COMMANDS = (
    Command("card", "list", "every registered card", "card.list", _list, pages=("cards",)),
    Command("card", "show", "one card in full", "card.show", _show, arguments=_name, request=by_name),
    Command(
        "card",
        "readmit",
        "let the next process of a quarantined card in",
        "card.readmit",
        _readmitted,
        arguments=_name,
        request=by_name,
        changes=True,
    ),
)
