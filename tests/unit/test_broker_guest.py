"""vecd/services/broker_parts/guest.py: exact frames, one answer each, a refusal for everything else."""

import asyncio
import json
import socket

import pytest

from vecd.base.errors import Busy, ProtocolRefused
from vecd.services.broker_parts.guest import GuestConnection
from vecd.services.broker_parts.limits import Limits
from vecd.wire import codec, ops

HELLO, ATTACH = ops.CONTROLS["HELLO"].number, ops.CONTROLS["ATTACH"].number


def talk(sent: bytes, answer=None, *, state_s: float = 0.2, half_close: bool = True):
    """(what the connection said, what it left unread in the socket) after `sent`."""

    async def scene():
        here, there = socket.socketpair()
        kept = there.dup()
        limits = Limits()
        knock, _ = limits.admit("A")
        connection = GuestConnection(there, "A", b"u" * 16, knock, limits, state_s)

        async def echo(guest, header, data):
            return data

        here.sendall(sent)
        if half_close:
            here.shutdown(socket.SHUT_WR)
        await asyncio.wait_for(connection.serve(answer or echo), 5)
        assert limits.waiting == 0
        kept.setblocking(False)
        try:
            left = kept.recv(1 << 16)
        except BlockingIOError:
            left = b""
        kept.close()
        here.settimeout(1)
        said = b""
        try:
            while chunk := here.recv(1 << 16):
                said += chunk
        except ConnectionResetError:
            pass
        here.close()
        reader = codec.Reader(control=True, replies=True)
        reader.feed(said)
        return list(reader.frames()), left

    return asyncio.run(scene())


def request(op: int = HELLO, data: bytes = b"", number: int = 7) -> bytes:
    return codec.frame(op, request=number, data=data).encode()


def test_each_frame_has_its_answer_in_order():
    replies, _ = talk(request(data=b"one", number=1) + request(data=b"two", number=2))
    assert [(reply.header.request, reply.data) for reply in replies] == [(1, b"one"), (2, b"two")]


def test_nothing_beyond_an_attach_frame_is_read():
    async def handed_over(guest, header, data):
        assert data == b"attach message"
        return None

    replies, left = talk(request(ATTACH, b"attach message") + b"the data half", handed_over)
    assert replies == [] and left == b"the data half"


BAD = {
    "magic": (b"XXXX" + request()[4:], "Malformed"),
    "version": (request()[:4] + b"\x09" + request()[5:], "Version"),
    "operation": (request()[:5] + b"\x8f" + request()[6:], "Malformed"),
    "a data operation": (request()[:5] + b"\x04\x06" + request()[7:], "Malformed"),
    "length": (request()[:36] + b"\xff\xff\xff\xff" + request()[40:], "TooLarge"),
    "an iv": (request()[:40] + b"\x00\x10" + request()[42:], "Malformed"),
    "a reply": (request()[:6] + b"\x01" + request()[7:], "Malformed"),
    "reserved": (request()[:44] + b"\x00\x00\x00\x01", "Malformed"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_frame_is_refused_with_a_reason_and_ends_the_connection(case):
    sent, error = BAD[case]
    replies, _ = talk(sent + request())
    assert len(replies) == 1
    refusal = codec.refusal(replies[0])
    assert type(refusal).__name__ == error and str(refusal)


def test_a_refusal_names_the_request_where_it_can():
    replies, _ = talk(request(number=99)[:44] + b"\x00\x00\x00\x01")
    assert (replies[0].header.op, replies[0].header.request) == (HELLO, 99)


def test_silence_ends_the_connection_after_the_time_of_a_state():
    assert talk(b"", half_close=False) == ([], b"")


def test_half_a_frame_ends_the_connection_after_the_time_of_a_state():
    assert talk(request(data=b"x" * 100)[:60], half_close=False) == ([], b"")


def test_a_refused_step_answers_with_rule_and_reason_and_leaves_the_connection():
    async def refuse(guest, header, data):
        if guest.frames == 1:
            raise ProtocolRefused("message 1 was refused", rule="message 1", reason="it is from another user")
        return b"next"

    replies, _ = talk(request() + request(number=8), refuse)
    error = codec.refusal(replies[0])
    assert (error.rule, error.reason) == ("message 1", "it is from another user")
    assert replies[1].data == b"next"


def test_busy_ends_the_connection():
    async def busy(guest, header, data):
        raise Busy("the guard is away")

    replies, _ = talk(request() + request(), busy)
    assert [reply.header.status for reply in replies] == [Busy.status]


def test_our_own_mistake_tells_the_guest_nothing_of_it():
    async def mistake(guest, header, data):
        raise KeyError("a secret of somebody")

    replies, _ = talk(request(), mistake)
    assert "secret" not in json.dumps(json.loads(replies[0].data))
