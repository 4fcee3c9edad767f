"""vecctl status: the guard, its doors, the measured boot and every card on one page."""

from vecd.cli.card_cmd import COLUMNS
from vecd.cli.command import Answer, Command
from vecd.cli.output import cell, facts, table


def _audit(log: Answer | None) -> str:
    if not log:
        return "not kept"
    return log["full"] or f"{log['signed']} of {log['records']} records signed, by key {log['key'][:16]}..."


def show(answer: Answer) -> str:
    """The machine first, then its cards."""
    guard, boot, broker = answer["guard"], answer["boot"], answer["broker"]
    head = facts(
        [
            ("guard", f"pid {guard['pid']}, up {guard['uptime_s']} s, generation {guard['generation']}"),
            ("boot", f"{boot['verdict']} ({boot['detail']})" if boot.get("detail") else boot["verdict"]),
            ("broker", f"pid {broker['pid']}" if broker["connected"] else "not connected"),
            ("doors", [f"{door['name']}:{door['connections']}" for door in answer["doors"]]),
            ("guests", answer["guests"]),
            ("audit", _audit(answer.get("audit"))),
            ("policy", (answer["policy"]["applied"] or "none")[:16]),
        ]
    )
    alarms = [f"! {cell(alarm)}" for alarm in answer["alarms"]]
    return "\n".join([head, "", table(COLUMNS, answer["cards"], "no card has registered"), *alarms])


COMMANDS = (
    Command(
        "status",
        "",
        "the guard, its peers, the boot and every card",
        "status",
        show,
        pages=("cards",),
        more="card.list",
    ),
)
