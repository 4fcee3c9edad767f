"""A thief on the path: forwards one guest's socket to the broker's and keeps every byte that the guest sent.

It stands where a bad Dom0 would: what it recorded is what such an attacker can replay (docs/threats.md).
"""

import contextlib
import socket
import threading
from pathlib import Path


class Recorder:
    """Listens on `path`, forwards each connection to `target`; `sent` has one bytearray per connection, in order."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path, self.target = path, target
        self.sent: list[bytearray] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(8)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """No further connection is accepted; those that are open go on."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                far.connect(str(self.target))
            except OSError:
                near.close()
                continue
            kept = bytearray()
            self.sent.append(kept)
            # Each direction for itself: a peer that writes before it reads must not hold up the other.
            threading.Thread(target=_forward, args=(near, far, kept), daemon=True).start()
            threading.Thread(target=_forward, args=(far, near, None), daemon=True).start()


def _forward(source: socket.socket, sink: socket.socket, kept: bytearray | None) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            if kept is not None:
                kept += data
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
