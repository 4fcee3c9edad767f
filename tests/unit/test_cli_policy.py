"""vecctl policy check: files that cannot be read, and what people read of check and diff."""

import json
import os

import pytest

from tests.unit.policy_cases import GOOD, HEAD
from vecd.base import folder
from vecd.base.errors import ConfigError
from vecd.cli.main import main
from vecd.cli.policy_cmd import COMMANDS

CHANGE = next(command.show for command in COMMANDS if command.verb == "diff")
LINK = "links are not followed"


def checked(capsys, *words):
    """Exit code, what stands on stdout and what on stderr."""
    code = main(["policy", "check", *map(str, words)])
    return code, *capsys.readouterr()


def fifo(path):
    os.mkfifo(path)


def link(path):
    (path.parent / "there").write_text(GOOD)
    path.symlink_to(path.parent / "there")


@pytest.mark.limit(20)
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (fifo, "it is no plain file; name a file, or a folder"),
        (lambda path: path.write_bytes(b"#" * (9 << 20)), "it is too large: up to 8388608 bytes are read"),
        (lambda path: None, "it cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_and_not_waited_for(tmp_path, capsys, make, words):
    path = tmp_path / "x.toml"
    make(path)
    code, out, err = checked(capsys, path)
    assert (code, out) == (2, "") and err.startswith(f"{path}:1: {words}")


def test_everything_in_a_folder_that_is_wrong_is_told_at_once(tmp_path, capsys):
    link(tmp_path / "1.toml")
    fifo(tmp_path / "2.toml")
    (tmp_path / "3.toml").write_text(HEAD + "[[gest]]\n")
    (tmp_path / "4.toml~").touch()
    code, _, err = checked(capsys, tmp_path, "--json")
    error = json.loads(err)["error"]
    assert code == 2 and "cannot be used for 4 reasons" in error["message"]
    told = [(os.path.basename(one["file"]), one["line"], one["message"].partition(":")[0]) for one in error["problems"]]
    assert told == [
        ("1.toml", 1, "it cannot be read"),
        ("2.toml", 1, "it is no plain file"),
        ("4.toml~", 1, "it is not read"),
        ("there", 1, "it is not read"),
        ("3.toml", 2, "the table 'gest' is not known"),
    ]
    assert LINK in error["problems"][0]["hint"]
    # The guard has them in one sentence, and in the order in which it found them.
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigError) as caught:
        folder.read(tmp_path, ".toml")
    assert caught.value.message == f"{tmp_path} cannot be used for 5 reasons"
    assert caught.value.reason.startswith(f"others may write {tmp_path}: ") and "4.toml~ is not" in caught.value.reason


def test_what_the_guard_would_not_believe_is_a_note(tmp_path, capsys):
    tmp_path.chmod(0o755)
    path = tmp_path / "x.toml"
    link(path)
    path.with_name("there").chmod(0o664)
    code, out, _ = checked(capsys, path, "--json")
    notes = json.loads(out)["notes"]
    assert code == 0 and len(notes) == 2 and all(str(path) in note for note in notes)
    assert "is a link" in notes[0] and "others may write" in notes[1] and "chmod go-w" in notes[1]
    assert "note: " in checked(capsys, path)[1]
    path.unlink()
    path.write_text(GOOD)
    path.chmod(0o644)
    assert json.loads(checked(capsys, path, "--json")[1])["notes"] == []


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_without_a_policy_is_named_as_it_was(tmp_path, capsys, there):
    if there:
        (tmp_path / "11-dir.toml").mkdir()
        words, path = [tmp_path / "11-dir.toml"], tmp_path / "11-dir.toml"
    else:
        words, path = ["--dir", tmp_path], tmp_path / "etc/vecd/policy.d"
    code, _, err = checked(capsys, *words)
    assert code == 2 and err.startswith(f"vecctl: there is no policy file in {path}\n") and ":1" not in err
    assert ("there is no such folder" in err) is not there


BASE = {"folder": "/p", "counts": {}, "requests": [], "problems": [], "left_out": 0, "waiting": 0}


@pytest.mark.parametrize(
    ("answer", "facts"),
    [
        (
            {"version": "ab", "applied": "ab", "possible": True},
            {"applied": "the same", "possible": "yes", "requests": "none: what holds is what the files say"},
        ),
        (
            {
                "version": "",
                "applied": None,
                "possible": False,
                "problems": [{"file": "/p", "line": 0, "message": "there is no policy file", "hint": "write one"}],
            },
            {"files": "none in /p", "applied": "nothing", "possible": "no", "requests": "not worked out"},
        ),
        (
            {"version": "ab", "applied": None, "possible": False, "counts": {"R9": 2}},
            {"possible": "no", "requests": "2 R9", "waiting": "0 pairs of guests or cards that are not there yet"},
        ),
    ],
)
def test_a_diff_of_files_that_cannot_be_says_so(answer, facts):
    lines = CHANGE(BASE | answer).splitlines()
    told = {key: rest.strip() for key, _, rest in (line.partition(" ") for line in lines)}
    assert facts.items() <= told.items()
    if answer.get("problems"):
        assert lines[-1] == "! /p: there is no policy file; write one" and told["waiting"] == "not worked out"
