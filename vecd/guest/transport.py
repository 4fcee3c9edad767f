"""Where a guest finds its broker: `vsock:2:9750` from inside a VM, `unix:/path` where a VMM forwards or for tests.

Both give a connected stream socket and nothing else differs, so everything above takes a socket. A kind of
address without a row in DIALS does not exist.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vecd.base.errors import Busy, Malformed, TimedOut, Unreachable
from vecd.guest.deadline import Deadline

VSOCK_HOST_CID = 2
SEND_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class Address:
    """A parsed address: `kind` is a row of DIALS, `place` what the socket's connect() takes."""

    kind: str
    place: str | tuple[int, int]

    def __str__(self) -> str:
        place = self.place if isinstance(self.place, str) else ":".join(str(number) for number in self.place)
        return f"{self.kind}:{place}"


def parse(text: str | Address) -> Address:
    """The address that `text` names; Malformed with both spellings otherwise."""
    if isinstance(text, Address):
        return text
    kind, _, rest = text.partition(":")
    row = PLACES.get(kind)
    if row is None:
        raise Malformed(f"{text!r} is no address", hint="write unix:/path or vsock:2:9750")
    return Address(kind, row(text, rest))


def dial(address: Address, deadline: Deadline) -> socket.socket:
    """A connected stream socket, close-on-exec; the caller owns it.

    Raises Unreachable when nobody listens, Busy when the queue is full, TimedOut at the deadline.
    """
    family = DIALS[address.kind]
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(deadline.require(f"connecting to {address}"))
        sock.connect(address.place)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    except TimeoutError as error:
        sock.close()
        raise TimedOut(f"{address}: not connected within {deadline.seconds:g} s") from error
    except OSError as error:
        sock.close()
        if error.errno == errno.EAGAIN:
            raise Busy(f"{address}: the queue of its listener is full") from error
        raise Unreachable(
            f"{address}: {error.strerror or error}",
            hint="is the broker running, and was this guest added (vecctl guest add)?",
        ) from error
    except BaseException:
        sock.close()
        raise
    return sock


def _unix_place(text: str, rest: str) -> str:
    if not rest.startswith("/"):
        raise Malformed(f"{text!r}: a Unix address needs an absolute path", hint="unix:/run/vecd/guest/NAME.sock")
    return rest


def _vsock_place(text: str, rest: str) -> tuple[int, int]:
    cid, _, port = rest.partition(":")
    if not (cid.isdecimal() and port.isdecimal() and int(cid) < 1 << 32 and int(port) < 1 << 32):
        raise Malformed(f"{text!r}: a vsock address is two numbers, CID and port", hint="vsock:2:9750")
    return int(cid), int(port)


PLACES: Mapping[str, Callable[[str, str], str | tuple[int, int]]] = {"unix": _unix_place, "vsock": _vsock_place}
DIALS: Mapping[str, int] = {"unix": socket.AF_UNIX, "vsock": getattr(socket, "AF_VSOCK", 40)}
