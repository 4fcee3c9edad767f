"""vecctl log on logs that lie there: what it answers, what it finds, and with which exit code."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from tests.unit.audit_log import NS, Log
from tests.unit.log_machine import Machine, vecctl
from vecd.audit import roots
from vecd.cli.main import main
from vecd.protocol.suites import generate, sign


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path).work().stop()


def findings(error: dict) -> list[str]:
    return [one["what"] for one in error["error"]["findings"]]


def test_every_log_is_verified_with_its_key(machine):
    code, answer = vecctl(machine.root, "log", "verify")
    assert code == 0 and answer["good"]
    guard, card = answer["chains"]
    assert (guard["decisions"], guard["refused"], card["turns"], card["hand_overs"]) == (5, 3, 9, 5)
    assert not guard["notes"] and not card["notes"]


def test_without_the_keys_a_note_says_so(machine):
    machine.ca.unlink()
    machine.paths.guard_key.unlink()
    code, answer = vecctl(machine.root, "log", "verify")
    assert code == 0 and all("not checked" in one["notes"][0] for one in answer["chains"])
    code, answer = vecctl(machine.root, "log", "verify", "--guard", "--key", machine.guard.keys.sign_key.hex())
    assert code == 0 and [one[:8] for one in answer["chains"][0]["notes"]] == ["not held"]


@pytest.mark.parametrize("role, key", [("user", None), ("card", "another")])
def test_a_key_that_nobody_certified_for_a_card_is_found(tmp_path, role, key):
    machine = Machine(tmp_path)
    (machine.card.path / "keys.json").unlink()
    machine.certify(generate(1).sign_key if key else machine.card.keys.sign_key, role)
    machine.work().stop()
    code, error = vecctl(tmp_path, "log", "verify")
    assert code == 7 and findings(error) == ["a key signed here that is not this card's"]


def test_a_guard_s_log_under_another_key_is_found(machine):
    machine.paths.guard_key.write_text(json.dumps({"sign_key": generate(1).sign_key.hex()}))
    code, error = vecctl(machine.root, "log", "verify")
    assert code == 7 and findings(error) == ["the log is not signed with the guard's key"]


def cut_back(log: Log, lines: int) -> None:
    """What is left is a whole log that ends at an earlier root."""
    roots_path, records = next(log.path.glob("*.roots")), next(log.path.glob("*.records"))
    kept = roots_path.read_bytes().splitlines(keepends=True)[:lines]
    roots_path.write_bytes(b"".join(kept))
    data, end = records.read_bytes(), roots.parse(kept[-1]).sequence
    split = (
        data.splitlines(keepends=True) if log.chain == roots.GUARD else [data[n : n + 64] for n in range(0, 9999, 64)]
    )
    records.write_bytes(b"".join(split[:end]))


# The last root of the guard that a card heard of is the second one here: what came later only the guard has signed.
@pytest.mark.parametrize("which, lines", [("card", 1), ("card", 2), ("card", 3), ("guard", 1), ("guard", 2)])
def test_each_root_to_which_one_log_is_cut_back_is_found_by_the_other(machine, which, lines):
    cut_back(getattr(machine, which), lines)
    code, error = vecctl(machine.root, "log", "verify")
    assert code == 7 and any("cut back" in one for one in findings(error)), error
    chain = "guard" if which == "guard" else "card c0"
    alone = ["--guard"] if which == "guard" else ["--card", "c0"]
    assert {one["chain"] for one in error["error"]["findings"]} == {chain}
    code, answer = vecctl(machine.root, "log", "verify", *alone)
    assert code == 0 and "not held against the other logs" in answer["chains"][0]["notes"][-1]


def test_both_cut_back_to_the_same_second_are_found_by_within_alone(machine):
    cut_back(machine.card, 3)
    cut_back(machine.guard, 3)
    assert vecctl(machine.root, "log", "verify")[0] == 0
    code, error = vecctl(machine.root, "log", "verify", "--within", "3600")
    assert code == 7 and "may have been cut back" in findings(error)[0]


def test_a_log_that_is_signed_now_is_within(tmp_path):
    machine = Machine(tmp_path)
    machine.guard.now = machine.card.now = time.time_ns()
    machine.work()
    assert vecctl(tmp_path, "log", "verify", "--within", "60")[0] == 0


def test_another_root_of_the_same_number_is_found(machine):
    """The card signs its roots anew, with its own key: the guard has the other ones on record."""
    path = next(machine.card.path.glob("*.roots"))
    lines = [roots.parse(line) for line in path.read_bytes().splitlines()]
    forged = [lines[0]]
    for before, one in zip(lines, lines[1:], strict=False):
        changed = replace(one, time=one.time + 1, previous=forged[-1].hash)
        forged.append(changed.signed(lambda label, body: sign(machine.card.keys, label, body)))
        assert before.number < one.number
    path.write_text("".join(one.line() for one in forged))
    assert machine.card.report().good
    code, error = vecctl(machine.root, "log", "verify")
    assert code == 7 and "is another one than record" in findings(error)[0]


def test_show_has_the_last_ones_and_those_that_are_asked_for(machine):
    code, answer = vecctl(machine.root, "log", "show", "-n", "3")
    assert code == 0 and [one["seq"] for one in answer["records"]] == [machine.guard.sequence - n for n in (3, 2, 1)]
    _, answer = vecctl(machine.root, "log", "show", "--subject", "B")
    assert [one["subject"] for one in answer["records"]] == ["B.1"]
    _, answer = vecctl(machine.root, "log", "show", "--subject", "A.1", "-n", "2")
    assert [one["reason"][-1] for one in answer["records"]] == ["1", "2"]
    _, answer = vecctl(machine.root, "log", "show", "--card", "c0", "--subject", "B.1")
    assert {one["name"] for one in answer["records"]} == {"B.1"} and len(answer["records"]) == 3


def test_nonsense_in_a_log_is_shown_as_it_stands_there(tmp_path, capsys):
    """Nothing is checked by show, so it takes whatever stands there."""
    machine = Machine(tmp_path)
    machine.guard.guard(what="decision", by=7, fields=[1], reason={"a": 1}, subject=None)
    machine.guard.now = 1 << 80
    machine.guard.guard(what="event")
    machine.guard.now = -1
    machine.guard.guard()
    machine.guard.keeper.write()
    machine.card.card(kind=77, flags=255, word=2**64 - 1)
    machine.card.keeper.write()
    for which in ([], ["--card", "c0"], ["--subject", "A"]):
        assert main(["--dir", str(tmp_path), "log", "show", *which]) == 0
    assert "kind 77" in capsys.readouterr().out


def test_people_get_tables(machine, capsys):
    assert main(["--dir", str(machine.root), "log", "verify"]) == 0
    assert main(["--dir", str(machine.root), "log", "show"]) == 0
    assert main(["--dir", str(machine.root), "log", "show", "--card", "c0"]) == 0
    assert main(["--dir", str(machine.root), "log", "prove-handover", "c0"]) == 0
    said = capsys.readouterr().out
    for word in (
        "card c0",
        "HAND-OVERS",
        "no R2 a",
        "broker uid 1 pid 2",
        "switched,worked",
        "instance 1 (A.1: not proved), last in record",
    ):
        assert word in said


def test_the_last_hand_over_is_proved_and_any_other_that_is_named(machine, tmp_path):
    code, answer = vecctl(machine.root, "log", "prove-handover", "c0")
    assert code == 0 and (answer["from"]["name"], answer["to"]["name"]) == ("A.1", "B.1")
    assert answer["to"]["record"] == machine.card.sequence - 2
    code, first = vecctl(machine.root, "log", "prove-handover", "c0", "--seq", "0")
    assert code == 0 and first["from"]["record"] == 2 and first["to"]["record"] == 3
    out = tmp_path / "proof.json"
    code, answer = vecctl(machine.root, "log", "prove-handover", "c0", "--out", str(out))
    assert code == 0 and answer["file"] == str(out)
    assert vecctl(machine.root, "log", "prove-handover", "c0", "--out", str(out))[0] == 1
    code, answer = vecctl(machine.root, "log", "verify", "--proof", str(out))
    assert code == 0 and answer["good"] and not answer["notes"]


def test_what_is_not_signed_yet_cannot_be_proved(tmp_path):
    machine = Machine(tmp_path)
    machine.card.turn(1, switched=True)
    machine.card.turn(2, switched=True)
    machine.card.keeper.write()
    code, error = vecctl(tmp_path, "log", "prove-handover", "c0")
    assert code == 4 and "not handed over" in error["error"]["message"]
    assert machine.card.now // NS
