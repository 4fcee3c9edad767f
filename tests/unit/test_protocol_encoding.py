"""enc, dec and the table of messages: one blob has one reading, or none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecd.base.errors import Malformed, ProtocolRefused, VecError
from vecd.protocol import messages
from vecd.protocol.encoding import MESSAGE_MAX, dec, enc, spans, u32, u64


def test_enc_is_length_and_bytes_of_each_field():
    assert enc(b"ab", b"", b"c") == b"\0\0\0\2ab\0\0\0\0\0\0\0\1c"


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_dec_is_the_inverse_of_enc(fields):
    assert dec(enc(*fields), len(fields)) == tuple(fields)


@given(st.binary(max_size=60), st.integers(0, 5))
def test_any_bytes_are_one_list_of_fields_or_malformed(blob, n):
    try:
        fields = dec(blob, n)
    except Malformed:
        return
    assert enc(*fields) == blob


@pytest.mark.parametrize(
    "blob, n",
    [
        (b"", 1),
        (b"\0\0\0", 1),
        (b"\0\0\0\2a", 1),
        (b"\xff\xff\xff\xffa", 1),
        (enc(b"a"), 2),
        (enc(b"a", b"b"), 1),
        (enc(b"a") + b"\0", 1),
        (enc(bytes(MESSAGE_MAX)), 1),
    ],
)
def test_dec_refuses_what_is_not_exactly_n_fields(blob, n):
    with pytest.raises(Malformed):
        dec(blob, n)


def test_spans_copies_nothing():
    assert spans(memoryview(enc(b"abc", b"d")), 2) == ((4, 7), (11, 12))


def test_numbers_have_their_size():
    assert (u32(3), u64(2**64 - 1)) == (b"\0\0\0\3", b"\xff" * 8)
    with pytest.raises(OverflowError):
        u32(2**32)


GOOD = messages.KcvInput(bytes(16), "AES-256-GCM", 3, bytes(32))


@pytest.mark.parametrize(
    "field, value",
    [
        (0, bytes(15)),
        (0, bytes(17)),
        (1, b""),
        (1, b"AES 256"),
        (1, "AES\xe9".encode()),
        (1, b"A" * 33),
        (2, bytes(3)),
        (2, bytes(8)),
        (3, bytes(31)),
    ],
)
def test_a_field_of_the_wrong_form_is_refused_by_name(field, value):
    fields = list(dec(messages.pack(GOOD), 4))
    fields[field] = value
    with pytest.raises(ProtocolRefused) as e:
        messages.unpack(messages.KcvInput, enc(*fields), "message 7")
    assert e.value.rule == "message 7"
    assert messages.KcvInput._fields[field] in e.value.reason


def test_names_are_bounded_printable_utf8():
    name = messages.KeySigned(bytes(16), bytes(32), "disk of Zoë", "AES-128-CTR", 1, bytes(32), bytes(32))
    assert messages.unpack(messages.KeySigned, messages.pack(name), "key") == name
    for bad in ("a" * 65, "a\nb", "\x1b[0m"):
        with pytest.raises(VecError):
            messages.pack(name._replace(name=bad))


def _kinds():
    return [kind for kind in vars(messages).values() if isinstance(kind, type) and hasattr(kind, "_fields")]


@pytest.mark.parametrize("kind", _kinds(), ids=lambda kind: kind.__name__)
@given(blob=st.binary(max_size=300))
def test_any_bytes_are_a_message_or_refused(kind, blob):
    try:
        message = messages.unpack(kind, blob, "message 1")
    except ProtocolRefused as e:
        assert e.rule == "message 1"
    else:
        assert messages.pack(message) == blob
