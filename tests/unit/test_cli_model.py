"""vecctl model: the rules alone, over the command that people type."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vecd.cli import main

TEXT = (Path(__file__).parents[2] / "docs/vecctl.md").read_text()
WORLD = {"world": {"levels": 4, "users": ["A"], "instances": {"a": "A"}, "cards": ["k"]}}


def replay(tmp_path, capsys, *lines, options=()):
    """Exit code, answers, stderr."""
    path = tmp_path / "trace.jsonl"
    path.write_bytes(
        b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    )
    code = main.main(["model", "replay", str(path), *options])
    said = capsys.readouterr()
    return code, [json.loads(line) for line in said.out.splitlines()], said.err


def test_the_sample_of_the_document_is_what_is_printed(tmp_path, capsys):
    section = TEXT[TEXT.index("### `vecctl model replay") :].split("\n### ")[0]
    world, request, _, answer = re.findall(r"^(?:\$ vecctl.*|\{.*\})$", section, re.M)
    code, answers, err = replay(tmp_path, capsys, json.loads(world), json.loads(request))
    assert (code, answers, err) == (0, [json.loads(answer)], "")


def test_every_request_gets_one_line_and_what_is_none_a_question_mark(tmp_path, capsys):
    asked = [b"", b"{", b"[]", b"\xff\xfe", b'{"rule": "R99", "subject": "m", "object": "k"}', b"null", b"1e999"]
    code, answers, _ = replay(tmp_path, capsys, WORLD, *asked, {"rule": "R5", "subject": "m", "object": "k"})
    # An empty line is no line.
    assert code == 0 and [one["decision"] for one in answers] == ["?"] * 6 + ["yes"]
    assert answers[-1]["state"]["b"] == {"m>k": "e"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"rule": "R9", "subject": "m", "object": "k", "attribute": "c"}, "R9 needs to"),
        ({"rule": "R1", "subject": "a", "target": "k"}, "R1 needs object; it has target, which no request has"),
        ({"rule": "R12", "subject": "m", "object": "k"}, "R12 needs next"),
        (
            {"rule": "R1", "op": "get", "subject": "a", "object": "k"},
            "the line is not an object with either a rule or an op",
        ),
    ],
)
def test_a_line_that_lacks_something_is_told_what(tmp_path, capsys, line, reason):
    _, (answer,), _ = replay(tmp_path, capsys, WORLD, line)
    assert (answer["decision"], answer["reason"]) == ("?", reason)


def test_answers_before_a_world_that_is_none_are_printed_and_the_line_is_named(tmp_path, capsys):
    asked = {"rule": "R5", "subject": "m", "object": "k"}
    code, answers, err = replay(tmp_path, capsys, WORLD, asked, {"world": {"levels": 3}}, asked)
    assert code == 2 and len(answers) == 1 and "line 3" in err and "at least 4 levels" in err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"world": {"levels": 1000000000000}}', "more than the 4096"),
        (b'{"world": {"levels": 4}, "rule": "R1"}', "nothing else"),
        (b'{"world": {"levels": 4, "users": ["A", "B"], "instances": {"a": "A", "a": "B"}}}', "'a' stands twice"),
        (b'{"world": {"levels": 4, "users": ["A"], "cards": ["A"]}}', "named already"),
        (b'{"world": {"levels": 4, "users": ["m"]}}', "'m' is the manager"),
        (b'{"world": {"levels": 4, "cards": ["k>x"]}}', "has a '>'"),
        (b'\xef\xbb\xbf{"world": {"levels": 4}}', "byte order mark"),
        (b"{", "this line is not JSON"),
    ],
)
def test_a_world_that_is_none_is_told_why(tmp_path, capsys, line, words):
    code, answers, err = replay(tmp_path, capsys, line)
    assert (code, answers) == (2, []) and "line 1" in err and words in err


def test_the_slot_of_one_who_is_not_connected_goes_to_nobody_in_words_too(tmp_path, capsys):
    world = {"world": {"levels": 5, "users": ["A"], "instances": {"a": "A"}, "cards": ["k"]}}
    asked = [{"rule": "R7", "subject": "m", "object": name} for name in ("A", "a")]
    asked += [
        {"rule": "R9", "subject": "m", "to": s, "object": o, "attribute": "c"} for s, o in (("A", "a"), ("a", "k"))
    ]
    asked += [{"rule": "R1", "subject": s, "object": o} for s, o in (("A", "a"), ("a", "k"))]
    asked += [
        {"rule": "R5", "subject": "m", "object": "k"},
        {"rule": "R6", "subject": "a", "object": "k", "attribute": "c"},
    ]
    asked += [asked[5], {"rule": "R12", "subject": "m", "object": "k", "next": "a"}]
    _, answers, _ = replay(tmp_path, capsys, world, *asked)
    assert {one["decision"] for one in answers} == {"yes"} and "its slot to instance a" in answers[-1]["reason"]
    world["world"]["instances"]["b"] = "A"
    other = {"rule": "R12", "subject": "m", "object": "k", "next": "b"}
    _, answers, _ = replay(tmp_path, capsys, world, *asked, other)
    assert answers[-1]["state"]["cards"]["k"]["current"] is None
    assert "its slot to nobody, as instance b is not connected" in answers[-1]["reason"]


def test_a_trace_without_a_world_and_a_file_that_is_not_there_are_usage_errors(tmp_path, capsys):
    code, answers, err = replay(tmp_path, capsys, {"rule": "R5", "subject": "m", "object": "k"}, options=["--json"])
    assert code == 2 and not answers and "has to be a world" in json.loads(err)["error"]["message"]
    assert main.main(["model", "replay", str(tmp_path / "none")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_a_million_requests_take_less_than_a_minute(tmp_path):
    """
    Over the command as a whole, on a world of two users and two cards: 50,000 requests, the start not counted.
    """
    world = {"world": {"levels": 4, "users": ["A", "B"], "instances": {"a": "A", "b": "B"}, "cards": ["k", "l"]}}
    give = [
        {"rule": rule, "subject": "m", "to": "a", "object": "k", "attribute": "c"}
        for rule in ("R9", "R10")
        for _ in "1"
    ]
    path = tmp_path / "trace.jsonl"

    def took(count):
        made = [{"rule": "R7", "subject": "m", "object": one} for one in "AaBb"]
        path.write_text("\n".join(json.dumps(one) for one in [world, *made, *(give * (count // 2))]))
        began = time.monotonic()
        command = [sys.executable, "-m", "vecd.cli.main", "model", "replay", str(path)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=100)
        assert done.stdout.count(b"\n") == count + 4
        return time.monotonic() - began

    # The quickest of three: what is asked is what it takes, not what else the machine does.
    assert min(took(50_000) - took(2) for _ in range(3)) * 20 < 60
