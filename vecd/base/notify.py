"""What a service tells whoever started it: sd_notify(3), spoken directly.

The protocol is one datagram; systemd and `vecd dev` read it alike. The socket is opened by `prepare`, before the
sandbox is entered, because a card may open no socket afterwards.
"""

from __future__ import annotations

import os
import socket

_socket: socket.socket | None = None


def prepare() -> int | None:
    """The notify socket is open and NOTIFY_SOCKET gone from the environment; its descriptor, None where nobody
    listens. May be called again."""
    global _socket
    address = os.environ.pop("NOTIFY_SOCKET", "")
    if address and _socket is None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        # A manager that does not read must not stop us.
        sock.settimeout(1.0)
        try:
            sock.connect("\0" + address[1:] if address.startswith("@") else address)
        except OSError:
            sock.close()
        else:
            _socket = sock
    return None if _socket is None else _socket.fileno()


def send(**fields: str | int) -> bool:
    """The fields were handed to the manager; False where there is none, or it does not read."""
    prepare()
    if _socket is None:
        return False
    try:
        _socket.send("\n".join(f"{key}={value}" for key, value in fields.items()).encode())
    except OSError:
        return False
    return True


def ready(status: str = "") -> bool:
    """The service does its work from now on."""
    return send(READY=1, **({"STATUS": status} if status else {}))


def status(text: str) -> bool:
    """One line for people, as `systemctl status` shows it."""
    return send(STATUS=text.replace("\n", " "))


def stopping() -> bool:
    """The service is on its way out, by will."""
    return send(STOPPING=1)
