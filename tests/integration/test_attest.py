"""attest against a real software TPM: a boot as recorded is accepted, anything else is refused with a reason."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from vecd.base.errors import Hardware, TimedOut
from vecd.base.paths import Paths
from vecd.tpm import device, policy

pytestmark = pytest.mark.tpm

ROOT = Path(__file__).resolve().parents[2]
RECORDED = range(16)
UID = 61998


class Tpm:
    def __init__(self, folder: Path) -> None:
        self.socket = folder / "sock"
        self.tcti = f"swtpm:path={self.socket}"
        state = folder / "state"
        state.mkdir()
        end = f"type=unixio,path={self.socket}"
        command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--server", end, "--ctrl", f"{end}.ctrl"]
        command += ["--flags", "not-need-init,startup-clear"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not self.socket.exists():
            assert time.monotonic() < deadline and self.process.poll() is None
            time.sleep(0.01)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()


@pytest.fixture
def folder():
    """Short, because a Unix socket's path has 108 bytes; open, because attest may have a uid of its own."""
    path = Path(tempfile.mkdtemp(prefix="vecd-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def tpm(folder):
    made = Tpm(folder)
    yield made
    made.close()


class Place:
    """A directory in which attest runs."""

    def __init__(self, root: Path, tcti: str) -> None:
        self.paths = Paths(root)
        for path in (self.paths.boot_policy, self.paths.boot.parent):
            path.mkdir(parents=True)
        self.tcti = tcti
        self.configure()
        # What an earlier boot left behind: it must not survive.
        self.paths.boot.write_text("{}")

    def configure(self, **keys: object) -> None:
        rows = {"tcti": self.tcti, "timeout_s": 3, **keys}
        text = "[attest]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in rows.items())
        self.paths.config_file.write_text(text)

    def record(self, what: str = "recorded by the test") -> dict:
        values = device.read(self.tcti, [("sha256", n) for n in RECORDED])
        text = policy.write({register: (value, what) for register, value in values.items()}, "test")
        (self.paths.boot_policy / "10-test.toml").write_text(text)
        return values

    def attest(self, timeout: float = 20) -> subprocess.CompletedProcess:
        return subprocess.run(self.command(), capture_output=True, text=True, timeout=timeout, cwd=ROOT)

    def command(self) -> list[str]:
        return [sys.executable, "-m", "vecd", "attest", "--dir", str(self.paths.root)]

    def refused(self, *words: str) -> None:
        done = self.attest()
        assert done.returncode == 1, done.stderr
        for word in words:
            assert word in done.stderr
        # tpm2-tss writes its own lines to stderr unless it is told not to.
        assert "ERROR:" not in done.stderr and "Traceback" not in done.stderr
        assert not self.paths.boot.exists()


@pytest.fixture
def place(folder, tpm):
    return Place(folder / "d", tpm.tcti)


def test_a_boot_as_recorded_is_accepted_and_written_down(place):
    values = place.record()
    done = place.attest()
    assert done.returncode == 0, done.stderr
    assert "ERROR:" not in done.stderr
    boot = json.loads(place.paths.boot.read_text())
    files = {path.name: path.read_bytes() for path in place.paths.boot_policy.iterdir()}
    assert boot["policy"] == policy.parse(files).version
    assert boot["pcrs"] == {"sha256": {str(n): values["sha256", n].hex() for n in RECORDED}}
    assert place.paths.boot.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in place.paths.boot.parent.iterdir()] == ["boot.json"]


def test_each_changed_register_is_the_one_difference(place):
    place.record()
    files = {path.name: path.read_bytes() for path in place.paths.boot_policy.iterdir()}
    wanted = policy.parse(files)
    for index in RECORDED:
        device.extend(place.tcti, index, bytes([index]) * 32)
        values = device.read(place.tcti, wanted.rows)
        assert [d.index for d in policy.compare(wanted, values)] == list(range(index + 1))


@pytest.mark.parametrize("index", [0, 7, 10, 14])
def test_a_changed_register_is_refused_by_its_number(place, index):
    before = place.record("the thing measured")["sha256", index]
    device.extend(place.tcti, index, b"\1" * 32)
    after = device.read(place.tcti, [("sha256", index)])["sha256", index]
    place.refused(f"PCR {index} ", "the thing measured", before.hex(), after.hex(), "10-test.toml", "1 of 16 registers")


def test_every_changed_register_is_named_at_once(place):
    place.record()
    for index in (3, 9):
        device.extend(place.tcti, index, b"\1" * 32)
    place.refused("PCR 3, 9 not as recorded", "2 of 16")


def test_without_a_tpm_there_is_no_start(place, tpm):
    place.record()
    tpm.close()
    tpm.socket.unlink(missing_ok=True)
    place.refused(place.tcti, "cannot be read", "is there a TPM")


@pytest.mark.parametrize("tcti", ["device:/dev/null", "device:/none", "nonsense:x", "", "swtpm:path=", "swtpm:"])
def test_an_address_where_no_tpm_is_is_refused(place, tcti):
    place.record()
    place.configure(tcti=tcti)
    place.refused("TPM")


def test_a_tpm_that_hangs_is_not_waited_for(place, tpm):
    place.record()
    place.configure(timeout_s=0.5)
    tpm.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    place.refused("did not answer within 0.5 s")
    assert time.monotonic() - began < 5
    tpm.process.send_signal(signal.SIGCONT)


def test_a_tpm_that_dies_while_it_is_asked_is_refused(place, tpm):
    place.record()
    place.configure(timeout_s=10)
    tpm.process.send_signal(signal.SIGSTOP)
    running = subprocess.Popen(place.command(), stderr=subprocess.PIPE, text=True, cwd=ROOT)
    time.sleep(1)
    assert running.poll() is None
    tpm.process.kill()
    _, said = running.communicate(timeout=10)
    assert running.returncode == 1
    assert "BOOT_REFUSED" in said and not place.paths.boot.exists()


@pytest.mark.parametrize("answer", [b"", b"\0", b"\x80\1\0\0\0\x0a\0\0\0\0", os.urandom(300)])
def test_a_tpm_that_talks_nonsense_is_refused(place, folder, answer):
    place.record()
    path = folder / "fake"
    place.configure(tcti=f"swtpm:path={path}", timeout_s=1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(4096)
                        connection.send(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        place.refused("BOOT_REFUSED", "TPM")
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("10-test.toml", "rubbish", "10-test.toml cannot be read"),
        ("10-test.toml", "", "no [[pcr]] row"),
        ("10-test.txt", "", "does not end in .toml"),
        ("10-test.toml", "#" * (1024 * 1024 + 1), "too large"),
        ("99.toml", "[[pcr]]\nindex = 1", "bank is missing"),
        (None, None, "there is no boot policy"),
    ],
)
def test_a_policy_that_is_none_is_refused(place, name, content, words):
    if name:
        (place.paths.boot_policy / name).write_text(content)
    place.refused(words)


def test_a_policy_directory_that_is_not_there_is_refused(place):
    place.paths.boot_policy.rmdir()
    place.refused("there is no boot policy")


def test_a_bank_that_the_tpm_does_not_have_is_refused(place):
    device.extend(place.tcti, 1, b"\1" * 32)
    text = policy.write({("sha256", 1): (bytes(32), "x"), ("sha512", 23): (b"\1" * 64, "y")}, "test")
    (place.paths.boot_policy / "a.toml").write_text(text)
    place.refused("PCR 1 ", "PCR 23 ")


def test_a_bad_configuration_is_told_apart_and_voids_the_old_answer(place):
    place.record()
    place.configure(requird=False)
    done = place.attest()
    assert done.returncode == 78 and "'required'" in done.stderr
    assert not place.paths.boot.exists()


def test_where_it_is_not_required_the_start_goes_on_without_an_answer(place, tpm):
    tpm.close()
    place.configure(required=False)
    done = place.attest()
    assert done.returncode == 0 and "BOOT_REFUSED" in done.stderr
    assert not place.paths.boot.exists()


def test_a_full_or_closed_directory_is_a_refusal(place):
    place.record()
    shutil.rmtree(place.paths.boot.parent)
    done = place.attest()
    assert done.returncode == 1 and "BOOT_REFUSED" in done.stderr


@pytest.mark.root
def test_as_root_it_runs_under_a_uid_of_its_own(place, tpm):
    place.record()
    place.configure(uid=UID)
    for path in (place.paths.boot.parent, tpm.socket, Path(f"{tpm.socket}.ctrl")):
        # ROOT: the test gives attest what the unit would.
        os.chown(path, UID, UID)
    done = place.attest()
    assert done.returncode == 0, done.stderr
    assert place.paths.boot.stat().st_uid == UID
    assert f"uid {UID}, capabilities DAC_READ_SEARCH" in done.stderr


def test_the_library_says_what_is_wrong_and_leaves_no_process_and_no_descriptor(tpm):
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(Hardware):
        device.read("swtpm:path=/none", [("sha256", 0)])
    tpm.process.send_signal(signal.SIGSTOP)
    with pytest.raises(TimedOut):
        device.read(tpm.tcti, [("sha256", 0)], timeout_s=0.2)
    tpm.process.send_signal(signal.SIGCONT)
    assert len(device.read(tpm.tcti, [("sha256", n) for n in range(24)])) == 24
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        # swtpm is a child, too: only it is left.
        tpm.close()
        os.waitpid(-1, os.WNOHANG)
