"""Calls between processes: what every end may rely on when the other end stalls, dies or lies."""

import asyncio
import contextlib
import gc
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from vecd.base import door, ipc
from vecd.base import peer as peer_module
from vecd.base.errors import Busy, Caller, Denied, Gone, Internal, Malformed, TimedOut, TooLarge, Unreachable
from vecd.base.types import Call, Table

ROWS = [
    Call("echo", "test", "", {"text": "str"}, {"text": "str"}, ""),
    Call("slow", "test", "", {"s": "any"}, {}, ""),
    Call("deny", "test", "", {}, {}, ""),
    Call("break", "test", "", {}, {}, ""),
    Call("blob", "test", "", {"body": "bytes"}, {"body": "bytes"}, ""),
    Call("number", "test", "", {"n": "int", "more": "int?"}, {"*": "any"}, ""),
    Call("give", "test", "", {"file": "fd"}, {"name": "str"}, ""),
    Call("keep", "test", "", {"file": "fd"}, {}, ""),
    Call("take", "test", "", {}, {"file": "fd"}, ""),
    Call("back", "test", "", {}, {"said": "str"}, ""),
    Call("large", "test", "", {}, {"*": "any"}, ""),
    Call("hi", "test", "", {}, {"said": "str"}, "", to="client"),
]
SERVER = Table(ROWS, [r.name for r in ROWS if r.to != "client"])
CLIENT = Table(ROWS, ["hi"])


@pytest.fixture(scope="module", autouse=True)
def no_thread_is_left():
    """Everything here is done by the loop alone: after the last test there is no thread that was not there before."""
    before = set(threading.enumerate())
    yield
    until = time.monotonic() + 2.0
    while (left := set(threading.enumerate()) - before) and time.monotonic() < until:
        time.sleep(0.01)
    assert not left


def descriptors():
    # What a test before this one left to the collector is not to go in the middle of a count.
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


class Kept:
    fds: list = []


async def handler(peer, call, args, fds):
    match call:
        case "echo":
            return {"text": args["text"]}
        case "slow":
            await asyncio.sleep(args["s"])
            return {}
        case "deny":
            raise Denied("guest 7 may not", rule="R4", reason="works at secret")
        case "break":
            raise KeyError("hunter2")
        case "blob":
            assert isinstance(args["body"], bytes)
            return {"body": args["body"]}
        case "number":
            return {"n": args["n"], "more": args["more"]}
        case "give":
            return {"name": os.readlink(f"/proc/self/fd/{fds[0]}")}
        case "keep":
            Kept.fds.append(fds.pop(0))
            return {}
        case "take":
            return {}, [0]
        case "back":
            return {"said": (await peer.call("hi"))["said"]}
        case "large":
            return {"text": "x" * ipc.PACKET_MAX}


async def says_hi(peer, call, args, fds):
    return {"said": "hi"}


class World:
    """A server on a socket of its own, and clients of it, in one loop."""

    def __init__(self, tmp_path):
        self.path = str(tmp_path / "t.sock")

    @contextlib.asynccontextmanager
    async def up(self, **kw):
        kw.setdefault("admit", lambda peer: None)
        server = await ipc.serve(ipc.listen(self.path), handler, table=SERVER, **kw)
        try:
            yield server
        finally:
            server.close()
            await asyncio.sleep(0)

    async def client(self, h=says_hi):
        return await ipc.connect(self.path, h, table=CLIENT, timeout=2)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def run(coro):
    return asyncio.run(asyncio.wait_for(coro, 20))


def test_an_answer_comes_back_and_the_kernel_says_who_asked(world):
    async def body():
        async with world.up() as server:
            peer = await world.client()
            assert (await peer.call("echo", {"text": "ä"}))["text"] == "ä"
            (seen,) = server.peers
            assert (seen.pid, seen.uid, seen.gid) == (os.getpid(), os.geteuid(), os.getegid())
            assert seen.pidfd is not None
            peer.close()

    run(body())


def test_bytes_travel_as_hex_and_arrive_as_bytes(world):
    async def body():
        async with world.up():
            peer = await world.client()
            assert (await peer.call("blob", {"body": b"\0\xff"}))["body"] == b"\0\xff"
            peer.close()

    run(body())


@pytest.mark.parametrize(
    "call, args, words",
    [
        ("nothing", {}, "nothing"),
        ("echo", {}, "text is missing"),
        ("echo", {"text": 5}, "text must be a string"),
        ("echo", {"text": "x" * 5000}, "text must be a string of at most"),
        ("echo", {"text": "a", "tect": "b"}, "tect"),
        ("number", {"n": True}, "n must be an integer"),
        ("number", {"n": 1.5}, "n must be an integer"),
        ("number", {"n": 2**70}, "n must be an integer"),
        ("blob", {"body": "xyz"}, "hex"),
        ("blob", {"body": "00 11"}, "hex"),
        ("hi", {}, "hi"),
        (["echo"], {"text": "a"}, "echo"),
        ("echo", [1], "object"),
        ("give", {}, "0 descriptors came, 1 belong"),
    ],
)
def test_a_wrong_argument_is_refused_by_its_name(world, call, args, words):
    async def body():
        async with world.up():
            answer = await raw_exchange(world.path, {"id": 5, "call": call, "args": args})
            assert answer["id"] == 5
            assert answer["err"]["error"] == "Malformed"
            assert words in answer["err"]["message"]

    run(body())


async def raw_exchange(path, message):
    def go():
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.settimeout(5)
            sock.connect(path)
            sock.send(message if isinstance(message, bytes) else json.dumps(message).encode())
            return json.loads(sock.recv(ipc.PACKET_MAX) or b"null")

    return await asyncio.to_thread(go)


@pytest.mark.parametrize(
    "packet",
    [
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"id": 1}',
        b'{"call": "echo"}',
        b'{"id": -1, "call": "echo"}',
        b'{"id": true, "call": "echo"}',
        b'{"id": 1, "call": "echo", "args": {"text": NaN}}',
        b"[" * 100000,
    ],
)
def test_nonsense_ends_the_connection_with_a_reason_and_harms_nobody_else(world, packet):
    async def body():
        async with world.up() as server:
            other = await world.client()
            answer = await raw_exchange(world.path, packet)
            assert answer["id"] == 0 and answer["err"]["error"] == "Malformed"
            assert (await other.call("echo", {"text": "a"}))["text"] == "a"
            other.close()
            await asyncio.sleep(0.05)
            assert not server.peers

    run(body())


def test_an_error_arrives_with_its_facts(world):
    async def body():
        async with world.up():
            peer = await world.client()
            with pytest.raises(Denied) as e:
                await peer.call("deny")
            assert (e.value.rule, e.value.reason) == ("R4", "works at secret")
            peer.close()

    run(body())


def test_our_own_mistake_is_told_by_number_and_never_by_its_text(world, capsys):
    async def body():
        async with world.up():
            peer = await world.client()
            with pytest.raises(Internal) as e:
                await peer.call("break")
            assert "hunter2" not in str(e.value)
            peer.close()
            return e.value.hint.split()[1]

    number = run(body())
    logged = capsys.readouterr().err
    assert number in logged and "KeyError" in logged and "hunter2" not in logged


def test_both_ends_may_ask(world):
    async def body():
        async with world.up():
            peer = await world.client()
            assert (await peer.call("back"))["said"] == "hi"
            peer.close()

    run(body())


def test_sixty_four_calls_run_at_once_and_the_next_is_told_to_wait(world):
    async def body():
        async with world.up():
            peer = await world.client()
            start = time.monotonic()
            results = await asyncio.gather(*(peer.call("slow", {"s": 0.3}) for _ in range(65)), return_exceptions=True)
            assert time.monotonic() - start < 3
            assert sum(isinstance(r, Busy) for r in results) == 1
            assert sum(r == {} for r in results) == 64
            peer.close()

    run(body())


def test_a_call_times_out_and_its_late_answer_is_dropped(world):
    async def body():
        async with world.up():
            peer = await world.client()
            with pytest.raises(TimedOut):
                await peer.call("slow", {"s": 0.2}, timeout=0.05)
            await asyncio.sleep(0.3)
            assert (await peer.call("echo", {"text": "a"}))["text"] == "a"
            peer.close()

    run(body())


def test_a_handler_that_never_ends_is_ended(world, monkeypatch):
    monkeypatch.setattr(peer_module, "HANDLER_S", 0.05)

    async def body():
        async with world.up():
            peer = await world.client()
            with pytest.raises(TimedOut):
                await peer.call("slow", {"s": 10})
            peer.close()

    run(body())


def test_descriptors_travel_both_ways_and_none_is_left_behind(world, tmp_path):
    (tmp_path / "file").write_text("x")

    async def body():
        async with world.up():
            peer = await world.client()
            await peer.call("echo", {"text": "a"})
            before = descriptors()
            fd = os.open(tmp_path / "file", os.O_RDONLY)
            for _ in range(20):
                assert (await peer.call("give", fds=[fd]))["name"] == str(tmp_path / "file")
                answer = await peer.call("take")
                assert len(answer.fds) == 1
                os.close(answer.fds[0])
            await peer.call("keep", fds=[fd])
            assert descriptors() == before + 2
            os.close(Kept.fds.pop())
            os.close(fd)
            assert descriptors() == before
            with pytest.raises(Malformed):
                await peer.call("give")
            with pytest.raises(Malformed):
                await peer.call("echo", {"text": "a"}, fds=[0])
            peer.close()

    run(body())


def test_unwanted_descriptors_are_closed(world):
    async def body():
        async with world.up():
            before = descriptors()

            def go():
                for count in (1, 8, 9, 100):
                    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
                        sock.settimeout(5)
                        sock.connect(world.path)
                        socket.send_fds(sock, [b'{"id": 1, "call": "echo", "args": {"text": "a"}}'], [0] * count)
                        with contextlib.suppress(ConnectionError):
                            assert b"err" in sock.recv(65536)

            await asyncio.to_thread(go)
            await asyncio.sleep(0.1)
            assert descriptors() == before

    run(body())


def test_connections_leave_no_descriptor_behind(world):
    async def body():
        async with world.up() as server:
            before = descriptors()
            for _ in range(50):
                peer = await world.client()
                await peer.call("echo", {"text": "a"})
                peer.close()
            await asyncio.sleep(0.1)
            assert not server.peers
            assert descriptors() == before

    run(body())


def test_a_packet_that_is_too_large_is_refused_before_it_is_sent(world):
    async def body():
        async with world.up():
            peer = await world.client()
            with pytest.raises(TooLarge):
                await peer.call("slow", {"s": "x" * ipc.PACKET_MAX})
            with pytest.raises(TooLarge):
                await peer.call("large")
            await peer.call("slow", {"s": 0})
            peer.close()

    run(body())


def test_an_oversize_packet_ends_the_connection_with_a_reason(world):
    async def body():
        async with world.up():

            def go():
                with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
                    sock.settimeout(5)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 400_000)
                    sock.connect(world.path)
                    sock.send(b"x" * (ipc.PACKET_MAX + 1))
                    return json.loads(sock.recv(65536))

            assert (await asyncio.to_thread(go))["err"]["error"] == "TooLarge"

    run(body())


@pytest.mark.parametrize("how", [socket.SHUT_WR, socket.SHUT_RD, socket.SHUT_RDWR])
def test_a_half_closed_peer_is_let_go(world, how):
    async def body():
        async with world.up() as server:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            sock.connect(world.path)
            await asyncio.sleep(0.05)
            (peer,) = server.peers
            sock.shutdown(how)
            with pytest.raises((Gone, TimedOut)):
                await peer.call("hi", timeout=0.3)
            sock.close()
            await asyncio.sleep(0.05)
            assert not server.peers

    run(body())


def test_calls_to_a_peer_that_is_killed_end_with_gone(world):
    program = (
        "import socket,sys,time\n"
        "s=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET); s.connect(sys.argv[1])\n"
        "print(1,flush=True); time.sleep(60)\n"
    )

    async def body():
        gone = asyncio.Event()
        async with world.up(on_close=lambda peer: gone.set()) as server:
            child = await asyncio.to_thread(
                subprocess.Popen, [sys.executable, "-c", program, world.path], stdout=subprocess.PIPE
            )
            await asyncio.to_thread(child.stdout.readline)
            await asyncio.sleep(0.05)
            (peer,) = server.peers
            assert peer.pid == child.pid
            calls = [asyncio.ensure_future(peer.call("hi", timeout=10)) for _ in range(10)]
            await asyncio.sleep(0.05)
            child.send_signal(signal.SIGKILL)
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(r, Gone) for r in results)
            with pytest.raises(Gone):
                await peer.call("hi")
            await asyncio.wait_for(gone.wait(), 1)
            assert peer.closed.is_set()
            child.stdout.close()
            child.wait()

    run(body())


def test_a_peer_that_does_not_read_costs_a_bounded_queue_and_its_connection(world, monkeypatch):
    monkeypatch.setattr(peer_module, "QUEUE_MAX", 4)
    monkeypatch.setattr(peer_module, "PENDING_MAX", 10000)

    async def body():
        async with world.up() as server:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            sock.connect(world.path)
            await asyncio.sleep(0.05)
            (peer,) = server.peers
            before = descriptors()
            results = await asyncio.gather(
                *(peer.call("give", fds=[0], timeout=1) for _ in range(3000)), return_exceptions=True
            )
            assert all(isinstance(r, Exception) for r in results)
            assert peer.closed.is_set()
            sock.close()
            # The connection and its pidfd are gone, and so is the client's own socket.
            assert descriptors() == before - 3

    run(body())


def test_who_is_not_admitted_learns_why(world):
    def admit(peer):
        raise Caller("uid 12 may not", hint="join group vecd")

    async def body():
        async with world.up(admit=admit) as server:
            peer = await world.client()
            with pytest.raises(Caller) as e:
                await peer.call("echo", {"text": "a"})
            assert e.value.hint == "join group vecd"
            with pytest.raises(Caller):
                await asyncio.to_thread(lambda: ipc.BlockingPeer(world.path).call("echo", {"text": "a"}))
            assert not server.peers

    run(body())


def test_a_mistake_while_admitting_is_a_no(world):
    def admit(peer):
        raise ZeroDivisionError

    async def body():
        async with world.up(admit=admit) as server:
            peer = await world.client()
            with pytest.raises(Internal):
                await peer.call("echo", {"text": "a"})
            assert not server.peers

    run(body())


def test_more_connections_than_the_limit_are_told_busy(world):
    async def body():
        async with world.up(limit=3):
            peers = [await world.client() for _ in range(3)]
            late = await world.client()
            with pytest.raises(Busy):
                await late.call("echo", {"text": "a"})
            peers.pop().close()
            await asyncio.sleep(0.05)
            again = await world.client()
            await again.call("echo", {"text": "a"})
            for p in [*peers, again]:
                p.close()

    run(body())


def test_accept_without_descriptors_left_rests_and_recovers(world):
    async def body():
        async with world.up() as server:
            waiting = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(3)]
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))
            filler = []
            try:
                with contextlib.suppress(OSError):
                    while True:
                        filler.append(os.dup(0))
                for sock in waiting:
                    sock.connect(world.path)
                cpu = time.process_time()
                await asyncio.sleep(0.5)
                assert time.process_time() - cpu < 0.2
                assert not server.peers
            finally:
                for fd in filler:
                    os.close(fd)
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await asyncio.sleep(0.5)
            assert len(server.peers) == 3
            for sock in waiting:
                sock.close()

    run(body())


def test_a_blocking_peer_asks_and_times_out(world):
    async def body():
        async with world.up():

            def go():
                with ipc.BlockingPeer(world.path, 2) as peer:
                    assert peer.call("echo", {"text": "a"}) == {"text": "a"}
                    assert peer.call("blob", {"body": b"\1"}) == {"body": "01"}
                    with pytest.raises(TimedOut):
                        peer.call("slow", {"s": 0.2}, timeout=0.05)
                    time.sleep(0.3)
                    assert peer.call("number", {"n": 5})["n"] == 5
                    with pytest.raises(Denied):
                        peer.call("deny")
                with ipc.BlockingPeer(world.path, 2, table=CLIENT) as peer:
                    assert peer.call("blob", {"body": b"\1"}) == {"body": b"\1"}

            await asyncio.to_thread(go)

    run(body())


def test_sockets_made_in_advance_serve_connections_and_failed_tries_give_them_back(world, monkeypatch, tmp_path):
    monkeypatch.setattr(door, "_spares", None)

    async def body():
        async with world.up():
            ipc.spare(1)
            for _ in range(3):
                with pytest.raises(Unreachable):
                    await ipc.connect(str(tmp_path / "none"), None, table=CLIENT, timeout=1)
            monkeypatch.setattr(door, "_socket", None)
            peer = await world.client()
            assert (await peer.call("echo", {"text": "a"}))["text"] == "a"
            peer.close()

    run(body())
