"""Doors: listening at a path, and what is said of one that cannot be reached."""

import asyncio
import subprocess
import sys

import pytest

from vecd.base import ipc
from vecd.base.errors import Exists, Unreachable
from vecd.base.types import Table

CLIENT = Table([], [])


def run(coro):
    return asyncio.run(asyncio.wait_for(coro, 20))


def test_an_unreachable_door_says_what_is_wrong(tmp_path):
    async def body():
        with pytest.raises(Unreachable) as e:
            await ipc.connect(str(tmp_path / "none"), None, table=CLIENT, timeout=1)
        assert "No such file" in str(e.value)

    run(body())
    with pytest.raises(Unreachable):
        ipc.BlockingPeer(tmp_path / "none", 1)


def test_a_stale_socket_is_replaced_and_a_served_one_is_not(tmp_path):
    path = tmp_path / "s"
    first = ipc.listen(path, mode=0o640)
    assert path.stat().st_mode & 0o777 == 0o640
    with pytest.raises(Exists):
        ipc.listen(path)
    first.close()
    ipc.listen(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()
    path.write_text("precious")
    with pytest.raises(Exists):
        ipc.listen(path)
    assert path.read_text() == "precious"


@pytest.mark.root
@pytest.mark.parametrize("alive", [True, False])
def test_a_door_of_another_uid_is_known_to_be_stale_without_a_capability(tmp_path, alive):
    path = tmp_path / "s"
    # ROOT: the test makes a door that belongs to somebody else.
    first = ipc.listen(path, uid=61999)
    if not alive:
        first.close()
    code = (
        "import sys; from vecd.base import errors, ipc, sandbox\n"
        "sandbox.close_inherited(); sandbox.enter(sandbox.spec('guard'))\n"
        "try: ipc.listen(sys.argv[1])\n"
        "except errors.Exists: print('served', end='')\n"
        "else: print('stale', end='')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=20)
    assert (done.stdout, done.stderr) == ("served" if alive else "stale", "")
    first.close()
