"""A long input as the frames of a stream: what is cut where, and with which flags."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from vecd.guest.channel import Bytes, Request
from vecd.wire import ops

# One part is what a turn of the card takes at most.
PART_BYTES = ops.BATCH_BYTES
# Parts on their way at once: one is worked on, one is being sent, one being received, one in reserve.
WINDOW = 4


def stream_number() -> int:
    """A number that no other open stream of the key is likely to have, of this process or another; never 0."""
    return secrets.randbelow((1 << 32) - 1) + 1


def cut(data: Bytes) -> Iterator[memoryview]:
    """Views of the data, one a part; one empty view of empty data."""
    view = memoryview(data)
    for at in range(0, max(1, len(view)), PART_BYTES):
        yield view[at : at + PART_BYTES]


def cut_file(source: BinaryIO, size: int | None = None) -> Iterator[bytes]:
    """What is read from here on, one bytes a part; at most `size` bytes where it is given."""
    left = size
    while left is None or left > 0:
        part = source.read(PART_BYTES if left is None else min(PART_BYTES, left))
        if not part:
            return
        if left is not None:
            left -= len(part)
        yield part


def requests(
    op: ops.Op, key: int, chunks: Iterable[Bytes], *, iv: bytes = b"", aad: Bytes = b"", tag: bytes = b""
) -> Iterator[Request]:
    """The frames of the whole input: a one shot when there is one chunk or none, otherwise a stream."""
    number = stream_number()
    held: Bytes | None = None
    sequence = 0
    for chunk in chunks:
        if held is not None:
            yield part(op, key, number, sequence, held, iv=iv, aad=aad)
            sequence += 1
        held = chunk
    if sequence == 0:
        yield Request(op.number, key=key, iv=iv, aad=aad, data=b"" if held is None else held, tag=tag)
    else:
        yield part(op, key, number, sequence, b"" if held is None else held, tag=tag, last=True)


def part(
    op: ops.Op,
    key: int,
    stream: int,
    sequence: int,
    data: Bytes,
    *,
    iv: bytes = b"",
    aad: Bytes = b"",
    tag: bytes = b"",
    last: bool = False,
) -> Request:
    """One part; IV and additional data go with the first alone."""
    first = sequence == 0
    return Request(
        op.number,
        key=key,
        flags=(ops.F_FIRST if first else 0) | (ops.F_LAST if last else 0),
        stream=stream,
        sequence=sequence,
        iv=iv if first else b"",
        aad=aad if first else b"",
        data=data,
        tag=tag,
    )
