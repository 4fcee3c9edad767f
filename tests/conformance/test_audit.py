"""A driver's turns are on record: 64 bytes each, chained, with whose turn it was and what was wiped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.conformance.machine import NULL, A, C, CardProcess, Guard, until
from vecd.audit.records import NOBODY, NOTHING, RECORD_BYTES, Facts, Flag, Kind, after, facts_of
from vecd.base import errors
from vecd.wire import ops

WHOLE = Flag.WORKED | Flag.WIPED | Flag.READ_BACK
FIRST = 100


@dataclass
class Chain:
    """What the card recorded, checked as it comes."""

    card: CardProcess
    sequence: int = FIRST
    value: bytes = NOTHING

    def take(self, *kinds: Kind) -> list[Facts]:
        """The new records of these kinds; all of them are chained."""
        found = []
        while data := bytes.fromhex(self.card.audit_take()):
            for at in range(0, len(data), RECORD_BYTES):
                record = data[at : at + RECORD_BYTES]
                facts = facts_of(record)
                self.value = after(self.value, record[:32])
                assert record[32:] == self.value and facts.sequence == self.sequence
                self.sequence += 1
                found.append(facts)
        return [one for one in found if not kinds or one.kind in kinds]

    def until(self, enough: Callable[[list[Facts]], object]) -> list[Facts]:
        """Everything new, once it is enough: an answer is there before its turn is over."""
        found: list[Facts] = []

        def come() -> object:
            found.extend(self.take())
            return enough(found)

        until(come, "the records")
        return found

    def worked(self) -> list[Facts]:
        return [one for one in self.take(Kind.TURN, Kind.KEY) if one.flags & Flag.WORKED]


def requests(rows: list[Facts]) -> int:
    return sum(one.requests for one in rows)


@pytest.fixture
def chain(card: CardProcess) -> Iterator[Chain]:
    card.audit_open(sequence=FIRST, value=NOTHING)
    yield Chain(card)


def test_nothing_is_recorded_before_the_chain_is_open(card: CardProcess) -> None:
    card.key(1, bytes(32))
    assert card.audit_take() == ""
    card.audit_open(sequence=7, value=bytes(range(32)))
    with pytest.raises(errors.Exists):
        card.audit_open(sequence=8, value=NOTHING)
    card.key(1, bytes(32))
    chain = Chain(card, 7, bytes(range(32)))
    assert [one.kind for one in chain.worked()] == [Kind.KEY]


def test_each_turn_is_one_record_with_its_requests(card: CardProcess, chain: Chain, guard: Guard) -> None:
    card.key(1, bytes(32))
    guest = card.attach(1)
    for _ in range(5):
        assert guest.ask(NULL, b"x" * 100).status == 0
    turns = [one for one in chain.until(lambda rows: requests(rows) >= 5) if one.kind == Kind.TURN]
    assert requests(turns) == 5 and {one.instance for one in turns} == {1}
    assert all(one.flags & WHOLE == WHOLE and not one.refused for one in turns)
    assert all(one.generation > 0 and one.time > 1_700_000_000_000_000_000 for one in turns)


def test_who_comes_after_another_comes_to_a_card_that_was_wiped(card: CardProcess, chain: Chain) -> None:
    guests = {}
    for instance in (1, 2):
        card.key(instance, bytes(32))
        guests[instance] = card.attach(instance)
    for instance in (1, 2, 1, 1, 2):
        assert guests[instance].ask(NULL, b"x").status == 0
    clean, owner, handed = True, None, 0
    for one in chain.until(lambda rows: requests(rows) >= 5):
        clean = clean or bool(one.flags & Flag.SWITCHED or one.kind == Kind.CLEAN and one.flags & Flag.READ_BACK)
        if one.flags & Flag.WORKED:
            assert one.instance == owner or clean
            handed += one.instance != owner
            clean, owner = False, one.instance
    assert handed >= 5


def test_what_is_refused_is_counted(card: CardProcess, chain: Chain, guard: Guard) -> None:
    card.key(1, bytes(32))
    guest = card.attach(1)
    assert guest.ask(99, b"x").status
    guard.revoke(1, A)
    assert guest.ask(NULL, b"x").reason == ops.REASONS["M_LACKS_A"].number
    turns = [one for one in chain.until(lambda rows: requests(rows) >= 2) if one.kind == Kind.TURN]
    assert sum(one.refused for one in turns) == requests(turns) == 2
    assert not any(one.flags & Flag.WORKED for one in turns) and turns[-1].flags & Flag.CUT


def test_an_instance_that_goes_is_on_record(card: CardProcess, chain: Chain, guard: Guard) -> None:
    card.key(1, bytes(32))
    guard.revoke(1, C)
    card.drop_instance(instance=1)
    card.clean()
    card.quiesce()
    card.bind(guard)
    rows = chain.take(Kind.DROP, Kind.CLEAN, Kind.QUIESCE, Kind.BIND)
    assert [one.kind for one in rows if one.kind != Kind.CLEAN] == [Kind.DROP, Kind.QUIESCE, Kind.BIND]
    assert rows[0].instance == 1 and rows[0].flags == Flag.WIPED | Flag.READ_BACK
    assert any(one.kind == Kind.CLEAN and one.instance == NOBODY for one in rows)


def test_a_wipe_that_cannot_be_checked_is_on_record(make_card: Callable[..., CardProcess]) -> None:
    card = make_card("-broken")
    card.audit_open(sequence=FIRST, value=NOTHING)
    chain = Chain(card)
    card.key(1, bytes(32))
    guest = card.attach(1)
    assert guest.ask(NULL, b"x").status == 0
    chain.until(requests)
    card.break_it()
    assert guest.ask(NULL, b"x").status == errors.Hardware.status
    rows = chain.until(lambda rows: [one for one in rows if one.flags & Flag.OUT_OF_SERVICE])
    broken = next(one for one in rows if one.flags & Flag.OUT_OF_SERVICE)
    assert broken.flags & Flag.WIPED and not broken.flags & Flag.READ_BACK


def test_a_card_that_may_not_record_begins_nothing(card: CardProcess, chain: Chain) -> None:
    card.key(1, bytes(32))
    guest = card.attach(1)
    assert guest.ask(NULL, b"x").status == 0
    chain.until(requests)
    card.audit_hold(held=True)
    for _ in range(3):
        reply = guest.ask(NULL, b"x")
        assert (reply.status, reply.reason) == (errors.Busy.status, ops.REASONS["NOT_RECORDED"].number)
    with pytest.raises(errors.Busy):
        card.key(1, bytes(32))
    card.audit_hold(held=False)
    assert guest.ask(NULL, b"x").status == 0
    rows = chain.until(lambda rows: requests(rows) >= 1)
    assert sum(one.word for one in rows if one.kind == Kind.LOST) == 3
    assert requests(rows) == 1


def test_what_could_not_be_kept_is_told_by_the_next_record(card: CardProcess, chain: Chain) -> None:
    card.key(1, bytes(32))
    guest = card.attach(1)
    assert guest.ask(NULL, b"x").status == 0
    chain.until(requests)
    kept, before = chain.sequence, chain.value
    card.audit_add(kind=Kind.START, flags=0, word=5)
    assert guest.ask(NULL, b"x").status == 0
    lost = len(chain.until(requests))
    card.audit_add(kind=Kind.START, flags=0, word=6)
    card.audit_rewind(sequence=kept, value=before, lost=lost)
    chain.sequence, chain.value = kept, before
    rows = chain.take()
    assert (rows[0].kind, rows[0].word, rows[0].sequence) == (Kind.LOST, lost, kept)
    assert any(one.kind == Kind.START and one.word == 6 for one in rows)
