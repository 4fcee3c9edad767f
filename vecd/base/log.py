"""What services log: events from events.py, to the journal or, where there is none, as lines on stderr.

Only services log; everything below returns or raises. Under systemd (JOURNAL_STREAM names our stderr) the journal's
native datagram carries each field by itself; `open` connects before the sandbox is entered.
"""

from __future__ import annotations

import functools
import os
import socket
import string
import struct
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from .events import DEBUG, Event
from .secret import Secret

JOURNAL = "/run/systemd/journal/socket"
# A value is cut here: a name from a guest may not fill the journal.
VALUE_MAX = 512
# Ids of ours have 16 bytes and are printed in hex; anything longer may be a key or a nonce and is not.
ID_BYTES = 16
_WORDS = ("emerg", "alert", "crit", "error", "warning", "notice", "info", "debug")

_identifier = "vecd"
_journal: socket.socket | None = None
_debug = os.environ.get("VECD_DEBUG", "") == "1"
# Who hears of every event besides, with its fields as text; never raises.
_also: Callable[[Event, Mapping[str, str]], None] | None = None


def open(identifier: str) -> int | None:
    """Events of this process carry the identifier; the journal's descriptor, None when they go to stderr."""
    global _identifier, _journal
    _identifier = identifier
    if _journal is None and os.environ.get("JOURNAL_STREAM", "") == _stream_of(2):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        sock.settimeout(1.0)
        try:
            sock.connect(JOURNAL)
        except OSError:
            sock.close()
        else:
            _journal = sock
    return None if _journal is None else _journal.fileno()


def also(hear: Callable[[Event, Mapping[str, str]], None] | None) -> None:
    """From now on `hear` is told of every event that is logged here."""
    global _also
    _also = hear


def debugging() -> bool:
    """Whether this process was started to be looked into (VECD_DEBUG): log lines may then quote exceptions."""
    return _debug


def _stream_of(fd: int) -> str | None:
    try:
        stat = os.fstat(fd)
    except OSError:
        return None
    return f"{stat.st_dev}:{stat.st_ino}"


def _text(value: Any) -> str:
    """A value as it may stand in a log line: bounded, one line, never a secret."""
    if type(value) is str and value.isprintable() and len(value) <= VALUE_MAX:
        return value
    if isinstance(value, Secret):
        return repr(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        size = memoryview(value).nbytes
        return bytes(value).hex() if size <= ID_BYTES else f"<{size} bytes>"
    if isinstance(value, (list, tuple, set, frozenset)):
        value = ", ".join(_text(item) for item in value)
    text = str(value)
    if not text.isprintable():
        text = ascii(text)
    return text if len(text) <= VALUE_MAX else text[:VALUE_MAX] + "..."


@functools.lru_cache(maxsize=1)
def _clock(second: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(second))


@functools.cache
def _named(sentence: str) -> frozenset[str]:
    """The fields that stand in the sentence."""
    return frozenset(name for _, name, _, _ in string.Formatter().parse(sentence) if name)


class _Fields(dict[str, str]):
    """A field that the sentence names and the caller did not give reads as "-"; logging never raises."""

    def __missing__(self, key: str) -> str:
        return "-"


def event(what: Event, /, **fields: Any) -> None:
    """The event is logged with its fields as VEC_NAME; never raises."""
    if what.priority >= DEBUG and not _debug:
        return
    texts = _Fields({key: _text(value) for key, value in fields.items() if value is not None})
    if _also is not None:
        _also(what, texts)
    message = what.sentence.format_map(texts)
    if _journal is not None:
        record = {
            "MESSAGE": message,
            "MESSAGE_ID": what.message_id,
            "PRIORITY": str(what.priority),
            "SYSLOG_IDENTIFIER": _identifier,
            "VEC_EVENT": what.name,
            **{("ERRNO" if key == "errno" else f"VEC_{key.upper()}"): text for key, text in texts.items()},
        }
        try:
            _journal.send(b"".join(_field(key, text) for key, text in record.items()))
            return
        except OSError:
            # The journal is away: stderr is what is left.
            pass
    extra = " ".join(f"{k}={v}" for k, v in texts.items() if k not in _named(what.sentence))
    line = f"{_clock(int(time.time()))} {_identifier} {_WORDS[what.priority]} {what.name}: {message}"
    try:
        sys.stderr.write(line + (f" [{extra}]\n" if extra else "\n"))
        sys.stderr.flush()
    except (OSError, ValueError):
        pass


def _field(key: str, text: str) -> bytes:
    """One field of the journal's native protocol, with its length: any byte may stand in the value."""
    data = text.encode(errors="backslashreplace")
    return key.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
