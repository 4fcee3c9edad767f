"""vecctl log verify --proof: what it says comes from the records, and what is wrong with a file is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.log_machine import Machine, vecctl
from vecd.cli.main import main


@pytest.fixture(scope="module")
def machine(tmp_path_factory) -> Machine:
    return Machine(tmp_path_factory.mktemp("machine")).work().stop()


@pytest.fixture(scope="module")
def good(machine) -> dict:
    code, proof = vecctl(machine.root, "log", "prove-handover", "c0", "--seq", "0")
    assert code == 0
    return proof


@pytest.fixture
def check(machine, tmp_path):
    def check(proof, *words: str, root=machine.root) -> tuple[int, dict]:
        path = tmp_path / "proof.json"
        path.write_text(proof if isinstance(proof, str) else json.dumps(proof))
        return vecctl(root, "log", "verify", "--proof", str(path), *words)

    return check


def end(proof: dict, which: str, **changes: object) -> dict:
    return {**proof, which: {**proof[which], **changes}}


# What is no proof by its form, and the member that is named.
FORMLESS = {
    "a list": (lambda p: [p], "no proof"),
    "schema 9": (lambda p: {**p, "schema": 9}, "'schema'"),
    "schema true": (lambda p: {**p, "schema": True}, "'schema'"),
    "no schema": (lambda p: {name: x for name, x in p.items() if name != "schema"}, "'schema'"),
    "no records": (lambda p: {name: x for name, x in p.items() if name != "records"}, "'records'"),
    "records none": (lambda p: {**p, "records": []}, "'records'"),
    "records null": (lambda p: {**p, "records": None}, "'records'"),
    "a short record": (lambda p: {**p, "records": [p["records"][0][:-2]]}, "'records'"),
    "a record with blanks": (lambda p: {**p, "records": [" " + p["records"][0][1:]]}, "'records'"),
    "value": (lambda p: {**p, "value": "0"}, "'value'"),
    "card": (lambda p: {**p, "card": 7}, "'card'"),
    "root": (lambda p: {**p, "root": "{}"}, "'root'"),
    "a root with a number for a note": (lambda p: {**p, "root": p["root"].replace('"note":""', '"note":5')}, "'root'"),
    "certificate": (lambda p: {**p, "certificate": None}, "'certificate'"),
    "from": (lambda p: {**p, "from": 3}, "'from'"),
    "from nan": (lambda p: end(p, "from", record=float("nan")), "'from'"),
    "to text": (lambda p: end(p, "to", instance="2"), "'to'"),
    "to beyond": (lambda p: end(p, "to", record=-1), "'to'"),
    "a name that is none": (lambda p: end(p, "to", name="B.1 (proved)"), "'to'"),
    "shown 5": (lambda p: {**p, "shown": 5}, "'shown'"),
    "shown numbers": (lambda p: {**p, "shown": [1]}, "'shown'"),
    "wipes null": (lambda p: {**p, "wipes": None}, "'wipes'"),
}


@pytest.mark.parametrize("what", FORMLESS)
def test_what_is_no_proof_by_its_form_is_named_with_the_member_and_the_next_step(check, good, what):
    change, named = FORMLESS[what]
    code, answer = check(change(good))
    error = answer["error"]
    assert code == 2 and named in error["message"] and "log prove-handover" in error["hint"], error
    assert "Error" not in error["reason"] and "convert" not in error["reason"]


@pytest.mark.parametrize("text", ["", "nothing", "[" * 100_000, '{"schema": 1' + "0" * 5000 + "}"])
def test_what_is_not_json_is_no_proof(check, text):
    code, answer = check(text)
    assert code == 2 and "prove-handover" in answer["error"]["hint"]


# What has the form of a proof and is false.
FALSE = {
    "other wipes": lambda p: {**p, "wipes": [p["wipes"][0] + 1]},
    "no wipes": lambda p: {**p, "wipes": []},
    "other words": lambda p: {**p, "shown": [{**p["shown"][0], "kind": "clean"}, *p["shown"][1:]]},
    "fewer words": lambda p: {**p, "shown": p["shown"][1:]},
    "another card": lambda p: {**p, "card": "c1"},
    "another instance": lambda p: end(p, "from", instance=7),
    "a record less": lambda p: {**p, "records": p["records"][:-1]},
    "no certificate": lambda p: {**p, "certificate": ""},
}


@pytest.mark.parametrize("what", FALSE)
def test_what_a_false_proof_says_is_not_believed(check, good, what):
    code, answer = check(FALSE[what](good))
    assert code == 7 and answer["error"]["reason"] and answer["error"]["hint"], answer


def test_a_member_that_came_later_is_no_lie(check, good):
    older = {**good, "shown": [{k: x for k, x in row.items() if k != "flags"} for row in good["shown"]], "more": 1}
    code, answer = check(older)
    assert code == 0 and answer["shown"] == good["shown"] and "more" not in answer


def test_the_verdict_is_first_and_says_what_was_not_checked(check, machine, good, tmp_path, capsys):
    code, answer = check(good)
    assert code == 0 and answer["certified"] is True and answer["verdict"].startswith("proved: card c0 was wiped")
    assert answer["not_proved"] == ["from.name", "to.name"] and answer["wipes"] == [3] and not answer["notes"]
    # Somebody else's machine, which has no key of this authority.
    code, answer = check(good, root=tmp_path)
    assert code == 0 and answer["certified"] is False and answer["notes"]
    assert vecctl(tmp_path, "log", "verify", "--proof", str(tmp_path / "proof.json"), "--ca", str(machine.ca))[1][
        "certified"
    ]
    assert main(["--dir", str(tmp_path), "log", "verify", "--proof", str(tmp_path / "proof.json")]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == answer["verdict"] and first.startswith("NOT PROVED whose card this is") and "--ca FILE" in first
    assert "from    instance 1 (A.1: not proved), last in record 2" in rest


@pytest.mark.parametrize("name", ["../../x", "A 1", "B.1 (proved)"])
def test_what_is_no_name_does_not_come_into_a_proof(tmp_path, name):
    machine = Machine(tmp_path)
    machine.guard.guard(what="decision", decision="yes", rule="R1", subject=name, object="c0", index=1, changes=[])
    machine.work().guard.guard(what="decision", decision="yes", rule="R1", subject=name, object="c0", index=1)
    machine.stop()
    code, proof = vecctl(tmp_path, "log", "prove-handover", "c0")
    assert code == 0 and {proof["from"]["name"], proof["to"]["name"]} == {None, "B.1"}


@pytest.mark.parametrize("words", [["--within", "9"], ["--key", "01" + "00" * 32]])
def test_an_option_that_a_proof_does_not_take_is_not_passed_over(check, good, words):
    assert check(good, *words)[0] == 2


def test_the_sample_in_the_document_has_the_members_of_the_answer(check, good):
    text = (Path(__file__).parents[2] / "docs/vecctl.md").read_text()
    sample = json.loads(text.partition("With `--proof` the answer")[2].partition("```json\n")[2].partition("```")[0])
    assert list(sample) == list(check(good)[1])
