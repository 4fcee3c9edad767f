"""Whatever is changed in a log is found: every byte, every record, every cut. And a crash is not taken for it."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.audit_log import NS, WHOLE, Log, small
from vecd.audit import roots
from vecd.audit.files import segments
from vecd.audit.records import RECORD_BYTES, Flag, Kind, after
from vecd.audit.verify import Segment, Verifier
from vecd.protocol.suites import generate, sign

CHAINS = ("card c0", roots.GUARD)


@pytest.fixture(autouse=True)
def signatures_once(monkeypatch) -> None:
    """Thousands of times the same signature over the same bytes: that is asked once."""
    monkeypatch.setattr(roots, "verified", functools.lru_cache(1 << 16)(roots.verified))


@pytest.fixture(params=CHAINS)
def log(request, tmp_path) -> Log:
    return small(tmp_path / "log", request.param)


def files(log: Log) -> list[Path]:
    return sorted(path for path in log.path.iterdir() if path.suffix in (".records", ".roots"))


def tampered(log: Log) -> bool:
    return not Verifier(log.chain, log.form).run(segments(log.path)).good


def judge(log: Log) -> tuple[dict[Path, bytes], Callable[[], bool]]:
    """What is in the files, and whether the verifier finds something in that as it is then: no file is written."""
    held = {path: path.read_bytes() for path in files(log)}
    segment = [
        Segment(one.first, *names, *(read_of(held, name) for name in names))
        for one in segments(log.path)
        for names in [(one.records_name, one.roots_name)]
    ]
    return held, lambda: not Verifier(log.chain, log.form).run(segment).good


def read_of(held: dict[Path, bytes], name: str) -> Callable[[], bytes]:
    return lambda: held[Path(name)]


def pieces(path: Path, data: bytes) -> list[bytes]:
    """The records or roots of a file."""
    if path.suffix == ".records" and data[:1] != b"{":
        return [data[at : at + RECORD_BYTES] for at in range(0, len(data), RECORD_BYTES)]
    return data.splitlines(keepends=True)


def test_an_honest_log_is_good(log):
    report = log.report()
    assert report.good, report.findings
    assert len(files(log)) == 4 and report.segments == 2 and report.records == report.signed == log.sequence
    assert not report.notes


def test_every_byte_that_changes_is_found(log):
    """Each byte of each file in turn, by one bit, another from byte to byte: no change goes unseen."""
    tried = 0
    held, found = judge(log)
    for path, data in list(held.items()):
        for at in range(len(data)):
            held[path] = data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
            assert found(), f"{path.name}, byte {at}"
            tried += 1
        held[path] = data
    assert tried > 4000 and not found()


def test_every_cut_is_found(log):
    """Each file ended at each of its bytes: of a log that was ended by will, nothing may be missing."""
    tried = 0
    held, found = judge(log)
    for path, data in list(held.items()):
        for end in range(len(data)):
            held[path] = data[:end]
            assert found(), f"{path.name}, cut at {end}"
            tried += 1
        held[path] = data
    assert tried > 4000 and not found()


def changes(parts: list[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    for i in range(len(parts)):
        yield f"without {i}", parts[:i] + parts[i + 1 :]
        for j in range(len(parts) + 1):
            yield f"{i} again at {j}", parts[:j] + [parts[i]] + parts[j:]
        for j in range(i):
            swapped = list(parts)
            swapped[i], swapped[j] = swapped[j], swapped[i]
            yield f"{i} for {j}", swapped


def test_every_record_and_root_that_is_missing_moved_or_doubled_is_found(log):
    tried = 0
    held, found = judge(log)
    for path, data in list(held.items()):
        for what, parts in changes(pieces(path, data)):
            if (changed := b"".join(parts)) == data:
                continue
            held[path] = changed
            assert found(), f"{path.name}: {what}"
            tried += 1
        held[path] = data
    assert tried > 80


def test_every_file_that_is_missing_is_found_but_a_whole_end(log):
    """The last pair gone leaves a good log that ends earlier: that, the other side's log tells (test_audit_cross)."""
    for path in files(log):
        data = path.read_bytes()
        path.unlink()
        assert tampered(log), path.name
        path.write_bytes(data)
    for pair in (files(log)[:2], files(log)[2:]):
        kept = {path: path.read_bytes() for path in pair}
        for path in pair:
            path.unlink()
        assert tampered(log) == (pair == sorted(kept) and not files(log)[0].name.startswith("0" * 20))
        for path, data in kept.items():
            path.write_bytes(data)


CHECKS = {
    "_wrong": lambda self, entry, sequence, value: None,
    "_covers": lambda self, segment, root, value: True,
    "_follows": lambda self, where, root, before, segment: True,
    "_joins": lambda self, segment, opening: None,
    "_unsigned": lambda self, name, sequence, time, root, last: None,
}


@pytest.mark.parametrize("check", CHECKS)
def test_without_any_one_check_something_is_missed(tmp_path, monkeypatch, check):
    """So that each of them is needed: a byte, a record or root, a cut, or the end of a segment before another one."""
    # Of a card's records what they say is checked as well, which the guard's leave to the joints.
    log = small(tmp_path / "log", roots.GUARD if check == "_joins" else "card c0")
    held, found = judge(log)
    monkeypatch.setattr(Verifier, check, CHECKS[check])
    missed = 0
    for path, data in list(held.items()):
        parts = pieces(path, data)
        tries = [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in range(len(data))]
        tries += [b"".join(some) for _, some in changes(parts)] + [b"".join(parts[:n]) for n in range(len(parts))]
        for held[path] in tries:
            missed += held[path] != data and not found()
        held[path] = data
    records, opening = files(log)[0], files(log)[1]
    lines, data = held[opening].splitlines(keepends=True), held[records]
    if check == "_covers":
        # Another time in the first record of the last segment, and everything behind it chained anew.
        last = files(log)[2]
        value, parts = roots.parse(held[files(log)[3]].splitlines()[0]).value, pieces(last, held[last])
        held[last] = b""
        for n, part in enumerate(parts):
            content = part[:9] + bytes([part[9] ^ (n == 0)]) + part[10:32]
            value = after(value, content)
            held[last] += content + value
    else:
        held[opening] = b"".join(lines[:-1])
        held[records] = b"".join(pieces(records, data)[: roots.parse(lines[-2]).sequence])
    missed += not found()
    assert missed


def test_who_rewrites_the_chain_without_the_key_is_found(log, tmp_path):
    """Everything hashed anew, consistently, and signed with another key than the one in the roots."""
    forged = small(tmp_path / "forged", log.chain, more=1)
    assert forged.report().good and forged.keys.sign_key != log.keys.sign_key
    for mine, theirs in zip(files(log), files(forged), strict=False):
        if mine.suffix == ".records":
            shutil.copy(theirs, mine)
    assert not log.report().good


def test_a_root_of_another_chain_is_none_of_this_one(tmp_path):
    one, other = small(tmp_path / "one", "card c0"), small(tmp_path / "other", "card c1")
    for mine, theirs in zip(files(one), files(other), strict=True):
        shutil.copy(theirs, mine)
    assert "another chain" in one.report().findings[0].what


def test_a_finding_names_file_record_and_what_was_expected(log):
    path = files(log)[0]
    parts = pieces(path, path.read_bytes())
    path.write_bytes(b"".join(parts[:1] + parts[2:]))
    found = log.report().findings[0]
    assert found.file == str(path) and found.record == 1 and found.expected == "record 1" and found.found == "record 2"
    assert "missing" in found.what and found.next


# ---- crashes


def crashed(tmp_path: Path, chain: str, more: Callable[[Log], None]) -> Log:
    log = Log(tmp_path / "log", chain).start()
    more(log)
    log.root()
    more(log)
    log.killed()
    return log


def some(log: Log) -> None:
    for _ in range(2):
        log.guard(what="event", event="X") if log.chain == roots.GUARD else log.turn(1, switched=True)


@pytest.mark.parametrize("chain", CHAINS)
def test_a_torn_record_behind_the_last_root_is_a_crash_at_each_of_its_bytes(tmp_path, chain):
    log = crashed(tmp_path, chain, some)
    path = files(log)[0]
    data = path.read_bytes()
    signed = sum(map(len, pieces(path, data)[:3]))
    for end in range(len(data) + 1):
        path.write_bytes(data[:end])
        report = log.report()
        assert report.good == (end >= signed), (end, report.findings)
        if report.good and end < len(data):
            whole = sum(1 for n in range(len(pieces(path, data)) + 1) if sum(map(len, pieces(path, data)[:n])) == end)
            assert any("torn by a crash" in note for note in report.notes) != bool(whole)


@pytest.mark.parametrize("chain", CHAINS)
def test_a_torn_root_is_a_crash_and_costs_its_second_alone(tmp_path, chain):
    log = crashed(tmp_path, chain, some)
    path = files(log)[1]
    data = path.read_bytes()
    opening = data.index(b"\n") + 1
    for end in range(opening + 1, len(data)):
        path.write_bytes(data[:end])
        report = log.report()
        assert report.good and "torn" in report.notes[0] and report.signed == 0
    path.write_bytes(data[: opening - 1])
    assert not log.report().good


@pytest.mark.parametrize("chain", CHAINS)
def test_what_changes_behind_the_last_root_is_found_as_well(tmp_path, chain):
    log = crashed(tmp_path, chain, some)
    path = files(log)[0]
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        # A last line without its end is what a crash leaves, too: one record fewer, none that was signed.
        torn = chain == roots.GUARD and at == len(data) - 1
        assert log.report().good == torn, at


@pytest.mark.parametrize("chain", CHAINS)
def test_after_a_crash_the_log_goes_on_behind_the_last_whole_record(tmp_path, chain):
    log = crashed(tmp_path, chain, some)
    path = files(log)[0]
    path.write_bytes(path.read_bytes()[:-5])
    again = Log(log.path, chain, keys=log.keys)
    again.now = log.now + NS
    again.start(expected=True)
    assert again.begun.unclean and again.begun.torn and not again.begun.anew
    again.stop()
    report = again.report()
    assert report.good and not report.notes and report.records == log.sequence - 1 + 2
    third = Log(log.path, chain, keys=log.keys).start(expected=True)
    assert not third.begun.unclean
    third.stop()


@pytest.mark.parametrize("chain", CHAINS)
def test_a_damaged_log_is_moved_away_and_the_new_one_says_why(tmp_path, chain):
    log = crashed(tmp_path, chain, some)
    path = files(log)[0]
    data = path.read_bytes()
    path.write_bytes(data[:-20] + b"?" + data[-19:])
    again = Log(log.path, chain, keys=log.keys).start(expected=True)
    assert "changed" in again.begun.anew and again.begun.sequence > 3
    again.stop()
    findings = again.report().findings
    assert len(findings) == 1 and "begins anew" in findings[0].what and "changed" in findings[0].what
    assert [one.name for one in next(log.path.glob("damaged-*")).iterdir()]


@pytest.mark.parametrize("chain", CHAINS)
def test_damage_before_the_last_root_does_not_stop_a_start_and_is_found(tmp_path, chain):
    log = crashed(tmp_path, chain, some)
    path = files(log)[0]
    data = path.read_bytes()
    path.write_bytes(data[:20] + b"?" + data[21:])
    again = Log(log.path, chain, keys=log.keys).start(expected=True)
    assert not again.begun.anew and again.begun.sequence == log.sequence
    again.stop()
    assert again.report().findings[0].record == 0


@pytest.mark.parametrize("chain", CHAINS)
def test_a_log_that_is_gone_is_missed(tmp_path, chain):
    log = Log(tmp_path / "log", chain).start(expected=True)
    log.stop()
    assert "was missing" in log.report().findings[0].what


@pytest.mark.parametrize("chain", CHAINS)
def test_roots_that_are_missing_at_the_end_are_missed_after_ten_seconds(tmp_path, chain):
    log = Log(tmp_path / "log", chain).start()
    log.root()
    some(log)
    log.now += 9 * NS
    some(log)
    log.keeper.write()
    assert log.report().good and "not signed yet" in log.report().notes[0]
    log.now += 2 * NS
    some(log)
    log.keeper.write()
    assert "roots are missing" in log.report().findings[0].what


def test_what_is_chained_but_no_record_is_a_finding_and_no_crash(tmp_path):
    """Whoever can write the file can chain on: nonsense is answered like anything else that is wrong."""
    nonsense = (
        {},
        {"what": "root"},
        {"what": "root", "log": 1, "number": 2, "hash": "xx"},
        {"what": "removed", "first": []},
    )
    for n, members in enumerate(nonsense):
        log = Log(tmp_path / str(n), roots.GUARD).start()
        log.guard(**members)
        log.stop()
        found = log.report().findings
        assert not members or "none that the guard writes" in found[0].what
    log = Log(tmp_path / "x", roots.GUARD).start()
    log._add(
        b'{"seq":1,"time', b'{"seq":1,"time,"chain":"' + after(log.value, b'{"seq":1,"time').hex().encode() + b'"}\n'
    )
    log.stop()
    assert "none that the guard writes" in log.report().findings[0].what


# ---- what the records of a card say


def test_a_hand_over_without_a_wipe_is_found(tmp_path):
    log = Log(tmp_path / "log").start()
    log.turn(1, switched=True)
    log.turn(2)
    log.stop()
    assert "from instance 1 to 2 without a wipe" in log.report().findings[0].what


@pytest.mark.parametrize("flags", [Flag.WORKED, Flag.WORKED | Flag.WIPED, Flag.WORKED | Flag.CUT])
def test_work_after_a_turn_that_was_not_wiped_is_found(tmp_path, flags):
    log = Log(tmp_path / "log").start()
    log.turn(1, switched=True, flags=flags | Flag.SWITCHED)
    log.turn(1)
    log.stop()
    assert "was not wiped" in log.report().findings[0].what


@pytest.mark.parametrize("kind", [Kind.CLEAN, Kind.BIND])
def test_a_wipe_of_its_own_is_as_good_as_a_switch(tmp_path, kind):
    log = Log(tmp_path / "log").start()
    log.turn(1, switched=True)
    log.card(kind, flags=Flag.WIPED | Flag.READ_BACK)
    log.turn(2)
    log.turn(2, flags=WHOLE)
    log.stop()
    report = log.report()
    assert report.good and report.hand_overs == 1 and (report.turns, report.requests) == (3, 9)
    assert [(one.before, one.after) for one in report.kept] == [(1, 2)]


# ---- old segments


@pytest.mark.parametrize("chain", CHAINS)
def test_old_segments_go_whole_and_that_is_on_record(tmp_path, chain):
    log = Log(tmp_path / "log", chain, segment_bytes=400, keep_bytes=6000).start()
    for _ in range(40):
        some(log)
        if (first := log.keeper.surplus()) is not None:
            log.guard(what="removed", first=first) if chain == roots.GUARD else log.card(Kind.REMOVED, word=first)
        log.root()
    log.stop()
    report = log.report()
    assert report.good and report.first > 0 and sum(path.stat().st_size for path in files(log)) < 8000
    # Further ones that somebody else removed are missed.
    for path in files(log)[:2]:
        path.unlink()
    assert "does not begin at its beginning" in log.report().findings[0].what


def test_a_signature_of_another_suite_is_as_good(tmp_path):
    for suite in (1, 2, 3):
        log = Log(tmp_path / str(suite), keys=generate(suite)).start()
        log.stop()
        assert log.report().good
        assert log.keeper.root.genuine() and not sign(log.keys, "other", b"") == log.keeper.root.signature
