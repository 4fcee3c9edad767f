"""A card process that lies about its word is found, ended, kept out and explained, by the real guard, within 2 s.

The card is a hostile stand-in (lying_card.py) in a process of its own behind the guard's real door: the soft card has
no way to be told to lie. It writes its word through its own mapping; nobody asks the guard anything about the card
meanwhile but the test, which looks.
"""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.test_guard import GuardProcess, certificate
from tests.unit.guard_world import CARDS, FakeBroker
from vecd.base.errors import Hardware, VecError
from vecd.shm.layout import CONTROL, FREE, USING

FOUND_S = 2.0
R, W, A, C, E = 1, 2, 4, 8, 16
USERS = {"A": b"a" * 16, "B": b"b" * 16}
HONEST = {"owner_of": 0, "held": C | A, "status": USING, "generation_by": 1}


@contextmanager
def lying(guard):
    command = [sys.executable, "-m", "tests.integration.lying_card"]
    words = [str(guard.paths.root), "c0", certificate(CARDS["c0"]).hex()]
    child = subprocess.Popen(
        [*command, *words], cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline() == "ready\n"
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()


def write(child, **fields) -> None:
    child.stdin.write(json.dumps(fields) + "\n")
    child.stdin.flush()
    assert child.stdout.readline() == "written\n"


@pytest.fixture(scope="module")
def guard():
    folder = Path(tempfile.mkdtemp(prefix="vecd-"))
    process = GuardProcess(folder)
    try:
        process.start()
        with lying(process):
            # R7 of the card, so that guests can be given it.
            for name, identity in USERS.items():
                process.ask("guest.add", name=name, id=identity, cards=["c0"])
        yield process
    finally:
        if process.process.poll() is None:
            process.end(signal.SIGKILL)
        shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def readmitted(guard):
    wait_for(lambda: row(guard)["pid"] is None, 2.0)
    guard.ask("card.readmit", name="c0")


async def connected(guard, *names) -> FakeBroker:
    broker = await FakeBroker().come(guard.paths)
    for name in names:
        who = await broker.peer.call("guest.who", {"name": name})
        arguments = {"id_u": USERS[name], "instance": who["instances"][0]["instance"], "card": CARDS["c0"]}
        await broker.peer.call("guest.connect", arguments)
    return broker


def row(guard) -> dict:
    return guard.ask("card.show", name="c0")["card"]


def wait_for(what, seconds):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not come about in time"
        time.sleep(0.02)


# What it writes first, what it writes then, and what has to be said of it.
LIES = {
    "a status that is none": (HONEST, {"status": 3}, "status"),
    "an owner out of range": (HONEST, {"owner": 4094}, "no instance"),
    "an owner that is not connected": (HONEST, {"owner": 1, "held": C, "status": CONTROL}, "not connected"),
    "an owner without c": (HONEST, {"held": A}, "does not hold c"),
    "e*": (HONEST, {"held": C | E}, "e*"),
    "r in using": (HONEST, {"held": C | R}, "r or w is held while"),
    "a right that M does not give": (HONEST, {"held": C | W, "status": CONTROL}, "M allows"),
    "requests in flight without a right": (HONEST, {"held": C, "status": CONTROL, "inflight": 3}, "in flight"),
    "free, and somebody is connected": ({}, {"status": FREE}, "somebody is on it"),
    "a generation that goes back": (HONEST, {"generation_by": -1}, "went back"),
    "a generation that runs away": (HONEST, {"generation_by": 2**32}, "no card switches so often"),
    "an owner without a switch": (HONEST, {"owner_of": 1, "held": C}, "without a switch"),
}
# Lies that show only to who has looked before.
MOVES = {"a generation that goes back", "a generation that runs away", "an owner without a switch"}


@pytest.mark.parametrize("lie", LIES)
def test_a_card_that_lies_is_found_ended_and_kept_out(guard, lie):
    first, then, why = LIES[lie]
    with lying(guard) as child:

        async def body():
            names = ("A",) if "not connected" in lie else ("A", "B")
            broker = await connected(guard, *names)
            try:
                if first:
                    await asyncio.to_thread(write, child, **first)
                if lie in MOVES:
                    # So that the patrol has seen it honest.
                    await asyncio.sleep(1.2)
                    assert (await asyncio.to_thread(row, guard))["quarantined"] is None
                await asyncio.to_thread(write, child, **then)
                written = time.monotonic()
                assert await asyncio.to_thread(child.wait, FOUND_S) == -signal.SIGKILL
                await asyncio.to_thread(wait_for, lambda: row(guard)["pid"] is None, 1.0)
                assert time.monotonic() - written < FOUND_S
                assert "c0" not in broker.cards
                with pytest.raises(Hardware) as refused:
                    await connect_again(broker)
                assert "quarantine" in refused.value.message and why in refused.value.reason
                assert "readmit" in refused.value.hint
            finally:
                broker.peer.close()

        asyncio.run(body())
    explained(guard, why)
    with pytest.raises(AssertionError), lying(guard):
        # A new process of the card is not let in, and is told why.
        pass
    assert guard.ask("card.readmit", name="c0")["was"]
    assert guard.ask("card.readmit", name="c0")["was"] is None
    with lying(guard):
        wait_for(lambda: row(guard)["quarantined"] is None and row(guard)["status"] == "free", 1.0)


async def connect_again(broker) -> None:
    who = await broker.peer.call("guest.who", {"name": "A"})
    arguments = {"id_u": USERS["A"], "instance": who["instances"][0]["instance"], "card": CARDS["c0"]}
    await broker.peer.call("guest.connect", arguments)


def explained(guard, why: str) -> None:
    """Status, card show and explain say it in words; and what the card had was released."""
    shown = row(guard)
    assert why in shown["quarantined"] and shown["instances"] == []
    (alarm,) = [one for one in guard.ask("status")["alarms"] if "quarantine" in one]
    assert why in alarm and "vecctl card readmit c0" in alarm
    answer = guard.ask("access.explain", subject="A.1", object="c0", attribute="a")
    assert any(why in note and "quarantine" in note for note in answer["notes"])


def test_quarantine_outlives_the_guard(guard):
    with lying(guard) as child:
        write(child, status=3)
        assert child.wait(FOUND_S) == -signal.SIGKILL
    wait_for(lambda: row(guard)["pid"] is None, 1.0)
    guard.end(signal.SIGKILL)
    guard.start()
    explained(guard, "status")
    with pytest.raises(AssertionError), lying(guard):
        pass
    guard.ask("card.readmit", name="c0")
    guard.end(signal.SIGKILL)
    guard.start()
    with lying(guard):
        wait_for(lambda: row(guard)["quarantined"] is None, 1.0)
    with pytest.raises(VecError) as unknown:
        guard.ask("card.readmit", name="c7")
    assert unknown.value.exit_code == 4


def test_an_honest_card_is_left_alone(guard):
    with lying(guard) as child:

        async def body():
            broker = await connected(guard, "A", "B")
            steps = (
                HONEST,
                {"held": C | A, "inflight": 7},
                {"held": C | A, "inflight": 0, "quiesced": True},
                {"held": C | R, "status": CONTROL, "quiesced": False},
                {"held": 0, "owner": None, "quiesced": True},
                {"owner_of": 1, "held": C, "quiesced": False, "generation_by": 1},
                {"owner": None, "held": 0, "generation_by": 900_000},
            )
            for step in steps:
                await asyncio.to_thread(write, child, **step)
                await asyncio.sleep(1.1)
            broker.peer.close()

        asyncio.run(body())
        assert row(guard)["quarantined"] is None and child.poll() is None
