"""The data half: one shots and streams. From docs/wire.md, "Operations of the data half", "Streams" and "Replies"."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .frames import DECRYPT, ENCRYPT, FIRST, LAST, NULL, RANDOM, REPLY, SHA256, UNVERIFIED, Frame, Line

ONE_SHOT = FIRST | LAST
IN_FLIGHT = 65536


class DataRefused(Exception):
    """A reply with another status than 0."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.rule, self.reason, self.sentence = frame.data[0], frame.data[1], frame.data[2:].decode()
        assert not frame.iv and not frame.tag, frame
        super().__init__(f"status {frame.status}, R{self.rule}, reason {self.reason}: {self.sentence}")

    @property
    def code(self) -> tuple[int, int, int]:
        """Status, rule and reason."""
        return self.frame.status, self.rule, self.reason


@dataclass(frozen=True)
class Sealed:
    """What an encryption gives."""

    iv: bytes
    text: bytes
    tag: bytes


class Data:
    """A line after READY and the tag."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self._requests = 0
        self._streams = 0

    def new_stream(self) -> int:
        """A stream number that was not used here before."""
        self._streams += 1
        return self._streams

    def send(self, frame: Frame) -> Frame:
        """What was sent: the frame with a request number."""
        self._requests += 1
        frame = frame.but(request=self._requests)
        self.line.send(frame.pack())
        return frame

    def reply(self, asked: Frame) -> Frame:
        """The next reply, which is to `asked`; raises DataRefused."""
        got = self.line.receive()
        for name in ("op", "request", "key", "stream", "sequence"):
            assert getattr(got, name) == getattr(asked, name), (name, got, asked)
        assert got.flags & ~UNVERIFIED == asked.flags | REPLY, (got, asked)
        if got.status:
            raise DataRefused(got)
        early = asked.op == DECRYPT and not asked.flags & LAST
        assert bool(got.flags & UNVERIFIED) <= early, got
        return got

    def ask(self, frame: Frame) -> Frame:
        """The reply."""
        return self.reply(self.send(frame))

    def ask_all(self, frames: Sequence[Frame]) -> list[Frame]:
        """The replies to frames of which several are on their way: no more than the sockets hold, since the card
        reads no further while a reply does not go out."""
        replies: list[Frame] = []
        flying: deque[Frame] = deque()
        for frame in frames:
            while flying and sum(len(each.data) for each in flying) + len(frame.data) > IN_FLIGHT:
                replies.append(self.reply(flying.popleft()))
            flying.append(self.send(frame))
        return replies + [self.reply(asked) for asked in flying]

    # --- one shots

    def null(self, data: bytes) -> bytes:
        return self.ask(Frame(NULL, ONE_SHOT, data=data)).data

    def random(self, size: int) -> bytes:
        return self.ask(Frame(RANDOM, ONE_SHOT, data=bytes(size))).data

    def sha256(self, data: bytes) -> bytes:
        return self.ask(Frame(SHA256, ONE_SHOT, data=data)).data

    def encrypt(self, key: int, data: bytes, aad: bytes = b"", iv: bytes = b"") -> Sealed:
        got = self.ask(Frame(ENCRYPT, ONE_SHOT, key=key, data=data, aad=aad, iv=iv))
        return Sealed(got.iv, got.data, got.tag)

    def decrypt(self, key: int, sealed: Sealed, aad: bytes = b"") -> bytes:
        frame = Frame(DECRYPT, ONE_SHOT, key=key, iv=sealed.iv, aad=aad, data=sealed.text, tag=sealed.tag)
        return self.ask(frame).data

    # --- streams

    def _parts(self, first: Frame, parts: Sequence[bytes], tag: bytes = b"") -> list[Frame]:
        """The frames of a stream; at least two parts."""
        assert len(parts) >= 2
        stream, last = self.new_stream(), len(parts) - 1
        return [
            first.but(flags=FIRST, stream=stream, data=parts[0]),
            *(
                Frame(
                    first.op,
                    LAST if at == last else 0,
                    key=first.key,
                    stream=stream,
                    sequence=at,
                    data=parts[at],
                    tag=tag if at == last else b"",
                )
                for at in range(1, len(parts))
            ),
        ]

    def sha256_stream(self, parts: Sequence[bytes]) -> bytes:
        *early, last = self.ask_all(self._parts(Frame(SHA256), parts))
        assert not any(each.data for each in early)
        return last.data

    def encrypt_stream(self, key: int, parts: Sequence[bytes], aad: bytes = b"", iv: bytes = b"") -> Sealed:
        replies = self.ask_all(self._parts(Frame(ENCRYPT, key=key, aad=aad, iv=iv), parts))
        assert not any(each.iv for each in replies[1:]) and not any(each.tag for each in replies[:-1])
        return Sealed(replies[0].iv, _joined(replies), replies[-1].tag)

    def decrypt_stream(self, key: int, iv: bytes, parts: Sequence[bytes], tag: bytes, aad: bytes = b"") -> bytes:
        """The plaintext; nothing of it is given out before the last reply has status 0."""
        replies = self.ask_all(self._parts(Frame(DECRYPT, key=key, iv=iv, aad=aad), parts, tag))
        if tag:
            assert all(each.flags & UNVERIFIED for each in replies[:-1])
        return _joined(replies)


def _joined(replies: Iterable[Frame]) -> bytes:
    return b"".join(each.data for each in replies)
