"""broker_parts/listen.py: who is behind a connection, over Unix sockets and over a vsock that is played."""

import asyncio
import os
import resource
import socket

import pytest

from vecd.base.errors import Busy, Caller, Malformed, VecError
from vecd.guest.control import Control
from vecd.guest.deadline import Deadline
from vecd.guest.transport import parse
from vecd.services.broker_parts.limits import Limits
from vecd.services.broker_parts.listen import Listeners
from vecd.wire import codec


class Vsock:
    """A Unix listener that says of every connection which CID it came from, as AF_VSOCK does."""

    def __init__(self, listener, cids):
        self._listener, self._cids = listener, cids

    def __getattr__(self, name):
        return getattr(self._listener, name)

    def fileno(self):
        return self._listener.fileno()

    def accept(self):
        sock, _ = self._listener.accept()
        return sock, (self._cids.pop(0), 1024)


def listening(path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(128)
    return listener


async def who(guest, header, data):
    return f"{guest.guest} {guest.id_u.decode()}".encode()


def ask(path):
    try:
        with Control(parse(f"unix:{path}"), Deadline(5)) as control:
            return control.ask("HELLO", b"", Deadline(5))
    except VecError as error:
        return error


async def asked(path):
    """What a guest gets for a HELLO: the answer's data, or the error."""
    return await asyncio.to_thread(ask, path)


def play(scene, tmp_path, **limits):
    async def whole():
        listeners = Listeners(5.0, Limits(**limits), who)
        try:
            await scene(listeners, tmp_path / "s")
        finally:
            listeners.clear()
            await asyncio.sleep(0)

    asyncio.run(whole())


def test_whoever_connects_to_a_guests_socket_is_that_guest(tmp_path):
    async def scene(listeners, path):
        listeners.add("A", b"id", "unix", None, listening(path))
        assert await asked(path) == b"A id"

    play(scene, tmp_path)


def test_on_vsock_the_cid_says_who_it_is_and_an_unknown_one_is_refused(tmp_path):
    async def scene(listeners, path):
        listener = Vsock(listening(path), [4, 3, 5])
        listeners.add("A", b"ida", "vsock", 3, listener)
        listeners.add("B", b"idb", "vsock", 4, Vsock(listener.dup(), listener._cids))
        assert await asked(path) == b"B idb"
        assert await asked(path) == b"A ida"
        assert isinstance(await asked(path), Caller)

    play(scene, tmp_path)


def test_a_removed_guests_cid_is_nobodys(tmp_path):
    async def scene(listeners, path):
        listener = Vsock(listening(path), [3, 4])
        listeners.add("A", b"ida", "vsock", 3, listener)
        listeners.add("B", b"idb", "vsock", 4, Vsock(listener.dup(), listener._cids))
        listeners.remove("A")
        assert isinstance(await asked(path), Caller)
        assert await asked(path) == b"B idb"

    play(scene, tmp_path)


@pytest.mark.parametrize(("kind", "cid"), [("tcp", None), ("vsock", None)])
def test_another_kind_of_listener_is_malformed_and_closed(tmp_path, kind, cid):
    async def scene(listeners, path):
        sock = listening(path)
        with pytest.raises(Malformed):
            listeners.add("A", b"id", kind, cid, sock)
        assert sock.fileno() == -1

    play(scene, tmp_path)


def test_removing_a_guest_ends_its_connections_and_no_others(tmp_path):
    async def scene(listeners, path):
        other = path.with_name("t")
        listeners.add("A", b"ida", "unix", None, listening(path))
        listeners.add("B", b"idb", "unix", None, listening(other))
        reader, writer = await asyncio.open_unix_connection(str(path))
        await asyncio.sleep(0.05)
        listeners.remove("A")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        assert await asked(other) == b"B idb"

    play(scene, tmp_path)


def test_who_makes_room_is_told_so(tmp_path):
    async def scene(listeners, path):
        listeners.add("A", b"id", "unix", None, listening(path))
        first, writer = await asyncio.open_unix_connection(str(path))
        await asyncio.sleep(0.05)
        assert await asked(path) == b"A id"
        said = await asyncio.wait_for(first.read(), 5)
        refusal = codec.refusal(codec.Frame(codec.parse_header(said[:48]), data=said[48:]))
        assert isinstance(refusal, Busy)
        writer.close()

    play(scene, tmp_path, per_peer=1)


def test_a_burst_of_connections_beyond_the_limit_leaves_no_descriptor_open(tmp_path):
    async def scene(listeners, path):
        listeners.add("A", b"id", "unix", None, listening(path))
        before = len(os.listdir("/proc/self/fd"))
        crowd = [socket.socket(socket.AF_UNIX) for _ in range(60)]
        for sock in crowd:
            sock.connect(str(path))
        await asyncio.sleep(0.2)
        assert len(os.listdir("/proc/self/fd")) - before == len(crowd) + 2
        for sock in crowd:
            sock.close()
        await asyncio.sleep(0.1)
        assert len(os.listdir("/proc/self/fd")) == before

    play(scene, tmp_path, per_peer=2)


def test_without_descriptors_accepting_rests_and_goes_on_later(tmp_path):
    async def scene(listeners, path):
        listeners.add("A", b"id", "unix", None, listening(path))
        sock = socket.socket(socket.AF_UNIX)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, hard))
        try:
            sock.connect(str(path))
            await asyncio.sleep(0.25)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        sock.close()
        assert await asked(path) == b"A id"

    play(scene, tmp_path)
