"""Calls that are answered without a task, and handlers that end what they began."""

import asyncio

import pytest

from tests.unit.test_base_ipc import SERVER, World, run
from vecd.base import ipc
from vecd.base import peer as peer_module
from vecd.base.errors import Denied, Internal, TimedOut


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_a_whole_handler_is_answered_for_and_goes_on_to_its_end(world, monkeypatch):
    monkeypatch.setattr(peer_module, "HANDLER_S", 0.05)
    ended = []

    async def slow(peer, call, args, fds):
        await asyncio.sleep(0.15)
        ended.append(call)
        return {}

    async def body():
        server = await ipc.serve(ipc.listen(world.path), slow, table=SERVER, whole=True)
        peer = await world.client()
        with pytest.raises(TimedOut):
            await peer.call("deny")
        assert not ended
        await asyncio.sleep(0.2)
        assert ended == ["deny"] and not peer.closed.is_set()
        server.close()

    run(body())


def test_what_is_taken_at_once_needs_no_task_and_the_rest_goes_its_way(world):
    taken = []

    def at_once(peer, call, args, reply):
        if call == "break":
            raise KeyError("hunter2")
        if call == "deny":
            raise Denied("not at once either", rule="R9")
        if call != "number":
            return False
        taken.append(args["n"])
        # An answer may come later, in any order.
        asyncio.get_running_loop().call_later(0.05 / (1 + args["n"]), reply, {"n": args["n"], "more": None})
        return True

    async def body():
        async with world.up(at_once=at_once) as server:
            peer = await world.client()
            calls = [peer.call("number", {"n": n}) for n in range(200)]
            answers = await asyncio.gather(*calls, peer.call("echo", {"text": "a"}))
            assert [one["n"] for one in answers[:-1]] == taken == list(range(200))
            assert answers[-1]["text"] == "a"
            for call, kind in (("break", Internal), ("deny", Denied)):
                with pytest.raises(kind) as e:
                    await peer.call(call)
                assert "hunter2" not in str(e.value)
            (seen,) = server.peers
            assert seen.idle
            peer.close()

    run(body())
