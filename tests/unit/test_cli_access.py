"""What people read of access explain."""

import pytest

from vecd.cli.access_cmd import COMMANDS
from vecd.cli.main import parser

SHOW = next(command.show for command in COMMANDS if command.verb == "explain")
ANSWER = {
    "decision": "no",
    "allowed": True,
    "in_turn": True,
    "rule": "R2",
    "property": "slot",
    "reason": "instance A.1 may not append to card c0: the slot is B.1's",
    "next": "wait",
    "cause": None,
    "reads": [],
    "plan": [{"rule": "R12", "step": "wait"}],
    "notes": [],
}


@pytest.mark.parametrize(
    ("change", "answer", "why"),
    [
        ({}, "yes, at its next turn", "until then"),
        ({"decision": "yes", "in_turn": False}, "yes", "reason"),
        ({"allowed": False, "in_turn": False}, "no", "reason"),
    ],
)
def test_a_yes_and_the_reason_below_it_do_not_contradict_each_other(change, answer, why):
    facts = [line.split("  ", 1) for line in SHOW(ANSWER | change).splitlines() if not line.startswith(" ")]
    told = {row[0]: row[1].strip() for row in facts if len(row) == 2}
    assert told["answer"] == answer and told[why] == ANSWER["reason"]
    assert {"reason", "until then"} & told.keys() == {why}


def test_the_help_says_what_may_be_asked(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["access", "explain", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "manager's e" in said and "a rule (R6)" in said
