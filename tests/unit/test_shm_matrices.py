"""What the guard writes is what readers see, whole, and nothing else can be written."""

import os
import re
import threading
import time
from pathlib import Path

import pytest
from vecd._shm import ffi, lib

from vecd.base.errors import Busy, Internal, Malformed
from vecd.shm import layout, reader, writer
from vecd.shm.layout import CELLS, Entity

DOC = (Path(__file__).resolve().parents[2] / "docs" / "shm.md").read_text()
R, W, A, C, E = lib.VEC_R, lib.VEC_W, lib.VEC_A, lib.VEC_C, lib.VEC_E
USER = Entity(b"u" * 16, 3, frozenset({3}))
INSTANCE = Entity(b"i" * 16, 3, frozenset({3}), owner=2)
CARD = Entity(b"k" * 16, 4, frozenset({2, 3, 4}))


@pytest.fixture
def pair():
    guard = writer.Matrices.create(11, levels=4)
    other = reader.Matrices.open(guard.fd)
    yield guard, other
    other.close()
    guard.close()


def test_new_matrices_are_empty(pair):
    seen = pair[1].snapshot()
    assert (seen.generation, seen.levels) == (11, 4)
    assert not seen.user and not seen.instance and not seen.card and not any(seen.cells.values())
    assert all(row.owner == layout.NONE for row in pair[0]._map.instance)


def test_entities_and_cells_arrive(pair):
    guard, other = pair
    with guard.change():
        guard.set_entity("user", 2, USER)
        guard.set_entity("instance", 4094, INSTANCE)
        guard.set_entity("card", 63, CARD)
        guard.store("user_m", 4094, value=R | A | C)
        guard.store("card_m", 63, 4094, value=R | W | A | C)
        guard.store("card_b", 63, 4094, value=C)
        guard.store("manager_card_b", 63, value=E)
    seen = other.snapshot()
    assert (seen.user, seen.instance, seen.card) == ({2: USER}, {4094: INSTANCE}, {63: CARD})
    assert seen.cell("card_m", 63, 4094) == R | W | A | C and seen.cell("card_m", 62, 4094) == 0
    assert {name: dict(cells) for name, cells in seen.cells.items() if cells} == {
        "user_m": {(4094,): R | A | C},
        "card_m": {(63, 4094): R | W | A | C},
        "card_b": {(63, 4094): C},
        "manager_card_b": {(63,): E},
    }
    assert guard.load("card_m", 63, 4094) == R | W | A | C
    with guard.change():
        guard.set_entity("user", 2, None)
    assert not other.snapshot().user


@pytest.mark.parametrize("table", CELLS)
def test_a_cell_takes_only_the_attributes_it_may_hold(table, pair):
    guard, other = pair
    at = (0,) * len(CELLS[table].kinds)
    for bit in (R, W, A, C, E):
        if bit & CELLS[table].attributes:
            guard.store(table, *at, value=bit)
            assert guard.load(table, *at) == bit == other.snapshot().cell(table, *at)
        else:
            with pytest.raises(Internal):
                guard.store(table, *at, value=bit)
    for value in (32, 256, -1):
        with pytest.raises(Internal):
            guard.store(table, *at, value=value)


@pytest.mark.parametrize(
    ("table", "at"),
    [
        ("user_m", (-1,)),
        ("user_m", (4095,)),
        ("user_m", ()),
        ("user_m", (0, 0)),
        ("card_m", (64, 0)),
        ("card_m", (0, 4095)),
        ("card_m", (-1, 0)),
        ("card_m", (0,)),
        ("manager_user_m", (1024,)),
        ("manager_card_b", (64,)),
        ("entity", (0,)),
        ("magic", ()),
    ],
)
def test_a_cell_that_is_not_there_is_our_own_mistake(table, at, pair):
    with pytest.raises(Internal):
        pair[0].store(table, *at, value=0)
    with pytest.raises(Internal):
        pair[0].load(table, *at)


@pytest.mark.parametrize(
    ("kind", "index", "entity"),
    [
        ("user", 1024, USER),
        ("user", -1, USER),
        ("instance", 4095, INSTANCE),
        ("card", 64, CARD),
        ("guest", 0, USER),
        ("user", 0, Entity(b"short", 3, frozenset({3}))),
        ("user", 0, Entity(b"u" * 16, 0, frozenset({3}))),
        ("user", 0, Entity(b"u" * 16, 5, frozenset({3}))),
        ("user", 0, Entity(b"u" * 16, 3, frozenset({0, 3}))),
        ("user", 0, Entity(b"u" * 16, 3, frozenset({5}))),
        ("user", 0, INSTANCE),
        ("instance", 0, USER),
        ("instance", 0, Entity(b"i" * 16, 3, frozenset({3}), owner=1024)),
    ],
)
def test_an_entity_that_cannot_be_is_our_own_mistake(kind, index, entity, pair):
    with pair[0].change(), pytest.raises(Internal):
        pair[0].set_entity(kind, index, entity)
    assert not pair[1].snapshot().user


def test_entities_are_changed_in_the_bracket_alone(pair):
    with pytest.raises(Internal):
        pair[0].set_entity("user", 0, USER)


def test_the_bracket_does_not_nest_and_closes_after_an_error(pair):
    guard, other = pair
    with pytest.raises(ZeroDivisionError), guard.change():
        with pytest.raises(Internal), guard.change():
            pass
        raise ZeroDivisionError
    assert other.snapshot().generation == 11
    assert guard._map.seq % 2 == 0


def test_a_snapshot_in_the_middle_of_a_change_is_busy(pair):
    guard, other = pair
    with guard.change(), pytest.raises(Busy):
        other.snapshot(tries=3)


def test_a_snapshot_is_never_half_a_change():
    """One thread changes two cells at the far ends together; the reader (its own mapping) sees them equal, always."""
    guard = writer.Matrices.create(1)
    other = reader.Matrices.open(guard.fd)
    stop = threading.Event()

    def change():
        value = 0
        while not stop.is_set():
            value ^= A
            with guard.change():
                guard.store("user_m", 0, value=value)
                guard.store("card_m", 63, 4094, value=value)
            # Long enough for a copy to begin in between, not for every copy to end.
            time.sleep(0.0003)

    thread = threading.Thread(target=change)
    thread.start()
    copy, seen = ffi.new("struct vec_matrices *"), set()
    try:
        tried, end = 0, time.monotonic() + 20
        while (tried < 1000 or seen != {0, A}) and time.monotonic() < end:
            tried += 1
            if lib.vec_matrices_snapshot(other._map, copy, 50) == 0:
                assert copy.user_m[0] == copy.card_m[63][4094]
                seen.add(copy.user_m[0])
    finally:
        stop.set()
        thread.join()
    assert seen == {0, A}
    other.close()
    guard.close()


@pytest.mark.parametrize("levels", [0, 3, 17])
def test_there_are_four_to_sixteen_levels(levels):
    with pytest.raises(Malformed):
        writer.Matrices.create(1, levels)


def test_closed_matrices_say_so_and_leave_no_descriptor():
    before = len(os.listdir("/proc/self/fd"))
    guard = writer.Matrices.create(1)
    other = reader.Matrices.open(guard.fd)
    for made in (guard, other):
        made.close()
        made.close()
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(Internal):
        guard.store("user_m", 0, value=0)
    with pytest.raises(Internal), guard.change():
        pass
    with pytest.raises(Internal):
        other.snapshot()


def test_a_kernel_that_refuses_is_named():
    """No descriptor left: the message says what could not be made, and why."""
    import resource

    from vecd.base.errors import Failed

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(Failed) as caught:
            writer.Matrices.create(1)
        with pytest.raises(Failed):
            writer.CardWord.create()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "matrices" in str(caught.value) and "open files" in str(caught.value)


def rows(name):
    part = DOC.split(f"<!-- table: {name} -->", 1)[1].lstrip("\n").split("\n\n", 1)[0]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in part.splitlines()[2:]]


def test_the_document_has_the_layout():
    outside = ffi.typeof("struct vec_matrices").fields
    fields = [[str(field.offset), str(ffi.sizeof(field.type)), name] for name, field in outside]
    assert [row[:3] for row in rows("matrices")] == fields
    inside = ffi.typeof("struct vec_entity").fields
    entity = [[str(field.offset), str(ffi.sizeof(field.type)), name] for name, field in inside]
    assert [row[:3] for row in rows("entity")] == entity
    assert str(ffi.sizeof("struct vec_matrices")) in DOC


def test_the_document_has_the_card_word():
    shifts = {"q": 5, "status": lib.VEC_WORD_STATUS_SHIFT, "inflight": lib.VEC_WORD_INFLIGHT_SHIFT}
    shifts |= {"owner": lib.VEC_WORD_OWNER_SHIFT, "generation": lib.VEC_WORD_GENERATION_SHIFT, "held": 0}
    said = {name: int(re.match(r"\d+", bits)[0]) for bits, name, *_ in rows("word")}
    assert said == shifts


def test_the_document_has_every_step():
    header = (Path(__file__).resolve().parents[2] / "cext" / "include" / "vec" / "card.h").read_text()
    steps = set(re.findall(r"(?:int|void) vec_card_(\w+)\(", header)) - {"allows", "drained"}
    assert {row[0] for row in rows("steps")} == steps
