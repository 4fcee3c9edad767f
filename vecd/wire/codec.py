"""Frames to and from bytes, held against the tables of wire.h by the C parser itself. No input or output.

A frame is one header of 48 bytes and the body iv || aad || data || tag (docs/wire.md). Any bytes are accepted as a
frame or raise Malformed, TooLarge or Version, never anything else; after that there is no telling where the next
frame starts, so a `Reader` that has raised raises the same again.

A refused reply carries its reason as data: in the data half `u8 rule || u8 reason || sentence`, in the control half
the error as JSON, as it travels between our own processes. `refusal` gives the exception for either.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from vecd._wire import ffi, lib
from vecd.base import errors
from vecd.base.errors import Internal, Malformed, TooLarge, VecError, Version
from vecd.wire import ops

Bytes = bytes | bytearray | memoryview

# The longest frame there can be: header and every part of the body at its limit.
FRAME_MAX: Final[int] = ops.HEADER_SIZE + ops.DATA_MAX + ops.AAD_MAX + ops.IV_MAX + ops.TAG_MAX
CONTROL_FRAME_MAX: Final[int] = ops.HEADER_SIZE + ops.CONTROL_MAX


@dataclass(frozen=True, slots=True)
class Header:
    """One header, decoded; the lengths are those of the body that follows."""

    op: int
    flags: int = 0
    status: int = 0
    request: int = 0
    key: int = 0
    stream: int = 0
    sequence: int = 0
    aad_len: int = 0
    data_len: int = 0
    iv_len: int = 0
    tag_len: int = 0

    @property
    def body_size(self) -> int:
        """Bytes that follow the header."""
        return self.iv_len + self.aad_len + self.data_len + self.tag_len

    @property
    def is_control(self) -> bool:
        """It belongs to the control half."""
        return self.op >= ops.CONTROL_HALF

    @property
    def is_reply(self) -> bool:
        """It answers; a request otherwise."""
        return bool(self.flags & ops.F_REPLY)

    @property
    def is_last(self) -> bool:
        """It is the last part of a stream, or a one shot."""
        return bool(self.flags & ops.F_LAST)

    @property
    def is_unverified(self) -> bool:
        """The data are plaintext whose tag is not checked yet."""
        return bool(self.flags & ops.F_UNVERIFIED)


_FIELDS = Header.__slots__


@dataclass(frozen=True, slots=True)
class Frame:
    """A header and its body. The data of a refused reply are what `refusal` reads."""

    header: Header
    iv: bytes = b""
    aad: bytes = b""
    data: bytes = b""
    tag: bytes = b""

    def encode(self) -> bytes:
        """The bytes of the frame; Malformed or TooLarge where they would not parse."""
        return b"".join(self.buffers())

    def buffers(self) -> tuple[bytes, bytes, bytes, bytes, bytes]:
        """The same for sendmsg, without copying the body."""
        return build_header(self.header), self.iv, self.aad, self.data, self.tag


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a refused reply of the data half carries: the number of the rule (0: none), the reason, its sentence."""

    rule: int
    reason: int
    sentence: str


# C status to what it says of the peer; the parser has no others.
_RAISED: Final = {-cls.status: cls for cls in (Malformed, TooLarge, Version)}


def parse_header(data: Bytes) -> Header:
    """The header of 48 bytes. Malformed, TooLarge or Version says which check failed."""
    if len(data) != ops.HEADER_SIZE:
        raise Malformed(f"a header has {ops.HEADER_SIZE} bytes, this has {len(data)}")
    header = ffi.new("struct vec_header *")
    reason = ffi.new("uint8_t *")
    status = lib.vec_header_parse(ffi.from_buffer("uint8_t[]", data), header, reason)
    if status < 0:
        raise _RAISED[status](reason=ops.REASON_NUMBER[reason[0]].sentence)
    return Header(*(getattr(header, field) for field in _FIELDS))


def build_header(header: Header) -> bytes:
    """The 48 bytes; what the parser would refuse is refused here, an integer that does not fit is an Internal."""
    try:
        plain = ffi.new("struct vec_header *", {field: getattr(header, field) for field in _FIELDS})
    except (OverflowError, TypeError) as error:
        raise Internal(f"header field out of range: {error}") from None
    out = ffi.new("uint8_t[]", ops.HEADER_SIZE)
    lib.vec_header_build(plain, out)
    built = bytes(ffi.buffer(out))
    parse_header(built)
    return built


def frame(
    op: int,
    *,
    flags: int = 0,
    status: int = 0,
    request: int = 0,
    key: int = 0,
    stream: int = 0,
    sequence: int = 0,
    iv: bytes = b"",
    aad: bytes = b"",
    data: bytes = b"",
    tag: bytes = b"",
) -> Frame:
    """A frame whose lengths are those of its parts."""
    lengths = {"aad_len": len(aad), "data_len": len(data), "iv_len": len(iv), "tag_len": len(tag)}
    too_long = [name for name in ("iv_len", "tag_len") if lengths[name] > 0xFFFF]
    if too_long:
        raise TooLarge(f"{too_long[0]} is {lengths[too_long[0]]} bytes")
    return Frame(Header(op, flags, status, request, key, stream, sequence, **lengths), iv, aad, data, tag)


def reply_to(
    asked: Header, *, status: int = 0, flags: int = 0, iv: bytes = b"", data: bytes = b"", tag: bytes = b""
) -> Frame:
    """The reply to a request: it echoes op, request, key, stream, sequence, FIRST and LAST."""
    return frame(
        asked.op,
        flags=(asked.flags & ops.F_ONE_SHOT) | ops.F_REPLY | flags,
        status=status,
        request=asked.request,
        key=asked.key,
        stream=asked.stream,
        sequence=asked.sequence,
        iv=iv,
        data=data,
        tag=tag,
    )


def build_refusal(reason: int) -> bytes:
    """The data of a refused reply of the data half."""
    return bytes([lib.vec_reason_rule(reason), reason]) + ffi.string(lib.vec_reason_sentence(reason))


def parse_refusal(data: Bytes) -> Refusal:
    """The three parts, or Malformed. The sentence is the peer's: bounded, no control characters."""
    if len(data) < 2:
        raise Malformed("a refused reply has at least two bytes: rule and reason")
    text = bytes(data[2 : 2 + 4 * errors.TEXT_MAX]).decode(errors="replace")[: errors.TEXT_MAX]
    return Refusal(data[0], data[1], "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))


def build_control_refusal(error: VecError) -> bytes:
    """The data of a refused reply of the control half: the error as JSON, its texts cut to TEXT_MAX characters."""
    bounded = errors.from_dict(error.to_dict()).to_dict()
    told = {name: value for name, value in bounded.items() if name not in errors.CELLS}
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def parse_control_refusal(status: int, data: Bytes) -> VecError:
    """The error of a refused control reply. The class is that of the header's status; the texts are the peer's."""
    try:
        said = json.loads(bytes(data))
    except (ValueError, RecursionError):
        raise Malformed("the data of a refused control reply are not JSON") from None
    if not isinstance(said, dict):
        raise Malformed("the data of a refused control reply are not a JSON object")
    return errors.from_dict({**said, "status": status})


def refusal(reply: Frame) -> VecError:
    """The error a refused reply stands for, to be raised by the caller. Internal if the reply is none."""
    header = reply.header
    if not header.is_reply or not header.status:
        raise Internal("this frame is not a refused reply")
    if header.is_control:
        return parse_control_refusal(header.status, reply.data)
    said = parse_refusal(reply.data)
    return errors.by_status(header.status)(rule=f"R{said.rule}" if said.rule else "", reason=said.sentence)


class Reader:
    """Bytes in, frames out, with a hard limit on what is kept.

    `control` says which half this connection speaks and `replies` which direction: a frame of the other is Malformed.
    `wanted` is how many bytes are missing for the next step; who reads no more than that leaves everything behind
    a frame in the socket, where the next owner of the descriptor finds it.
    """

    def __init__(self, *, control: bool, replies: bool) -> None:
        self._control = control
        self._replies = replies
        self._limit = CONTROL_FRAME_MAX if control else FRAME_MAX
        self._buffer = bytearray()
        self._header: Header | None = None
        self._failed: VecError | None = None

    @property
    def wanted(self) -> int:
        """Bytes missing until the header, or the body after it, is complete; 0 if a frame can be taken now."""
        need = ops.HEADER_SIZE if self._header is None else ops.HEADER_SIZE + self._header.body_size
        return max(0, need - len(self._buffer))

    @property
    def idle(self) -> bool:
        """Nothing of a frame has arrived: an end of the stream here cuts nothing off."""
        return not self._buffer

    def feed(self, data: Bytes) -> None:
        """The bytes are kept. TooLarge, and nothing kept, beyond the longest frame and the start of another."""
        self._check()
        if len(self._buffer) + len(data) > 2 * self._limit:
            raise self._fail(TooLarge(f"more than {2 * self._limit} bytes wait to be taken as frames"))
        self._buffer += data
        self._take_header()

    def next(self) -> Frame | None:
        """The next complete frame, or None. Malformed, TooLarge or Version as soon as a header says so."""
        self._check()
        self._take_header()
        header = self._header
        if header is None or self.wanted:
            return None
        parts, at = [], ops.HEADER_SIZE
        with memoryview(self._buffer) as view:
            for size in (header.iv_len, header.aad_len, header.data_len, header.tag_len):
                parts.append(bytes(view[at : at + size]))
                at += size
        del self._buffer[:at]
        self._header = None
        return Frame(header, *parts)

    def frames(self) -> Iterator[Frame]:
        """Every complete frame, in order."""
        while (found := self.next()) is not None:
            yield found

    def _take_header(self) -> None:
        if self._header is not None or len(self._buffer) < ops.HEADER_SIZE:
            return
        try:
            header = parse_header(bytes(self._buffer[: ops.HEADER_SIZE]))
        except VecError as error:
            raise self._fail(error) from None
        if header.is_control != self._control:
            half = "control" if self._control else "data"
            raise self._fail(Malformed(f"operation {header.op:#04x} does not belong on a {half} connection"))
        if header.is_reply != self._replies:
            wrong = "a request where a reply" if self._replies else "a reply where a request"
            raise self._fail(Malformed(f"{wrong} was expected"))
        self._header = header

    def _fail(self, error: VecError) -> VecError:
        self._buffer.clear()
        self._header = None
        self._failed = error
        return error

    def _check(self) -> None:
        if self._failed is not None:
            raise self._failed.with_traceback(None)
