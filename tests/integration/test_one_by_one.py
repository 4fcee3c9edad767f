"""docs/architecture.md, "One by one", is run as it stands there, and a guest is served by what it started."""

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vecd.base.blocking import BlockingPeer
from vecd.base.errors import VecError
from vecd.base.paths import Paths
from vecd.guest import Card, enrol

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"<!-- one by one: (\w+) -->\n```sh\n(.*?)```", re.DOTALL)
HAND_OVER = re.compile(r"`(chown (\d+) \$D/cred/broker/enrol.json)`, and (\d+) the card's")
READY_S, STOP_S = 60, 20

DIRECTORY = "/tmp/vecd1"
PAGE = (ROOT / "docs" / "architecture.md").read_text()
BLOCKS = dict(BLOCK.findall(PAGE))
# What a shell that ends would otherwise leave behind.
END = "trap 'kill $(jobs -p)' TERM\necho started\nwait\n"


@pytest.fixture
def directory() -> Iterator[Path]:
    """D: short, for the sockets, and one that other uids can enter."""
    place = Path(tempfile.mkdtemp(prefix="vecd-"))
    place.chmod(0o755)
    yield place / "d"
    shutil.rmtree(place)


def script(directory: Path, *, uids: bool) -> str:
    """The page from top to bottom; with `uids` including what it says about those."""
    blocks = dict(BLOCKS)
    if uids:
        said = HAND_OVER.search(PAGE)
        assert said
        blocks["authority"] += f"{said[1]}\nchown {said[3]} $D/cred/card/c0/enrol.json\n"
    else:
        del blocks["uids"]
    return "\n".join([*blocks.values(), END]).replace(DIRECTORY, str(directory))


def serve_a_guest(directory: Path, log: Path, running: subprocess.Popen) -> None:
    """The card comes into service, a guest is added, and its data go there and back."""
    paths, deadline = Paths(directory), time.monotonic() + READY_S
    while True:
        assert running.poll() is None and time.monotonic() < deadline, log.read_text()[-6000:]
        try:
            with BlockingPeer(paths.admin) as guard:
                if guard.call("card.show", {"name": "c0"})["card"]["status"] == "free":
                    break
        except VecError:
            time.sleep(0.1)
    with BlockingPeer(paths.ca_admin) as authority:
        token = dict(authority.call("token.new", {"role": "user", "name": "A", "card": "c0"}))
    with BlockingPeer(paths.admin) as guard:
        boot = guard.call("status", {})["boot"]
        added = guard.call("guest.add", {"name": "A", "id": token["id"], "cards": ["c0"]})
    assert boot["verdict"] == "accepted" and len(boot["pcrs"]["sha256"]) == 3
    key, identity = secrets.token_bytes(32), directory / "A.identity"
    address = f"unix:{added['socket']}"
    enrol(address, token, identity, key=key, timeout=30)
    with Card.connect(address, identity=identity, timeout=30) as card:
        loaded = card.load_key(key, alg="AES-256-GCM")
        assert card.decrypt(loaded, card.encrypt(loaded, b"by hand")) == b"by hand"


def uid_of(directory: Path, role: str) -> int:
    """As whom the one process of this role below D runs."""
    wanted = [b"vecd", role.encode(), b"--dir", str(directory).encode()]
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                line = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if line[2 : 2 + len(wanted)] == wanted:
                found.append(int(re.search(r"^Uid:\s+(\d+)", (entry / "status").read_text(), re.MULTILINE)[1]))
    assert len(found) == 1, (role, found)
    return found[0]


@pytest.mark.parametrize(
    "uids",
    [
        False,
        pytest.param(
            True,
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="condition not met: needs root, to start other users"),
        ),
    ],
)
def test_processes_that_are_started_by_hand_serve_a_guest(directory: Path, uids: bool) -> None:
    log_path = directory.with_suffix(".log")
    with log_path.open("wb") as log:
        running = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script(directory, uids=uids)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,
        )
        try:
            serve_a_guest(directory, log_path, running)
            roles = {"guard": os.geteuid(), "broker": 61185, "authority": 61186, "card": 61200}
            for role, uid in roles.items():
                assert uid_of(directory, role) == (uid if uids else os.geteuid())
            running.terminate()
            running.wait(STOP_S)
        finally:
            # Whatever is left of the group: the processes that still end, or all of them when something went wrong.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            running.wait(STOP_S)
