"""The monitor: ask decides and applies, cards are observed and not believed, what persists comes back by the rules."""

import random

import pytest

from vecd.base.errors import Denied, Integrity
from vecd.ppm.monitor import KEEP, Monitor
from vecd.ppm.properties import indexes, secure, violations
from vecd.ppm.request import (
    Request,
    append,
    connect,
    create,
    destroy,
    give,
    instruct,
    move,
    read,
    release,
    rescind,
    switch,
)
from vecd.ppm.state import CARD, INSTANCE, USER


def monitor(cards="kl"):
    """a of A and b of B, connected to k."""
    found = Monitor()
    for user, instance in ("Aa", "Bb"):
        found.name(user, USER)
        found.name(instance, INSTANCE, user)
    for card in cards:
        found.name(card, CARD)
    for thing in ("A", "a", "B", "b", *cards):
        found.require(create(thing))
        found.require(instruct(thing))
    for user, instance in ("Aa", "Bb"):
        for attribute in "rac":
            found.require(give(user, instance, attribute))
            for card in cards:
                found.require(give(instance, card, attribute))
        found.require(connect(user, instance))
        if cards:
            found.require(connect(instance, cards[0]))
    return found


def test_ask_applies_a_yes_and_its_changes_are_the_journal():
    m = monitor()
    before = m.state.snapshot()
    decision = m.ask(switch("k", "a"))
    assert decision and [tuple(c) for c in decision.changes] == [("current", None, "k", None, "a")]
    m.undo(decision)
    assert m.state.snapshot() == before


def test_ask_and_check_change_nothing_on_a_refusal():
    m = monitor()
    before = m.state.snapshot()
    for request in (append("a", "k"), Request("R99", "a", "k"), give("A", "b", "c")):
        assert not m.ask(request) and not m.check(request)
    assert m.check(switch("k", "a"))
    assert m.state.snapshot() == before


def test_require_raises_a_refusal_with_rule_property_reason_and_next_step():
    with pytest.raises(Denied) as refusal:
        monitor().require(append("a", "k"))
    error = refusal.value
    assert (error.rule, error.property, error.subject, error.object) == ("R2", "slot", "instance a", "card k")
    assert "nobody owns it" in error.reason and error.hint and "R2, slot" in str(error)


# ---- facts that live in the cards


def test_the_turn_of_a_card_is_taken_over_as_it_was_seen():
    m = monitor()
    changes = m.observe_card("k", status="using", current="a", held=4 | 8, context="a", keys=["a"])
    assert {change.table for change in changes} == {"status", "level", "current", "b", "context", "key"}
    assert secure(m.state) and not indexes(m.state) and m.state.level["k"] == 2
    assert not m.observe_card("k", status="using", current="a", held=4 | 8, context="a", keys=["a"])
    m.observe_card("k", status="control", current="b", held=1 | 8, context=None, output=None)
    assert m.state.holds("a", "k") == 8 and m.state.holds("b", "k") == 9 and m.state.keys["k"] == {"a"}
    assert secure(m.state) and m.state.level["k"] == 3


def test_a_rule_decides_on_what_was_observed():
    m = monitor()
    m.observe_card("k", status="using", current="a", held=12, context="a")
    decision = m.ask(release("a", "k", "c"))
    assert decision and m.state.status_of("k") == "using" and "k" not in m.state.current
    assert m.ask(release("b", "k", "c"))
    assert m.state.status_of("k") == "using"


def test_a_card_that_nobody_is_connected_to_is_free_when_it_was_seen_clean():
    m = monitor()
    m.observe_card("k", status="using", current="a", held=12, context="a", output="a", keys=["a"])
    m.require(release("b", "k", "c"))
    m.require(release("a", "k", "c"))
    assert not m.observe_card("k", status="using", current=None, held=0, context="a", output="a", keys=[])
    changes = m.observe_card("k", status="control", current=None, held=0, context=None, output=None, keys=[])
    assert ("status", None, "k", "using", "free") in [tuple(c) for c in changes]
    assert secure(m.state) and m.state.level["k"] == 4


IMPOSSIBLE = {
    "an unknown status": {"status": "open"},
    "a status that is a number": {"status": 2},
    "an owner that is not connected": {"status": "control", "current": "c", "held": 8},
    "an owner that is unknown": {"status": "control", "current": "nobody", "held": 8},
    "an owner that is a user": {"status": "control", "current": "A", "held": 8},
    "an owner without c": {"status": "control", "current": "a", "held": 1},
    "rights that M does not allow": {"status": "control", "current": "a", "held": 8 | 2},
    "the managers attribute": {"status": "control", "current": "a", "held": 8 | 16},
    "a byte that is none": {"status": "control", "current": "a", "held": 264},
    "rights of nobody": {"status": "control", "current": None, "held": 8},
    "r in using": {"status": "using", "current": "a", "held": 9},
    "data in control": {"status": "control", "current": "a", "held": 8, "context": "a"},
    "data of another": {"status": "using", "current": "a", "held": 8, "context": "b"},
    "a result of another": {"status": "control", "current": "a", "held": 8, "output": "b"},
    "data of two": {"status": "using", "current": None, "held": 0, "context": "a", "output": "b"},
    "data of nobody known": {"status": "using", "current": None, "held": 0, "context": "nobody"},
    "data of a user": {"status": "using", "current": None, "held": 0, "context": "A"},
    "a key slot of who is not connected": {"keys": ["a", "c"]},
    "free with somebody on it": {"status": "free", "current": None, "held": 0},
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_what_no_rule_allows_is_refused_and_changes_nothing(what):
    m = monitor()
    m.name("c", INSTANCE, "A")
    m.require(create("c"))
    before = m.state.snapshot()
    with pytest.raises(Integrity, match="card k shows what no rule allows"):
        m.observe_card("k", **IMPOSSIBLE[what])
    assert m.state.snapshot() == before


def test_a_card_that_is_not_live_cannot_be_observed():
    m = monitor()
    for card in ("a", "nobody", "m"):
        with pytest.raises(Integrity, match="no live card"):
            m.observe_card(card, status="control")


def test_an_observation_is_believed_exactly_when_the_state_it_makes_is_secure():
    rng = random.Random(7)
    believed = 0
    for _ in range(3000):
        m = monitor("k")
        if rng.random() < 0.3:
            m.require(release(*rng.choice((("a", "k"), ("b", "k"))), "c"))
        seen = {
            "status": rng.choice(("free", "control", "using")),
            "current": rng.choice((None, "a", "b")),
            "held": rng.choice((0, 8, 9, 10, 12, 13)),
            "context": rng.choice((None, None, "a", "b")),
            "output": rng.choice((None, "a", "b")),
            "keys": rng.choice(([], ["a"], ["a", "b"])),
        }
        try:
            m.observe_card("k", **seen)
        except Integrity:
            # What it says, put into the state as it stands, breaks a property.
            assert violations(forced(m.state, seen)), seen
        else:
            believed += 1
            assert secure(m.state) and not indexes(m.state), seen
    assert believed > 100


def forced(state, seen):
    state = state.copy()
    cells = {
        cell
        for cell in state.cells()
        if cell[0] not in ("status", "current", "context", "output", "key") and cell[:3] != ("level", None, "k")
    }
    cells |= {("status", None, "k", seen["status"])} if seen["status"] != "free" else set()
    cells |= {(name, None, "k", seen[name]) for name in ("current", "context", "output") if seen[name]}
    cells |= {("key", i, "k", True) for i in seen["keys"]}
    cells |= {("level", None, "k", {"free": 4, "control": 3, "using": 2}[seen["status"]])}
    owner, held = seen["current"], seen["held"]
    if bool(owner) != bool(held & 8):
        # Rights of nobody, or a slot owner whose word lacks c, have no cell: that alone breaks the word.
        state.name("nobody", INSTANCE, "A")
        cells |= {("key", "nobody", "k", True)}
    elif owner:
        # c is the guard's, in the matrices; r, w, a are the word's.
        byte = held & ~8 | state.holds(owner, "k") & 8
        cells -= {("b", owner, "k", state.holds(owner, "k"))}
        cells |= {("b", owner, "k", byte)} if byte else set()
    state.restore(cells)
    return state


def test_sources_are_the_cards_that_a_decision_depends_on():
    m = monitor()
    m.require(connect("a", "l"))
    assert m.sources(release("a", "k", "c")) == ("k",)
    assert m.sources(switch("k", "a")) == m.sources(destroy("k")) == ("k",)
    assert m.sources(release("A", "a", "c")) == m.sources(rescind("A", "a", "c")) == ("k", "l")
    assert m.sources(connect("A", "a")) == m.sources(give("a", "k", "c")) == m.sources(instruct("k")) == ()
    assert m.sources(create("nobody")) == m.sources(connect("a", "nobody")) == ()
    assert m.sources(destroy("A")) == ()


def test_who_left_a_card_is_asked_for_there_until_the_card_was_seen_without():
    m = monitor()
    m.observe_card("k", status="using", current="a", held=12)
    # The card did not say yet whose data it has.
    m.require(release("A", "a", "c"))
    assert m.sources(destroy("a")) == ("k",)
    m.observe_card("k", status="using", current=None, held=0, context="a", output=None, keys=[])
    assert m.sources(destroy("a")) == ("k",)
    assert not m.ask(destroy("a"))
    m.observe_card("k", status="control", current=None, held=0, context=None, output=None, keys=[])
    assert m.sources(destroy("a")) == ()
    assert m.ask(destroy("a"))


# ---- scale


def test_no_rule_reads_more_cells_because_there_are_more_instances():
    """Reads and changes of a whole turn and of a release, with 10 and with 2,000 other instances about."""

    def work(others):
        m = monitor()
        for n in range(others):
            m.name(f"i{n}", INSTANCE, "A")
            for request in (
                create(f"i{n}"),
                give("A", f"i{n}", "c"),
                give(f"i{n}", "l", "c"),
                connect("A", f"i{n}"),
                connect(f"i{n}", "l"),
            ):
                m.require(request)
        made = [
            m.require(request)
            for request in (
                switch("k", "a"),
                append("a", "k"),
                move("a", "k", 2),
                Request("loadkey", "a", "k"),
                Request("process", "k", "k"),
                move("a", "k", 3),
                read("a", "k"),
                switch("k", "b"),
                rescind("a", "k", "c"),
                connect("a", "l"),
                switch("l", "a"),
                release("A", "a", "c"),
                destroy("a"),
            )
        ]
        return [(d.rule, len(d.reads), len(d.changes)) for d in made]

    assert work(10) == work(2000)


def test_what_was_not_looked_at_stays():
    m = monitor()
    m.observe_card("k", status="using", current="a", held=12, context="a", keys=["a"])
    assert not m.observe_card("k") and repr(KEEP) == "KEEP"
    m.observe_card("k", output="a")
    assert (m.state.holds("a", "k"), m.state.keys["k"], m.state.output["k"]) == (12, {"a"}, "a")
    # A new slot owner of whom nothing else is known holds c.
    m.observe_card("k", status="control", current="b", context=None, output=None)
    assert (m.state.holds("a", "k"), m.state.holds("b", "k")) == (8, 8)
