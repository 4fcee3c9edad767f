"""vecctl log and the files that it finds: which are a log's, which are missing, and which cannot be read."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from tests.unit.audit_log import Log
from tests.unit.log_machine import Machine, vecctl
from vecd.audit import roots
from vecd.base.errors import Caller
from vecd.cli.main import main


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path).work().stop()


def said(answer: dict) -> str:
    return " ".join(str(answer["error"][name]) for name in ("message", "reason", "hint"))


def names(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.iterdir())]


# ---- which files are one log


def test_the_files_of_two_logs_are_refused_whatever_their_names(machine, tmp_path):
    """Each log begins with the same file names: none may stand in for another one."""
    bad = tmp_path / "bad"
    shutil.copytree(machine.card.path, bad)
    records = next(bad.glob("*.records"))
    records.write_bytes(records.read_bytes()[:-1] + b"?")
    for first, second in ((machine.card.path, bad), (bad, machine.card.path), (bad, machine.guard.path)):
        code, answer = vecctl(machine.root, "log", "verify", "--from", *names(first), *names(second))
        assert code == 2 and all(str(one) in said(answer) for one in (first, second)), answer
        assert "one log at a time" in answer["error"]["hint"]
    later = tmp_path / "later"
    later.mkdir()
    for path in machine.guard.path.glob("0*"):
        shutil.copy(path, later / f"{1:020d}{path.suffix}")
    code, answer = vecctl(machine.root, "log", "verify", "--from", *names(machine.card.path), *names(later))
    assert code == 2 and "'guard'" in said(answer) and "'card c0'" in said(answer)


def test_a_log_in_two_folders_is_one(tmp_path):
    """Old segments are moved away, and named together with those that are left."""
    log = Log(tmp_path / "new", roots.GUARD, segment_bytes=600).start()
    for _ in range(6):
        log.guard(what="event", event="X", fields={"reason": "x" * 400})
        log.root()
    log.stop()
    old = tmp_path / "old"
    old.mkdir()
    for path in sorted(log.path.glob("*.r*"))[:2]:
        path.rename(old / path.name)
    code, answer = vecctl(tmp_path, "log", "verify", "--from", *names(log.path), *names(old))
    assert code == 0 and answer["chains"][0]["segments"] > 2


@pytest.mark.parametrize("name", ["x", "1.records", "00000000000000000001.records.bak", "nowhere", "link", "folder"])
def test_no_file_that_was_named_is_passed_over(machine, tmp_path, name):
    path = tmp_path / name
    if name == "link":
        path = tmp_path / f"{1:020d}.records"
        path.symlink_to(next(machine.card.path.glob("*.records")))
    elif name == "folder":
        path.mkdir()
    elif name != "nowhere":
        path.write_text("nothing")
    code, answer = vecctl(machine.root, "log", "verify", "--from", *names(machine.card.path), str(path))
    assert code == 2 and str(path) in said(answer) and answer["error"]["hint"]


# ---- what is no file, or may not be read


@pytest.mark.parametrize("which", ["records", "roots", "keys.json"])
@pytest.mark.parametrize("kind", ["fifo", "link", "folder"])
@pytest.mark.parametrize("words", [["verify"], ["show", "--card", "c0"]], ids=["verify", "show"])
def test_what_is_no_plain_file_is_named_and_not_waited_for(machine, which, kind, words):
    path = next(machine.card.path.glob(f"*{which}"))
    data = path.read_bytes()
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        other = machine.root / "other"
        other.write_bytes(data)
        path.symlink_to(other)
    else:
        path.mkdir()
    answers: list[tuple[int, dict]] = []
    asking = threading.Thread(target=lambda: answers.append(vecctl(machine.root, "log", *words)), daemon=True)
    asking.start()
    asking.join(20)
    assert answers, "it waits"
    code, answer = answers[0]
    if words[0] == "show" and which != "records":
        assert code == 0
    else:
        assert code == 1 and str(path) in said(answer) and answer["error"]["hint"]


ASKS = [["verify"], ["verify", "--card", "c0"], ["show", "--card", "c0"], ["prove-handover", "c0"]]


@pytest.mark.parametrize("words", ASKS, ids=" ".join)
def test_what_may_not_be_read_is_for_its_owner(machine, monkeypatch, words):
    def may_not(path, *_more):
        raise PermissionError(13, "Permission denied", str(path))

    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, may_not)
    code, answer = vecctl(machine.root, "log", *words)
    assert code == Caller.exit_code == 6 and "be root" in answer["error"]["hint"], answer


@pytest.mark.parametrize("words", ASKS, ids=" ".join)
@pytest.mark.parametrize("kind, hint", [("file", "move away"), ("loop", "links")])
def test_what_is_no_directory_is_said_to_be_none(machine, kind, hint, words):
    where = machine.card.path
    shutil.rmtree(where)
    if kind == "file":
        where.write_text("")
    else:
        where.symlink_to(where.name)
    code, answer = vecctl(machine.root, "log", *words)
    assert code == 1 and hint in answer["error"]["hint"] and "root" not in answer["error"]["hint"], answer


# ---- what is not there


@pytest.mark.parametrize(
    "words", [["verify", "--card", "nosuch"], ["show", "--card", "nosuch"], ["prove-handover", "nosuch"]], ids=" ".join
)
def test_a_card_that_is_unknown_is_no_such_thing(machine, words):
    code, answer = vecctl(machine.root, "log", *words)
    assert code == 4 and "nosuch" in said(answer)


@pytest.mark.parametrize("words", [["verify"], ["verify", "--guard"], ["show"], ["prove-handover", "c0"]], ids=" ".join)
def test_where_nothing_is_there_is_no_log(tmp_path, words):
    for root in (tmp_path, tmp_path / "nowhere"):
        code, answer = vecctl(root, "log", *words)
        assert code == 4 and str(root) in said(answer) and "--dir" in said(answer)


def test_a_card_that_never_started_is_a_note(tmp_path):
    """Its directory was made, and its boot was refused; rights on it may have been asked for all the same."""
    machine = Machine(tmp_path)
    machine.guard.guard(what="decision", decision="no", rule="R9", subject="A.1", object="c1", reason="no such card")
    machine.work().stop()
    machine.paths.state_of("card", "c1").mkdir()
    code, answer = vecctl(machine.root, "log", "verify")
    assert code == 0 and [one["chain"] for one in answer["chains"]] == ["guard", "card c0", "card c1"]
    assert "never started" in answer["chains"][2]["notes"][0] and answer["chains"][2]["records"] == 0
    assert vecctl(machine.root, "log", "verify", "--card", "c1")[0] == 4


def spoken_by_root(machine: Machine) -> None:
    machine.second()


def spoken_by_cards(machine: Machine) -> None:
    machine.guard.guard(what="cards", roots={"card c0": ["00", 1, 2, "00"]})


def spoken_by_event(machine: Machine) -> None:
    machine.guard.guard(what="event", event="CARD_LOST", fields={"card": "c0", "reason": "x"})


def spoken_by_door(machine: Machine) -> None:
    asked = {"door": "card/c0", "uid": 1, "pid": 2}
    machine.guard.guard(what="decision", decision="yes", rule="R5", subject="m", object="c0", changes=[], by=asked)


SPOKEN = [spoken_by_root, spoken_by_cards, spoken_by_event, spoken_by_door]


@pytest.mark.parametrize("spoken", SPOKEN, ids=lambda one: one.__name__)
@pytest.mark.parametrize("left", ["nothing", "an empty directory", "its certificate"])
def test_a_log_that_was_removed_is_found_by_what_the_guard_says(tmp_path, spoken, left):
    machine = Machine(tmp_path)
    spoken(machine)
    machine.stop()
    state = machine.paths.state_of("card", "c0")
    shutil.rmtree(state)
    if left != "nothing":
        state.mkdir()
    if left == "its certificate":
        (state / "identity.json").write_text("{}")
    code, answer = vecctl(tmp_path, "log", "verify")
    assert code == 7, answer
    (found,) = answer["error"]["findings"]
    assert found["chain"] == "card c0" and found["what"] == "there is no log" and found["file"] == str(state / "audit")


def test_a_card_with_state_and_no_log_is_found_though_the_guard_says_nothing(tmp_path):
    machine = Machine(tmp_path).stop()
    shutil.rmtree(machine.card.path)
    (machine.paths.state_of("card", "c0") / "identity.json").write_text("{}")
    assert vecctl(tmp_path, "log", "verify")[0] == 7
    assert vecctl(tmp_path, "log", "verify", "--card", "c0")[0] == 7


@pytest.mark.parametrize("which", ["records", "roots"])
def test_a_file_that_is_missing_is_named_with_its_folder(machine, which):
    path = next(machine.card.path.glob(f"*.{which}"))
    path.unlink()
    code, answer = vecctl(machine.root, "log", "verify", "--card", "c0")
    assert code == 7 and answer["error"]["object"] == str(path)


# ---- whose keys


@pytest.mark.parametrize("text, why", [(None, "missing"), ("{", "garbled"), ('{"keys": 5}', "garbled")])
def test_a_file_of_keys_that_is_none_is_not_taken_for_another_key(machine, text, why):
    path = machine.card.path / "keys.json"
    path.unlink() if text is None else path.write_text(text)
    code, answer = vecctl(machine.root, "log", "verify")
    assert code == 7 and f"keys is {why}" in said(answer) and answer["error"]["object"] == str(path)


@pytest.mark.parametrize("text", ["{", "[]", '{"sign_key": "00"}', '{"sign_key": 5}'])
@pytest.mark.parametrize("whose", ["guard.pub.json", "ca.pub.json"])
def test_a_file_of_a_public_key_that_is_none_is_named_by_its_own_name(machine, whose, text):
    path = machine.paths.guard_key if whose.startswith("guard") else machine.ca
    path.write_text(text)
    code, answer = vecctl(machine.root, "log", "verify")
    assert code == 2 and str(path) in answer["error"]["message"] and whose in answer["error"]["hint"]


# ---- what is typed


TYPED = {
    "show -n 0": "from 1 on",
    "show -n -5": "from 1 on",
    "show -n x": "from 1 on",
    "verify --within -1": "from 1 on",
    "verify --within 0": "from 1 on",
    "prove-handover c0 --seq -1": "from 0 on",
    "verify --key 00": "hexadecimal digits",
    "verify --key xyz": "hexadecimal digits",
    "verify --key 0100": "hexadecimal digits",
    "verify --guard --card c0": "not allowed with",
    "verify --card ../c0": "not a name",
    "verify --proof nowhere": "not there",
    "verify --ca nowhere": "not there",
}


@pytest.mark.parametrize("words", TYPED)
def test_what_is_typed_wrongly_is_told_what_is_expected(machine, words):
    code, answer = vecctl(machine.root, "log", *words.split())
    assert code == 2 and TYPED[words] in said(answer), answer


# ---- words


def test_a_log_that_is_cut_off_counts_both_sides_alike(machine):
    path = next(machine.card.path.glob("*.records"))
    path.write_bytes(path.read_bytes()[: 64 * 4])
    _, answer = vecctl(machine.root, "log", "verify", "--card", "c0")
    found = answer["error"]["findings"][0]
    assert (found["expected"], found["found"]) == (f"records up to {machine.card.sequence - 1}", "records up to 3")


@pytest.mark.parametrize(
    "words, message, reason",
    [
        (["--seq", "999"], "from record 999 on", "has 5 hand-overs"),
        (["--seq", "10"], "from record 10 on", "has 5 hand-overs"),
    ],
)
def test_a_hand_over_that_is_not_there_is_told_from_none_at_all(machine, words, message, reason):
    code, answer = vecctl(machine.root, "log", "prove-handover", "c0", *words)
    assert code == 4 and message in answer["error"]["message"] and reason in answer["error"]["reason"], answer


def test_who_was_refused_at_a_door_is_shown(tmp_path, capsys):
    machine = Machine(tmp_path)
    fields = {"door": "admin", "pid": "9", "uid": "1000", "reason": "not for you"}
    machine.guard.guard(what="event", event="PEER_REFUSED", fields=fields)
    machine.stop()
    assert main(["--dir", str(tmp_path), "log", "show"]) == 0
    assert "admin uid 1000 pid 9" in capsys.readouterr().out


def test_two_wipes_are_told_apart(tmp_path, capsys):
    machine = Machine(tmp_path)
    machine.card.turn(1, switched=True)
    machine.card.card(kind=3, flags=1)
    machine.card.turn(2, switched=True)
    machine.card.root()
    assert main(["--dir", str(tmp_path), "log", "prove-handover", "c0"]) == 0
    assert "record 2, record 3" in capsys.readouterr().out
