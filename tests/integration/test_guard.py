"""The guard as a process: what it needs to start, what survives it, and vecctl over a whole cipher machine."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.integration.cipher_machine import running
from tests.unit.guard_world import CARDS, FakeCard, settled
from vecd.base.blocking import BlockingPeer
from vecd.base.errors import Unreachable, VecError
from vecd.base.paths import Paths
from vecd.protocol import suites
from vecd.protocol.messages import Certificate, signed

READY_S = 20.0
CONFIG = '[[card]]\nname = "c0"\n[[card]]\nname = "c1"\n'
AUTHORITY = suites.generate()


def certificate(card: bytes, **changed) -> bytes:
    fields = Certificate("card", card, bytes(16), b"", b"", bytes(32), 1, 0, 2**62)
    return signed(AUTHORITY, "cert", fields._replace(**changed))


class GuardProcess:
    """`python -m vecd guard` alone, with an authority's key and a boot that was accepted."""

    def __init__(self, root: Path) -> None:
        self.paths = Paths(root)
        for path in (self.paths.config_file, self.paths.boot, self.paths.ca):
            path.parent.mkdir(parents=True, exist_ok=True)
        self.paths.config_file.write_text(CONFIG)
        self.accept(int(time.time()))
        keys = {"schema": 1, "sign_key": AUTHORITY.sign_key.hex(), "seal_key": AUTHORITY.seal_key.hex()}
        self.paths.ca.with_name("ca.pub.json").write_text(json.dumps(keys))
        self.process: subprocess.Popen | None = None

    def accept(self, at: int) -> None:
        boot = {"schema": 1, "policy": "0f3a", "accepted_s": at, "pcrs": {"sha256": {"0": "00" * 32}}}
        self.paths.boot.write_text(json.dumps(boot))

    def run(self) -> subprocess.CompletedProcess:
        """To its end."""
        return subprocess.run(self.command, capture_output=True, text=True, timeout=READY_S)

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "vecd", "guard", "--dir", str(self.paths.root)]

    def start(self) -> float:
        """Seconds until its door answers."""
        began = time.monotonic()
        self.process = subprocess.Popen(self.command, stderr=subprocess.DEVNULL)
        while time.monotonic() - began < READY_S:
            assert self.process.poll() is None, f"it ended with {self.process.returncode}"
            with contextlib.suppress(Unreachable):
                self.ask("status")
                return time.monotonic() - began
            time.sleep(0.01)
        raise AssertionError("it did not start")

    def ask(self, call, **arguments):
        with BlockingPeer(self.paths.admin) as peer:
            return peer.call(call, arguments, timeout=10.0)

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(READY_S)


@pytest.fixture
def guard():
    folder = Path(tempfile.mkdtemp(prefix="vecd-"))
    process = GuardProcess(folder)
    try:
        yield process
    finally:
        if process.process is not None and process.process.poll() is None:
            process.end(signal.SIGKILL)
        shutil.rmtree(folder)


# ---- the start


def test_no_accepted_boot_no_start(guard):
    guard.paths.boot.unlink()
    ended = guard.run()
    assert ended.returncode == 1 and "boot was not accepted" in ended.stderr
    assert not guard.paths.admin.exists()


def test_the_boot_of_another_day_is_not_this_one(guard):
    guard.accept(1_000_000_000)
    ended = guard.run()
    assert ended.returncode == 1 and "of an earlier boot" in ended.stderr


def test_a_boot_that_nobody_wrote_like_attest_is_none(guard):
    guard.paths.boot.write_text("{}")
    assert guard.run().returncode == 1


def test_a_damaged_policy_stops_the_start_with_78_and_its_line(guard):
    guard.paths.policy.parent.mkdir(parents=True)
    guard.paths.policy.write_text(
        '{\n "schema": 1,\n "generation": 1,\n "next_instance": 0,\n "users": [\n  {"name": 1}]}\n'
    )
    ended = guard.run()
    assert ended.returncode == 78
    assert f"{guard.paths.policy}, line " in ended.stderr
    guard.paths.policy.write_text("")
    assert guard.run().returncode == 78
    assert guard.paths.policy.read_text() == ""


def test_told_to_stop_it_ends_with_0(guard):
    guard.start()
    assert guard.end(signal.SIGTERM) == 0
    guard.start()
    assert guard.end(signal.SIGINT) == 0


def test_a_second_guard_does_not_take_the_doors(guard):
    guard.start()
    ended = guard.run()
    assert ended.returncode == 1 and "served by another process" in ended.stderr
    assert guard.ask("status")["guard"]["pid"] == guard.process.pid


# ---- what survives


async def _hello(paths: Paths, statement: bytes, **more) -> FakeCard:
    card = await FakeCard("c0").come(paths)
    return await card.hello(certificate=statement, **more)


@pytest.mark.parametrize(
    "changed",
    [{"role": "user"}, {"id_x": b"?" * 16}, {"exp": 1}, {"nbf": 2**61}],
)
def test_a_card_with_a_wrong_certificate_does_not_serve(guard, changed):
    guard.start()

    async def come():
        with pytest.raises(VecError) as caught:
            await _hello(guard.paths, certificate(CARDS["c0"], **changed))
        assert caught.value.rule == "registration 4"

    asyncio.run(come())
    assert guard.ask("card.list")["cards"] == []


def test_kill_the_guard_and_everything_is_there_again(guard):
    guard.start()

    async def come(slots=()):
        card = await _hello(guard.paths, certificate(CARDS["c0"]), slots=slots)
        await settled(card.looked_at)
        seen = card.answer["instances"], card.matrices.snapshot(), card.word.generation
        card.peer.close()
        return seen

    asyncio.run(come())
    added = guard.ask("guest.add", name="A", id=b"a" * 16, cards=["c0"])
    guard.ask("guest.add", name="B", id=b"b" * 16, cards=["c0"])
    guard.ask("access.rescind", subject="B.1", object="c0", attribute="c")
    cells, guests = guard.ask("access.show")["cells"], guard.ask("guest.list")["guests"]
    slots = [{"key": n, "user": one["id"], "instance": one["instances"][0]["index"]} for n, one in enumerate(guests)]
    _, first, word = asyncio.run(come())
    for _ in range(3):
        guard.end(signal.SIGKILL)
        assert guard.start() < 2.0
        # M and ids as they were; b is of processes that live, and there is none.
        assert guard.ask("access.show")["cells"] == cells and guard.ask("guest.list")["guests"] == guests
        assert Path(added["socket"]).is_socket()
        back, snapshot, later = asyncio.run(come(slots))
        # What M still allows is connected again, and the memory is another one.
        assert [one["name"] for one in back] == ["A.1"]
        assert snapshot.generation > first.generation and later > word
        assert snapshot.cells["user_m"] == first.cells["user_m"] and snapshot.cells["card_m"] == first.cells["card_m"]
        first, word = snapshot, later


# ---- vecctl over a whole machine


@pytest.fixture(scope="module")
def machine():
    with running("c0", "c1") as whole:
        yield whole


def test_an_operator_adds_watches_and_removes_a_guest(machine, vecctl, tmp_path):
    enrolment = str(tmp_path / "opa.enrol")
    assert vecctl("token", "new", "--role", "user", "--name", "opa", "--card", "c1", "--out", enrolment)[0] == 0
    code, added = vecctl("guest", "add", "opa", "--enrolment", enrolment, "--card", "c1", "--uid", str(os.geteuid()))
    assert code == 0 and Path(added["socket"]).is_socket()
    code, shown = vecctl("guest", "show", "opa")
    assert code == 0 and shown["guest"]["cards"] == ["c1"]
    code, status = vecctl("status")
    assert code == 0 and status["alarms"] == [] and status["boot"]["verdict"] == "accepted"
    assert vecctl("guest", "add", "opa", "--enrolment", enrolment, "--card", "c1")[0] == 1
    # An enrolment is one guest's; an id can be given another name, but not another card than there is.
    assert vecctl("guest", "add", "omi", "--enrolment", enrolment, "--card", "c1")[0] == 2
    assert vecctl("guest", "add", "omi", "--id", "00" * 16, "--card", "c9")[0] == 4
    assert vecctl("guest", "remove", "opa", "--yes")[0] == 0
    assert vecctl("guest", "show", "opa")[0] == 4


def test_a_right_that_is_rescinded_refuses_and_explain_says_why(machine, vecctl):
    guest = machine.add("rita")
    with guest.connect() as card:
        key = card.load_key(guest.key)
        sealed = card.encrypt(key, b"before")
        assert card.decrypt(key, sealed) == b"before"
        for attribute, rule in (("a", "R2"), ("r", "R4")):
            code, answer = vecctl("access", "rescind", "rita.1", "c0", attribute)
            assert (code, answer["rule"], answer["notes"]) == (0, "R10", [])
            with pytest.raises(VecError) as caught:
                card.encrypt(key, b"after")
            assert caught.value.rule == rule
            code, told = vecctl("access", "explain", "rita.1", "c0", attribute)
            assert (code, told["allowed"], told["rule"]) == (0, False, rule)
            assert told["next"] == f"vecctl access give rita.1 c0 {attribute}"
            code, told = vecctl("access", "explain", "rita.1", "c0", attribute, "--operation", "encrypt")
            assert (code, told["allowed"], told["rule"]) == (0, False, rule)
            assert vecctl("access", "give", "rita.1", "c0", attribute)[0] == 0
            assert card.decrypt(key, card.encrypt(key, b"again")) == b"again"
        # The user's own right on its instance stops the card as well.
        assert vecctl("access", "rescind", "rita", "rita.1", "a")[0] == 0
        with pytest.raises(VecError) as caught:
            card.encrypt(key, b"after")
        assert caught.value.rule == "R2"
        assert vecctl("access", "explain", "rita.1", "c0", "a")[1]["next"] == "vecctl access give rita rita.1 a"
        assert vecctl("access", "give", "rita", "rita.1", "a")[0] == 0
        assert card.decrypt(key, card.encrypt(key, b"again")) == b"again"
    assert vecctl("guest", "remove", "rita", "--yes")[0] == 0
    code, shown = vecctl("card", "show", "c0")
    assert (shown["card"]["status"], shown["card"]["residue"]["keys"]) == ("free", [])


def test_a_killed_guard_is_back_with_sessions_and_rights(machine, vecctl):
    guest = machine.add("kim")
    with guest.connect() as card:
        key = card.load_key(guest.key)
        sealed = card.encrypt(key, b"kept")
        for _ in range(3):
            (pid,) = machine.pids("guard")
            os.kill(pid, signal.SIGKILL)
            killed = time.monotonic()
            # The same connection and the same key slot: the library asks again while the card answers BUSY.
            assert card.decrypt(key, sealed) == b"kept"
            machine.wait_for(lambda: machine.status().keys() == {"c0", "c1"}, 10, "both cards back")
            assert time.monotonic() - killed < 2.0
            machine.wait_for(lambda: not vecctl("status")[1]["alarms"], 10, "no alarm")
    assert vecctl("guest", "remove", "kim", "--yes")[0] == 0


def test_removing_a_guest_in_mid_session_leaves_a_clean_card(machine, vecctl):
    guest = machine.add("max")
    with guest.connect() as card:
        key = card.load_key(guest.key)
        card.encrypt(key, b"x")
        assert vecctl("guest", "remove", "max", "--yes")[1]["notes"] == []
        with pytest.raises(VecError):
            card.encrypt(key, b"y")
    code, shown = vecctl("card", "show", "c0")
    assert (shown["card"]["status"], shown["card"]["residue"]) == (
        "free",
        {"context": None, "output": None, "keys": []},
    )
