"""An operation by parts: what went in comes out part by part, and the end says whether it all holds."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Self

from vecd.base.errors import BadStream, VecError
from vecd.guest import parts
from vecd.guest.channel import Bytes, Reply
from vecd.guest.connection import Connection, StreamEnd
from vecd.guest.key import Key
from vecd.wire import ops


class Stream:
    """One open stream: `update` as often as there is data, then `finish`. Left without it, the card forgets it.

    The state of a stream is in the card and goes with the connection; an update that raises Gone ends it.
    """

    what = ""
    operation = ops.OPS["SHA256"]

    def __init__(
        self,
        connection: Connection,
        key: Key | None,
        *,
        iv: bytes = b"",
        aad: Bytes = b"",
        timeout: float | None = None,
    ) -> None:
        self._connection = connection
        self._key = key
        self._iv = iv
        self._aad = aad
        self._timeout = timeout
        self._number = parts.stream_number()
        self._sequence = 0
        self._end: StreamEnd | None = None
        self._open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open and self._end is not None and self._end.alive():
            # A last part with nothing in it frees the stream's place; what it answers is nobody's.
            with contextlib.suppress(VecError):
                self._ask(b"", last=True)
        self._open = False

    def _feed(self, data: Bytes) -> bytes:
        out = [bytes(self._ask(chunk).data) for chunk in parts.cut(data)] if len(data) else []
        return b"".join(out)

    def _ask(self, data: Bytes, *, last: bool = False, tag: bytes = b"") -> Reply:
        if not self._open:
            raise BadStream(f"{self.what}: the stream is finished")
        deadline = self._connection.deadline(self._timeout)
        if self._end is None:
            self._end = self._connection.open_stream(lambda: self._part(data), self._key, self.what, deadline)
            reply = self._end.first
        else:
            try:
                reply = self._end.ask(self._part(data, last=last, tag=tag), self.what, deadline)
            except VecError:
                # A part that failed ends the stream in the card, too.
                self._open = False
                raise
        self._sequence += 1
        self._open = not last
        return reply

    def _last(self, tag: bytes = b"") -> Reply:
        if self._end is None:
            # A stream has a first part and a last one.
            self._ask(b"")
        return self._ask(b"", last=True, tag=tag)

    def _part(self, data: Bytes, *, last: bool = False, tag: bytes = b"") -> parts.Request:
        number = self._key.number if self._key is not None else 0
        return parts.part(
            self.operation,
            number,
            self._number,
            self._sequence,
            data,
            iv=self._iv,
            aad=self._aad,
            tag=tag,
            last=last,
        )


class EncryptStream(Stream):
    """`iv` is known after the first update, the tag from finish()."""

    what = "encrypt"
    operation = ops.OPS["ENCRYPT"]

    @property
    def iv(self) -> bytes:
        """The IV that the card drew, or that was given; empty before the first part."""
        return self._end.first.iv or self._iv if self._end is not None else self._iv

    def update(self, data: Bytes) -> bytes:
        """The ciphertext of this data."""
        return self._feed(data)

    def finish(self) -> bytes:
        """The tag (empty where the algorithm has none). The stream is over."""
        return self._last().tag


class DecryptStream(Stream):
    """What update() gives is NOT verified until finish() returned: do not act on it before."""

    what = "decrypt"
    operation = ops.OPS["DECRYPT"]

    def update(self, data: Bytes) -> Unverified:
        """Plaintext whose tag was not checked yet, of a type that says so."""
        return Unverified(self._feed(data))

    def finish(self, tag: bytes = b"") -> None:
        """The tag was right: all that was given out is what was encrypted. Raises BadTag otherwise."""
        self._last(tag)


class Unverified(bytes):
    """Plaintext by parts, whose tag is not checked yet."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<unverified {len(self)} bytes>"


class DigestStream(Stream):
    """SHA-256 by parts."""

    what = "digest"

    def update(self, data: Bytes) -> None:
        """The data were hashed."""
        self._feed(data)

    def finish(self) -> bytes:
        """The digest, 32 bytes. The stream is over."""
        return bytes(self._last().data)
