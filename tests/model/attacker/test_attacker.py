"""Whatever the attacker does in these scopes, the protocol's claims hold; what makes them hold is needed.

The machines are those of vecd.protocol. docs/protocol.md, "What is checked, and how".
"""

import pytest

from vecd.protocol import card, suites

from .claims import CLAIMS
from .record import explored, kept, numbers
from .scopes import FLOOR, WORDS
from .symbolic import perfect
from .terms import literal
from .trace import written
from .without import ABLATIONS, needed_in, single

A, C, E, X = map(literal, "ACEX")
# Who has a mark: ("1r small" in seconds, the others where they have the time).
_QUICK, _MINUTES = ("1r small",), ("1r", "1ro", "1rk", "2r", "2s", "2rx", "2rb", "2u", "1a", "2a", "reg E", "reg X")
_MARKED = [
    pytest.param(name, marks=[] if name in _QUICK else pytest.mark.minutes if name in _MINUTES else pytest.mark.prove)
    for name in WORDS
]


@pytest.mark.limit(300)
@pytest.mark.parametrize("name", _MARKED)
def test_no_claim_is_broken_in_any_state(name):
    world, report = explored(name)
    assert not report.wrong, written(world, report)
    assert report.states >= FLOOR[name], "moves were lost"
    assert numbers(report) == kept()["scopes"][name], "python -m tests.model.attacker.record"
    # The claims speak of something: A's run and the card finish together, and so does the insider's.
    done = {mark[2:] for mark in report.marks if mark[0] == "done"}
    active = {mark[2:] for mark in report.marks if mark[0] == "active"}
    enrolled = {mark[3] for mark in report.marks if mark[0] == "enrolled"}
    assert enrolled == {A, C} or any((mark[1], mark[0], *mark[2:5]) in done for mark in active)
    certified = {mark[3] for mark in report.marks if mark[0] == "certified"}
    assert enrolled and certified & {E, X} or any(mark[1] is E for mark in active)


#: Larger than what a redundant part is tried in.
UNTRIED = ("2c", "3r", "3x", "1n")


def of_broken(*, yes):
    return [pytest.param(a, id=a.name) for a in ABLATIONS if (a.broken is not None) == yes]


@pytest.mark.minutes
@pytest.mark.parametrize("ablation", of_broken(yes=True))
def test_what_is_needed_gives_an_attack_when_it_is_taken_out(ablation):
    world, report = ablation.attack()
    assert report.wrong, f"without {ablation.words}, nothing is wrong in {ablation.scope}"
    assert written(world, report) == kept()["attacks"][ablation.name], "python -m tests.model.attacker.record"


@pytest.mark.prove
@pytest.mark.limit(300)
@pytest.mark.parametrize("ablation", of_broken(yes=False))
def test_what_is_said_to_be_redundant_gives_none(ablation):
    for scope in (name for name in WORDS if name not in UNTRIED):
        world, report = ablation.explored(scope)
        assert not report.wrong, f"{scope}: {written(world, report)}"


@pytest.mark.prove
@pytest.mark.limit(300)
@pytest.mark.parametrize("number", single())
def test_a_single_check_is_needed_or_not_as_it_is_written(number):
    assert needed_in(number) == kept()["single"][number]


def test_an_attack_is_found_at_once_and_reads_as_messages():
    (both,) = [a for a in ABLATIONS if a.name == "names in v1, v2 and V"]
    text = written(*both.attack())
    assert "to CA: 3 [A, C, n1]_A, [X, A, n2]_X" in text
    assert text.endswith("wrong: the attacker knows K")


def test_every_claim_is_broken_by_some_ablation_or_is_a_stronger_form_of_one_that_is():
    broken = {a.broken.__name__ for a in ABLATIONS if a.broken}
    assert {check.__name__ for check in CLAIMS.values()} - broken == {
        "card_agrees",
        "nobody_elses",
        "tag_secret",
        "own_keys",
        "enrolled",
    }


def test_a_machine_that_changes_when_it_refuses_is_noticed(monkeypatch):
    def careless(self, message11, now, tick):
        self._released.append(1)
        raise card.ProtocolRefused("message 11 was refused", rule="message 11", reason="always")

    monkeypatch.setattr(card.CardParty, "key_accept", careless)
    with pytest.raises(AssertionError, match="refused 11 .* and was changed"):
        explored("1r small")


def test_outside_of_the_explorer_the_suites_are_the_real_ones():
    with perfect():
        assert len(suites.SUITES) == 4
    assert set(suites.SUITES) == {1, 2, 3} and suites.hmac.__name__ == "hmac"
