"""The model on the data path: turns, revocation at any moment, a guard that goes away, a wipe that fails."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from vecd._shm import lib as shm
from vecd._wire import lib as wire

from tests.conformance.machine import (
    CARD,
    ENCRYPT,
    FIRST,
    GCM128,
    GCM256,
    LAST,
    NULL,
    TIMEOUT_S,
    A,
    C,
    CardProcess,
    Guard,
    Guest,
    R,
    Reply,
    W,
    frame,
    until,
)
from vecd.base import errors
from vecd.cards.api import EventKind

MIB = 1 << 20


def reason(name: str) -> int:
    return getattr(wire, f"VEC_REASON_{name}")


@pytest.fixture
def key(card: CardProcess) -> int:
    return card.key(1, bytes(32), GCM256)


@pytest.fixture
def guest(card: CardProcess, key: int) -> Guest:
    return card.attach(1)


# ---- a turn ----------------------------------------------------------------------------------------------------


def test_between_turns_the_owner_holds_c_and_a_in_control(guard: Guard, guest: Guest) -> None:
    assert guest.ask(NULL, b"x").status == 0

    def at_rest() -> bool:
        word = guard.state()
        return (word.status, word.owner, word.held, word.inflight, word.quiesced) == (shm.VEC_CONTROL, 1, A | C, 0, 0)

    # The answer is there before the turn has left and given r back.
    until(at_rest, "the turn is over")


@pytest.mark.parametrize("share", ["fair"], indirect=True)
def test_residue_is_the_output_of_the_last_owner_until_clean(card: CardProcess, guard: Guard, guest: Guest) -> None:
    guest.ask(NULL, b"x")
    assert card.residue() == {"context": -1, "output": 1, "keys": [1]}
    assert card.clean() is True
    assert card.residue() == {"context": -1, "output": -1, "keys": [1]}
    assert guard.state().owner == shm.VEC_NONE
    assert guest.ask(NULL, b"x").status == 0


@pytest.mark.parametrize("lacking, name, rule", [(A, "M_LACKS_A", 2), (R, "M_LACKS_R", 4)])
def test_a_request_is_refused_before_it_starts(
    card: CardProcess, guard: Guard, guest: Guest, lacking: int, name: str, rule: int
) -> None:
    guard.revoke(1, lacking)
    turns = card.counters()["switches"]
    reply = guest.ask(NULL, b"x")
    assert (reply.status, reply.rule, reply.reason) == (errors.Denied.status, rule, reason(name))
    assert card.counters()["switches"] == turns
    guard.give(1, lacking)
    assert guest.ask(NULL, b"x").status == 0


def test_an_instance_that_is_not_connected_is_refused(card: CardProcess, guard: Guard, guest: Guest) -> None:
    guard.revoke(1, C)
    reply = guest.ask(NULL, b"x")
    assert (reply.status, reply.rule, reply.reason) == (errors.Denied.status, 1, reason("NOT_CONNECTED"))
    with pytest.raises(errors.Denied) as caught:
        card.key(1, bytes(32))
    assert caught.value.rule == "R1"


def test_load_key_says_what_is_wrong_and_keeps_the_handle(card: CardProcess, guard: Guard) -> None:
    guard.revoke(1, A)
    handle = card.stage(bytes(32))
    load = {"instance": 1, "number": 5, "algorithm": GCM256, "usage": 7, "handle": handle}
    with pytest.raises(errors.Denied) as caught:
        card.load_key(**load)
    assert (caught.value.rule, card.keys()) == ("R2", [])
    guard.give(1)
    for wrong in ({"usage": 0}, {"usage": 4}, {"usage": 8}, {"algorithm": 9}, {"algorithm": GCM128}, {"number": 0}):
        with pytest.raises(errors.Malformed):
            card.load_key(**{**load, **wrong})
    card.load_key(**load)
    with pytest.raises(errors.Unknown):
        card.drop(handle=handle)
    with pytest.raises(errors.Exists):
        card.load_key(**{**load, "handle": card.stage(bytes(32))})
    assert card.keys() == [{"instance": 1, "number": 5, "algorithm": 2, "usage": 7, "streams": 0, "drawn": 0}]


# ---- revocation ------------------------------------------------------------------------------------------------


class Flood:
    """A guest that keeps asking; what it asked and was answered, by number."""

    def __init__(self, guest: Guest, request: bytes = frame(NULL, b"x" * 1000)) -> None:
        self.guest, self.request = guest, request
        self.replies: list[Reply] = []
        self.ending = False
        self.asked = 0
        self.threads = [threading.Thread(target=self._ask), threading.Thread(target=self._read)]
        for thread in self.threads:
            thread.start()

    def _ask(self) -> None:
        with contextlib.suppress(OSError):
            while not self.ending:
                self.asked += 1
                self.guest.sock.sendall(self.request)

    def _read(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            while True:
                self.replies.append(self.guest.reply())

    def end(self) -> list[Reply]:
        self.ending = True
        self.guest.sock.settimeout(0.5)
        for thread in self.threads:
            thread.join(TIMEOUT_S)
        return self.replies


@pytest.mark.parametrize("right", [A, R, C])
def test_after_revocation_nothing_is_answered_under_the_old_right(
    card: CardProcess, guard: Guard, guest: Guest, right: int
) -> None:
    flood = Flood(guest)
    until(lambda: len(flood.replies) > 300, "a flood")
    guard.revoke(1, right)
    card.rescind(instance=1, attributes=right)
    # Whatever is answered from here was asked, or was waiting, after the right had gone.
    seen = card.counters()
    time.sleep(0.05)
    until(lambda: len(flood.replies) and flood.replies[-1].status, "refusals")
    replies = flood.end()
    first = next(n for n, reply in enumerate(replies) if reply.status)
    assert all(reply.status == errors.Denied.status for reply in replies[first:])
    names = {reply.reason for reply in replies[first:]}
    assert names <= {reason(n) for n in ("M_LACKS_A", "M_LACKS_R", "NOT_CONNECTED", "RESCINDED", "SLOT_LOST")}
    after = card.counters()
    assert after["requests"] - after["refused"] == seen["requests"] - seen["refused"]
    assert first <= seen["requests"] - seen["refused"] <= first + seen["discarded"]


def test_a_right_that_comes_back_serves_again(card: CardProcess, guard: Guard, guest: Guest) -> None:
    for _ in range(50):
        guard.revoke(1, A)
        assert guest.ask(NULL, b"x").reason == reason("M_LACKS_A")
        guard.give(1, A)
        assert guest.ask(NULL, b"x").status == 0


def test_taking_another_s_right_or_w_harms_nobody(card: CardProcess, guard: Guard, guest: Guest) -> None:
    flood = Flood(guest)
    for n in range(200):
        guard.revoke(*((2, A | R) if n % 2 else (1, W)))
        guard.give(2)
        time.sleep(0.001)
    replies = flood.end()
    assert len(replies) > 500 and not any(reply.status for reply in replies)


def test_while_the_guard_holds_q_the_commands_it_waits_for_are_served(
    card: CardProcess, guard: Guard, guest: Guest, key: int
) -> None:
    """q is set, the pump is in the middle of a turn of 1: drop_instance(2) and of 1 are answered all the same."""
    card.key(2, bytes(32))
    guard.revoke_begin(2, C)
    guest.sock.sendall(frame(NULL, b"x"))
    start = time.monotonic()
    card.drop_instance(instance=2)
    assert time.monotonic() - start < 0.5
    guard.revoke_end()
    assert guest.reply().status == 0
    guard.revoke_begin(1, C)
    guest.sock.sendall(frame(NULL, b"x"))
    start = time.monotonic()
    card.drop_instance(instance=1)
    assert time.monotonic() - start < 0.5
    guard.revoke_end()
    assert guest.is_closed() and card.keys() == []


def test_a_guard_that_never_lets_go_makes_requests_busy(make_card: Callable[..., CardProcess], guard: Guard) -> None:
    card = make_card(busy_ms=200)
    card.key(1, bytes(32))
    guest = card.attach(1)
    guard.revoke_begin(2, A)
    reply = guest.ask(NULL, b"x")
    assert (reply.status, reply.reason) == (errors.Busy.status, reason("QUIESCED"))
    guard.revoke_end()
    assert guest.ask(NULL, b"x").status == 0


def test_a_turn_that_was_aborted_is_discarded_and_the_next_one_starts_clean(
    card: CardProcess, guard: Guard, guest: Guest
) -> None:
    flood = Flood(guest)
    for _ in range(100):
        shm.vec_card_abort(guard.word)
        guard.revoke_end()
        time.sleep(0.001)
    replies = flood.end()
    assert {reply.status for reply in replies} <= {0, errors.Denied.status, errors.Busy.status}
    assert all(reply.data == b"x" * 1000 for reply in replies if not reply.status)
    assert guest.sock.settimeout(TIMEOUT_S) is None and card.attach(1).ask(NULL, b"x").status == 0


def test_a_stream_in_whose_middle_the_right_goes_is_over(
    card: CardProcess, guard: Guard, guest: Guest, key: int
) -> None:
    part = {"key": key, "stream": 1}
    assert guest.ask(ENCRYPT, b"x", flags=FIRST, **part).status == 0
    guard.revoke(1, A)
    card.rescind(instance=1, attributes=A)
    assert guest.ask(ENCRYPT, b"x", flags=0, sequence=1, **part).reason == reason("M_LACKS_A")
    guard.give(1, A)
    assert guest.ask(ENCRYPT, b"x", flags=LAST, sequence=1, **part).reason == reason("NO_STREAM")
    assert guest.ask(ENCRYPT, b"x", key=key).status == 0


def test_output_that_nobody_took_goes_with_the_right(card: CardProcess, guard: Guard, guest: Guest) -> None:
    """Half a reply ends the connection: the other half must not come, and no other frame can stand in the middle."""
    guest.sock.sendall(frame(NULL, os.urandom(MIB)))
    until(lambda: card.counters()["requests"] == 1, "the request ran")
    sent = card.counters()["bytes_out"]
    assert sent < MIB
    guard.revoke(1, R)
    card.rescind(instance=1, attributes=R)
    with pytest.raises(EOFError):
        guest.reply()
    assert card.counters()["discarded"] == 1 and card.counters()["bytes_out"] == sent
    until(lambda: [e for e in card.events() if e["kind"] == EventKind.CLOSED and "withdrawn" in e["reason"]], "why")


def test_drop_key_leaves_the_others(card: CardProcess, guest: Guest, key: int) -> None:
    other = card.key(1, bytes(32))
    card.drop_key(instance=1, number=key)
    assert guest.ask(ENCRYPT, b"x", key=key).reason == reason("NO_KEY")
    assert guest.ask(ENCRYPT, b"x", key=other).status == 0
    with pytest.raises(errors.NoKey):
        card.drop_key(instance=1, number=key)
    card.drop_key(instance=1, number=other)
    assert guest.ask(NULL, b"x").reason == reason("ANY_KEY")


# ---- a guard that goes -------------------------------------------------------------------------------------------


def test_without_a_guard_everyone_is_busy_and_the_next_one_finds_the_keys(
    card: CardProcess, guard: Guard, guest: Guest, key: int
) -> None:
    sealed = guest.ask(ENCRYPT, b"before", key=key)
    card.quiesce()
    assert guard.state().quiesced
    for _ in range(3):
        reply = guest.ask(NULL, b"x")
        assert (reply.status, reply.reason) == (errors.Busy.status, reason("QUIESCED"))
    with pytest.raises(errors.Busy):
        card.key(1, bytes(32))
    assert card.clean() is True
    second = Guard(generation=8)
    try:
        card.bind(second)
        assert [slot["number"] for slot in card.keys()] == [key]
        assert guest.ask(NULL, b"x").reason == reason("NOT_CONNECTED")
        second.give(1)
        second.connect(1)
        assert AESGCM(bytes(32)).decrypt(sealed.iv, sealed.data + sealed.tag, b"") == b"before"
        assert guest.ask(ENCRYPT, b"after", key=key).status == 0
        assert second.state().owner == 1 and guard.state().quiesced
    finally:
        second.close()


def test_a_part_that_meets_no_guard_is_sent_again_to_the_next(
    card: CardProcess, guard: Guard, guest: Guest, key: int
) -> None:
    part = {"key": key, "stream": 1}
    first = guest.ask(ENCRYPT, b"one", flags=FIRST, **part)
    card.quiesce()
    for flags in (0, LAST):
        assert guest.ask(ENCRYPT, b"two", flags=flags, sequence=1, **part).reason == reason("QUIESCED")
    second = Guard(generation=8)
    try:
        card.bind(second)
        second.give(1)
        second.connect(1)
        last = guest.ask(ENCRYPT, b"two", flags=LAST, sequence=1, **part)
        assert AESGCM(bytes(32)).decrypt(first.iv, first.data + last.data + last.tag, b"") == b"onetwo"
    finally:
        second.close()


def test_a_part_that_ran_for_nothing_ends_its_stream_and_is_never_busy(
    make_card: Callable[..., CardProcess], guard: Guard
) -> None:
    """Whatever moment the guard takes q in: after EBUSY the same part fits, and after anything else none does."""
    card = make_card(busy_ms=1)
    key = card.key(1, bytes(32), GCM256)
    guest = card.attach(1)
    ending = threading.Event()

    def disturb() -> None:
        while not ending.wait(0.002):
            guard.revoke_begin(2, A)
            time.sleep(0.003)
            guard.revoke_end()

    thread = threading.Thread(target=disturb)
    thread.start()
    seen: Counter[int] = Counter()
    data = bytes(200_000)
    try:
        for stream in range(1, 200):
            part = {"key": key, "stream": stream}
            until(lambda: guest.ask(ENCRYPT, data, flags=FIRST, **part).status == 0, "the first part")  # noqa: B023
            for sequence in range(1, 6):
                part |= {"flags": LAST if sequence == 5 else 0, "sequence": sequence}
                status = guest.ask(ENCRYPT, data, **part).status
                while status == errors.Busy.status:
                    seen[status] += 1
                    status = guest.ask(ENCRYPT, data, **part).status
                seen[status] += 1
                if status:
                    assert guest.ask(ENCRYPT, data, **part).status in (errors.BadStream.status, errors.Busy.status)
                    break
    finally:
        ending.set()
        thread.join(TIMEOUT_S)
    assert set(seen) <= {0, errors.Busy.status, errors.Gone.status} and seen[errors.Busy.status], seen


def test_what_is_no_memory_of_a_guard_is_not_bound(card: CardProcess, guard: Guard, guest: Guest) -> None:
    with open("/dev/zero", "rb") as zero, pytest.raises(errors.VecError):
        card.call("bind", [zero.fileno(), guard.word_fd], card=CARD)
    with pytest.raises(errors.VecError):
        card.call("bind", [guard.matrices_fd, guard.matrices_fd], card=CARD)
    with pytest.raises(errors.Malformed):
        card.call("bind", [guard.matrices_fd, guard.word_fd], card=64)
    assert guest.ask(NULL, b"x").status == 0


# ---- a wipe that fails --------------------------------------------------------------------------------------------


def test_a_wipe_that_cannot_be_checked_takes_the_card_out_of_service(
    make_card: Callable[..., CardProcess], guard: Guard
) -> None:
    card = make_card("-broken")
    card.key(1, bytes(32))
    guest = card.attach(1)
    assert guest.ask(NULL, b"x").status == 0
    card.break_it()
    for _ in range(3):
        reply = guest.ask(NULL, b"x")
        assert (reply.status, reply.reason) == (errors.Hardware.status, reason("OUT_OF_SERVICE"))
    assert guard.state().quiesced and card.clean() is False
    kinds = [event["kind"] for event in card.events()]
    assert kinds.count(EventKind.OUT_OF_SERVICE) == 1
    with pytest.raises(errors.Hardware):
        card.key(1, bytes(32))
    with pytest.raises(errors.Hardware):
        card.bind(guard)


@pytest.mark.parametrize("share", ["fair"], indirect=True)
def test_an_idle_card_says_so_once(make_card: Callable[..., CardProcess], guard: Guard) -> None:
    """Shared strictly it has nothing to say: each slot ends with a wipe."""
    card = make_card(idle_ms=100)
    card.key(1, bytes(32))
    guest = card.attach(1)
    guest.ask(NULL, b"x")
    seen: list[dict] = []
    until(lambda: seen.extend(card.events()) or [e for e in seen if e["kind"] == EventKind.IDLE], "IDLE")
    time.sleep(0.4)
    assert not [e for e in card.events() if e["kind"] == EventKind.IDLE]
