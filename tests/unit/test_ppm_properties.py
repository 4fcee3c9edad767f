"""Each property sees what it is there for: one broken cell, one violation by name; and the page names the same ten."""

import pytest

from tests.model import page
from tests.model.worlds import do, made
from vecd.ppm.properties import PROPERTIES, indexes, secure, violations
from vecd.ppm.request import Request, append, connect, move, switch
from vecd.ppm.rules import RULES
from vecd.ppm.state import Change


def state(levels=4, using=False):
    state = made(levels=levels)
    do(state, connect("a", "k"), connect("b", "k"), switch("k", "a"))
    if using:
        do(state, append("a", "k"), move("a", "k", 2), Request("loadkey", "a", "k"))
    return state


BROKEN = {
    "r without c": ("simple security", ("b", "A", "a", 1)),
    "r from below": ("simple security", ("level", None, "A", 4)),
    "a without c": ("star", ("b", "A", "a", 4)),
    "e* of a user": ("star", ("b", "A", "a", 24)),
    "held and not allowed": ("discretionary", ("M", "A", "a", 0)),
    "rights of a user on a card": ("type", ("M", "A", "k", 1)),
    "rights of the manager to read": ("type", ("M", "m", "k", 17)),
    "rights of a user on anothers instance": ("type", ("M", "A", "b", 8)),
    "an instance without its user": ("type", ("live", None, "A", False)),
    "a user at L1": ("top", ("level", None, "A", 1)),
    "the manager not at L1": ("top", ("level", None, "m", 3)),
    "a level that may not be taken": ("virtual", ("level", None, "A", 4)),
    "live without a level": ("virtual", ("level", None, "b", 0)),
    "free and connected": ("status", ("status", None, "k", "free")),
    "using at L3": ("status", ("status", None, "k", "using")),
    "control at L2": ("status", ("level", None, "k", 2)),
    "w of who does not own the slot": ("slot", ("b", "b", "k", 10)),
    "a slot owner that is not connected": ("slot", ("b", "a", "k", 0)),
    "private data in control": ("residue", ("context", None, "k", "a")),
    "anothers result": ("residue", ("output", None, "k", "b")),
    "a key slot without c": ("residue", ("key", "c", "k", True)),
    "an instance without its user's c": ("chain", ("b", "A", "a", 0)),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_cell_is_named_by_its_property(what):
    broken = state()
    broken.name("c", "instance", "A")
    assert secure(broken)
    name, (table, subject, object, value) = BROKEN[what]
    if "r from" in what:
        do(broken, Request("R4", "A", "a"))
    broken.apply([Change(table, subject, object, None, value)])
    assert not secure(broken)
    assert name in {sentence.partition(":")[0] for sentence in violations(broken)}, violations(broken)


def test_data_of_two_instances_in_one_card_break_residue():
    broken = state(using=True)
    broken.apply([Change("current", None, "k", "a", None), Change("output", None, "k", None, "b")])
    assert any("data of a in its engine and of b" in sentence for sentence in violations(broken))


def test_an_index_that_lies_is_named():
    broken = state()
    broken.mapped["k"].discard("b")
    assert any("mapped" in sentence for sentence in indexes(broken))


def test_violations_can_be_asked_of_some_objects_alone():
    broken = state()
    broken.apply([Change("output", None, "k", None, "b")])
    assert violations(broken, ["k"]) == violations(broken) and not violations(broken, ["a", "b", "A"])


def test_the_page_names_the_properties_in_this_order():
    (table,) = page.tables("Properties")
    assert [(row[0], row[1]) for row in table[1:]] == [(str(n), name) for n, name in enumerate(PROPERTIES, 1)]


def test_the_page_has_a_row_for_every_rule_and_no_other():
    named = {name for row in page.tables("Rules")[0][1:] for name in row[0].replace(",", "").split()}
    assert named == set(RULES)
