"""Each refusal that a guest can provoke on a data connection has the status, rule and reason of docs/wire.md."""

import secrets
import socket

import pytest

from . import session
from .control import Control
from .data import DataRefused
from .documents import RULE, SENTENCE, STATUS, WITH, code
from .frames import (
    ATTACH,
    DATA_MAX,
    DECRYPT,
    ENCRYPT,
    FIRST,
    HELLO,
    LAST,
    NULL,
    RANDOM,
    REPLY,
    SHA256,
    UNVERIFIED,
    Frame,
)

ONE_SHOT = FIRST | LAST
PLAIN = Frame(NULL, ONE_SHOT, data=b"data")
PART = Frame(SHA256, FIRST, stream=1, data=b"data")

HEADER, LENGTH, TOO_LARGE = ("EMALFORMED", "BAD_HEADER"), ("EMALFORMED", "BAD_LENGTH"), ("ETOOLARGE", "BAD_LENGTH")
NO_OP, NO_KEY, NO_STREAM = ("EMALFORMED", "BAD_OP"), ("EKEY", "NO_KEY"), ("ESTREAM", "NO_STREAM")
BAD_IV, BAD_TAG, OWN_IV = ("EMALFORMED", "BAD_IV"), ("ETAG", "BAD_TAG"), ("EUSAGE", "OWN_IV")

# Frame, header fields that are wrong, the refusal, whether the connection goes on.
HEADERS = {
    "magic": (PLAIN, {"magic": 0x76454330}, HEADER, False),
    "version": (PLAIN, {"version": 2}, ("EVERSION", "BAD_HEADER"), False),
    "version before operation": (PLAIN.but(op=9), {"version": 2}, ("EVERSION", "BAD_HEADER"), False),
    "reserved": (PLAIN, {"reserved": 1}, HEADER, False),
    "unknown flag": (PLAIN.but(flags=ONE_SHOT | 16), {}, HEADER, True),
    "status in a request": (PLAIN.but(status=5), {}, HEADER, True),
    "unknown status in a reply": (PLAIN.but(flags=ONE_SHOT | REPLY, status=99), {}, HEADER, True),
    "operation 0": (PLAIN.but(op=0), {}, NO_OP, True),
    "unknown operation": (PLAIN.but(op=9), {}, NO_OP, True),
    "unknown control operation": (PLAIN.but(op=0xFF), {}, NO_OP, True),
    "operation before length": (PLAIN.but(op=9), {"data_len": DATA_MAX + 1}, NO_OP, False),
    "data too large": (PLAIN, {"data_len": DATA_MAX + 1}, TOO_LARGE, False),
    "data very large": (PLAIN, {"data_len": 2**32 - 1}, TOO_LARGE, False),
    "additional data too large": (PLAIN, {"aad_len": 65537}, TOO_LARGE, False),
    "IV too large": (PLAIN.but(iv=bytes(17)), {}, TOO_LARGE, True),
    "tag too large": (PLAIN.but(tag=bytes(17)), {}, TOO_LARGE, True),
    "tag largest": (PLAIN.but(tag=bytes(65535)), {}, TOO_LARGE, True),
    "control operation as a one shot": (PLAIN.but(op=HELLO), {}, HEADER, True),
    "UNVERIFIED": (PLAIN.but(flags=ONE_SHOT | UNVERIFIED), {}, HEADER, True),
    "FIRST with sequence 1": (PART.but(sequence=1), {}, HEADER, True),
    "sequence 0 without FIRST": (PART.but(flags=0), {}, HEADER, True),
    "one shot with a stream": (PLAIN.but(stream=1), {}, HEADER, True),
    "one shot with a sequence": (PLAIN.but(sequence=1), {}, HEADER, True),
    "part without a stream": (PART.but(stream=0), {}, HEADER, True),
    "last part without a stream": (PART.but(flags=LAST, stream=0, sequence=1), {}, HEADER, True),
    "no flags": (PLAIN.but(flags=0), {}, HEADER, True),
    "stream of NULL": (PART.but(op=NULL), {}, HEADER, True),
    "stream of RANDOM": (PART.but(op=RANDOM), {}, HEADER, True),
}


class World:
    """A guest with keys for every case, attached; attached anew after a connection that was to end."""

    def __init__(self, enrol) -> None:
        self.one = enrol()
        self.client = self.one.client()
        self.keys = {"gcm": self.client.load(self.one.key)}
        for name, alg, usage in (
            ("ctr", "AES-128-CTR", 7),
            ("encrypts", "AES-128-GCM", 1),
            ("decrypts", "AES-128-GCM", 2),
            ("own", "AES-128-GCM", 7),
        ):
            key = secrets.token_bytes(16)
            self.keys[name] = self.client.load(key, self.client.register_key(key, name, alg, usage))
        self.data = self.client.attach()
        self.good = self.data.encrypt(self.keys["gcm"], b"hello", b"head")

    def anew(self):
        """A control and a data connection, fresh."""
        self.client.close()
        self.client = self.one.client()
        self.client.verify()
        self.data = self.client.attach()
        return self.data

    def one_shot(self, name: str, op: int = ENCRYPT, **changes) -> Frame:
        """A request under a key of this world: for DECRYPT the one that is right, but for the changes."""
        sealed = {"iv": self.good.iv, "aad": b"head", "data": self.good.text, "tag": self.good.tag}
        frame = Frame(op, ONE_SHOT, key=self.keys[name], **(sealed if op == DECRYPT else {"data": b"hello"}))
        return frame.but(**changes)

    def first(self, name: str = "gcm", stream: int = 1, **changes) -> Frame:
        """The first part of a stream."""
        return self.one_shot(name, **{"flags": FIRST, "stream": stream, **changes})


@pytest.fixture(scope="module")
def world(enrol):
    made = World(enrol)
    yield made
    made.client.close()


@pytest.fixture
def data(world):
    """A data connection that works."""
    return world.anew()


def refused(data, frame: Frame) -> tuple[int, int, int]:
    """Status, rule and reason; the sentence is that of the table and the reply echoes all it must."""
    with pytest.raises(DataRefused) as raised:
        data.ask(frame)
    names = [name for name, sentence in SENTENCE.items() if sentence == raised.value.sentence]
    assert len(names) == 1 and raised.value.code == code(_status(raised.value.code[0]), names[0])
    assert names[0] not in WITH or _status(raised.value.code[0]) in WITH[names[0]]
    return raised.value.code


def _status(number: int) -> str:
    return next(name for name, each in STATUS.items() if each == number)


@pytest.mark.parametrize("what", HEADERS)
def test_a_header_that_is_none(data, what):
    frame, wrong, expected, goes_on = HEADERS[what]
    data.line.send(frame.but(request=77).pack(**wrong))
    reply = data.line.receive()
    named = (0, 0) if what == "magic" else (frame.op, 77)
    assert (reply.op, reply.request, reply.status) == (*named, STATUS[expected[0]])
    assert reply == Frame(*named[:1], REPLY, STATUS[expected[0]], named[1], data=reply.data)
    assert (reply.status, *reply.data[:2]) == code(*expected)
    assert reply.data[2:].decode() == SENTENCE[expected[1]]
    if goes_on:
        assert data.null(b"goes on") == b"goes on"
    else:
        assert data.line.ended()


@pytest.mark.parametrize("flags", [REPLY, REPLY | ONE_SHOT])
def test_a_guest_sends_no_reply(data, flags):
    data.line.send(PLAIN.but(flags=flags, request=77).pack())
    reply = data.line.receive()
    assert (reply.op, reply.request, reply.status, *reply.data[:2]) == (NULL, 77, *code(*HEADER))
    assert data.null(b"goes on") == b"goes on"


def test_a_control_operation_on_a_data_connection(data):
    assert refused(data, Frame(HELLO)) == code(*NO_OP)
    assert data.null(b"goes on") == b"goes on"


@pytest.mark.parametrize("size", [0, 20, 48, 50])
def test_a_cut_frame_is_not_answered(data, size):
    data.line.send(PLAIN.pack()[:size])
    data.line.sock.shutdown(socket.SHUT_WR)
    assert data.line.ended()


# What a well-formed request is refused for; each is made from the world.
REQUESTS = {
    "unknown key": (lambda w: w.one_shot("gcm", key=2**64 - 1), NO_KEY),
    "key 0": (lambda w: w.one_shot("gcm", key=0), NO_KEY),
    "unknown key before everything else": (lambda w: w.one_shot("gcm", key=999, iv=b"x", tag=b"x"), NO_KEY),
    "unknown key, next part": (lambda w: w.first(flags=0, sequence=1, key=999), NO_KEY),
    "decrypting by a key that encrypts": (lambda w: w.one_shot("encrypts", DECRYPT), ("EUSAGE", "WRONG_USE")),
    "encrypting by a key that decrypts": (lambda w: w.one_shot("decrypts"), ("EUSAGE", "WRONG_USE")),
    "use before length": (lambda w: w.one_shot("decrypts", tag=b"x"), ("EUSAGE", "WRONG_USE")),
    "IV without own_iv": (lambda w: w.one_shot("gcm", iv=bytes(12)), OWN_IV),
    "IV of another length without own_iv": (lambda w: w.one_shot("gcm", iv=bytes(5)), OWN_IV),
    "own IV too short": (lambda w: w.one_shot("own", iv=bytes(11)), BAD_IV),
    "own IV too long": (lambda w: w.one_shot("own", iv=bytes(16)), BAD_IV),
    "own IV of CTR": (lambda w: w.one_shot("ctr", iv=bytes(12)), BAD_IV),
    "no IV": (lambda w: w.one_shot("gcm", DECRYPT, iv=b""), BAD_IV),
    "IV too short": (lambda w: w.one_shot("gcm", DECRYPT, iv=bytes(11)), BAD_IV),
    "no IV for CTR": (lambda w: w.one_shot("ctr", DECRYPT, iv=b"", aad=b"", tag=b""), BAD_IV),
    "no IV in the first part": (lambda w: w.first(op=DECRYPT, tag=b"", iv=b""), BAD_IV),
    "wrong tag": (lambda w: w.one_shot("gcm", DECRYPT, tag=bytes(16)), BAD_TAG),
    "other additional data": (lambda w: w.one_shot("gcm", DECRYPT, aad=b"foot"), BAD_TAG),
    "other data": (lambda w: w.one_shot("gcm", DECRYPT, data=b"HELLO"), BAD_TAG),
    "other IV": (lambda w: w.one_shot("gcm", DECRYPT, iv=bytes(12)), BAD_TAG),
    "other key": (lambda w: w.one_shot("own", DECRYPT), BAD_TAG),
    "tag too short": (lambda w: w.one_shot("gcm", DECRYPT, tag=bytes(15)), LENGTH),
    "no tag": (lambda w: w.one_shot("gcm", DECRYPT, tag=b""), LENGTH),
    "tag of an ENCRYPT": (lambda w: w.one_shot("gcm", tag=bytes(16)), LENGTH),
    "tag in the first part": (lambda w: w.first(op=DECRYPT), LENGTH),
    "tag of CTR": (lambda w: w.one_shot("ctr", DECRYPT, iv=bytes(16), aad=b"", tag=bytes(16)), LENGTH),
    "additional data of CTR": (lambda w: w.one_shot("ctr", aad=b"head"), LENGTH),
    "next part without a first": (lambda w: w.first(flags=0, sequence=1), NO_STREAM),
    "last part without a first": (lambda w: w.first(flags=LAST, sequence=1), NO_STREAM),
    **{
        f"{name} with {what}": (lambda w, op=op, changes=changes: PLAIN.but(op=op, **changes), expected)
        for name, op in (("NULL", NULL), ("RANDOM", RANDOM), ("SHA256", SHA256))
        for what, changes, expected in (
            ("a key", {"key": 1}, NO_KEY),
            ("an IV", {"iv": bytes(12)}, LENGTH),
            ("additional data", {"aad": b"head"}, LENGTH),
            ("a tag", {"tag": bytes(16)}, LENGTH),
        )
    },
}


@pytest.mark.parametrize("what", REQUESTS)
def test_a_request_that_is_refused(world, data, what):
    make, expected = REQUESTS[what]
    assert refused(data, make(world)) == code(*expected)
    assert data.null(b"goes on") == b"goes on"


def test_an_operation_without_a_key_needs_a_loaded_key(enrol):
    one = enrol()
    with one.client() as client:
        client.verify()
        data = client.attach()
        for op in (NULL, RANDOM, SHA256):
            assert refused(data, PLAIN.but(op=op)) == code("EKEY", "ANY_KEY")


# ---- streams -----------------------------------------------------------------------------------------------------

# Parts that end the stream they belong to.
PARTS = {
    "out of order": ({"sequence": 2}, NO_STREAM),
    "another operation": ({"op": DECRYPT}, NO_STREAM),
    "additional data": ({"aad": b"head"}, LENGTH),
    "an IV": ({"iv": bytes(12)}, BAD_IV),
    "a tag": ({"flags": LAST, "tag": bytes(16)}, LENGTH),
}


@pytest.mark.parametrize("what", PARTS)
def test_a_refused_part_ends_the_stream(world, data, what):
    changes, expected = PARTS[what]
    part = Frame(ENCRYPT, key=world.keys["gcm"], stream=1, sequence=1, data=b"hello")
    data.ask(world.first())
    assert refused(data, part.but(**changes)) == code(*expected)
    assert refused(data, part) == code(*NO_STREAM)
    data.ask(world.first())


def test_a_wrong_tag_ends_the_stream(world, data):
    first = world.first(op=DECRYPT, tag=b"")
    last = Frame(DECRYPT, LAST, key=first.key, stream=1, sequence=1)
    for tag, expected in ((bytes(16), BAD_TAG), (b"", LENGTH)):
        reply = data.ask(first)
        assert reply.flags & UNVERIFIED and reply.data == b"hello"
        assert refused(data, last.but(tag=tag)) == code(*expected)
        assert refused(data, last.but(tag=world.good.tag)) == code(*NO_STREAM)
    data.ask(first)
    assert data.ask(last.but(tag=world.good.tag)).data == b""


def test_what_leaves_a_stream_alone(world, data):
    first = world.first()
    data.ask(first)
    assert refused(data, first) == code(*NO_STREAM)
    part = first.but(flags=LAST, sequence=1)
    data.line.send(part.but(flags=LAST | 16).pack())
    assert data.line.receive().status == STATUS["EMALFORMED"]
    data.ask(part)


def test_the_ninth_stream(world, data):
    for number in range(1, 9):
        data.ask(world.first(stream=number))
    exhausted = code("EEXHAUSTED", "STREAMS")
    assert refused(data, world.first(stream=9)) == exhausted
    # Another key, and what needs none, count for themselves; other connections do not.
    data.ask(world.first("own"))
    for number in range(1, 9):
        data.ask(PART.but(stream=number))
    assert refused(data, PART.but(stream=9)) == exhausted
    world.client.verify()
    before, second = data, world.client.attach()
    try:
        assert refused(second, world.first(stream=9)) == exhausted
        assert refused(second, PART.but(flags=LAST, sequence=1)) == code(*NO_STREAM)
        data.ask(world.first(flags=LAST, sequence=1))
        second.ask(world.first(stream=9))
        # Numbers are of the key, on whichever connection.
        assert refused(second, world.first(stream=2)) == code(*NO_STREAM)
        assert refused(data, world.first(flags=LAST, stream=9, sequence=1)) == code(*NO_STREAM)
    finally:
        before.line.close()


def test_the_end_of_the_connection_ends_its_streams(world, data):
    data.ask(world.first())
    assert refused(world.anew(), world.first(flags=LAST, sequence=1)) == code(*NO_STREAM)


# ---- the monitor, and the attachment -----------------------------------------------------------------------------


@pytest.mark.parametrize(("attribute", "reason"), [("a", "M_LACKS_A"), ("r", "M_LACKS_R")])
def test_the_monitor_refuses(machine, world, data, attribute, reason):
    where = {"subject": world.one.guest.instance, "object": "c0", "attribute": attribute}
    machine.admin("access.rescind", **where)
    try:
        for frame in (PLAIN, world.one_shot("gcm"), world.one_shot("gcm", key=999)):
            assert refused(data, frame) == code("EDENIED", reason)
        assert RULE[reason] in (2, 4)
    finally:
        machine.admin("access.give", **where)
    assert data.null(b"goes on") == b"goes on"


def ready(world):
    """A connection on which READY has come, and its right tag."""
    run, ck = world.client.verify(), secrets.token_bytes(32)
    line = Control(world.one.address)
    assert line.ask(ATTACH, session.attach_request(run, world.client.instance, ck)) == b""
    return line, session.attach_tag(run, world.client.instance, ck)


@pytest.mark.parametrize("bit", [0, 255])
def test_a_wrong_attach_tag(world, data, bit):
    line, tag = ready(world)
    line.send(bytes(byte ^ (1 << bit % 8) * (at == bit // 8) for at, byte in enumerate(tag)) + PLAIN.pack())
    reply = line.receive()
    assert (reply.op, reply.request, reply.status, *reply.data[:2]) == (ATTACH, 0, *code("EPROTOCOL", "ATTACH_TAG"))
    assert line.ended()


def test_a_late_attach_tag(world, data):
    line, tag = ready(world)
    line.send(tag[:31])
    reply = line.receive()
    assert (reply.op, reply.request, reply.status, *reply.data[:2]) == (ATTACH, 0, *code("ETIMEOUT", "ATTACH_TAG"))
    assert line.ended()


def test_a_cut_attach_tag_is_not_answered(world, data):
    line, tag = ready(world)
    line.send(tag[:31])
    line.sock.shutdown(socket.SHUT_WR)
    assert line.ended()
