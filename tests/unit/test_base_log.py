"""A log line is an event with fields; nothing secret and nothing unbounded gets into it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from vecd.base import events, log, notify
from vecd.base.events import Event
from vecd.base.secret import Secret

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(log, "_journal", None)
    monkeypatch.setattr(log, "_debug", False)
    monkeypatch.setattr(notify, "_socket", None)


def test_a_line_has_event_sentence_and_the_fields_that_the_sentence_does_not_name(capsys):
    log.event(events.FAILED, role="guard", reason="no", card="c0")
    line = capsys.readouterr().err
    assert "error FAILED: guard gives up: no [card=c0]" in line and line.endswith("\n")


def test_secrets_keys_and_escapes_do_not_get_in(capsys):
    log.event(events.FAILED, role=Secret(b"hunter2hunter2"), reason=b"k" * 32, card="a\x1b[2Jb\nc", id=bytes(16))
    line = capsys.readouterr().err
    assert "hunter2" not in line and "kkkk" not in line and "\x1b" not in line and line.count("\n") == 1
    assert "<secret 14 bytes>" in line and "<32 bytes>" in line and "0" * 32 in line


def test_a_long_value_is_cut(capsys):
    log.event(events.FAILED, role="x" * 10**5, reason="y")
    assert len(capsys.readouterr().err) < 2 * log.VALUE_MAX


def test_a_field_that_is_missing_does_not_stop_the_line(capsys):
    log.event(events.FAILED)
    assert "- gives up: -" in capsys.readouterr().err


def test_debug_events_are_silent_unless_asked_for(capsys, monkeypatch):
    debug = Event("X", "0" * 32, events.DEBUG, "x")
    log.event(debug)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(log, "_debug", True)
    log.event(debug)
    assert "X" in capsys.readouterr().err


def test_a_closed_stderr_stops_nobody():
    code = "import os; os.close(2)\nfrom vecd.base import events, log\nlog.event(events.FAILED, role='x')\nprint('on')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=20)
    assert done.stdout == "on\n"


def test_the_journal_gets_each_field_by_itself(tmp_path, monkeypatch, capsys):
    journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    journal.settimeout(5)
    journal.bind(str(tmp_path / "j"))
    monkeypatch.setattr(log, "JOURNAL", str(tmp_path / "j"))
    stat = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{stat.st_dev}:{stat.st_ino}")
    fd = log.open("vecd-test")
    assert fd is not None
    log.event(events.FAILED, role="a=b", reason="x", errno=5)
    record = journal.recv(65536)
    fields = {}
    while record:
        name, _, rest = record.partition(b"\n")
        size = int.from_bytes(rest[:8], "little")
        fields[name.decode()] = rest[8 : 8 + size].decode()
        record = rest[8 + size + 1 :]
    assert fields["MESSAGE"] == "a=b gives up: x" and fields["MESSAGE_ID"] == events.FAILED.message_id
    assert fields["VEC_ROLE"] == "a=b" and fields["VEC_EVENT"] == "FAILED" and fields["ERRNO"] == "5"
    assert fields["PRIORITY"] == "3" and fields["SYSLOG_IDENTIFIER"] == "vecd-test"
    journal.close()
    log.event(events.FAILED, role="guard", reason="no")
    assert "FAILED" in capsys.readouterr().err
    log._journal.close()


def test_stderr_of_a_terminal_is_not_the_journal(monkeypatch):
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    assert log.open("vecd-test") is None


@pytest.mark.parametrize("abstract", [False, True])
def test_whoever_started_us_is_told_and_the_address_is_gone(tmp_path, monkeypatch, abstract):
    address = f"vecd-test-{os.getpid()}" if abstract else str(tmp_path / "n")
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.settimeout(5)
    manager.bind("\0" + address if abstract else address)
    monkeypatch.setenv("NOTIFY_SOCKET", "@" + address if abstract else address)
    assert notify.prepare() is not None and "NOTIFY_SOCKET" not in os.environ
    assert notify.ready("up")
    assert manager.recv(4096) == b"READY=1\nSTATUS=up"
    assert notify.stopping() and manager.recv(4096) == b"STOPPING=1"
    assert notify.status("a\nb") and manager.recv(4096) == b"STATUS=a b"
    manager.close()
    assert not notify.ready()
    notify._socket.close()


def test_without_a_manager_nothing_happens(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert notify.prepare() is None and not notify.ready()


def test_every_sentence_can_be_filled():
    for event in events.EVENTS:
        assert event.sentence.format_map(log._Fields()) and 3 <= event.priority <= 7
