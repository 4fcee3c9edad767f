"""Traces: the rules and a second, literal reading of the model agree on every answer and every state."""

import json
import random
from collections import Counter

import pytest

from tests.model import literal
from tests.model.traces import lines, trace
from vecd.base.errors import Malformed
from vecd.ppm.replay import replay


def ask(rule, **fields):
    return json.dumps({"rule": rule, "subject": "m", **fields})


WORLD = '{"world": {"levels": 4, "users": ["A", "B"], "instances": {"a": "A", "b": "B"}, "cards": ["k"]}}'


def differences(seed, length):
    """Where the two readings part, and how often each answer of each rule came up."""
    entries = trace(random.Random(seed), length)
    seen = Counter()
    v = literal.V(entries[0]["world"])
    for entry, line in zip(entries[1:], replay(lines(entries)), strict=True):
        expected, v = literal.step(v, entry)
        answer = json.loads(line)
        seen[entry.get("rule") or entry.get("op"), expected] += 1
        assert answer["decision"] == expected, f"seed {seed}: {entry}: {answer}"
        if expected == "yes":
            assert answer["state"] == literal.show(v), f"seed {seed}: {entry}: {answer}"
    assert answer["state"] == literal.show(v)
    return seen


def test_the_rules_agree_with_a_literal_reading_of_the_model_on_random_traces():
    seen = Counter()
    for seed in range(100):
        seen += differences(seed, 80)
    rules = {rule for rule, _ in seen}
    # Not vacuous: every rule was refused and allowed, where it can be.
    assert len(rules) == 19
    assert {(rule, "yes") for rule in rules} <= set(seen)
    assert {(rule, "no") for rule in rules - {"R5", "R9", "R10"}} <= set(seen)


@pytest.mark.prove
@pytest.mark.limit(3600)
@pytest.mark.parametrize("part", range(10))
def test_the_rules_agree_with_a_literal_reading_of_the_model_on_100000_random_traces(part):
    first = 1_000_000 + part * 10_000
    for seed in range(first, first + 10_000):
        differences(seed, 40)


def test_a_request_line_gets_one_line_with_decision_rule_reason_and_state():
    out = [json.loads(line) for line in replay([WORLD, '{"rule": "R7", "subject": "m", "object": "A"}'])]
    assert out == [
        {
            "decision": "yes",
            "rule": "R7",
            "reason": "the manager may create user A: R7",
            "state": {
                "M": {"m>A": "e", "m>k": "e"},
                "b": {},
                "live": ["A", "k", "m"],
                "level": {"A": 3, "k": 4, "m": 1},
                "cards": {"k": {"status": "free", "current": None, "context": None, "output": None, "keys": []}},
            },
        }
    ]


def test_a_further_world_starts_afresh():
    out = [json.loads(line) for line in replay([WORLD, ask("R7", object="A"), WORLD, ask("R8", object="A")])]
    assert [o["decision"] for o in out] == ["yes", "?"]
    assert out[1]["state"]["live"] == ["k", "m"]


def test_attributes_are_always_in_the_order_r_w_a_c_e():
    give = [ask("R9", to="A", object="a", attribute=x) for x in "cawr"]
    *_, last = replay([WORLD, ask("R7", object="A"), ask("R7", object="a"), *give])
    assert json.loads(last)["state"]["M"]["A>a"] == "rwac"


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[]",
        "17",
        "null",
        '"R1"',
        "{}",
        "[" * 100_000,
        "1" * 10_000,
        '{"rule": "R13", "subject": "m", "object": "k"}',
        '{"rule": "r5", "subject": "m", "object": "k"}',
        '{"rule": ["R5"], "subject": "m", "object": "k"}',
        '{"rule": "submit", "subject": "m", "object": "k"}',
        '{"op": "R5", "subject": "m", "object": "k"}',
        '{"rule": "R5", "op": "submit", "subject": "m", "object": "k"}',
        '{"rule": "R5", "subject": "m"}',
        '{"rule": "R5", "subject": {"m": 1}, "object": "k"}',
        '{"rule": "R5", "subject": "m", "object": ["k"]}',
        '{"rule": "R12", "subject": "m", "object": "k"}',
        '{"rule": "R12", "subject": "m", "object": "k", "next": ["a"]}',
        '{"rule": "R11", "subject": "m", "object": "k", "level": "2"}',
        '{"rule": "R11", "subject": "m", "object": "k", "level": 2.0}',
        '{"rule": "R11", "subject": "m", "object": "k", "level": true}',
        '{"rule": "R11", "subject": "m", "object": "k"}',
        '{"rule": "R7", "subject": "m", "object": "A", "level": "3"}',
        '{"rule": "R9", "subject": "m", "object": "k", "attribute": "c"}',
        '{"rule": "R9", "subject": "m", "to": {}, "object": "k", "attribute": "c"}',
        '{"rule": "R6", "subject": "m", "object": "k", "attribute": ["e"]}',
        '{"rule": "R6", "subject": "m", "object": "k", "attribute": "rw"}',
        '{"rule": "R5", "subject": "m", "object": "\\ud800\\u0000>"}',
    ],
)
def test_a_line_that_is_no_request_is_answered_with_a_question_mark(line):
    out = [json.loads(answer) for answer in replay([WORLD, line])]
    assert [o["decision"] for o in out] == ["?"]
    assert out[0]["reason"]
    assert out[0]["state"]["live"] == ["k", "m"]


@pytest.mark.parametrize(
    "line",
    [
        '{"rule": "R5", "subject": "m", "object": "k"}',
        "nonsense",
        '{"world": 1}',
        '{"world": {}}',
        '{"world": {"levels": 3}}',
        '{"world": {"levels": "4"}}',
        '{"world": {"levels": true}}',
        '{"world": {"levels": 4, "users": ["m"]}}',
        '{"world": {"levels": 4, "users": ["A", "A"]}}',
        '{"world": {"levels": 4, "instances": {"a": "A"}}}',
        '{"world": {"levels": 4, "cards": [1]}}',
        '{"world": {"levels": 4, "cards": "k"}}',
        '{"world": {"levels": 4, "card": []}}',
    ],
)
def test_a_trace_without_a_possible_world_is_an_error_that_names_the_line(line):
    with pytest.raises(Malformed, match="line 2"):
        list(replay(["", line]))
