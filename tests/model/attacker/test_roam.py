"""Messages of no particular shape break no claim either, and would find what is to be found."""

import pytest

from .roam import walk
from .scopes import WORDS, explorer
from .symbolic import perfect
from .terms import enc, literal, name, replaced, sign
from .without import ABLATIONS


def roamed(scope, walks):
    with perfect():
        return walk(explorer(scope), walks, length=60, seed=1)


def test_random_messages_break_no_claim():
    found = roamed("1r", 15)
    assert not found.wrong and found.changed >= 150 and found.taken >= 5


@pytest.mark.prove
@pytest.mark.limit(600)
@pytest.mark.parametrize("scope", [scope for scope in WORDS if scope not in ("1r small", "3r")])
def test_many_random_messages_break_no_claim(scope):
    found = roamed(scope, 400)
    assert not found.wrong and found.changed >= 4000 and found.taken >= 20


@pytest.mark.prove
@pytest.mark.parametrize("ablation", [pytest.param(a, id=a.name) for a in ABLATIONS if a.broken])
def test_they_find_an_attack_where_there_is_one(ablation):
    with perfect(), ablation.without():
        assert walk(explorer(ablation.scope, ablation.constant), 400, length=60, seed=1).wrong


def test_a_part_is_exchanged_everywhere_at_once():
    a, e, n = literal("A"), literal("E"), name("n")
    assert replaced(enc(a, sign(name("E"), enc(a, n))), {a: e}) is enc(e, sign(name("E"), enc(e, n)))
