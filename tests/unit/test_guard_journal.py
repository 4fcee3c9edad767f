"""The guard's journal and snapshots: whatever is answered is there after a crash, wherever the crash cut the files."""

import asyncio
import os
import random
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.guard_world import in_world, no_room
from vecd.base.errors import ConfigError, Failed
from vecd.base.paths import Paths
from vecd.services import guard as service
from vecd.services.guard_parts import journal, register
from vecd.services.guard_parts.journal import Journal, Position
from vecd.services.guard_parts.register import Card, Instance, Register, User
from vecd.services.guard_parts.store import Store

A, A1, C0 = User("A", b"a" * 16, 0, 1000), Instance("A.1", b"1" * 16, 0, "A"), Card("c0", b"c" * 16, 0)
BASE = Register(7, 0, {"A": A}, {}, {"c0": C0}, {("A.1", "c0"): "c"}, epoch=3)
BASE.access.clear()
# What happens after the snapshot, commit by commit.
COMMITS = (
    [["started", 8]],
    [["instance", {"name": "A.1", "id": "31" * 16, "index": 0, "owner": "A", "level": 3, "may": []}]],
    [["M", "A", "A.1", "rac"], ["M", "A.1", "c0", "rac"]],
    [["M", "A.1", "c0", "rc"]],
    [["quarantine", "c0", "status 3 — ütf"]],
    [["M", "A.1", "c0", ""], ["end", "A.1"], ["quarantine", "c0", ""]],
)


def whole(path: Path) -> list[Register]:
    """A snapshot and its journal; the registers after each commit, the snapshot's first."""
    register.store(path, BASE)
    log = Journal(journal.beside(path, 3), 3, Position())
    after = [register.load(path)]
    for operations in COMMITS:
        log.append(operations)
        after.append(register.load(path))
    log.close()
    return after


def test_what_was_appended_is_read_in_order(tmp_path):
    path = tmp_path / "policy.json"
    after = whole(path)
    assert after[0] == BASE and after[1].generation == 8
    assert after[3].access == {("A", "A.1"): "rac", ("A.1", "c0"): "rac"} and after[4].access["A.1", "c0"] == "rc"
    assert after[5].quarantine == {"c0": "status 3 — ütf"}
    assert after[6].access == {} and after[6].instances == {} and after[6].quarantine == {}
    assert journal.beside(path, 3).stat().st_mode & 0o777 == 0o600


def test_cut_at_each_byte_it_holds_what_was_whole_and_goes_on_from_there(tmp_path):
    path = tmp_path / "policy.json"
    after = whole(path)
    own = journal.beside(path, 3)
    data = own.read_bytes()
    ends = [at + 1 for at, byte in enumerate(data) if byte == 10]
    assert len(ends) == len(COMMITS) + 1
    for cut in range(len(data) + 1):
        own.write_bytes(data[:cut])
        # The first line is the header.
        commits = max(0, sum(end <= cut for end in ends) - 1)
        found, position = register.read(path)
        assert found == after[commits], cut
        # The next commit takes the place of what was half written.
        log = Journal(own, 3, position)
        log.append([["started", 99]])
        log.close()
        again = register.load(path)
        assert again == replace(after[commits], generation=99), cut


def test_whatever_a_crash_left_at_the_end_is_cut_off(tmp_path):
    """A torn write leaves any bytes: zeros of a hole, a piece of a later page, an older file's rest."""
    path = tmp_path / "policy.json"
    after = whole(path)
    own = journal.beside(path, 3)
    data = own.read_bytes()
    last = data.rindex(b"\n", 0, -1) + 1
    chance = random.Random(5)
    for _ in range(500):
        torn = bytearray(data[last:])
        begin = chance.randrange(len(torn))
        end = chance.randrange(begin, len(torn)) + 1
        torn[begin:end] = bytes(chance.choice((0, 10, 65, 255)) for _ in range(end - begin))
        own.write_bytes(data[:last] + bytes(torn))
        found = register.load(path)
        assert found in (after[-2], after[-1])


def test_one_flipped_bit_before_the_last_line_is_damage_with_its_line(tmp_path):
    path = tmp_path / "policy.json"
    whole(path)
    own = journal.beside(path, 3)
    data = own.read_bytes()
    last = data.rindex(b"\n", 0, -1) + 1
    for at in range(last - 1):
        bad = bytearray(data)
        bad[at] ^= 1
        own.write_bytes(bytes(bad))
        with pytest.raises(ConfigError, match=rf"policy\.3\.journal, line {data.count(10, 0, at) + 1}:") as caught:
            register.load(path)
        assert "damaged" in caught.value.reason


@pytest.mark.parametrize(
    ("number", "operations", "what"),
    [
        (9, [["started", 9]], "commit 9 stands where"),
        (7, [["fly", 9]], "fly"),
        (7, [["user", {"name": "A"}]], "id"),
        (7, [["end", "Z"]], "nothing called 'Z'"),
        (7, [["M", "A", "c0", "r"]], "no cell"),
        (7, [["M", "A"]], "missing"),
        (7, [["card", {"name": "A", "id": "63" * 16, "index": 1}]], "taken"),
    ],
)
def test_a_line_that_cannot_be_is_damage(tmp_path, number, operations, what):
    path = tmp_path / "policy.json"
    whole(path)
    with journal.beside(path, 3).open("ab") as file:
        file.write(journal.line(number, operations))
    with pytest.raises(ConfigError, match=what):
        register.load(path)


def test_a_journal_without_its_snapshot_or_of_another_is_not_taken(tmp_path):
    path = tmp_path / "policy.json"
    whole(path)
    path.rename(tmp_path / "kept")
    with pytest.raises(ConfigError, match="its journal policy.3.journal is"):
        register.load(path)
    register.store(path, replace(BASE, epoch=4))
    assert register.load(path) == replace(BASE, epoch=4)
    journal.beside(path, 3).rename(journal.beside(path, 4))
    with pytest.raises(ConfigError, match="another snapshot"):
        register.load(path)


# ---- snapshots


def test_each_step_of_a_new_snapshot_may_be_the_last(tmp_path, monkeypatch):
    """A copy of the folder after each system call that changes it: a start finds what holds in every one."""
    path = tmp_path / "state" / "policy.json"
    path.parent.mkdir()
    after = whole(path)
    seen: list[Register] = []

    def look(*_):
        seen.append(register.load(path))

    for name in ("pwrite", "fsync", "fdatasync", "rename", "ftruncate", "open"):
        real = getattr(os, name)

        def step(*arguments, real=real, **more):
            look()
            done = real(*arguments, **more)
            look()
            return done

        monkeypatch.setattr(os, name, step)
    store = Store(path, 3, register.read(path)[1], lambda: lambda: after[-1])
    write = store.begin()
    size = write()
    store.commit([["started", 50]])
    store.end(size)
    store.commit([["started", 51]])
    store.rewrite()
    monkeypatch.undo()
    # The state that it freezes has no such generation: what a rewrite holds is what it was given.
    generations = [one.generation for one in seen]
    assert len(seen) > 30 and set(generations) == {8, 50, 51}
    assert generations[: generations.index(51)] == sorted(generations[: generations.index(51)])
    assert {one.epoch for one in seen} == {3, 4, 5}
    assert [one.name for one in journal.all_beside(path)] == ["policy.5.journal"]
    store.close()


def test_leftovers_of_crashes_go_with_the_next_start(tmp_path):
    path = tmp_path / "policy.json"
    whole(path)
    left = [
        tmp_path / one for one in ("policy.2.journal", "policy.4.journal", "policy.json.new", "policy.json.next.new")
    ]
    for one in left:
        one.write_text("half")
    store = Store(path, 3, register.read(path)[1], lambda: lambda: BASE)
    store.tidy()
    assert not any(one.exists() for one in left) and journal.beside(path, 3).exists()


@contextmanager
def file_limit(size):
    """No file may grow beyond this: what a full disk is to a write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_write_that_stops_half_way_is_taken_back(tmp_path):
    path = tmp_path / "policy.json"
    after = whole(path)
    found, position = register.read(path)
    log = Journal(journal.beside(path, 3), 3, position)
    for room in range(12):
        with file_limit(position.offset + room), pytest.raises(Failed, match="cannot be written"):
            log.append([["started", 99]])
        assert log.path.stat().st_size == position.offset and register.load(path) == after[-1] and not log.broken
    log.append([["started", 99]])
    assert register.load(path).generation == 99
    log.close()


# ---- the book over it


async def give(world, letter, subject="A.1", target="c0"):
    return await world.ask("access.give", subject=subject, object=target, attribute=letter)


async def take(world, letter, subject="A.1", target="c0"):
    return await world.ask("access.rescind", subject=subject, object=target, attribute=letter)


async def absent_card(world):
    """c0 is registered, and has no process."""
    card = await world.card()
    await world.guest("A")
    card.peer.close()
    while world.guard.links["c0"].peer is not None:
        await asyncio.sleep(0.002)


@in_world
async def test_what_is_asked_together_is_written_together(world):
    await absent_card(world)
    own = world.guard.book.store._journal
    before = own.position.number
    answers = await asyncio.gather(*(work(world, letter) for letter in "rwac" * 8 for work in (take, give)))
    assert len(answers) == 64 and {one["rule"] for one in answers} == {"R9", "R10"}
    assert own.position.number - before < 16
    assert register.load(world.paths.policy).access["A.1", "c0"] == "rwac"
    assert world.guard.book.matrices.load("card_m", 0, 0) == 1 | 4 | 8


@in_world
async def test_a_batch_that_the_disk_does_not_take_gives_nothing_and_takes_everything(world):
    await absent_card(world)
    with no_room(world):
        asked = [give(world, "w"), take(world, "r"), give(world, "w"), take(world, "a"), give(world, "a")]
        answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(one) for one in answers] == [Failed] * 5
    given = [answers[at] for at in (0, 2, 4)]
    assert all("a change that would be forgotten is not made" in one.reason for one in given)
    assert all("until the guard starts again" in answers[at].message for at in (1, 3))
    # Taken away, in the matrices as well; and back, where nobody is told otherwise, only by a new give.
    assert world.guard.book.matrices.load("card_m", 0, 0) == 8
    assert register.load(world.paths.policy).access["A.1", "c0"] == "rac"
    # The next that is stored brings along what was missing.
    await give(world, "r", "A", "A.1")
    assert register.load(world.paths.policy).access["A.1", "c0"] == "c"


@in_world
async def test_a_block_waits_for_the_batch_before_it(world):
    await absent_card(world)
    book = world.guard.book
    first = asyncio.ensure_future(take(world, "r"))
    for _ in range(50):
        await asyncio.sleep(0)
        if book._writing is not None or book._queue:
            break
    with book.change():
        pass
    assert book._writing is None and not book._queue and not book._batch
    assert (await first)["rule"] == "R10"


@in_world
async def test_a_long_journal_becomes_a_snapshot_while_changes_go_on(world):
    await absent_card(world)
    book = world.guard.book
    write = book.store.begin()
    await take(world, "r")
    size = await asyncio.to_thread(write)
    await take(world, "a")
    epoch = register.load(world.paths.policy).epoch
    book.commit()
    book.store.end(size)
    stored = register.load(world.paths.policy)
    assert stored.epoch == epoch + 1 and stored.access["A.1", "c0"] == "c"
    await give(world, "r")
    assert register.load(world.paths.policy).access["A.1", "c0"] == "rc"


# Gives one right after another, 32 at a time, and says which of them was answered.
KILLED = """
import asyncio, sys
from pathlib import Path
from vecd.base.paths import Paths
from vecd.ppm import request as requests
from vecd.base.paths import Paths
from vecd.services import guard as service
from vecd.services.guard_parts.register import Card, Instance, User
opened = service.open_book(Paths(Path(sys.argv[1])))
book = opened[0] if isinstance(opened, tuple) else opened
with book.change():
    book.create_user(User("A", b"a" * 16, 0, 0))
    for n in range(64): book.create_instance(Instance(f"A.{n}", bytes([n]) * 16, n, "A"))
    for n in range(8): book.create_card(Card(f"c{n}", bytes([n]) * 16, n))
async def main():
    loop = asyncio.get_running_loop()
    def ask(n):
        def done(outcome, warning):
            assert outcome and not warning
            print(n, flush=True)
            if n % 32 == 31: loop.call_soon(more, n + 1)
        request = requests.give(f"A.{n // 32}", f"c{n % 32 // 4}", "rwac"[n % 4])
        book.soon(lambda: book.propose(request, done), loop.call_soon_threadsafe)
    def more(first):
        if first % 96 == 0 and book.store._since is None:
            write = book.store.begin()
            def written(size):
                book.commit()
                book.store.end(size)
            loop.run_in_executor(None, write).add_done_callback(lambda done: written(done.result()))
        if first < 2048:
            for n in range(first, first + 32): ask(n)
    more(0)
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.parametrize("after_ms", [3, 17, 40, 90, 150])
def test_killed_in_the_middle_it_has_what_was_answered(tmp_path, after_ms):
    paths = Paths(tmp_path)
    service.prepare(paths)
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert child.stdout.readline() == "0\n"
        time.sleep(after_ms / 1000)
    finally:
        child.kill()
        said = [0, *map(int, child.stdout.read().split("\n")[:-1])]
        child.wait()
        child.stdout.close()
    assert said == list(range(len(said)))
    stored = register.load(paths.policy)
    there = {
        int(subject[2:]) * 32 + int(target[1:]) * 4 + "rwac".index(letter)
        for (subject, target), letters in stored.access.items()
        for letter in letters
    }
    # Everything that was answered, and of the rest at most what was asked together.
    assert set(said) <= there and max(there) < (max(said) // 32 + 2) * 32
    assert there == set(range(len(there))) and len(there) % 32 == 0
