"""Each refusal of a frame on a control connection has the status and reason of docs/wire.md."""

import json
import socket
import time

import pytest

from .control import FAILURE, Control
from .documents import SENTENCE, STATUS
from .frames import FIRST, HELLO, NULL, REPLY, UNVERIFIED, VERIFY, Frame

ASK = Frame(HELLO)
MALFORMED, NAMELESS = "EMALFORMED", (HELLO, 0)

# Frame, header fields that are wrong, status, reason, operation and request of the reply.
FRAMES = {
    "magic": (ASK, {"magic": 0x76454330}, MALFORMED, "BAD_HEADER", NAMELESS),
    "version": (ASK, {"version": 2}, "EVERSION", "BAD_HEADER", (HELLO, 77)),
    "reserved": (ASK, {"reserved": 1}, MALFORMED, "BAD_HEADER", (HELLO, 77)),
    "status in a request": (ASK.but(status=1), {}, MALFORMED, "BAD_HEADER", (HELLO, 77)),
    "unknown flag": (ASK.but(flags=16), {}, MALFORMED, "BAD_HEADER", (HELLO, 77)),
    "unknown control operation": (ASK.but(op=0x88), {}, MALFORMED, "BAD_OP", NAMELESS),
    "unknown data operation": (ASK.but(op=9), {}, MALFORMED, "BAD_OP", NAMELESS),
    "data too large": (ASK.but(op=VERIFY), {"data_len": 65537}, "ETOOLARGE", "BAD_LENGTH", (VERIFY, 77)),
    "IV": (ASK.but(op=VERIFY, iv=b"x"), {}, MALFORMED, "BAD_LENGTH", (VERIFY, 77)),
    "additional data": (ASK.but(aad=b"x"), {}, MALFORMED, "BAD_LENGTH", (HELLO, 77)),
    "tag": (ASK.but(tag=b"x"), {}, MALFORMED, "BAD_LENGTH", (HELLO, 77)),
    "FIRST": (ASK.but(flags=FIRST), {}, MALFORMED, "BAD_HEADER", (HELLO, 77)),
    "UNVERIFIED": (ASK.but(flags=UNVERIFIED), {}, MALFORMED, "BAD_HEADER", (HELLO, 77)),
    "key": (ASK.but(key=1), {}, MALFORMED, "BAD_HEADER", (HELLO, 77)),
    "stream": (ASK.but(stream=1), {}, MALFORMED, "BAD_HEADER", (HELLO, 77)),
    "sequence": (ASK.but(sequence=1), {}, MALFORMED, "BAD_HEADER", (HELLO, 77)),
    "a reply": (ASK.but(flags=REPLY), {}, MALFORMED, "", (HELLO, 77)),
    "data operation": (ASK.but(op=NULL, flags=6, data=b"x"), {}, MALFORMED, "", NAMELESS),
}


@pytest.fixture(scope="module")
def one(enrol):
    return enrol()


@pytest.fixture
def control(one):
    made = Control(one.address)
    yield made
    made.close()


@pytest.mark.parametrize("what", FRAMES)
def test_a_frame_that_is_none_ends_the_connection(control, what):
    frame, wrong, status, reason, named = FRAMES[what]
    control.send(frame.but(request=77).pack(**wrong))
    reply = control.receive()
    assert reply == Frame(named[0], REPLY, STATUS[status], named[1], data=reply.data)
    said = json.loads(reply.data)
    assert set(said) == FAILURE and said["status"] == reply.status
    assert said["reason"] == (SENTENCE[reason] if reason else "")
    assert control.ended()


@pytest.mark.parametrize("size", [20, 48, 50])
def test_a_cut_frame_is_not_answered(control, size):
    control.send(Frame(VERIFY, data=b"message").pack()[:size])
    control.sock.shutdown(socket.SHUT_WR)
    assert control.ended()


def test_what_is_not_there_in_five_seconds_is_not_awaited(one):
    silent, begun, late = Control(one.address), Control(one.address), Control(one.address)
    begun.send(ASK.pack()[:20])
    started = time.monotonic()
    assert late.hello() and silent.ended() and begun.ended()
    assert 4.5 < time.monotonic() - started < 8
    for each in (silent, begun, late):
        each.close()


def test_sixty_four_frames_and_no_more(control):
    for _ in range(64):
        assert control.hello()
    assert control.ended()
