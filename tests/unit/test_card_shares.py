"""Of one key a user has a few slots at most, and of all slots at most half."""

import pytest

from vecd.base.errors import Exhausted
from vecd.cards.shares import COPIES_MAX, giving_way, share

SLOTS = 64


def test_the_first_copies_of_a_key_stand_beside_each_other() -> None:
    assert giving_way(range(1, COPIES_MAX), COPIES_MAX - 1, SLOTS) == []


def test_the_oldest_copy_gives_way_to_one_more() -> None:
    copies = [5, 9, 3, 12, 11, 8, 7, 6]
    assert len(copies) == COPIES_MAX
    assert giving_way(copies, len(copies), SLOTS) == [3]


def test_a_user_with_its_share_of_other_keys_is_told_so() -> None:
    with pytest.raises(Exhausted, match="32 of the card's 64 key slots"):
        giving_way([], share(SLOTS), SLOTS)


def test_a_user_with_its_share_may_still_load_a_key_again() -> None:
    assert giving_way([4], share(SLOTS), SLOTS) == [4]


def test_a_card_of_one_slot_serves_one_key() -> None:
    assert giving_way([], 0, 1) == []
    assert giving_way([7], 1, 1) == [7]
