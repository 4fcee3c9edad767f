"""Each guard, case, effect and wipe of the rules taken out: a proof notices, or the list says why it need not."""

import pytest

from tests.model.implied import WHY
from tests.model.mutation import mutants
from tests.model.prover import PROOFS, as_specified, noticed, secure
from vecd.ppm.rules import decide

MUTANTS = mutants()
NEEDED = [name for name in MUTANTS if name not in WHY]

minutes = (pytest.mark.minutes, pytest.mark.limit(600))
hour = (pytest.mark.prove, pytest.mark.limit(3600))


def test_what_is_taken_out_is_everything_there_is():
    kinds = [name.split(": ")[1].split()[0] for name in MUTANTS]
    counts = {kind: kinds.count(kind) for kind in sorted(set(kinds))}
    assert counts["guard"] >= 55 and counts["effect"] >= 40 and counts["wipe"] >= 6, counts
    assert set(WHY) <= set(MUTANTS), set(WHY) - set(MUTANTS)


# A few that one step from a state of the real rules shows; the rest takes an exploration each.
SAMPLE = (
    "get_control: guard not look.may(s, o) & C",
    "_get: guard card and look.current(o) != s",
    "_drop: effect _put('b', i, k, look.holds(i, k), 0)",
    "_up: guard held & (R | W)",
    "switch: effect _put('context', None, k, look.context(k), None)",
    "_down: effect _put('context', None, k, look.context(k), None)",
)


@pytest.mark.parametrize("name", SAMPLE)
def test_a_needed_part_that_is_missing_is_noticed_in_one_step(name):
    assert noticed(MUTANTS[name](), (secure,))


@pytest.mark.parametrize("name", [pytest.param(name, marks=minutes) for name in NEEDED])
def test_a_needed_part_that_is_missing_is_noticed(name):
    found = noticed(MUTANTS[name]())
    print(found)
    assert found


@pytest.mark.parametrize("name", [pytest.param(name, marks=hour) for name in WHY])
def test_what_the_list_says_is_not_needed_is_not_noticed(name):
    """Otherwise the list would be an excuse; the reason is on the page."""
    assert not noticed(MUTANTS[name]())


@pytest.mark.prove
@pytest.mark.limit(3600)
def test_the_rules_themselves_pass_every_proof():
    assert not noticed(decide, (*PROOFS, as_specified))
