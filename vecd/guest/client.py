"""A card as a guest uses it: connect, load a key, encrypt. docs/guest.md is the manual.

    with Card.connect("vsock:2:9750", identity="identity.json") as card:
        key = card.load_key(fetch_key, alg="AES-256-GCM")
        sealed = card.encrypt(key, b"...", aad=b"header")
        plain = card.decrypt(key, sealed.ciphertext, iv=sealed.iv, tag=sealed.tag, aad=b"header")

Blocking, safe to use from several threads, usable in a forked child. Every call has a time-out. With `retry`, a lost
connection or a busy card is met by a fresh verification, by loading the keys again where the card lost them,
and by asking again what can be asked twice; a stream that broke in the middle raises Gone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, BinaryIO

from vecd.base.errors import BadTag, Busy, Malformed, WrongUse
from vecd.guest import files, parts, transport
from vecd.guest import identity as identities
from vecd.guest.channel import Bytes, Channel, Reply, Request
from vecd.guest.connection import Connection
from vecd.guest.deadline import Deadline
from vecd.guest.held import Given, Held
from vecd.guest.key import Key, Sealed
from vecd.guest.startup import StartUp
from vecd.guest.stream import DecryptStream, DigestStream, EncryptStream
from vecd.protocol.identity import Identity, KeyRecord
from vecd.wire import ops

ENCRYPT, DECRYPT = ops.OPS["ENCRYPT"], ops.OPS["DECRYPT"]
DIGEST, RANDOM, ECHO = ops.OPS["SHA256"], ops.OPS["RANDOM"], ops.OPS["NULL"]
CLOSE_S = 2.0

Progress = Callable[[int, int], None]


class Card:
    """One card, through one instance. Made by `connect`."""

    def __init__(self, connection: Connection, path: str | None) -> None:
        self._connection = connection
        self._path = path

    @classmethod
    def connect(
        cls,
        address: str,
        identity: str | os.PathLike[str] | Identity,
        card: str | bytes | None = None,
        instance: str | bytes | None = None,
        timeout: float = 10.0,
        retry: bool = True,
        *,
        measure: bool = False,
    ) -> Card:
        """The card is verified: it is the one named (or pinned, or the first), certified by this guest's authority.

        `timeout` is in seconds and holds for every later call that names none. `measure`: the broker's times
        go into `timings` as well.
        """
        path = None if isinstance(identity, Identity) else os.fspath(identity)
        who = identity if isinstance(identity, Identity) else identities.read(identity)
        start = StartUp(transport.parse(address), who, instance, card, measure)
        connection = Connection(start, timeout, retry)
        connection.connect(Deadline(timeout))
        return cls(connection, path)

    # -- keys ---------------------------------------------------------------------------------------------------
    def load_key(
        self, key: Given, alg: str = identities.DEFAULT_ALG, usage: int | None = None, *, timeout: float | None = None
    ) -> Key:
        """The registered key is in the card; the handle names it.

        `key` is its bytes, or a callable that gives them; it is asked again when the card lost the key.
        """
        handle = Key(identities.algorithm(alg), usage, key)
        self._connection.load(handle, self._connection.deadline(timeout))
        return handle

    def register_key(
        self,
        key: Given,
        name: str,
        alg: str = identities.DEFAULT_ALG,
        usage: int = identities.DEFAULT_USAGE,
        *,
        timeout: float | None = None,
    ) -> KeyRecord:
        """The authority knows the check value of a further key; the identity file has its record."""
        row = identities.algorithm(alg)
        deadline = self._connection.deadline(timeout)
        with Held(key) as secret:
            if len(secret.view) != row.key:
                raise Malformed(f"a key for {alg} has {row.key} bytes, this one has {len(secret.view)}")
            asking = self._connection.start.party.register_key(secret.view, alg, usage, name, time.monotonic())
        record = self._connection.settle("KEY", lambda: asking.again(time.monotonic()), deadline)
        self._keep(self.identity.with_key(record))
        return record

    def revoke_key(self, record: KeyRecord, *, timeout: float | None = None) -> None:
        """The key is registered no longer, no card has it, and its handles are void.

        After an error it may be revoked at the authority and still be in a card: revoke it again.
        """
        party = self._connection.start.party
        deadline = self._connection.deadline(timeout)
        self._connection.settle("KEYREV", lambda: party.revoke_key(record, time.monotonic()), deadline)
        self._connection.revoked(record)
        self._keep(self.identity.without_key(record.kcv))

    # -- one shot -----------------------------------------------------------------------------------------------
    def encrypt(
        self, key: Key, data: Bytes, aad: Bytes = b"", iv: bytes | None = None, *, timeout: float | None = None
    ) -> Sealed:
        """The ciphertext; the card draws the IV unless the key's usage allows one's own and `iv` is given."""
        replies = self._whole(ENCRYPT, key, data, "encrypt", timeout, iv=iv or b"", aad=aad)
        ciphertext = b"".join(bytes(reply.data) for reply in replies)
        return Sealed(replies[0].iv or iv or b"", ciphertext, replies[-1].tag)

    def decrypt(
        self,
        key: Key,
        data: Bytes | Sealed,
        aad: Bytes = b"",
        iv: bytes = b"",
        tag: bytes = b"",
        *,
        timeout: float | None = None,
    ) -> bytes:
        """The plaintext, after its tag was verified; BadTag otherwise. Takes a Sealed, or ciphertext, iv and tag."""
        if isinstance(data, Sealed):
            iv, tag, data = data.iv, data.tag, data.ciphertext
        replies = self._whole(DECRYPT, key, data, "decrypt", timeout, iv=iv, aad=aad, tag=tag)
        return b"".join(bytes(reply.data) for reply in replies)

    def digest(self, data: Bytes | BinaryIO, *, timeout: float | None = None) -> bytes:
        """SHA-256 of the data, or of what a file object still has to give."""
        if isinstance(data, (bytes, bytearray, memoryview)):
            return bytes(self._whole(DIGEST, None, data, "digest", timeout)[-1].data)
        start = data.tell()

        def attempt(channel: Channel) -> bytes:
            data.seek(start)
            last = b""
            for reply in self._exchange(channel, parts.requests(DIGEST, 0, parts.cut_file(data)), "digest", timeout):
                last = bytes(reply.data)
            return last

        return self._connection.restartable(attempt, None, self._connection.deadline(timeout))

    def random(self, size: int, *, timeout: float | None = None) -> bytes:
        """So many random bytes, drawn by the card."""
        if size < 0:
            raise Malformed(f"{size} random bytes", reason="a size is 0 or more")
        deadline = self._connection.deadline(timeout)
        out = bytearray()
        while len(out) < size:
            # The request's data are as long as what is wanted; what stands in them does not matter.
            wanted = bytes(min(size - len(out), ops.BATCH_BYTES))
            ask = Request(RANDOM.number, data=wanted)
            out += self._connection.one_shot(lambda ask=ask: ask, None, "random", deadline).data  # type: ignore[misc]
        return bytes(out)

    def null(self, data: Bytes = b"", *, timeout: float | None = None) -> bytes:
        """The same data, back from the card: what one exchange costs."""
        deadline = self._connection.deadline(timeout)
        return bytes(self._connection.one_shot(lambda: Request(ECHO.number, data=data), None, "null", deadline).data)

    # -- by parts -----------------------------------------------------------------------------------------------
    def encrypt_stream(
        self, key: Key, aad: Bytes = b"", iv: bytes | None = None, *, timeout: float | None = None
    ) -> EncryptStream:
        """An encryption by parts; a context manager. The time-out holds for each part."""
        return EncryptStream(self._connection, key, iv=iv or b"", aad=aad, timeout=timeout)

    def decrypt_stream(self, key: Key, iv: bytes, aad: Bytes = b"", *, timeout: float | None = None) -> DecryptStream:
        """A decryption by parts, whose plaintext is not verified before finish(tag); a context manager."""
        return DecryptStream(self._connection, key, iv=iv, aad=aad, timeout=timeout)

    def digest_stream(self, *, timeout: float | None = None) -> DigestStream:
        """SHA-256 by parts; a context manager."""
        return DigestStream(self._connection, None, timeout=timeout)

    # -- files --------------------------------------------------------------------------------------------------
    def encrypt_file(
        self,
        src: str | os.PathLike[str],
        dst: str | os.PathLike[str],
        key: Key,
        aad: Bytes = b"",
        *,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> None:
        """`dst` is the whole encrypted file, or what it was before. The time-out holds for each part.

        `progress(done, total)` is told in bytes; when the connection breaks the file starts again from 0.
        """
        if not key.alg.tag:
            raise WrongUse(
                f"{key.alg.text} has no tag: a change of the file would go unnoticed", hint="use AES-256-GCM for files"
            )

        def attempt(channel: Channel) -> None:
            with open(src, "rb") as source, files.replacing(dst) as out:
                total, done = os.fstat(source.fileno()).st_size, 0
                asked = parts.requests(ENCRYPT, key.number, parts.cut_file(source), aad=aad)
                tag = b""
                for reply in self._exchange(channel, asked, f"encrypting {os.fspath(src)}", timeout):
                    if reply.header.flags & ops.F_FIRST:
                        out.write(files.FileHead(key.alg.number, reply.iv, key.alg.tag).encode())
                    out.write(reply.data)
                    tag = reply.tag
                    done += len(reply.data)
                    if progress is not None:
                        progress(done, total)
                out.write(tag)

        self._connection.restartable(attempt, key, self._connection.deadline(timeout))

    def decrypt_file(
        self,
        src: str | os.PathLike[str],
        dst: str | os.PathLike[str],
        key: Key,
        aad: Bytes = b"",
        *,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> None:
        """`dst` is the whole plaintext, verified, or what it was before: a wrong tag (BadTag) leaves nothing."""
        name = os.fspath(src)

        def attempt(channel: Channel) -> None:
            with open(src, "rb") as source, files.replacing(dst) as out:
                head = files.read_head(source, name)
                if (head.alg, len(head.iv), head.tag_size) != (key.alg.number, key.alg.iv, key.alg.tag):
                    raise WrongUse(f"{name} was not encrypted by {key.alg.text}", reason=f"algorithm {head.alg}")
                tag, total = files.read_tag(source, head, name)
                chunks = parts.cut_file(source, total)
                asked = parts.requests(DECRYPT, key.number, chunks, iv=head.iv, aad=aad, tag=tag)
                done = 0
                last = False
                for reply in self._exchange(channel, asked, f"decrypting {name}", timeout):
                    out.write(reply.data)
                    done += len(reply.data)
                    last = reply.header.is_last and not reply.header.is_unverified
                    if progress is not None:
                        progress(done, total)
                if not last or done != total:
                    raise BadTag(f"{name}: the card did not say that the tag is right")

        self._connection.restartable(attempt, key, self._connection.deadline(timeout))

    # -- the end ------------------------------------------------------------------------------------------------
    def release(self, *, timeout: float | None = None) -> None:
        """R6 c: the instance lets go of the card, which destroys its keys; handles of this object are void."""
        self._connection.release(self._connection.deadline(timeout))

    def close(self, *, release: bool = True) -> None:
        """The connections are closed. Keys loaded here are destroyed on the card, unless `release` is False.

        Never raises for a card that is away: whoever has no connection is released after a while anyway.
        """
        self._connection.close(release, min(CLOSE_S, self._connection.timeout_s))

    def __enter__(self) -> Card:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- what is known ------------------------------------------------------------------------------------------
    @property
    def identity(self) -> Identity:
        """Who this guest is, with every registered key's record."""
        return self._connection.start.identity

    @property
    def timings(self) -> dict[str, float]:
        """Milliseconds of the last start-up by message number ("8-11" is what went on between), and their "total"."""
        return dict(self._connection.start.timings)

    @property
    def name(self) -> str:
        """The card's name."""
        return self._connection.start.place.card_name

    @property
    def instance(self) -> str:
        """The instance's name."""
        return self._connection.start.place.instance_name

    # -- inside -------------------------------------------------------------------------------------------------
    def _keep(self, identity: Identity) -> None:
        if self._path is not None:
            identities.write(self._path, identity)
        self._connection.start.identity = identity

    def _whole(
        self, op: ops.Op, key: Key | None, data: Bytes, what: str, timeout: float | None, **extra: Any
    ) -> list[Reply]:
        """The replies to data of any length: one shot where it fits into a frame, otherwise by parts."""
        deadline = self._connection.deadline(timeout)
        if len(data) <= ops.DATA_MAX:
            return [
                self._connection.one_shot(
                    lambda: Request(op.number, key=key.number if key is not None else 0, data=data, **extra),
                    key,
                    what,
                    deadline,
                )
            ]

        def attempt(channel: Channel) -> list[Reply]:
            asked = parts.requests(op, key.number if key is not None else 0, parts.cut(data), **extra)
            return list(self._exchange(channel, asked, what, timeout))

        return self._connection.restartable(attempt, key, deadline)

    def _exchange(
        self, channel: Channel, asked: Iterator[Request], what: str, timeout: float | None
    ) -> Iterator[Reply]:
        """The replies, each required to be good, each within the time-out."""
        for reply in channel.exchange(
            asked, window=parts.WINDOW, deadline=lambda: self._connection.deadline(timeout), what=what
        ):
            try:
                yield reply.require()
            except Busy:
                # The card still has the stream, which nobody goes on with: it goes with the connection.
                channel.close()
                raise
