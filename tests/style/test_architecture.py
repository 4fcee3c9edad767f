"""docs/architecture.md tells the layers and the doors as they are in pyproject.toml and vecd/control/calls.py."""

import re

from tests.style.tree import ROOT, settings
from vecd.control.calls import CALLS

TEXT = (ROOT / "docs" / "architecture.md").read_text()


def table(heading: str) -> list[list[str]]:
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_layers_are_those_that_are_checked() -> None:
    told = [(name, quoted(packages)) for name, packages in table("Layers")]
    assert told == [(row["name"], row["packages"]) for row in settings()["tool"]["vecd"]["layers"]]


def test_every_call_is_told_with_its_door_and_who_answers() -> None:
    told = {
        (door, answers, call) for door, _asks, answers, calls in table("Who may call whom") for call in quoted(calls)
    }
    assert told == {(row.door, row.to, row.name) for row in CALLS.values()}


def test_nobody_answers_itself() -> None:
    assert all(asks != answers for _door, asks, answers, _calls in table("Who may call whom"))


def test_every_rule_has_somebody_who_decides_it() -> None:
    told = {rule for _step, rules, _who, _how in table("Who decides what") for rule in re.findall(r"R\d+", rules)}
    assert told == {f"R{n}" for n in range(1, 13)}
