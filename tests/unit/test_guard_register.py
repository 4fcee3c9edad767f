"""The guard's register: what it stores comes back, and a damaged file is never taken for an empty one."""

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecd.base.errors import ConfigError, Failed
from vecd.services.guard_parts import register as reg

A = reg.User("A", b"a" * 16, 0, 1000)
B = reg.User("B", b"b" * 16, 1, 1001, 42)
A1 = reg.Instance("A.1", b"1" * 16, 0, "A")
B1 = reg.Instance("B.1", b"2" * 16, 1, "B")
C0 = reg.Card("c0", b"c" * 16, 0)
FULL = reg.Register(
    7,
    2,
    {"A": A, "B": B},
    {"A.1": A1, "B.1": B1},
    {"c0": C0},
    {("A", "A.1"): "rac", ("B", "B.1"): "rac", ("A.1", "c0"): "rac", ("B.1", "c0"): "c"},
)


def test_what_is_stored_comes_back(tmp_path):
    path = tmp_path / "policy.json"
    reg.store(path, FULL)
    assert reg.load(path) == FULL
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["policy.json"]


def test_an_empty_register_comes_back():
    assert reg.parse(Path("p"), reg.text_of(reg.Register())) == reg.Register()


def test_no_file_is_not_an_empty_register(tmp_path):
    assert reg.load(tmp_path / "policy.json") is None


def test_the_limits_are_those_of_the_shared_memory():
    text = (Path(__file__).parents[2] / "cext/include/vec/shm.h").read_text()
    limits = dict(re.findall(r"VEC_(USERS|INSTANCES|CARDS)_MAX = (\d+)", text))
    assert (reg.USERS_MAX, reg.INSTANCES_MAX, reg.CARDS_MAX) == tuple(
        int(limits[one]) for one in ("USERS", "INSTANCES", "CARDS")
    )


def _line(text: str, part: str) -> int:
    return next(n for n, line in enumerate(text.splitlines(), 1) if part in line)


@pytest.mark.parametrize(
    ("section", "old", "new", "what"),
    [
        ("users", '"index": 1', '"index": 0', "index 0 stands twice"),
        ("users", '"name": "B", "id"', '"name": "A", "id"', "'A' stands twice"),
        ("users", '"uid": 1001', '"uid": "root"', "uid is not a number"),
        ("users", '"uid": 1001, ', "", "'uid' is missing"),
        ("users", b"b".hex() * 16, "xyz", "users"),
        ("users", b"b".hex() * 16, "00", "16 bytes"),
        ("instances", '"index": 1, "owner"', '"index": 4095, "owner"', "index is not a number"),
        ("instances", '"owner": "B"', '"owner": "C"', "'C' is no user"),
        ("access", '"object": "c0", "attributes": "c"', '"object": "c9", "attributes": "c"', "no cell of M"),
        ("access", '"subject": "B", "object": "B.1"', '"subject": "B", "object": "A.1"', "no cell of M"),
        ("access", '"attributes": "c"', '"attributes": "e"', "not among"),
        ("access", '"attributes": "c"', '"attributes": ""', "not among"),
    ],
)
def test_damage_is_named_with_file_and_line(section, old, new, what):
    good = reg.text_of(FULL)
    head, _, tail = good.partition(f'"{section}"')
    assert old in tail
    before = head + f'"{section}"' + tail[: tail.index(old)]
    bad = before + new + tail[tail.index(old) + len(old) :]
    with pytest.raises(ConfigError) as caught:
        reg.parse(Path("/state/policy.json"), bad)
    assert what in caught.value.message
    line = before.count("\n") + 1
    assert f"/state/policy.json, line {line}:" in caught.value.message


@given(st.data())
def test_a_cut_file_never_parses(data):
    text = reg.text_of(FULL).rstrip()
    cut = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(ConfigError, match=r"policy\.json, line \d+"):
        reg.parse(Path("policy.json"), text[:cut])


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_are_damage(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("r") / "policy.json"
    path.write_bytes(data)
    with pytest.raises(ConfigError):
        reg.load(path)


def test_another_schema_is_refused():
    with pytest.raises(ConfigError, match="schema 2 is not 1"):
        reg.parse(Path("p"), reg.text_of(FULL).replace('"schema": 1', '"schema": 2'))


def test_deep_nesting_is_damage():
    with pytest.raises(ConfigError):
        reg.parse(Path("p"), "[" * 100_000)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "policy.json"
    reg.store(path, FULL)
    (tmp_path / "policy.json.new").symlink_to("/dev/full")
    with pytest.raises(Failed, match="cannot be written"):
        reg.store(path, replace(FULL, generation=8))
    assert reg.load(path) == FULL


def test_instances_are_listed_by_index():
    assert [one.name for one in FULL.instances_of("A")] == ["A.1"]
    assert "m" in FULL.names()
