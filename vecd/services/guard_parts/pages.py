"""Answers that may be longer than a packet, page by page: each says in `next` where the one after it begins.

A page is of one moment, the whole of several: what changes between two pages is in neither or in both. That bounds
what one question costs everybody else, which a whole answer at full scale would not.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from vecd.base import packet
from vecd.base.errors import Malformed

# Half a packet: a row may be as large as the other half.
PAGE_BYTES = packet.PACKET_MAX // 2

_Row = TypeVar("_Row", bound=Mapping[str, Any])


def page(
    rows: Iterable[tuple[str, _Row]], size_of: Callable[[_Row], int] = packet.size
) -> tuple[list[_Row], str | None]:
    """The rows of one page, at least one; and the mark of the last of them, if there are more."""
    held: list[_Row] = []
    room, last = PAGE_BYTES, ""
    for mark, row in rows:
        size = size_of(row) + 1
        if held and size > room:
            return held, last
        held.append(row)
        room, last = room - size, mark
    return held, None


def after_index(after: str | None) -> int:
    """The place after which a page begins; -1 for the first. Raises Malformed."""
    if after is None:
        return -1
    if not after.isascii() or not after.isdecimal() or len(after) > 8:
        raise Malformed(f"after {after[:64]!r} is no mark", hint="take it from the `next` of the page before")
    return int(after)
