"""vecd/guest/channel.py and parts.py: frames over a socket, with a peer that does all it can to be difficult."""

import contextlib
import socket
import threading

import pytest

from vecd.base.errors import BadTag, Denied, Gone, Malformed, TimedOut
from vecd.guest import parts
from vecd.guest.channel import Channel, Request
from vecd.guest.deadline import Deadline
from vecd.wire import codec, ops

NULL, ENCRYPT = ops.OPS["NULL"], ops.OPS["ENCRYPT"]


@contextlib.contextmanager
def peer(serve):
    """A channel whose other end is `serve(socket)` in a thread."""
    here, there = socket.socketpair()

    def run():
        with there, contextlib.suppress(OSError):
            serve(there)

    thread = threading.Thread(target=run)
    thread.start()
    channel = Channel(here)
    try:
        yield channel
    finally:
        channel.close()
        thread.join(5)
        assert not thread.is_alive()


def frames(sock):
    reader = codec.Reader(control=False, replies=False)
    while True:
        frame = reader.next()
        if frame is not None:
            yield frame
            continue
        try:
            data = sock.recv(1 << 16)
        except OSError:
            return
        if not data:
            return
        reader.feed(data)


def echo(sock, count=1 << 30):
    for frame, _ in zip(frames(sock), range(count), strict=False):
        with contextlib.suppress(OSError):
            sock.sendall(codec.reply_to(frame.header, data=frame.data).encode())


def ask(channel, data=b"x", timeout=5.0):
    return channel.ask(Request(NULL.number, data=data), Deadline(timeout), "null").require()


def test_the_answer_has_the_data_of_the_request():
    with peer(echo) as channel:
        for size in (0, 1, 65536, ops.DATA_MAX):
            assert bytes(ask(channel, b"z" * size).data) == b"z" * size


def test_a_window_of_large_requests_never_locks_up_with_a_peer_that_answers_before_it_reads_on():
    chunks = [bytes([n]) * ops.BATCH_BYTES for n in range(40)]
    with peer(echo) as channel:
        asked = parts.requests(ENCRYPT, 1, chunks)
        got = [
            bytes(reply.data) for reply in channel.exchange(asked, window=16, deadline=lambda: Deadline(5), what="test")
        ]
    assert got == chunks


def test_an_answer_in_single_bytes_is_an_answer():
    def dribble(sock):
        for frame in frames(sock):
            for byte in codec.reply_to(frame.header, data=frame.data).encode():
                sock.send(bytes([byte]))

    with peer(dribble) as channel:
        assert bytes(ask(channel, b"abc").data) == b"abc"


def test_a_peer_that_says_nothing_is_timed_out_and_the_connection_closed():
    with peer(lambda sock: list(frames(sock))) as channel, pytest.raises(TimedOut):
        ask(channel, timeout=0.1)
    assert channel.closed


def test_a_peer_that_hangs_up_is_gone():
    with peer(lambda sock: sock.recv(1)) as channel, pytest.raises(Gone):
        ask(channel)
    assert channel.closed


def test_half_an_answer_is_gone():
    def half(sock):
        for frame in frames(sock):
            sock.sendall(codec.reply_to(frame.header, data=frame.data).encode()[:-1])
            return

    with peer(half) as channel, pytest.raises(Gone):
        ask(channel)


def test_the_refusal_of_a_peer_that_hung_up_meanwhile_is_still_read():
    def refuse_and_close(sock):
        header = codec.parse_header(sock.recv(48))
        reason = ops.REASONS["M_LACKS_A"].number
        sock.sendall(codec.reply_to(header, status=Denied.status, data=codec.build_refusal(reason)).encode())

    with peer(refuse_and_close) as channel, pytest.raises(Denied) as refused:
        ask(channel, b"y" * ops.DATA_MAX)
    assert refused.value.rule == "R2"


def test_an_answer_to_another_request_is_malformed():
    def other(sock):
        for frame in frames(sock):
            sock.sendall(codec.frame(NULL.number, flags=ops.F_REPLY, request=frame.header.request + 1).encode())

    with peer(other) as channel, pytest.raises(Malformed):
        ask(channel)
    assert channel.closed


def test_a_refusal_that_names_no_request_answers_whatever_was_asked():
    def refuse(sock):
        sock.recv(48)
        data = codec.build_control_refusal(BadTag("no"))
        sock.sendall(codec.frame(0x80, flags=ops.F_REPLY, status=BadTag.status, data=data).encode())

    with peer(refuse) as channel, pytest.raises(BadTag):
        ask(channel)


def test_leaving_an_exchange_early_closes_the_connection():
    with peer(echo) as channel:
        exchange = channel.exchange(
            parts.requests(ENCRYPT, 1, [b"a", b"b", b"c", b"d"]), window=3, deadline=lambda: Deadline(5), what="test"
        )
        next(exchange)
        exchange.close()
        assert channel.closed


def cut(size):
    return [bytes(view) for view in parts.cut(b"p" * size)]


@pytest.mark.parametrize("size", [0, 1, parts.PART_BYTES, parts.PART_BYTES + 1, 3 * parts.PART_BYTES])
def test_parts_add_up_and_carry_the_flags_of_their_place(size):
    asked = list(parts.requests(ENCRYPT, 5, cut(size), iv=b"i", aad=b"a", tag=b"t"))
    assert b"".join(bytes(one.data) for one in asked) == b"p" * size
    if len(asked) == 1:
        assert (asked[0].flags, asked[0].stream) == (ops.F_ONE_SHOT, 0)
    else:
        assert [one.flags for one in asked] == [ops.F_FIRST] + [0] * (len(asked) - 2) + [ops.F_LAST]
        assert len({one.stream for one in asked}) == 1 and asked[0].stream
    assert [one.sequence for one in asked] == list(range(len(asked)))
    assert [(one.iv, one.aad) for one in asked] == [(b"i", b"a")] + [(b"", b"")] * (len(asked) - 1)
    assert [one.tag for one in asked] == [b""] * (len(asked) - 1) + [b"t"]
