"""Frames: any bytes are accepted or raise Malformed, TooLarge or Version, and nothing else."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecd.base import errors
from vecd.base.errors import Internal, Malformed, TooLarge, Version
from vecd.wire import codec, ops
from vecd.wire.codec import Frame, Header, Reader

DOC = (Path(__file__).resolve().parents[2] / "docs" / "wire.md").read_text()
ENCRYPT, SHA256, RANDOM = (ops.OPS[name].number for name in ("ENCRYPT", "SHA256", "RANDOM"))
HELLO = ops.CONTROLS["HELLO"].number
ONE_SHOT = ops.F_ONE_SHOT
GOOD = Header(ENCRYPT, ONE_SHOT, request=7, key=9, data_len=3)

u8, u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))


def raw(header=GOOD, *, magic=ops.MAGIC, version=ops.WIRE_VERSION, reserved=0):
    """A header by the document's picture, without the C builder."""
    h = header
    return (
        magic.to_bytes(4, "big")
        + bytes([version, h.op, h.flags, h.status])
        + h.request.to_bytes(8, "big")
        + h.key.to_bytes(8, "big")
        + b"".join(n.to_bytes(4, "big") for n in (h.stream, h.sequence, h.aad_len, h.data_len))
        + h.iv_len.to_bytes(2, "big")
        + h.tag_len.to_bytes(2, "big")
        + reserved.to_bytes(4, "big")
    )


def with_(**fields):
    return Header(**{**{name: getattr(GOOD, name) for name in Header.__slots__}, **fields})


BAD_HEADER = ops.REASONS["BAD_HEADER"].sentence
BAD_LENGTH = ops.REASONS["BAD_LENGTH"].sentence
BAD_OP = ops.REASONS["BAD_OP"].sentence
control = {"op": HELLO, "flags": 0, "key": 0}

REFUSED = {
    "wrong magic": (raw(magic=0x76454330), Malformed, BAD_HEADER),
    "another version": (raw(version=2), Version, BAD_HEADER),
    "reserved is set": (raw(reserved=1), Malformed, BAD_HEADER),
    "unknown flag": (raw(with_(flags=ONE_SHOT | 16)), Malformed, BAD_HEADER),
    "status in a request": (raw(with_(status=5)), Malformed, BAD_HEADER),
    "reply with a status without a row": (raw(with_(flags=ops.F_REPLY, status=99)), Malformed, BAD_HEADER),
    "no such operation": (raw(with_(op=0x7F)), Malformed, BAD_OP),
    "operation 0": (raw(with_(op=0)), Malformed, BAD_OP),
    "no such control operation": (raw(with_(op=0xFF, flags=0)), Malformed, BAD_OP),
    "unknown operation in a good reply": (raw(with_(op=0x7F, flags=ops.F_REPLY)), Malformed, BAD_OP),
    "data too long": (raw(with_(data_len=ops.DATA_MAX + 1)), TooLarge, BAD_LENGTH),
    "data longest": (raw(with_(data_len=2**32 - 1)), TooLarge, BAD_LENGTH),
    "aad too long": (raw(with_(aad_len=ops.AAD_MAX + 1)), TooLarge, BAD_LENGTH),
    "iv too long": (raw(with_(iv_len=ops.IV_MAX + 1)), TooLarge, BAD_LENGTH),
    "tag too long": (raw(with_(tag_len=ops.TAG_MAX + 1)), TooLarge, BAD_LENGTH),
    "control data too long": (raw(with_(**control, data_len=ops.CONTROL_MAX + 1)), TooLarge, BAD_LENGTH),
    "iv in a control frame": (raw(with_(**control, iv_len=1)), Malformed, BAD_LENGTH),
    "aad in a control frame": (raw(with_(**control, aad_len=1)), Malformed, BAD_LENGTH),
    "tag in a control frame": (raw(with_(**control, tag_len=1)), Malformed, BAD_LENGTH),
    "key in a control frame": (raw(with_(**{**control, "key": 1})), Malformed, BAD_HEADER),
    "stream in a control frame": (raw(with_(**control, stream=1)), Malformed, BAD_HEADER),
    "sequence in a control frame": (raw(with_(**control, sequence=1)), Malformed, BAD_HEADER),
    "FIRST in a control frame": (raw(with_(**{**control, "flags": ops.F_FIRST})), Malformed, BAD_HEADER),
    "UNVERIFIED in a request": (raw(with_(flags=ONE_SHOT | ops.F_UNVERIFIED)), Malformed, BAD_HEADER),
    "one shot on a stream": (raw(with_(stream=1)), Malformed, BAD_HEADER),
    "part without a stream": (raw(with_(flags=ops.F_FIRST)), Malformed, BAD_HEADER),
    "neither first nor a sequence": (raw(with_(flags=0, stream=1)), Malformed, BAD_HEADER),
    "FIRST in the middle": (raw(with_(flags=ops.F_FIRST, stream=1, sequence=1)), Malformed, BAD_HEADER),
    "a stream of what is not streamed": (raw(with_(op=RANDOM, flags=ops.F_FIRST, stream=1)), Malformed, BAD_HEADER),
}


@pytest.mark.parametrize("what", REFUSED)
def test_the_parser_refuses(what):
    data, error, reason = REFUSED[what]
    with pytest.raises(error) as caught:
        codec.parse_header(data)
    assert type(caught.value) is error and caught.value.reason == reason


@pytest.mark.parametrize(
    "header",
    [
        GOOD,
        with_(data_len=ops.DATA_MAX, aad_len=ops.AAD_MAX, iv_len=ops.IV_MAX, tag_len=ops.TAG_MAX),
        with_(flags=ops.F_FIRST, stream=2**32 - 1),
        with_(flags=0, stream=1, sequence=2**32 - 1),
        with_(op=SHA256, flags=ops.F_LAST, stream=1, sequence=1),
        with_(request=2**64 - 1, key=2**64 - 1),
        with_(flags=ops.F_REPLY | ops.F_FIRST | ops.F_UNVERIFIED, stream=1),
        with_(flags=ops.F_REPLY, status=70),
        with_(op=0x7F, flags=ops.F_REPLY, status=2),
        with_(**control, data_len=ops.CONTROL_MAX),
        with_(**{**control, "flags": ops.F_REPLY}, status=18),
    ],
)
def test_a_header_is_as_the_document_draws_it(header):
    assert codec.build_header(header) == raw(header)
    assert codec.parse_header(raw(header)) == header


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_parser_refuses_is_not_built(what):
    data = REFUSED[what][0]
    fields = [data[5], data[6], data[7], int.from_bytes(data[8:16], "big"), int.from_bytes(data[16:24], "big")]
    fields += [int.from_bytes(data[at : at + 4], "big") for at in (24, 28, 32, 36)]
    fields += [int.from_bytes(data[at : at + 2], "big") for at in (40, 42)]
    if what in ("wrong magic", "another version", "reserved is set"):
        assert codec.build_header(Header(*fields)) == raw()
        return
    with pytest.raises((Malformed, TooLarge)):
        codec.build_header(Header(*fields))


@pytest.mark.parametrize("fields", [{"request": -1}, {"key": 2**64}, {"stream": 2**32}, {"iv_len": 2**16}, {"op": "x"}])
def test_a_field_that_does_not_fit_is_our_own_mistake(fields):
    with pytest.raises(Internal):
        codec.build_header(with_(**fields))


@pytest.mark.parametrize("size", [0, 47, 49])
def test_a_header_of_another_size_is_malformed(size):
    with pytest.raises(Malformed):
        codec.parse_header(bytes(size))


headers = st.builds(
    raw,
    st.builds(Header, u8, u8, u8, u64, u64, u32, u32, u32, u32, u16, u16),
    magic=st.sampled_from([ops.MAGIC, 0]),
    version=st.sampled_from([1, 1, 1, 0, 2]),
    reserved=st.sampled_from([0, 0, 0, 1]),
)
small = st.one_of(st.integers(0, 20), u32)
likely = st.builds(
    raw,
    st.builds(
        Header,
        st.sampled_from([row.number for row in (*ops.OPS.values(), *ops.CONTROLS.values())]),
        st.integers(0, 15),
        st.sampled_from([0, 0, 5, 70]),
        u64,
        st.sampled_from([0, 1]),
        st.sampled_from([0, 1]),
        st.sampled_from([0, 1]),
        small,
        small,
        st.integers(0, 20),
        st.integers(0, 20),
    ),
)


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.binary(min_size=48, max_size=48), headers, likely))
def test_any_header_is_accepted_or_one_of_three_errors(data):
    try:
        header = codec.parse_header(data)
    except (Malformed, TooLarge, Version):
        return
    assert codec.build_header(header) == data
    assert header.body_size <= codec.FRAME_MAX


pieces = st.lists(st.one_of(st.binary(max_size=200), likely, st.builds(raw)), max_size=8)


@settings(max_examples=300, deadline=None)
@given(pieces, st.booleans(), st.booleans(), st.lists(st.integers(1, 300), max_size=20))
def test_any_stream_gives_frames_or_one_of_three_errors(parts, control_half, replies, cuts):
    data, reader, out, at = b"".join(parts), Reader(control=control_half, replies=replies), b"", 0
    try:
        for size in [*cuts, len(data)]:
            reader.feed(data[at : at + size])
            at += size
            for frame in reader.frames():
                assert frame.header.is_control == control_half and frame.header.is_reply == replies
                out += frame.encode()
    except (Malformed, TooLarge, Version) as error:
        with pytest.raises(type(error)):
            reader.next()
        with pytest.raises(type(error)):
            reader.feed(b"")
    assert data.startswith(out)


frames = st.builds(
    lambda op, request, key, iv, aad, data, tag: codec.frame(
        op, flags=ONE_SHOT, request=request, key=key, iv=iv, aad=aad, data=data, tag=tag
    ),
    st.sampled_from([op.number for op in ops.OPS.values()]),
    u64,
    u64,
    st.binary(max_size=16),
    st.binary(max_size=40),
    st.binary(max_size=300),
    st.binary(max_size=16),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(frames, max_size=5), st.integers(1, 97))
def test_frames_come_back_however_they_are_cut(sent, step):
    data, reader, got = b"".join(frame.encode() for frame in sent), Reader(control=False, replies=False), []
    for at in range(0, len(data), step):
        reader.feed(data[at : at + step])
        got += reader.frames()
    assert got == sent and reader.idle


def test_reading_what_is_wanted_leaves_everything_behind_the_frame():
    sent = codec.frame(ops.CONTROLS["ATTACH"].number, request=1, data=b"message attach").encode()
    behind, reader = b"the tag of the attachment", Reader(control=True, replies=False)
    data, at = sent + behind, 0
    while (frame := reader.next()) is None:
        wanted = reader.wanted
        reader.feed(data[at : at + wanted])
        at += wanted
    assert at == len(sent)
    assert frame.data == b"message attach" and data[len(sent) :] == behind and reader.idle


def test_the_reader_keeps_no_more_than_its_limit():
    reader = Reader(control=True, replies=False)
    with pytest.raises(TooLarge):
        reader.feed(bytes(2 * codec.CONTROL_FRAME_MAX + 1))


def test_the_longest_frame_is_read():
    longest = codec.frame(
        ENCRYPT, flags=ONE_SHOT, iv=bytes(16), aad=bytes(ops.AAD_MAX), data=bytes(ops.DATA_MAX), tag=bytes(16)
    )
    reader = Reader(control=False, replies=False)
    reader.feed(longest.encode())
    assert reader.next() == longest and len(longest.encode()) == codec.FRAME_MAX


@pytest.mark.parametrize(("part", "size"), [("iv", 17), ("tag", 17), ("iv", 70000), ("aad", 65537), ("data", 1048577)])
def test_a_part_beyond_its_limit_is_not_built(part, size):
    with pytest.raises(TooLarge):
        codec.frame(ENCRYPT, flags=ONE_SHOT, **{part: bytes(size)}).encode()


@pytest.mark.parametrize("reason", [row.number for row in ops.REASONS.values()])
def test_a_refusal_names_its_rule_and_reason(reason):
    row = ops.REASON_NUMBER[reason]
    said = codec.parse_refusal(codec.build_refusal(reason))
    assert (said.rule, said.reason, said.sentence) == (row.rule, row.number, row.sentence)
    reply = codec.reply_to(GOOD, status=5, data=codec.build_refusal(reason))
    error = codec.refusal(Frame(codec.parse_header(reply.encode()[:48]), data=reply.data))
    assert type(error) is errors.Denied and error.rule == (f"R{row.rule}" if row.rule else "")
    assert error.reason == row.sentence


def test_a_reason_without_a_row_is_still_a_refusal():
    assert codec.build_refusal(200) == bytes([0, 200])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([row.number for row in ops.STATUSES.values() if row.number]))
def test_any_refusal_is_an_error_or_malformed(data, status):
    for op in (ENCRYPT, HELLO):
        reply = codec.frame(op, flags=ops.F_REPLY, status=status, data=data)
        try:
            assert codec.refusal(reply).status == status
        except Malformed:
            pass


def test_a_refused_control_reply_carries_the_error():
    error = errors.ProtocolRefused("no", rule="message 4", reason="the nonce is not ours", hint="start again" * 500)
    said = codec.refusal(
        codec.frame(HELLO, flags=ops.F_REPLY, status=error.status, data=codec.build_control_refusal(error))
    )
    assert type(said) is errors.ProtocolRefused and said.rule == "message 4" and said.reason == "the nonce is not ours"
    assert len(said.hint) == errors.TEXT_MAX


def test_the_longest_control_refusal_fits():
    texts = dict.fromkeys(("rule", "reason", "hint", "subject", "object", "property"), "\x00" * 5000)
    assert len(codec.build_control_refusal(errors.Failed("\x00" * 5000, **texts))) <= ops.CONTROL_MAX


def test_the_status_of_the_header_wins():
    said = codec.parse_control_refusal(5, b'{"status": 1, "message": "x"}')
    assert type(said) is errors.Denied


def test_a_reply_that_is_no_refusal_is_our_own_mistake():
    with pytest.raises(Internal):
        codec.refusal(codec.reply_to(GOOD))


def test_the_examples_of_the_document_are_what_they_say():
    """Each example: a line `frame(...)`, and the hex of its bytes."""
    examples = re.findall(r"```\n(frame\(.*?\))\n\n([0-9a-f\s]+)```", DOC, re.S)
    assert len(examples) >= 5
    names = {"frame": codec.frame, **{row.name: row.number for row in (*ops.OPS.values(), *ops.CONTROLS.values())}}
    names |= {"REPLY": ops.F_REPLY, "FIRST": ops.F_FIRST, "LAST": ops.F_LAST, "UNVERIFIED": ops.F_UNVERIFIED}
    for call, text in examples:
        frame = eval(call, {"__builtins__": {}, "bytes": bytes, **names})
        assert frame.encode().hex() == "".join(text.split()), call
        reader = Reader(control=frame.header.is_control, replies=frame.header.is_reply)
        reader.feed(bytes.fromhex(text))
        assert reader.next() == frame


def test_a_guest_is_never_told_the_cells_that_a_refusal_looked_at():
    error = errors.Denied("no", rule="R2", reads="cur(k) = somebody.else", needs="cur(k) = a")
    data = codec.build_control_refusal(error)
    assert b"somebody" not in data and b"needs" not in data and json.loads(data)["rule"] == "R2"
