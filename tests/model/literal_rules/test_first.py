"""H15 and H16: what a first correction of the model had, and ours has not."""

from tests.model.literal_rules.first import ASKED, WEAK, WHOLE, induction, seen_yield
from tests.model.literal_rules.holes import words
from tests.model.literal_rules.search import Differs


def test_H15_a_key_slot_that_goes_with_a_cleaning_tells_a_of_bs_yield():
    found = seen_yield(False)
    assert isinstance(found, Differs) and len(found.trace) == 13
    assert words(found.asks) == "submit a k" and found.answers == ("no", "yes")
    assert [words(one) for one in found.trace].count("R12 b k -") == 1


def test_H15_ours_answer_the_same_whether_b_yields_or_not():
    """Every pair of states that these requests lead to, with b's yields in one of them alone."""
    assert not isinstance(seen_yield(True), Differs) and seen_yield(True) > 30
    assert len(ASKED) == 13


def test_H16_engine_and_output_of_two_instances_mix_in_one_step():
    weak, whole = induction()[WEAK], induction()[WHOLE]
    assert weak.mixed is not None and weak.mixed.users == {"A", "B"}
    assert weak.mixed.state.startswith("k is using, its slot is of nobody")
    assert whole.mixed is None
    assert weak.states > whole.states > 350
