"""vecctl: what is typed, what is sent, what is printed, and the exit codes of style."""

import contextlib
import errno
import json
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vecd.base import door, errors, ipc
from vecd.base.paths import Paths
from vecd.cli import guest_cmd, main
from vecd.cli.output import cell, table
from vecd.control.calls import CALLS
from vecd.protocol import suites
from vecd.protocol.identity import Invitation

ID = "00112233445566778899aabbccddeeff"
ROOT = Path(__file__).parents[2]


class Daemon:
    """One door that answers every call with the same answer or error, and keeps what it was asked."""

    def __init__(self, path: Path, answer) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.asked: list[tuple[str, dict]] = []
        self._answer = answer
        self._listener = ipc.listen(path)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    while data := connection.recv(65536):
                        request = json.loads(data)
                        self.asked.append((request["call"], request["args"]))
                        body = self._answer
                        key = "err" if isinstance(body, errors.VecError) else "ok"
                        body = body.to_dict() if key == "err" else body
                        connection.send(json.dumps({"id": request["id"], key: body}).encode())

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


@pytest.fixture
def serve(tmp_path, monkeypatch):
    monkeypatch.setenv("VECD_DIR", str(tmp_path))
    daemons = []

    def start(answer, door="admin"):
        paths = Paths(tmp_path)
        daemons.append(Daemon({"admin": paths.admin, "ca-admin": paths.ca_admin}[door], answer))
        return daemons[-1]

    yield start
    for daemon in daemons:
        daemon.close()


def vecctl(capsys, *words):
    """Exit code, stdout, stderr."""
    code = main.main(list(words))
    said = capsys.readouterr()
    return code, said.out, said.err


# ---- exit codes


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.Failed, 1),
        (errors.Malformed, 2),
        (errors.Gone, 3),
        (errors.Unknown, 4),
        (errors.Denied, 5),
        (errors.Caller, 6),
        (errors.Integrity, 7),
        (errors.Busy, 8),
        (errors.Hardware, 9),
        (errors.TimedOut, 10),
        (errors.Internal, 1),
    ],
)
def test_the_exit_code_is_the_errors(serve, capsys, error, code):
    serve(error("it went so", rule="R4", reason="because", hint="do that"))
    assert vecctl(capsys, "status") == (code, "", "vecctl: it went so (R4)\n  reason: because\n  hint: do that\n")
    got, out, err = vecctl(capsys, "status", "--json")
    said = json.loads(err)
    assert (got, out, said["schema"]) == (code, "", 1)
    assert said["error"]["exit_code"] == code and said["error"]["error"] == error.__name__
    assert (said["error"]["rule"], said["error"]["reason"], said["error"]["hint"]) == ("R4", "because", "do that")
    assert said["error"]["status"] == error.status


def test_done_is_0(serve, capsys):
    serve({"cards": []})
    assert vecctl(capsys, "card", "list") == (0, "no card has registered\n", "")


def test_a_daemon_that_is_not_there_is_3_and_says_what_to_start(tmp_path, capsys):
    code, out, err = vecctl(capsys, "--dir", str(tmp_path), "status")
    assert (code, out) == (3, "") and "vecd dev --dir D" in err and str(tmp_path) in err
    words = ("token", "new", "--role", "user", "--name", "A")
    code, out, err = vecctl(capsys, *words, "--dir", str(tmp_path))
    assert (code, out) == (3, "") and "ca-admin.sock" in err


def test_an_empty_VECD_DIR_is_none(monkeypatch):
    monkeypatch.setenv("VECD_DIR", "")
    assert main.parser().parse_args(["status"]).dir == "/"


def test_a_door_for_others_is_6_and_says_for_whom(monkeypatch, capsys):
    def closed(path, timeout):
        raise door.unreachable(path, PermissionError(errno.EACCES, "no"))

    # Root, who may run the tests, finds no door closed.
    monkeypatch.setattr(main, "BlockingPeer", closed)
    code, out, err = vecctl(capsys, "token", "new", "--role", "user", "--name", "A")
    assert (code, out) == (6, "") and "authority.admin_group" in err


def test_an_answer_that_cannot_be_written_is_a_failure(serve, capsys):
    serve({"cards": []})
    words = [sys.executable, "-m", "vecd.cli.main", "card", "list"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30)
    assert done.returncode == 1 and "cannot be written" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["card"],
        ["card", "paint"],
        ["card", "show"],
        ["guest", "add", "A"],
        ["guest", "add", "A", "--id", "xyz", "--card", "c0"],
        ["guest", "add", "A", "--id", "00", "--card", "c0"],
        ["guest", "add", "A", "--id", ID, "--enrolment", "f", "--card", "c0"],
        ["guest", "add", "A", "--enrolment", "/nonexistent", "--card", "c0"],
        ["guest", "add", "A", "--id", ID, "--card", "c0", "--uid", "root"],
        ["access", "give", "A", "A.1", "x"],
        ["access", "give", "A", "A.1"],
        ["token", "new", "--role", "king", "--name", "A"],
        ["status", "--colour"],
        ["status", "--js"],
    ],
)
def test_a_usage_error_is_2_and_nothing_is_sent(serve, capsys, words):
    daemon = serve({})
    code, out, err = vecctl(capsys, *words)
    assert (code, out) == (2, "") and err.startswith("vecctl: ")
    code, out, err = vecctl(capsys, "--json", *words)
    assert (code, out) == (2, "") and json.loads(err)["error"]["exit_code"] == 2
    assert daemon.asked == []


# ---- what is sent


def rights(verb):
    return ["access", verb, "A.1", "c0"]


@pytest.mark.parametrize(
    ("words", "call", "arguments"),
    [
        (["status"], "status", {}),
        (["card", "list"], "card.list", {}),
        (["card", "show", "c0"], "card.show", {"name": "c0"}),
        (["guest", "list"], "guest.list", {}),
        (["guest", "show", "A"], "guest.show", {"name": "A"}),
        (
            ["guest", "add", "A", "--id", ID, "--card", "c0", "--card", "c1", "--uid", "7", "--cid", "9"],
            "guest.add",
            {"name": "A", "id": ID, "cards": ["c0", "c1"], "uid": 7, "cid": 9},
        ),
        (["guest", "remove", "A", "--yes"], "guest.remove", {"name": "A"}),
        (["access", "show"], "access.show", {}),
        ([*rights("give"), "w"], "access.give", {"subject": "A.1", "object": "c0", "attribute": "w"}),
        ([*rights("rescind"), "a"], "access.rescind", {"subject": "A.1", "object": "c0", "attribute": "a"}),
        ([*rights("rescind"), "c", "--yes"], "access.rescind", {"subject": "A.1", "object": "c0", "attribute": "c"}),
        ([*rights("explain"), "e*"], "access.explain", {"subject": "A.1", "object": "c0", "attribute": "e"}),
        (
            [*rights("explain"), "a", "--operation", "encrypt"],
            "access.explain",
            {"subject": "A.1", "object": "c0", "attribute": "a", "operation": "encrypt"},
        ),
    ],
)
def test_one_call_is_sent_and_its_answer_printed_as_it_came(serve, capsys, words, call, arguments):
    daemon = serve({"x": 1})
    for order in (["--json", *words], [*words, "--json"]):
        code, out, err = vecctl(capsys, *order)
        assert (code, err) == (0, "") and json.loads(out) == {"schema": 1, "x": 1}
        assert daemon.asked.pop() == (call, arguments)
    assert daemon.asked == []


@pytest.mark.parametrize(
    "words",
    [["guest", "remove", "A"], ["access", "rescind", "A.1", "c0", "c"]],
)
def test_what_destroys_needs_a_yes(serve, capsys, words):
    daemon = serve({})
    code, _, err = vecctl(capsys, *words)
    assert code == 2 and "destroyed" in err and "--yes" in err
    code, out, _ = vecctl(capsys, *words, "--dry-run", "--json")
    assert code == 0 and json.loads(out)["dry_run"] is True
    assert daemon.asked == []


def test_every_change_has_a_dry_run_that_sends_nothing(serve, capsys):
    daemon = serve({})
    words = {
        "card readmit": ["c0"],
        "guest add": ["A", "--id", ID, "--card", "c0"],
        "guest remove": ["A"],
        "access give": ["A", "A.1", "r"],
        "access rescind": ["A", "A.1", "r"],
        "token new": ["--role", "user", "--name", "A"],
    }
    changes = {command.name for command in main.COMMANDS if command.changes and not command.rehearses}
    assert changes == set(words)
    for name, rest in words.items():
        code, out, err = vecctl(capsys, *name.split(), *rest, "--dry-run")
        assert (code, err) == (0, "") and out.startswith(f"would send {name.replace(' ', '.')} to ")
    assert daemon.asked == []


def test_every_call_exists_and_needs_what_its_row_says():
    for command in main.COMMANDS:
        if command.local or command.lines:
            assert not command.call and not command.changes, command.name
            continue
        row = CALLS[command.call]
        assert row.door == command.door and (row.needs == "change") == command.changes, command.name


# ---- tokens and enrolment files

TOKEN = {"id": ID, "token": "ab" * 32, "ca_sign_key": "01", "ca_seal_key": "02", "expires": 1_900_000_000}


def test_token_new_writes_an_enrolment_that_guest_add_takes(serve, capsys, tmp_path):
    authority = serve(TOKEN, "ca-admin")
    guard = serve({"instance": ID, "socket": "/s"})
    path = tmp_path / "A.enrol"
    code, out, err = vecctl(capsys, "token", "new", "--role", "user", "--name", "A", "--card", "c0", "--out", str(path))
    assert (code, err) == (0, "") and TOKEN["token"] not in out and str(path) in out
    assert authority.asked == [("token.new", {"role": "user", "name": "A", "card": "c0"})]
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text()) == {"schema": 1, "role": "user", "name": "A", **TOKEN}
    assert vecctl(capsys, "guest", "add", "A", "--enrolment", str(path), "--card", "c0")[0] == 0
    assert guard.asked == [("guest.add", {"name": "A", "id": ID, "cards": ["c0"]})]


def test_the_enrolment_file_is_what_the_protocol_reads(serve, capsys, tmp_path):
    keys = suites.generate()
    serve(TOKEN | {"ca_sign_key": keys.sign_key.hex(), "ca_seal_key": keys.seal_key.hex()}, "ca-admin")
    path = tmp_path / "A.enrol"
    assert vecctl(capsys, "token", "new", "--role", "user", "--name", "A", "--out", str(path))[0] == 0
    invitation = Invitation.from_json(path.read_text())
    assert (invitation.role, invitation.name, invitation.id.hex()) == ("user", "A", ID)


def test_no_token_is_asked_for_that_could_not_be_written(serve, capsys, tmp_path):
    authority = serve(TOKEN, "ca-admin")
    path = tmp_path / "A.enrol"
    path.write_text("old")
    words = ["token", "new", "--role", "user", "--name", "A", "--out"]
    assert vecctl(capsys, *words, str(path))[0] == 1
    os.symlink("/nonexistent", tmp_path / "link")
    assert vecctl(capsys, *words, str(tmp_path / "link"))[0] == 1
    assert path.read_text() == "old" and authority.asked == []
    assert vecctl(capsys, *words, str(tmp_path / "no/such/file"))[0] == 1


def test_without_a_file_the_token_is_printed(serve, capsys):
    serve(TOKEN, "ca-admin")
    code, out, _ = vecctl(capsys, "token", "new", "--role", "card", "--name", "c0", "--json")
    assert code == 0 and json.loads(out) == {"schema": 1, "role": "card", "name": "c0", **TOKEN}


ENROLMENT = {"role": "user", "name": "A", "id": ID}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"id": 7}', "not json"]
    + [json.dumps({**ENROLMENT, **change}) for change in ({"id": 7}, {"id": "61"}, {"card_id": "c0"})]
    + [json.dumps({key: value for key, value in ENROLMENT.items() if key != gone}) for gone in ENROLMENT],
)
def test_a_file_that_is_no_enrolment_is_a_usage_error(tmp_path, text):
    path = tmp_path / "f"
    path.write_text(text)
    with pytest.raises(errors.Malformed, match="not an enrolment file|an id has"):
        guest_cmd.enrolled(str(path), "A")


@pytest.mark.parametrize("change", [{"name": "B"}, {"role": "card"}, {"role": "broker", "name": "B"}])
def test_the_enrolment_of_somebody_else_is_refused(tmp_path, change):
    path = tmp_path / "f"
    path.write_text(json.dumps(ENROLMENT | change))
    with pytest.raises(errors.Malformed, match="not of user A") as caught:
        guest_cmd.enrolled(str(path), "A")
    assert "--id" in caught.value.hint


def test_the_card_that_a_token_is_pinned_to_goes_to_the_guard(tmp_path):
    path = tmp_path / "f"
    path.write_text(json.dumps(ENROLMENT | {"card_id": "ab" * 16}))
    assert guest_cmd.enrolled(str(path), "A") == {"id": ID, "pinned": "ab" * 16}


# ---- what people see


def test_tables_are_aligned_and_never_speak_to_the_terminal():
    columns = (("A", "a"), ("LONGER", "b"))
    assert table(columns, [{"a": "x", "b": 1}, {"a": "longest", "b": None}]) == (
        "A        LONGER\nx        1\nlongest  -"
    )
    assert table(columns, []) == "none"
    assert cell("\x1b[31mred\n") == "?[31mred?" and cell([True, None]) == "yes,-"


def test_a_guest_is_shown_with_all_of_its_instances(serve, capsys):
    rows = [
        {"name": "A.1", "id": "31", "index": 0, "cards": ["c0"], "connected": ["c0"]},
        {"name": "A.2", "id": "32", "index": 1, "cards": ["c0", "c1"], "connected": []},
    ]
    guest = {"name": "A", "id": "61", "uid": 0, "cid": None, "socket": "/s", "instances": rows}
    guest |= {"instance": "A.1", "cards": ["c0"], "connected": ["c0"]}
    serve({"guests": [guest], "guest": guest})
    _, listed, _ = vecctl(capsys, "guest", "list")
    assert listed.split()[7:12] == ["A", "A.1,A.2", "c0,c1", "c0", "0"]
    _, shown, _ = vecctl(capsys, "guest", "show", "A")
    assert [line.split() for line in shown.splitlines()[-2:]] == [
        ["A.1", "31", "0", "c0", "c0"],
        ["A.2", "32", "1", "c0,c1", "-"],
    ]


def test_an_interruption_is_130_and_says_that_the_answer_is_open(monkeypatch, capsys):
    def interrupted(_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "_run", interrupted)
    code, out, err = vecctl(capsys, "status")
    assert (code, out) == (130, "") and "may have been done" in err


def test_one_thing_in_full_shows_what_is_inside(serve, capsys):
    serve({"card": {"name": "c0", "residue": {"context": None, "keys": ["A.1"]}, "counters": None, "rows": [{"x": 1}]}})
    code, out, _ = vecctl(capsys, "card", "show", "c0")
    assert code == 0
    assert out == "name             c0\nresidue.context  -\nresidue.keys     A.1\ncounters         -\n"


def test_explain_reads_as_a_page(serve, capsys):
    answer = {
        "allowed": False,
        "rule": "R2",
        "property": "discretionary",
        "reason": "M lacks a",
        "next": "vecctl access give A A.1 a",
        "reads": [{"text": "M[A][A.1] = rc"}],
        "cause": {"text": "M[A][A.1] = rc", "needs": "rac"},
        "plan": [{"rule": "R9", "step": "vecctl access give A A.1 a"}],
        "notes": ["card c0 has no process at the moment"],
    }
    serve(answer)
    code, out, _ = vecctl(capsys, "access", "explain", "A", "A.1", "a")
    assert code == 0
    assert out.splitlines() == [
        "answer    no",
        "rule      R2",
        "property  discretionary",
        "reason    M lacks a",
        "cause     M[A][A.1] = rc, and would have to be rac",
        "next      vecctl access give A A.1 a",
        "read",
        "  M[A][A.1] = rc",
        "steps to a yes",
        "  R9: vecctl access give A A.1 a",
        "notes",
        "  card c0 has no process at the moment",
    ]


def test_help_names_every_noun_and_verb(capsys):
    assert main.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(noun in text for noun in main.NOUNS)
    for command in main.COMMANDS:
        assert main.main([*command.name.split(), "--help"]) == 0
        assert command.help.split(":")[0][:30] in " ".join(capsys.readouterr().out.split())


def test_the_document_and_the_tree_name_the_same_verbs_and_codes():
    text = (ROOT / "docs/vecctl.md").read_text()
    assert {command.name for command in main.COMMANDS} == set(
        re.findall(r"^### `vecctl ([a-z]+(?: [a-z-]+)?)", text, re.M)
    )
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.M)}
    assert codes == {0, main.INTERRUPTED} | {kind.exit_code for kind in errors.ERRORS}
