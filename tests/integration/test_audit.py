"""The audit logs of real processes: two guests on one card, kills in the middle, and then somebody who tampers."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cipher_machine import Guest, running
from tests.unit.test_audit_independent import check_log, check_proof
from vecd.audit.roots import parse
from vecd.base.errors import VecError
from vecd.cli.main import main

NS = 1_000_000_000
CARD, GUARD = "card/c0", "guard"


def vecctl(root: Path, *words: str) -> tuple[int, dict]:
    """One command with --json: its exit code, and its answer or error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["--dir", str(root), "--json", *words])
    return code, json.loads((out if code == 0 else err).getvalue())


def log_of(root: Path, which: str) -> Path:
    return root / "var/lib/vecd" / which / "audit"


class Load:
    """Guests that work, with a pause between two requests; what goes wrong while something is killed is asked again."""

    def __init__(self, *guests: Guest) -> None:
        self.done, self._stop, self.pause_s = 0, threading.Event(), 0.0
        self._threads = [threading.Thread(target=self._work, args=(guest,)) for guest in guests]
        for thread in self._threads:
            thread.start()

    def _work(self, guest: Guest) -> None:
        while not self._stop.is_set():
            try:
                with guest.connect() as card:
                    key = card.load_key(guest.key)
                    while not self._stop.is_set():
                        card.encrypt(key, b"x" * 64)
                        self.done += 1
                        time.sleep(self.pause_s)
            except (VecError, OSError):
                time.sleep(0.05)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


@pytest.fixture(scope="module")
def ended(tmp_path_factory) -> Iterator[tuple[Path, dict]]:
    """The files of a machine that was killed in its parts, went on, and ended by will; and what was seen of it."""
    seen: dict = {}
    with running("c0") as machine:
        a, b = machine.add("A"), machine.add("B")
        load = Load(a, b)
        try:
            machine.wait_for(lambda: load.done > 100, 20, "requests of both guests")
            started = time.time_ns()
            time.sleep(4.2)
            seen["steady"], load.pause_s = (started, time.time_ns()), 0.01
            seen["live"] = vecctl(machine.root, "log", "verify", "--within", "10")
            for role, name in (("card", "c0"), ("guard", ""), ("card", "c0")):
                before = load.done
                os.kill(machine.pids(role, name)[0], signal.SIGKILL)
                machine.wait_for(lambda b=before: load.done > b + 50, 30, f"work after the kill of the {role}")
                time.sleep(1.3)
                seen[f"after {role}"] = vecctl(machine.root, "log", "verify")
            with pytest.raises(VecError):
                machine.admin("guest.remove", name="nobody")
            machine.admin("access.rescind", subject="A.1", object="c0", attribute="a")
        finally:
            load.stop()
        seen["done"], seen["status"] = load.done, machine.admin("status")
        seen["proof"] = machine.root.parent / "proof.json"
        seen["prove"] = vecctl(machine.root, "log", "prove-handover", "c0", "--out", str(seen["proof"]))
        seen["check"] = vecctl(machine.root, "log", "verify", "--proof", str(seen["proof"]))
        machine.close()
        kept = tmp_path_factory.mktemp("ended")
        for part in ("var", "run"):
            shutil.copytree(machine.root / part, kept / part, ignore=shutil.ignore_patterns("*.sock"))
        shutil.copy(seen["proof"], kept / "proof.json")
        seen["ca"] = bytes.fromhex(json.loads((kept / "run/vecd/ca/ca.pub.json").read_text())["sign_key"])
        yield kept, seen


def test_a_live_log_verifies_and_counts_every_request(ended):
    code, answer = ended[1]["live"]
    assert code == 0, answer
    guard, card = answer["chains"]
    assert (guard["chain"], card["chain"]) == ("guard", "card c0") and guard["decisions"] > 20
    assert card["requests"] >= 100 and card["hand_overs"] > 10 and card["turns"] <= card["requests"] + 2


def test_after_a_kill_it_verifies_and_goes_on(ended):
    kept, seen = ended
    for what in ("after card", "after guard"):
        assert seen[what][0] == 0, seen[what]
    code, answer = vecctl(kept, "log", "verify")
    assert code == 0, answer
    for chain in answer["chains"]:
        assert chain["records"] == chain["signed"] == chain["end"] and not chain["notes"]
    # Not a request more than the guests sent, and of each kill at most what the pump had not handed over.
    card = next(one for one in answer["chains"] if one["chain"] == "card c0")
    assert 0.5 * seen["done"] < card["requests"] <= seen["done"] + 200
    starts = [record for record in shown(kept, "--card", "c0") if record["kind"] == "start"]
    assert ["unclean" in one["flags"] for one in starts] == [False, True, True]
    starts = [record for record in shown(kept) if record["what"] == "start"]
    assert [one["unclean"] for one in starts] == [False, True]


def shown(root: Path, *words: str) -> list[dict]:
    code, answer = vecctl(root, "log", "show", "-n", "10000000", *words)
    assert code == 0
    return answer["records"]


def test_a_verifier_of_the_page_alone_agrees(ended):
    kept, _ = ended
    for which, chain in ((CARD, "card c0"), (GUARD, "guard")):
        name, signed = check_log(log_of(kept, which))
        code, answer = vecctl(kept, "log", "verify", *(["--guard"] if which == GUARD else ["--card", "c0"]))
        assert (name, signed, code) == (chain, answer["chains"][0]["signed"], 0)


def test_a_root_is_signed_once_a_second_under_load(ended):
    kept, seen = ended
    start, end = seen["steady"]
    for which in (CARD, GUARD):
        times = []
        for path in sorted(log_of(kept, which).glob("*.roots")):
            times += [parse(line).time for line in path.read_bytes().splitlines()]
        times = sorted({one for one in times if start <= one <= end})
        gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
        # A busy machine delays one root, and the next is in time again: single gaps vary, their mean does not.
        assert len(times) >= 3, (which, times)
        mean = (times[-1] - times[0]) / len(gaps)
        assert max(gaps) < 2 * NS and 0.8 * NS < mean < 1.5 * NS, (which, gaps)


def test_every_decision_and_refusal_is_on_record_with_who_asked(ended):
    kept, seen = ended
    records = shown(kept)
    decisions = [one for one in records if one["what"] == "decision"]
    rules = {one["rule"] for one in decisions if one["decision"] == "yes"}
    assert {"R1", "R2", "R4", "R5", "R6", "R7", "R9", "R10"} <= rules
    assert all("changes" in one or one["reason"] for one in decisions)
    rescinded = [one for one in decisions if one["rule"] == "R10"]
    assert rescinded[-1]["by"]["door"] == "admin" and rescinded[-1]["by"]["uid"] == os.geteuid()
    assert ["M", "A.1", "c0"] in [change[:3] for change in rescinded[-1]["changes"]]
    assert seen["status"]["audit"]["full"] is None and seen["status"]["audit"]["signed"] > 0
    assert {one["log"] for one in records if one["what"] == "root"} == {"card c0"}


def test_a_hand_over_is_proved_to_a_stranger(ended):
    kept, seen = ended
    assert seen["prove"][0] == seen["check"][0] == 0
    proof = json.loads((kept / "proof.json").read_text())
    check_proof(proof, seen["ca"])
    assert {proof["from"]["name"], proof["to"]["name"]} == {"A.1", "B.1"}
    code, _ = vecctl(kept, "log", "verify", "--proof", str(kept / "proof.json"))
    assert code == 0
    proof["records"][1] = proof["records"][0]
    (kept / "false.json").write_text(json.dumps(proof))
    code, error = vecctl(kept, "log", "verify", "--proof", str(kept / "false.json"))
    assert code == 7 and "record" in error["error"]["message"]


def segment(root: Path, which: str, suffix: str, number: int = -1) -> Path:
    return sorted(log_of(root, which).glob(f"*{suffix}"))[number]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_out(path: Path) -> None:
    data = path.read_bytes()
    at = len(data) // 2 // 64 * 64
    if data[:1] == b"{":
        start = data.index(b"\n", len(data) // 2) + 1
        path.write_bytes(data[:start] + data[data.index(b"\n", start) + 1 :])
    else:
        path.write_bytes(data[:at] + data[at + 64 :])


def shorten(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - 100])


def twice(path: Path) -> None:
    data = path.read_bytes()
    lines = data.splitlines(keepends=True) if data[:1] == b"{" else [data[n : n + 64] for n in range(0, len(data), 64)]
    path.write_bytes(b"".join([*lines[:3], lines[2], *lines[3:]]))


@pytest.mark.parametrize("tamper", [flip, cut_out, shorten, twice, Path.unlink], ids=lambda one: one.__name__)
@pytest.mark.parametrize(
    "which, suffix", [(CARD, ".records"), (CARD, ".roots"), (GUARD, ".records"), (GUARD, ".roots")]
)
def test_whoever_tampers_is_found(ended, tmp_path, which, suffix, tamper):
    shutil.copytree(ended[0] / "var", tmp_path / "var")
    shutil.copytree(ended[0] / "run", tmp_path / "run")
    path = segment(tmp_path, which, suffix)
    tamper(path)
    code, error = vecctl(tmp_path, "log", "verify")
    assert code == 7, error
    found = error["error"]
    assert found["subject"] == ("guard" if which == GUARD else "card c0") and found["reason"] and found["hint"]
    assert path.name.split(".")[0] in json.dumps(found["findings"])


@pytest.mark.parametrize("which", [CARD, GUARD])
def test_a_log_that_was_cut_back_to_an_older_root_is_found_by_the_other(ended, tmp_path, which):
    """Records and roots cut at a root, so that what is left is a whole log: only the other side knows better."""
    shutil.copytree(ended[0] / "var", tmp_path / "var")
    shutil.copytree(ended[0] / "run", tmp_path / "run")
    roots_path, records_path = segment(tmp_path, which, ".roots"), segment(tmp_path, which, ".records")
    lines = roots_path.read_bytes().splitlines(keepends=True)
    kept = lines[: len(lines) // 2]
    roots_path.write_bytes(b"".join(kept))
    first, end = int(roots_path.name[:20]), parse(kept[-1]).sequence
    data = records_path.read_bytes()
    whole = data.splitlines(keepends=True) if which == GUARD else [data[n : n + 64] for n in range(0, len(data), 64)]
    records_path.write_bytes(b"".join(whole[: end - first]))
    alone = vecctl(tmp_path, "log", "verify", *(["--guard"] if which == GUARD else ["--card", "c0"]))
    assert alone[0] == 0
    code, error = vecctl(tmp_path, "log", "verify")
    assert code == 7 and "cut back" in error["error"]["message"], error


def test_a_log_signed_with_another_key_is_found(ended, tmp_path):
    kept, _ = ended
    code, error = vecctl(kept, "log", "verify", "--guard", "--key", "01" + "00" * 32)
    assert code == 7 and "not signed with the guard's key" in error["error"]["message"]
    other = tmp_path / "ca.json"
    other.write_text(json.dumps({"sign_key": "02" + "00" * 32}))
    code, error = vecctl(kept, "log", "verify", "--card", "c0", "--ca", str(other))
    assert code == 7 and "not this card's" in error["error"]["message"]


def test_files_that_were_copied_away_verify_alone(ended, tmp_path):
    for path in log_of(ended[0], CARD).iterdir():
        shutil.copy(path, tmp_path)
    names = [str(path) for path in tmp_path.iterdir() if path.suffix in (".records", ".roots")]
    code, answer = vecctl(ended[0], "log", "verify", "--from", *names)
    assert code == 0 and answer["chains"][0]["chain"] == "card c0"
    assert [one[:8] for one in answer["chains"][0]["notes"]] == ["not held"]


def test_a_card_log_cut_back_while_it_stood_is_an_alarm_of_the_guard():
    """Who cuts a card's log back while the card is down is found when it comes back: in status, at once."""
    with running("c0") as machine:
        guest = machine.add("A")
        with guest.connect() as card:
            key = card.load_key(guest.key)
            for _ in range(3):
                card.encrypt(key, b"x")
                time.sleep(1.1)
        roots_of = segment(machine.root, CARD, ".roots")
        kept = roots_of.read_bytes().splitlines(keepends=True)[:2]
        pid = machine.pids("card", "c0")[0]
        # Stopped first, so that nothing is written while it is cut.
        os.kill(pid, signal.SIGSTOP)
        roots_of.write_bytes(b"".join(kept))
        records = segment(machine.root, CARD, ".records")
        os.truncate(records, 64 * parse(kept[-1]).sequence)
        os.kill(pid, signal.SIGKILL)
        alarms = machine.wait_for(
            lambda: [one for one in machine.admin("status")["alarms"] if "audit" in one], 15, "an alarm"
        )
        assert "cut back" in alarms[0] or "another root" in alarms[0] or "does not continue" in alarms[0]
