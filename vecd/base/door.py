"""Unix sockets by path: listening at one, connecting to one, and what the kernel knows of who connected."""

from __future__ import annotations

import array
import contextlib
import errno
import os
import select
import socket
import stat
from pathlib import Path

from .errors import Exhausted, Exists, Unreachable
from .paths import socket_path

BACKLOG = 128

# Linux numbers that Python has no names for.
_SO_PEERGROUPS = 59
_SO_PEERPIDFD = 77
# Flag of /proc/net/unix: it listens.
_ACCEPTS = 0x10000


def groups(sock: socket.socket) -> frozenset[int]:
    try:
        return frozenset(array.array("I", sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 4096)))
    except OSError:
        return frozenset()


def _effective_uid(pid: int) -> int | None:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("Uid:"):
                return int(line.split()[2])
    except OSError:
        pass
    return None


def pidfd(sock: socket.socket, pid: int, uid: int) -> int | None:
    """A descriptor of the very process that connected, None where that cannot be had."""
    try:
        return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD, 4), "little")
    except OSError:
        # Before Linux 6.5.
        pass
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    # The number may have been given to another process before we opened it: the connection must still be there,
    # and the process must be of the uid that connected.
    poll = select.poll()
    poll.register(sock, select.POLLHUP)
    if poll.poll(0) or _effective_uid(pid) != uid:
        os.close(pidfd)
        return None
    return pidfd


# Sockets made in advance by `spare`, for a process whose sandbox forbids socket(2); None where there is no such need.
_spares: list[socket.socket] | None = None


def spare(count: int) -> list[int]:
    """Every later connection of this process uses one of `count` sockets made now; their descriptors."""
    global _spares
    _spares = [_socket() for _ in range(count)]
    return [sock.fileno() for sock in _spares]


def _socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)


def take() -> socket.socket:
    if _spares is None:
        return _socket()
    if not _spares:
        raise Exhausted("no socket is left to connect with", hint="restart this process")
    return _spares.pop()


def put_back(sock: socket.socket) -> None:
    """A socket that did not connect serves the next try, where sockets were made in advance."""
    if _spares is None:
        sock.close()
    else:
        _spares.append(sock)


_HINTS = {
    errno.ENOENT: "is the daemon running, and is this its directory?",
    errno.ECONNREFUSED: "the daemon that made this socket is not running",
    errno.EACCES: "this door is for other users",
    errno.EAGAIN: "it does not accept connections",
}


def unreachable(path: str | Path, e: OSError) -> Unreachable:
    return Unreachable(
        f"{path} cannot be reached", reason=os.strerror(e.errno or errno.ETIMEDOUT), hint=_HINTS.get(e.errno or 0, "")
    )


def listen(path: str | Path, *, mode: int = 0o600, uid: int = -1, gid: int = -1) -> socket.socket:
    """A listening socket at `path`, never accessible beyond `mode`; one that nobody listens on any more is replaced.

    Raises Exists while another process listens there. `uid` and `gid` own it (-1: as it is), which needs root.
    """
    address = socket_path(path)
    if os.path.lexists(address):
        _remove_stale(address)
    sock = _socket()
    # The mode stands from the first moment on; a chmod after bind would leave a gap.
    before = os.umask(0o777 & ~mode)
    try:
        sock.bind(address)
        if (uid, gid) != (-1, -1):
            # ROOT: the door belongs to the one process that may knock.
            os.chown(address, uid, gid)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(before)
    return sock


def _remove_stale(address: str) -> None:
    """The socket file that a dead process left is gone; raises Exists for anything else."""
    # The kernel refuses a connection to a stale socket and to a file that is no socket alike.
    if not stat.S_ISSOCK(os.lstat(address).st_mode):
        raise Exists(f"{address} is not a socket", hint="move it away")
    with _socket() as probe:
        probe.setblocking(False)
        try:
            probe.connect(address)
            served = True
        except ConnectionRefusedError:
            served = False
        except PermissionError:
            # A door of another uid, and we have no capability to pass: what the kernel lists says as much.
            served = _is_listed(address)
        except OSError as e:
            # EAGAIN: its backlog is full.
            served = e.errno != errno.ENOENT
    if served:
        raise Exists(f"{address} is served by another process", hint="stop it, or use another directory")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(address)


def _is_listed(address: str) -> bool:
    """Whether somebody listens at this path, by /proc/net/unix."""
    lines = Path("/proc/net/unix").read_text(errors="surrogateescape").splitlines()[1:]
    rows = [line.split(None, 7) for line in lines]
    return any(len(row) == 8 and row[7] == address and int(row[3], 16) & _ACCEPTS for row in rows)
