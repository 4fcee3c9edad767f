"""The same questions with every other request there is: no way to a hole is shorter than the one in docs/model.md."""

import pytest

from tests.model.literal_rules.asking import ask, counterexample, question
from tests.model.literal_rules.holes import CASES

DEEP = ("H1", "H1 alone", "H8")
"""Rights of users on instances as well make these too many for minutes: those are asked for by `make prove`."""

OPEN = [name for name, case in CASES.items() if case.blocked is None]


def as_long(name, everything):
    case, found = CASES[name], counterexample(name)
    whole = ask(question(case, everything=everything), case, depth=len(found.trace))
    assert whole.trace is not None and len(whole.trace) == len(found.trace)
    return whole.seen


@pytest.mark.minutes
@pytest.mark.parametrize("name", [name for name in OPEN if name not in (*DEEP, "H9 another's")])
def test_with_every_request_it_is_as_long(name):
    as_long(name, "all")


@pytest.mark.minutes
@pytest.mark.parametrize("name", DEEP)
def test_with_every_request_on_the_card_it_is_as_long(name):
    assert as_long(name, "cards") > 500


@pytest.mark.prove
@pytest.mark.limit(900)
@pytest.mark.parametrize("name", [*DEEP, "H9 another's"])
def test_with_every_request_there_is_it_is_as_long(name):
    assert as_long(name, "all") > 40_000
