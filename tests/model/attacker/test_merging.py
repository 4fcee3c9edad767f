"""States that are merged differ in names alone: with values named by turn there are more states, and nothing new."""

import re

import pytest

from .explore import Explorer
from .machines import Chance
from .scopes import explorer
from .symbolic import perfect

_named = Chance._name


def by_turn(chance, of):
    """The first nonce is n_c1 whomever it answers, so that every order of steps is a state of its own."""
    if of not in ("n_c", "sid", "N_K", "handle"):
        return _named(chance, of)
    text = f"{of}{sum(text.startswith(of) for text in chance.drawn) + 1}"
    chance.drawn |= {text}
    return text


def within(explorer, which, at, move):
    """As many sessions as the scope has, whichever of equal nonces the attacker takes."""
    limit = explorer.world.limits.get((which, move[0]))
    return limit is None or explorer.machines[which].drawn(at, limit[0]) < limit[1]


def shapes(report):
    """The marks without what their values are named after."""
    of_value = r"(?<=[a-z_K])(\[.*|\d+)|^\d{10,}$"
    return {tuple(re.sub(of_value, "", repr(part)) for part in mark) for mark in report.marks}


@pytest.mark.parametrize(("scope", "more"), [("1r small", 60), pytest.param("1r", 4900, marks=pytest.mark.prove)])
def test_every_order_by_itself_leads_to_more_states_and_the_same_marks(scope, more, monkeypatch):
    with perfect():
        merged = explorer(scope).run()
        monkeypatch.setattr(Chance, "_name", by_turn)
        monkeypatch.setattr(Explorer, "within", within)
        apart = explorer(scope).run()
    assert not apart.wrong and apart.states >= more > merged.states
    assert shapes(apart) == shapes(merged)
