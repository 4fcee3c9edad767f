"""Bytes of any kind on a connection: a definite refusal or an end, and nobody else is harmed."""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from vecd._wire import lib as wire

from tests.conformance.machine import (
    ATTACH,
    DECRYPT,
    ENCRYPT,
    GCM256,
    HEADER,
    MAGIC,
    NULL,
    SHA256,
    TAG,
    TIMEOUT_S,
    CardProcess,
    Guest,
    frame,
    until,
)
from vecd.base import errors
from vecd.cards.api import EventKind

MIB = 1 << 20


@pytest.fixture
def guest(card: CardProcess) -> Guest:
    card.key(1, bytes(32), GCM256)
    return card.attach(1)


def events(card: CardProcess, kind: EventKind) -> list[dict]:
    return [event for event in card.events() if event["kind"] == kind]


def closed(card: CardProcess) -> list[dict]:
    return until(lambda: events(card, EventKind.CLOSED), "an event CLOSED")


# ---- attach ----------------------------------------------------------------------------------------------------


def test_the_right_tag_opens_the_connection(card: CardProcess, guest: Guest) -> None:
    assert guest.ask(NULL, b"echo").data == b"echo"
    assert events(card, EventKind.ATTACHED) == [{"kind": 2, "instance": 1, "value": 1, "reason": ""}]
    guest.close()
    assert [(e["instance"], e["value"]) for e in closed(card)] == [(1, 0)]


def test_frames_may_follow_the_tag_at_once(card: CardProcess, guest: Guest) -> None:
    other = card.knock(1)
    other.sock.sendall(TAG + frame(NULL, b"a") + frame(NULL, b"b"))
    assert (other.reply().data, other.reply().data) == (b"a", b"b")


@pytest.mark.parametrize("place", [0, 15, 31])
def test_a_wrong_tag_is_refused_and_ends_it(card: CardProcess, place: int) -> None:
    knocking = card.knock(1)
    wrong = bytearray(TAG)
    wrong[place] ^= 1
    knocking.sock.sendall(bytes(wrong) + frame(NULL, b"a"))
    reply = knocking.reply()
    assert (reply.op, reply.status, reply.reason) == (
        ATTACH,
        errors.ProtocolRefused.status,
        wire.VEC_REASON_ATTACH_TAG,
    )
    assert knocking.is_closed()
    assert "tag" in closed(card)[0]["reason"] and not events(card, EventKind.ATTACHED)


def test_a_late_tag_is_refused(card: CardProcess) -> None:
    knocking = card.knock(1, deadline_s=0.2)
    knocking.sock.sendall(TAG[:31])
    assert knocking.reply().status == errors.TimedOut.status
    assert knocking.is_closed()


def test_what_cannot_be_attached_is_refused_and_stays_the_caller_s(card: CardProcess) -> None:
    with socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0] as datagram, pytest.raises(errors.Malformed):
        card.call("attach", [datagram.fileno()], instance=1, tag=TAG)
    with socket.socket(socket.AF_INET) as tcp, pytest.raises(errors.Malformed):
        card.call("attach", [tcp.fileno()], instance=1, tag=TAG)
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(errors.Malformed):
        card.call("attach", [theirs.fileno()], instance=4095, tag=TAG)


def test_connections_have_a_limit(make_card: Callable[..., CardProcess], share: str) -> None:
    # Strict: each of the two instances has its part.
    card = make_card(connections=3 if share == "fair" else 6)
    kept = [card.attach(1) for _ in range(3)]
    with pytest.raises(errors.Exhausted):
        card.attach(1)
    kept.pop().close()
    closed(card)
    card.attach(1)


# ---- frames ----------------------------------------------------------------------------------------------------


def test_a_frame_may_come_byte_by_byte(guest: Guest) -> None:
    for byte in frame(SHA256, b"abc") + frame(NULL, b"x"):
        guest.sock.sendall(bytes([byte]))
    assert guest.reply().data.hex().startswith("ba7816bf")
    assert guest.reply().data == b"x"


@pytest.mark.parametrize("at, value", [(0, 0x77), (4, 2), (4, 0), (47, 1)], ids=["magic", "version", "0", "reserved"])
def test_a_header_that_cannot_be_believed_ends_the_connection(guest: Guest, at: int, value: int) -> None:
    wrong = bytearray(frame(NULL, b"x"))
    wrong[at] = value
    guest.sock.sendall(bytes(wrong))
    reply = guest.reply()
    assert reply.status and reply.reason == wire.VEC_REASON_BAD_HEADER
    assert guest.is_closed()


@pytest.mark.parametrize(
    "wrong, reason",
    [
        (frame(0x06, b"skipped" * 9000), "BAD_OP"),
        (frame(0x7F), "BAD_OP"),
        (frame(wire.VEC_CONTROL_HELLO, b"{}", flags=0), "BAD_OP"),
        (frame(NULL, b"x", flags=0x10 | 6), "BAD_HEADER"),
        (frame(NULL, b"x", flags=1), "BAD_HEADER"),
        (frame(NULL, b"x", flags=6, stream=1), "BAD_HEADER"),
        (frame(NULL, b"x", flags=2, stream=1), "BAD_HEADER"),
        (frame(ENCRYPT, b"x", flags=2, stream=1, sequence=1), "BAD_HEADER"),
        (frame(NULL, b"x", iv=bytes(17)), "BAD_LENGTH"),
        (frame(NULL, b"x", tag=bytes(1000)), "BAD_LENGTH"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_refused_body_is_skipped_and_the_next_frame_found(guest: Guest, wrong: bytes, reason: str) -> None:
    guest.sock.sendall(frame(NULL, b"before") + wrong + frame(NULL, b"after"))
    assert guest.reply().data == b"before"
    reply = guest.reply()
    assert reply.status and reply.reason == getattr(wire, f"VEC_REASON_{reason}")
    assert guest.reply().data == b"after"


@pytest.mark.parametrize("aad, data", [(65537, 0), (0, MIB + 1), (0xFFFFFFFF, 0), (0, 0xFFFFFFFF)])
def test_beyond_the_limits_the_connection_ends(guest: Guest, aad: int, data: int) -> None:
    guest.sock.sendall(HEADER.pack(MAGIC, 1, ENCRYPT, 6, 0, 5, 1, 0, 0, aad, data, 0, 0, 0))
    reply = guest.reply()
    assert (reply.request, reply.status, reply.reason) == (5, errors.TooLarge.status, wire.VEC_REASON_BAD_LENGTH)
    assert guest.is_closed()


def test_the_largest_frame_is_served(card: CardProcess, guest: Guest) -> None:
    key = card.key(1, bytes(32), GCM256)
    data, aad = os.urandom(MIB), os.urandom(65536)
    sealed = guest.ask(ENCRYPT, data, key=key, iv=bytes(12), aad=aad)
    assert guest.ask(DECRYPT, sealed.data, key=key, iv=sealed.iv, aad=aad, tag=sealed.tag).data == data


def test_a_cut_frame_ends_its_connection_and_no_other(card: CardProcess, guest: Guest) -> None:
    for cut in (1, 47, 48, 60, 40_000):
        other = card.attach(1)
        other.sock.sendall(frame(NULL, bytes(MIB))[:cut])
        other.sock.shutdown(socket.SHUT_WR)
        assert other.is_closed()
    assert guest.ask(NULL, b"x").data == b"x"


def test_what_was_complete_before_a_half_close_is_answered(card: CardProcess, guest: Guest) -> None:
    guest.sock.sendall(b"".join(frame(NULL, bytes([n])) for n in range(100)) + b"half")
    guest.sock.shutdown(socket.SHUT_WR)
    assert [guest.reply().data[0] for _ in range(100)] == list(range(100))
    assert guest.is_closed()


def test_a_stalled_frame_is_ended(make_card: Callable[..., CardProcess]) -> None:
    card = make_card(stall_ms=300)
    card.key(1, bytes(32), GCM256)
    silent, large, drip = (card.attach(1) for _ in range(3))
    large.sock.sendall(frame(NULL, bytes(MIB))[:500_000])
    end = time.monotonic() + 1
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for byte in frame(NULL, bytes(1000)):
            drip.sock.sendall(bytes([byte]))
            time.sleep(0.01)
            if time.monotonic() > end:
                pytest.fail("a drip of bytes keeps a connection")
    assert large.is_closed() and drip.is_closed()
    # Between two frames there is no hurry.
    assert silent.ask(NULL, b"x").data == b"x"


def test_any_bytes_get_a_refusal_or_an_end(card: CardProcess, guest: Guest) -> None:
    chance = random.Random(20170516)
    key = card.key(1, bytes(32), GCM256)
    good = [frame(NULL, b"abc"), frame(ENCRYPT, b"abc", key=key), frame(SHA256, b"x", stream=1, flags=2)]
    for round_ in range(300):
        other = card.attach(1)
        data = bytearray(chance.choice(good) * chance.randint(1, 3))
        for _ in range(chance.randint(1, 4)):
            # Mostly in the header, where a flipped bit means something.
            data[chance.randrange(min(len(data), chance.choice((6, 48, 200))))] = chance.randrange(256)
        if round_ % 5 == 0:
            data = bytearray(chance.randbytes(chance.randint(1, 300)))
        other.sock.sendall(bytes(data))
        other.sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(EOFError, ConnectionResetError):
            while True:
                reply = other.reply()
                assert reply.status == 0 or wire.vec_reason_sentence(reply.reason)
        other.close()
    assert guest.ask(NULL, b"x").data == b"x"
    assert card.counters()["connections"] <= 1 + len(events(card, EventKind.CLOSED))


# ---- many and slow ------------------------------------------------------------------------------------------------


def test_a_thousand_requests_at_once_are_answered_in_order(card: CardProcess, guest: Guest) -> None:
    key = card.key(1, bytes(32), GCM256)
    asked = b"".join(
        frame((NULL, ENCRYPT, SHA256)[n % 3], b"data", key=key if n % 3 == 1 else 0, request=n) for n in range(1000)
    )
    sender = threading.Thread(target=guest.sock.sendall, args=(asked,))
    sender.start()
    assert [guest.reply().request for _ in range(1000)] == list(range(1000))
    sender.join(TIMEOUT_S)
    assert card.counters()["turns"] < 500


def test_who_does_not_read_does_not_get_to_ask(card: CardProcess, guest: Guest) -> None:
    """Back-pressure: the card takes nothing more in, everybody else is served, nothing is lost."""
    slow = card.attach(1)
    large = frame(NULL, os.urandom(MIB))
    slow.sock.setblocking(False)
    sent = 0
    while sent < 20 * len(large) and select.select([], [slow.sock], [], 0.3)[1]:
        sent += slow.sock.send((large + large)[sent % len(large) :])
    assert sent < 4 * len(large)
    other = card.attach(2)
    card.key(2, bytes(32), GCM256)
    assert other.ask(NULL, b"x").data == b"x" and guest.ask(NULL, b"x").data == b"x"
    slow.sock.settimeout(TIMEOUT_S)
    for _ in range(sent // len(large)):
        assert slow.reply().data == large[HEADER.size :]


def test_large_frames_wait_for_credit_and_all_are_served(make_card: Callable[..., CardProcess]) -> None:
    card = make_card(credit=16 * MIB)
    card.key(1, bytes(32), GCM256)
    guests = [card.attach(1) for _ in range(12)]
    large = [frame(NULL, os.urandom(MIB)) for _ in guests]
    senders = [threading.Thread(target=g.sock.sendall, args=(data,)) for g, data in zip(guests, large, strict=True)]
    for sender in senders:
        sender.start()
    # Each reads for itself: an answer that is not taken keeps its credit.
    with ThreadPoolExecutor(len(guests)) as readers:
        replies = list(readers.map(Guest.reply, guests))
    assert [reply.data for reply in replies] == [data[HEADER.size :] for data in large]
    for sender in senders:
        sender.join(TIMEOUT_S)


def test_without_credit_a_frame_is_refused_and_the_connection_goes_on(make_card: Callable[..., CardProcess]) -> None:
    card = make_card(credit=8 * 1310720, stall_ms=400)
    card.key(1, bytes(32), GCM256)
    # Two hold everything an instance may have: each began a large frame and does not go on.
    holders = [card.attach(1) for _ in range(2)]
    for holder in holders:
        holder.sock.sendall(frame(NULL, bytes(MIB))[: MIB // 2])
    late = card.attach(1)
    until(lambda: card.counters()["bytes_in"] > MIB - 10_000, "the halves arrived")
    data = frame(NULL, bytes(100_000), request=9)
    sender = threading.Thread(target=late.sock.sendall, args=(data + frame(NULL, b"x"),))
    sender.start()
    reply = late.reply()
    # Whoever is timed out first: a holder (then there is credit) or the late one.
    assert (reply.request, reply.status) == (9, 0) or reply.reason == wire.VEC_REASON_CREDIT
    assert late.reply().data == b"x"
    sender.join(TIMEOUT_S)


def test_hundreds_of_connections_that_say_nothing_harm_nobody(card: CardProcess, guest: Guest, share: str) -> None:
    silent = [card.attach(2) for _ in range(600 if share == "fair" else 500)]
    assert guest.ask(NULL, b"x").data == b"x"
    card.drop_instance(instance=2)
    assert all(other.is_closed() for other in silent)
