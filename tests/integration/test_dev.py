"""vecd dev: the order of the start, who is who, what dies comes back, and nothing is left behind."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from vecd.base.paths import Paths

pytestmark = pytest.mark.tpm

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder():
    path = Path(tempfile.mkdtemp(prefix="vecd-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


class Running:
    def __init__(self, root: Path, *options: str) -> None:
        command = [sys.executable, "-m", "vecd", "dev", "--dir", str(root), "--json", *options]
        self.log = root.parent / "log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT
            )
        self.events = []

    def until(self, event, **facts):
        """The first event that fits; fails when dev ends before it comes."""
        for line in self.process.stdout:
            said = json.loads(line)
            self.events.append(said)
            if said["event"] == event and facts.items() <= said.items():
                return said
        raise AssertionError(f"no {event} {facts}: {self.events}\n{self.log.read_text()}")

    def end(self, number=signal.SIGINT):
        self.process.send_signal(number)
        self.events += [json.loads(line) for line in self.process.stdout]
        return self.process.wait(20)

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        self.process.stdout.close()


@pytest.fixture
def dev(folder):
    started = []

    def start(*options, root=folder / "m"):
        started.append(Running(root, *options))
        return started[-1]

    yield start
    for running in started:
        running.close()


def fails(root, *options, code, **kw):
    command = [sys.executable, "-m", "vecd", "dev", "--dir", str(root), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=ROOT, **kw)
    assert done.returncode == code, done.stderr
    return done.stderr


def processes(root):
    """Everything that runs with this directory in its arguments."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(root) in path.read_text().replace("\0", " "):
                found.append(int(path.parent.name))
        except OSError:
            pass
    return found


def test_the_start_has_its_order_and_the_end_the_reverse(dev, folder):
    running = dev("--cards", "c0,c1")
    running.until("up")
    ready = [(e["role"], e["name"]) for e in running.events if e["event"] in ("ready", "accepted") and "name" in e]
    assert ready == [("tpm", ""), ("authority", ""), ("guard", ""), ("broker", ""), ("card", "c0"), ("card", "c1")]
    order = [e["event"] for e in running.events]
    assert order.index("measured") < order.index("accepted")
    assert running.end() == 0
    assert not processes(folder / "m")
    stopped = [line.split("vecd-")[1].split()[0] for line in running.log.read_text().splitlines() if "STOPPING" in line]
    assert stopped == ["card@c1", "card@c0", "broker", "guard", "authority"]


def test_once_starts_and_ends_and_a_second_start_invites_nobody(dev, folder):
    first = dev("--once")
    first.until("down")
    assert first.process.wait(10) == 0
    assert {e["role"] for e in first.events if e["event"] == "invited"} == {"broker", "card"}
    assert not list((folder / "m/cred").rglob("enrol.json"))
    again = dev("--once")
    again.until("down")
    assert again.process.wait(10) == 0
    assert not [e for e in again.events if e["event"] == "invited"]


def test_a_token_that_was_used_up_before_its_identity_was_kept_is_replaced(dev, folder):
    dev("--once").until("down")
    paths = Paths(folder / "m")
    used = {"id": bytes(16).hex(), "token": bytes(32).hex(), "expires": 2**33}
    for role, name in (("broker", ""), ("card", "c0")):
        (paths.state_of(role, name) / "identity.json").unlink()
        paths.enrol(role, name).write_text(json.dumps(used))
    again = dev("--once")
    again.until("down")
    assert again.process.wait(10) == 0
    assert {e["role"] for e in again.events if e["event"] == "invited"} == {"broker", "card"}


@pytest.mark.parametrize("role", ["guard", "broker", "authority", "card"])
def test_what_is_killed_is_back_within_two_seconds(dev, role):
    running = dev()
    running.until("up")
    (pid,) = [e["pid"] for e in running.events if e["event"] == "ready" and e["role"] == role]
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    assert running.until("ended", role=role)["reason"] == "SIGKILL"
    assert running.until("ready", role=role)["pid"] != pid
    assert time.monotonic() - began < 2
    assert running.end(signal.SIGTERM) == 0


def test_nothing_is_left_when_it_is_killed_itself(dev, folder):
    running = dev()
    running.until("up")
    assert len(processes(folder / "m")) == 6
    running.process.kill()
    running.process.wait(10)
    deadline = time.monotonic() + 3
    while processes(folder / "m"):
        assert time.monotonic() < deadline, processes(folder / "m")
        time.sleep(0.02)
    # And what it left on the disk does not hinder the next one.
    again = dev("--once")
    again.until("up")


def test_a_second_one_on_the_same_directory_is_refused(dev, folder):
    dev().until("up")
    assert "another vecd dev runs" in fails(folder / "m", code=1)


@pytest.mark.parametrize("index", ["0", "10"])
def test_a_changed_boot_is_refused_by_its_register_and_ends_everything(dev, folder, index):
    dev("--once").until("down")
    running = dev("--tamper-pcr", index)
    running.until("failed")
    assert running.process.wait(10) == 1
    assert f"PCR {index} " in running.log.read_text()
    assert not Paths(folder / "m").boot.exists()
    assert "guard" not in {e.get("role") for e in running.events}
    assert not processes(folder / "m")


def test_a_changed_configuration_is_a_changed_boot(dev, folder):
    dev("--once").until("down")
    (folder / "m/etc/vecd/vecd.toml").write_text("[broker]\nlinger_s = 1\n")
    running = dev()
    running.until("failed")
    assert "PCR 14 " in running.log.read_text() and "PCR 10 " not in running.log.read_text()


def test_a_process_that_cannot_run_ends_everything(dev, folder):
    (folder / "m/etc/vecd").mkdir(parents=True)
    (folder / "m/etc/vecd/vecd.toml").write_text('[[card]]\nname = "c0"\ndriver = "none"\n')
    running = dev()
    assert "card c0" in running.until("failed")["reason"]
    assert running.process.wait(10) == 78
    assert not processes(folder / "m")


def test_cards_come_from_the_configuration_unless_they_are_named(dev, folder):
    (folder / "m/etc/vecd").mkdir(parents=True)
    (folder / "m/etc/vecd/vecd.toml").write_text('[[card]]\nname = "alpha"\nslots = 5\n')
    running = dev("--once")
    running.until("ready", role="card", name="alpha")


def test_a_path_with_spaces_works(dev, folder):
    running = dev("--once", root=folder / "a b 'c\"")
    running.until("up")


def test_directories_are_open_to_walk_through_and_state_is_closed(dev, folder):
    dev("--once").until("down")
    root = folder / "m"
    paths = Paths(root)

    def mode(path):
        return path.stat().st_mode & 0o777

    for path in (root, paths.run, paths.guests, paths.cards, paths.config, paths.boot.parent):
        assert mode(path) == 0o755, path
    closed = [paths.state_of(role) for role in ("guard", "authority", "broker")]
    closed += [paths.state_of("card", "c0"), paths.cred_of("broker"), paths.cred_of("card", "c0"), root / "tpm"]
    for path in closed:
        assert mode(path) == 0o700, path
    for path in paths.state.rglob("*"):
        assert path.is_dir() or mode(path) & 0o077 == 0, path


@pytest.mark.root
def test_as_root_each_role_has_a_uid_of_its_own(dev, folder):
    running = dev("--cards", "c0,c1")
    running.until("up")
    uids = {}
    for event in running.events:
        if event["event"] == "ready":
            status = Path(f"/proc/{event['pid']}/status").read_text()
            (line,) = [row for row in status.splitlines() if row.startswith("Uid:")]
            uids[event["role"], event["name"]] = set(line.split()[1:])
            assert uids[event["role"], event["name"]] == {str(event["uid"])}
    assert uids["guard", ""] == {"0"}
    assert len({next(iter(value)) for value in uids.values()}) == len(uids) == 6
    assert Paths(folder / "m").state_of("card", "c1").stat().st_uid == 61201


@pytest.mark.root
def test_as_root_a_directory_that_roles_cannot_reach_is_refused(folder, dev):
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    said = fails(closed / "m", code=78)
    assert str(closed) in said and "--one-uid" in said
    dev("--once", "--one-uid", root=closed / "m").until("up")


def test_a_directory_that_cannot_work_is_refused_with_the_reason(folder):
    assert "--dir" in fails(folder / ("x" * 90), code=78)
    assert "comma" in fails(folder / "a,b", code=78)
    (folder / "file").write_text("")
    assert "cannot be used" in fails(folder / "file", code=78)
    assert "'../c'" in fails(folder / "m", "--cards", "../c", code=78)
    assert "name of its own" in fails(folder / "m", "--cards", "c0,c0", code=78)


def test_a_directory_that_others_may_write_is_refused_and_left_alone(folder):
    shared = folder / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    assert "others may write" in fails(shared, code=78)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o1777 and not list(shared.iterdir())


def test_a_directory_that_was_there_keeps_its_mode(dev, folder):
    (folder / "m").mkdir()
    (folder / "m").chmod(0o711)
    dev("--once").until("down")
    assert stat.S_IMODE((folder / "m").stat().st_mode) == 0o711


def test_without_swtpm_it_says_so(folder):
    said = fails(folder / "m", code=1, env={"PATH": "/none"})
    assert "tpm cannot be started" in said and "swtpm" in said
