"""The session in README.md is run as it stands there, in a directory of its own."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"<!-- session: (\w+) -->\n```\w+\n(.*?)```", re.DOTALL)
READY_S = 60
STEP_S = 60


def blocks(directory: Path) -> list[tuple[str, str]]:
    """(kind, text) in the order of the page; only the directory of the machine is another one."""
    text = (ROOT / "README.md").read_text()
    return [(kind, body.replace("/tmp/vecd", str(directory))) for kind, body in BLOCK.findall(text)]


@pytest.fixture
def place() -> Iterator[Path]:
    """Where the stranger stands: the checkout's .venv is at hand, and what the session writes lands here.

    Not pytest's own directory: as root each role is a user of its own, and has to get through.
    """
    here = Path(tempfile.mkdtemp(prefix="readme-"))
    here.chmod(0o755)
    (here / ".venv").symlink_to(ROOT / ".venv")
    yield here
    shutil.rmtree(here)


def run(kind: str, body: str, place: Path) -> str:
    command = ["bash", "-euo", "pipefail", "-c", body] if kind == "shell" else [".venv/bin/python", "-c", body]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=STEP_S, check=False)
    assert done.returncode == 0, f"{body}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_session_of_the_readme_works_as_pasted(place: Path) -> None:
    machine_dir = place / "d"
    (machine, start), *steps = blocks(machine_dir)
    assert machine == "machine" and [kind for kind, _ in steps] == ["shell", "python", "shell"]

    with (place / "machine.log").open("wb") as log:
        running = subprocess.Popen(
            ["bash", "-c", f"exec {start}"],
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,
        )
    try:
        wait_until_ready(running, place, machine_dir)
        said = [run(kind, body, place) for kind, body in steps]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGINT)
        try:
            running.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
            pytest.fail("vecd dev did not end within 20 s of Ctrl-C")

    assert "b'a first message'" in said[1]
    reasons = re.findall(r"^reason +(.*)$", said[2], re.MULTILINE)
    assert len(reasons) == 2 and "b[A.1][c0] lacks c" in reasons[0] and "M[A.1][c0] lacks a" in reasons[1], said[2]


def wait_until_ready(running: subprocess.Popen, place: Path, machine_dir: Path) -> None:
    """A stranger waits for the page to say so; here: until the card is in the list."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        assert running.poll() is None, (place / "machine.log").read_text()[-4000:]
        asked = subprocess.run(
            [ROOT / ".venv/bin/vecctl", "--dir", machine_dir, "card", "show", "c0"], capture_output=True, timeout=STEP_S
        )
        if asked.returncode == 0:
            return
        time.sleep(0.3)
    pytest.fail(f"not ready after {READY_S} s\n" + (place / "machine.log").read_text()[-4000:])
