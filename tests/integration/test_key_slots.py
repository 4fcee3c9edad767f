"""A card has as many key slots as its configuration says: who comes later is told the limit, and what to do."""

from collections.abc import Iterator

import pytest

from tests.integration.cipher_machine import CipherMachine, running
from vecd.base.errors import Exhausted
from vecd.wire import ops


@pytest.fixture(scope="module")
def machine() -> Iterator[CipherMachine]:
    with running("c0", settings='[[card]]\nname = "c0"\nslots = 2\n') as made:
        yield made


def test_the_third_key_of_a_card_with_two_slots_is_refused_and_takes_the_next_free_one(machine: CipherMachine) -> None:
    guests = [machine.add(name) for name in ("A", "B", "C")]
    with guests[0].connect() as first, guests[1].connect() as second, guests[2].connect(retry=False) as third:
        keys = [card.load_key(guest.key) for card, guest in zip((first, second), guests, strict=False)]
        with pytest.raises(Exhausted, match="the 2 key slots of this card are taken") as error:
            third.load_key(guests[2].key)
        assert error.value.reason == ops.REASONS["KEY_SLOTS"].sentence
        assert "release a key" in error.value.hint and "[[card]]" in error.value.hint
        # The others notice nothing.
        for card, key in zip((first, second), keys, strict=True):
            assert card.decrypt(key, card.encrypt(key, b"data")) == b"data"
        second.close()
    machine.wait_for(lambda: machine.admin("card.show", name="c0")["card"]["residue"]["keys"] == [], 10.0, "free slots")
    with guests[2].connect() as third:
        key = third.load_key(guests[2].key)
        assert third.decrypt(key, third.encrypt(key, b"data")) == b"data"
