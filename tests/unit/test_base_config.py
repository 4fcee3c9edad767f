"""The configuration: what is read in which order, and that nothing misspelt is passed over."""

import dataclasses
import inspect

import pytest

from vecd.base import config
from vecd.base.errors import ConfigError
from vecd.base.paths import SOCKET_PATH_MAX, Paths, socket_path
from vecd.base.paths import name as paths_name


@pytest.fixture
def paths(tmp_path):
    return Paths(tmp_path)


def put(paths, where, text):
    path = paths.root / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_without_a_file_the_defaults_hold(paths):
    got = config.load(paths)
    assert got.broker.linger_s == 30 and got.broker.peer_connections == 8 and got.broker.all_connections == 512
    assert got.broker.state_s == 5 and got.card == () and got.attest.required


def test_fragments_win_over_the_file_and_etc_over_the_others(paths):
    put(paths, "usr/lib/vecd/vecd.toml", "[broker]\nlinger_s = 1\nstate_s = 1")
    put(paths, "etc/vecd/vecd.toml", "[broker]\nlinger_s = 2")
    put(paths, "usr/lib/vecd/vecd.toml.d/20-a.toml", "[broker]\nlinger_s = 3")
    put(paths, "run/vecd/vecd.toml.d/20-a.toml", "[broker]\nlinger_s = 4")
    assert config.load(paths).broker.linger_s == 4
    last = put(paths, "etc/vecd/vecd.toml.d/20-a.toml", "[broker]\nlinger_s = 5")
    put(paths, "usr/lib/vecd/vecd.toml.d/10-b.toml", "[broker]\nlinger_s = 6")
    got = config.load(paths)
    assert (got.broker.linger_s, got.broker.state_s) == (5, 1)
    assert got.sources["broker.linger_s"] == str(last)


def test_rows_of_cards_are_merged_by_name(paths):
    put(paths, "etc/vecd/vecd.toml", '[[card]]\nname = "c1"\nslots = 5\n[[card]]\nname = "c0"')
    put(paths, "run/vecd/vecd.toml.d/1.toml", '[[card]]\nname = "c1"\nuid = 7\n')
    got = config.load(paths)
    assert [(c.name, c.slots, c.uid) for c in got.card] == [("c1", 5, 7), ("c0", 256, -1)]
    assert got.card_of("c1").driver == "soft"
    with pytest.raises(ConfigError, match="c1, c0"):
        got.card_of("c2")


@pytest.mark.parametrize(
    "text, words",
    [
        ("[broker]\nlingers = 3", ["broker.lingers", "'linger_s'"]),
        ("[brokr]\n", ["[brokr]", "'broker'"]),
        ("[broker]\nlinger_s = true", ["broker.linger_s", "float"]),
        ("[broker]\nlinger_s = -1", ["broker.linger_s", "from 0"]),
        ("[broker]\nstate_s = nan", ["broker.state_s"]),
        ("[broker]\npeer_connections = 1.5", ["int"]),
        ("broker = 5", ["[broker]"]),
        ("[card]\nname = 'c0'", ["[[card]]"]),
        ("[[card]]\nslots = 5", ["name"]),
        ("[[card]]\nname = '../c0'", ["name"]),
        ("[[card]]\nname = 'c0'\nslot = 5", ["card.c0.slot", "'slots'"]),
        ("[[card]]\nname = 'c0'\nshare = 'strikt'", ["card.c0.share", "fair, strict", "'strict'"]),
        ("[[card]]\nname = 'c0'\nslot_us = 500", ["card.c0.slot_us", "from 2000 to 200000"]),
        ("[attest]\nrequired = 1", ["bool"]),
        ("[attest]\ntcti = 1", ["str"]),
        ("= 5", ["cannot be read"]),
    ],
)
def test_a_mistake_stops_the_start_and_is_named(paths, text, words):
    path = put(paths, "etc/vecd/vecd.toml", text)
    with pytest.raises(ConfigError) as e:
        config.load(paths)
    for word in [str(path), *words]:
        assert word in str(e.value)


def test_a_fragment_with_a_bad_name_stops_the_start(paths):
    path = put(paths, "etc/vecd/vecd.toml.d/10-a.toml.bak", "")
    with pytest.raises(ConfigError, match=str(path)):
        config.load(paths)


@pytest.mark.parametrize(
    "kind", [config.Guard, config.Broker, config.Authority, config.Attest, config.Card, config.Dev]
)
def test_every_field_has_the_line_that_the_manual_prints(kind):
    lines = inspect.getsource(kind).splitlines()
    for f in dataclasses.fields(kind):
        (at,) = [n for n, line in enumerate(lines) if line.startswith(f"    {f.name}: ")]
        assert lines[at - 1].strip().startswith("# ") and lines[at - 1].endswith("."), f.name


@pytest.mark.parametrize("good", ["c0", "A", "web-1.example", "0", "x" * 32])
def test_a_name_is_a_name(good):
    assert paths_name(good) == good


@pytest.mark.parametrize("bad", ["", ".", "..", "a/b", "-a", "a b", "ä", "x" * 33, "a\0", "_a", "a\n"])
def test_what_could_be_a_path_or_an_escape_is_no_name(bad):
    with pytest.raises(ConfigError):
        paths_name(bad)


def test_a_socket_path_that_the_kernel_cannot_hold_is_refused():
    assert socket_path("/" + "x" * (SOCKET_PATH_MAX - 1))
    with pytest.raises(ConfigError, match="--dir"):
        socket_path("/" + "x" * SOCKET_PATH_MAX)
