"""Time: by weight in fair, by the clock in strict; and that nothing of one owner is left when the next turn begins."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from vecd._card import ffi, lib
from vecd._wire import lib as wire

from tests.conformance.conftest import SLOT_US
from tests.conformance.machine import (
    ENCRYPT,
    FIRST,
    GCM256,
    LAST,
    NULL,
    SHA256,
    TIMEOUT_S,
    CardProcess,
    Guard,
    Guest,
    frame,
    until,
)
from vecd.base import errors
from vecd.cards.api import EventKind

MIB = 1 << 20
WARM_S, MEASURED_S = 0.3, 1.2
CONNECTIONS = 6
fair = pytest.mark.parametrize("share", ["fair"], indirect=True)
strict = pytest.mark.parametrize("share", ["strict"], indirect=True)


def shares(card: CardProcess) -> dict[int, dict[str, Any]]:
    return {row["instance"]: row for row in card.shared()["shares"]}


def schedule(card: CardProcess, weights: dict[int, int], *, strict: bool = True, slot_us: int = SLOT_US) -> None:
    card.schedule(strict=strict, slot_us=slot_us, weights=[list(row) for row in weights.items()])


@contextlib.contextmanager
def backlog(guest: Guest, request: bytes) -> Iterator[None]:
    """There is always a request of this guest that waits."""
    burst = request * (4 * MIB // len(request) + 1)
    into = bytearray(MIB)

    def ask() -> None:
        with contextlib.suppress(OSError):
            while True:
                guest.sock.sendall(burst)

    def take() -> None:
        with contextlib.suppress(OSError):
            while guest.sock.recv_into(into):
                pass

    threads = [threading.Thread(target=work) for work in (ask, take)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        guest.sock.shutdown(2)
        for thread in threads:
            thread.join(TIMEOUT_S)


def parts(
    card: CardProcess, backlogs: list[contextlib.AbstractContextManager[None]], tries: int = 4
) -> Iterator[float]:
    """How much longer the card was instance 2's than instance 1's, while both had requests waiting; measured anew where
    that is asked for: a client that the machine lets wait has none."""
    with contextlib.ExitStack() as stack:
        for one in backlogs:
            stack.enter_context(one)
        time.sleep(WARM_S)
        for _ in range(tries):
            before = shares(card)
            time.sleep(MEASURED_S)
            after = shares(card)
            yield (after[2]["engine_ns"] - before[2]["engine_ns"]) / (after[1]["engine_ns"] - before[1]["engine_ns"])


# ---- fair ------------------------------------------------------------------------------------------------------


@fair
@pytest.mark.parametrize("weights, ratio", [({}, 1.0), ({1: 1, 2: 3}, 3.0), ({2: 3}, 3.0), ({1: 2, 2: 2}, 1.0)])
def test_engine_time_goes_by_weight_whatever_the_size_of_the_requests(
    card: CardProcess, weights: dict[int, int], ratio: float
) -> None:
    keys = {i: card.key(i, bytes(32), GCM256) for i in (1, 2)}
    schedule(card, weights, strict=False)
    large, small = frame(ENCRYPT, bytes(200_000), key=keys[1]), frame(ENCRYPT, bytes(64), key=keys[2])
    backlogs = [backlog(card.attach(i), one) for i, one in ((1, large), (2, small)) for _ in range(CONNECTIONS)]
    seen = []
    for part in parts(card, backlogs):
        seen.append(round(part, 2))
        if 0.9 < part / ratio < 1.1:
            return
    raise AssertionError(f"{ratio} expected, {seen} seen")


@fair
def test_nobody_waits_for_who_asks_nothing(card: CardProcess) -> None:
    key = card.key(1, bytes(32), GCM256)
    card.key(2, bytes(32), GCM256)
    card.attach(2)
    schedule(card, {1: 1, 2: 100}, strict=False)
    guest = card.attach(1)
    start = time.monotonic()
    for _ in range(200):
        assert guest.ask(ENCRYPT, b"x", key=key).status == 0
    assert time.monotonic() - start < 1.0


@fair
def test_a_long_turn_is_paid_for_and_a_pause_gives_nothing(card: CardProcess) -> None:
    """Two that are never backlogged: each sends when it was answered, one of them four times as much at once."""
    for i in (1, 2):
        card.key(i, bytes(32), GCM256)
    schedule(card, {}, strict=False)
    small = card.attach(2)
    with backlog(card.attach(1), frame(SHA256, bytes(MIB))):
        time.sleep(WARM_S)
        start = time.monotonic()
        for _ in range(50):
            assert small.ask(NULL, b"x").status == 0
        took = time.monotonic() - start
    rows = shares(card)
    # At most one long turn between two of its own, never two.
    assert took / 50 < 3 * rows[1]["engine_ns"] / rows[1]["turns"] / 1e9


# ---- strict ----------------------------------------------------------------------------------------------------


def round_of(weights: dict[int, int]) -> list[int]:
    rows = ffi.new("struct vec_share[]", [{"instance": i, "weight": w} for i, w in weights.items()])
    slots = sum(weights.values())
    out = ffi.new("uint16_t[]", slots)
    lib.vec_round_build(rows, len(weights), out, slots)
    return list(out)


@pytest.mark.parametrize(
    "weights", [{4: 1}, {1: 1, 2: 1}, {1: 3, 2: 1}, {1: 5, 2: 1, 3: 1}, {n: n % 7 + 1 for n in range(100)}]
)
def test_a_round_has_the_slots_of_each_spread_evenly(weights: dict[int, int]) -> None:
    table = round_of(weights)
    assert Counter(table) == Counter(weights)
    for instance, weight in weights.items():
        places = [n for n, one in enumerate(table * 2) if one == instance]
        gaps = [b - a for a, b in zip(places, places[1:], strict=False)]
        assert max(gaps) <= 2 * len(table) / weight


@strict
def test_slots_go_by_the_clock_and_idle_ones_too(card: CardProcess) -> None:
    schedule(card, {1: 3, 2: 1}, slot_us=4000)
    before, start = shares(card), time.monotonic()
    time.sleep(0.8)
    after, took = shares(card), time.monotonic() - start
    missed = card.counters()["missed"]
    got = {i: after[i]["slots"] - before[i]["slots"] for i in (1, 2)}
    assert abs(sum(got.values()) - took / 0.004) <= missed + 3
    assert abs(got[1] - 3 * got[2]) <= missed + 4 and after[1]["turns"] == 0


@strict
def test_an_answer_comes_in_a_slot_of_its_own(card: CardProcess) -> None:
    slot_us = 40_000
    schedule(card, {1: 1, 2: 1}, slot_us=slot_us)
    table = round_of({1: 1, 2: 1})
    for i in (1, 2):
        card.key(i, bytes(32))
    guests = {i: card.attach(i) for i in (1, 2)}
    outside = 0
    for n in range(20):
        instance = n % 2 + 1
        # Asked in the middle of the other one's slot.
        slot = time.monotonic_ns() // 1000 // slot_us + 1
        while table[slot % 2] == instance:
            slot += 1
        time.sleep(max(0.0, (slot + 0.5) * slot_us / 1e6 - time.monotonic()))
        assert guests[instance].ask(NULL, b"x").status == 0
        outside += table[time.monotonic_ns() // 1000 // slot_us % 2] != instance
    # One that the machine woke up late.
    assert outside <= 2


@strict
def test_what_never_fits_into_a_slot_is_refused_and_says_what_does(make_card: Callable[..., CardProcess]) -> None:
    """An engine that takes 20 ms for a mebibyte, and slots of 10 ms."""
    card = make_card("-paced")
    key = card.key(1, bytes(32), GCM256)
    most = card.shared()["most"]
    assert 100_000 < most < MIB // 4
    guest, part = card.attach(1), {"key": key, "stream": 5}
    assert guest.ask(ENCRYPT, b"first", flags=FIRST, **part).status == 0
    for fields in ({"key": key}, {**part, "sequence": 1, "flags": 0}):
        refused = guest.ask(ENCRYPT, bytes(MIB), **fields)
        assert (refused.status, refused.reason) == (errors.TooLarge.status, wire.VEC_REASON_SLOT_SIZE)
        text = refused.data[2:].decode()
        assert "share = strict" in text and "slot_us" in text and f"in {SLOT_US} us" in text
        fits = int(text.split("at most ")[1].split()[0])
        assert most <= fits < MIB
    # A refused part ends its stream, the connection goes on, and what is said to fit does.
    assert guest.ask(ENCRYPT, b"x", flags=LAST, sequence=1, **part).reason == wire.VEC_REASON_NO_STREAM
    assert guest.ask(ENCRYPT, bytes(fits), key=key).status == 0
    assert guest.ask(SHA256, bytes(most)).status == 0


@strict
def test_who_is_not_in_the_schedule_has_no_slot_and_is_told_so(card: CardProcess, guard: Guard) -> None:
    guard.give(3)
    guard.connect(3)
    for ask in (lambda: card.key(3, bytes(32)), lambda: card.attach(3)):
        with pytest.raises(errors.Denied) as caught:
            ask()
        assert "no slot" in caught.value.reason
    schedule(card, {1: 1, 2: 1, 3: 1})
    card.key(3, bytes(32))
    assert card.attach(3).ask(NULL, b"x").data == b"x"


def test_before_a_schedule_nobody_is_served(driver: str, guard: Guard) -> None:
    card = CardProcess(driver, {"strict": 1})
    try:
        card.bind(guard)
        with pytest.raises(errors.Denied):
            card.key(1, bytes(32))
        assert card.shared()["round"] == 0 and card.clean() is True
    finally:
        card.close()


@pytest.mark.parametrize(
    "kind, arguments",
    [
        (errors.Malformed, {"weights": {1: 0}}),
        (errors.Malformed, {"weights": {1: 101}}),
        (errors.Malformed, {"weights": {4095: 1}}),
        (errors.Malformed, {"weights": {1: 1}, "slot_us": 1999}),
        (errors.Malformed, {"weights": {1: 1}, "slot_us": 200_001}),
        (errors.Exhausted, {"weights": dict.fromkeys(range(201), 1)}),
    ],
)
@strict
def test_a_schedule_that_cannot_be_is_refused_and_the_one_before_stays(
    card: CardProcess, kind: type[errors.VecError], arguments: dict[str, Any]
) -> None:
    card.key(1, bytes(32))
    guest = card.attach(1)
    with pytest.raises(kind) as caught:
        schedule(card, **arguments)
    if kind is errors.Exhausted:
        assert "201 slots of 10000 us" in caught.value.message and "slot_us" in caught.value.hint
    assert card.shared()["round"] == 2 and guest.ask(NULL, b"x").status == 0


def test_from_one_way_to_the_other_connections_keys_and_streams_stay(card: CardProcess) -> None:
    key = card.key(1, bytes(32), GCM256)
    guest, part = card.attach(1), {"key": key, "stream": 1}
    assert guest.ask(ENCRYPT, b"x", flags=FIRST, **part).status == 0
    for n in range(1, 9):
        schedule(card, {1: 1, 2: 1}, strict=bool(n % 2))
        assert card.shared()["strict"] is bool(n % 2)
        assert guest.ask(ENCRYPT, b"x", flags=0, sequence=n, **part).status == 0
    assert guest.ask(ENCRYPT, b"x", flags=LAST, sequence=9, **part).status == 0


@strict
def test_an_overrun_is_counted_and_moves_nobody_s_slots(make_card: Callable[..., CardProcess]) -> None:
    """An engine that takes far longer than it did when it was measured."""
    slot_us = 20_000
    card = make_card("-broken")
    for i in (1, 2):
        card.key(i, bytes(32))
    schedule(card, {1: 1, 2: 1}, slot_us=slot_us)
    slow, other = card.attach(1), card.attach(2)
    table = round_of({1: 1, 2: 1})
    assert slow.ask(NULL, b"x").status == other.ask(NULL, b"x").status == 0
    before = card.counters()
    card.slow_down(ms=50)
    assert slow.ask(NULL, b"x").status == 0
    card.slow_down(ms=0)
    until(lambda: card.counters()["overruns"] > before["overruns"], "the slot ended")
    late = [e for e in card.events() if e["kind"] == EventKind.OVERRUN]
    assert late[-1]["instance"] == 1 and late[-1]["value"] > 10_000_000
    assert card.counters()["missed"] > before["missed"]
    # On the grid as before: the other one is answered in a slot of its own.
    outside = 0
    for _ in range(6):
        slot = time.monotonic_ns() // 1000 // slot_us + 1
        slot += table[slot % 2] == 2
        time.sleep(max(0.0, (slot + 0.5) * slot_us / 1e6 - time.monotonic()))
        assert other.ask(NULL, b"x").status == 0
        outside += table[time.monotonic_ns() // 1000 // slot_us % 2] != 2
    assert outside <= 1


@strict
def test_a_revocation_does_not_wait_for_a_slot(card: CardProcess, guard: Guard) -> None:
    """Also not for the end of the running one."""
    card.key(1, bytes(32))
    card.key(2, bytes(32))
    schedule(card, {1: 1, 2: 1}, slot_us=200_000)
    guest = card.attach(1)
    for command in (
        lambda: card.rescind(instance=1, attributes=lib.VEC_R),
        lambda: card.drop_instance(instance=1),
        lambda: card.residue(),
    ):
        start = time.monotonic()
        command()
        assert time.monotonic() - start < 0.1
    assert guest.is_closed() and {slot["instance"] for slot in card.keys()} == {2}


@strict
def test_a_guard_that_holds_q_for_a_while_delays_and_refuses_nothing(card: CardProcess, guard: Guard) -> None:
    """The turn has not begun: it waits for the next slot, and nobody is told of somebody else's revocation."""
    card.key(1, bytes(32))
    guest = card.attach(1)
    assert guest.ask(NULL, b"x").status == 0
    for _ in range(3):
        guard.revoke_begin(2, lib.VEC_A)
        guest.sock.sendall(frame(NULL, b"y"))
        time.sleep(6 * SLOT_US / 1e6)
        guard.revoke_end()
        guard.give(2)
        reply = guest.reply()
        assert (reply.status, reply.data) == (0, b"y")


# ---- the wipe -------------------------------------------------------------------------------------------------


def test_at_a_switch_the_engine_is_wiped(card: CardProcess, guard: Guard) -> None:
    for i in (1, 2):
        card.key(i, bytes(32))
    guests = {i: card.attach(i) for i in (1, 2)}
    for n in range(6):
        instance, before = n % 2 + 1, card.counters()["switches"]
        assert guests[instance].ask(NULL, bytes(100_000)).status == 0
        assert card.counters()["switches"] > before
        # The output of the last owner, or, when its slot is over, nothing; never the other one's.
        assert card.residue()["output"] in (instance, -1)


@strict
def test_what_an_owner_left_is_wiped_in_its_own_slot(card: CardProcess) -> None:
    """And an idle slot switches and wipes nothing."""
    card.key(1, bytes(32))
    guest = card.attach(1)
    assert guest.ask(NULL, bytes(100_000)).status == 0
    until(lambda: card.residue()["output"] == -1, "the slot is over", 0.5)
    before = card.counters()
    time.sleep(0.2)
    after = card.counters()
    assert after["slots"] > before["slots"] + 5
    assert (after["switches"], after["wipes"]) == (before["switches"], before["wipes"])


@strict
def test_a_wipe_that_fails_at_the_end_of_a_slot_takes_the_card_out_of_service(
    make_card: Callable[..., CardProcess], guard: Guard
) -> None:
    """In the middle of the schedule, without a request: nobody has a turn after it."""
    card = make_card("-broken")
    for i in (1, 2):
        card.key(i, bytes(32))
    schedule(card, {1: 1, 2: 1}, slot_us=200_000)
    guests = {i: card.attach(i) for i in (1, 2)}
    assert guests[1].ask(NULL, b"x").status == 0
    card.break_it()
    until(lambda: [e for e in card.events() if e["kind"] == EventKind.OUT_OF_SERVICE], "out of service", 2)
    for guest in guests.values():
        reply = guest.ask(NULL, b"x")
        assert (reply.status, reply.reason) == (errors.Hardware.status, wire.VEC_REASON_OUT_OF_SERVICE)
    assert guard.state().quiesced and card.clean() is False
