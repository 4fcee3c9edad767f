"""Every one of a billion operations is checked, and one violation among them is seen (tests/cext/billion_card.c)."""

import subprocess

import pytest

from tests.cext.compile import HERE, SOURCE, build
from tests.cext.mutants import mutant

CARD = SOURCE / "card.c"
PARTS = [HERE / "billion_card.c", SOURCE / "shm.c", SOURCE / "memfd.c"]
FLAGS = ("-O2", "-pthread")
SECONDS = 1500
MILLION = 1_000_000

minutes = pytest.mark.minutes
prove = (pytest.mark.prove, pytest.mark.limit(2 * SECONDS))


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return build(tmp_path_factory.mktemp("billion") / "billion", *PARTS, CARD, flags=(*FLAGS, "-flto"))


def run(program, cards, operations, *sleeper, seconds=SECONDS):
    done = subprocess.run(
        [program, *map(str, (cards, operations, seconds, *sleeper))],
        capture_output=True,
        text=True,
        timeout=2 * SECONDS,
    )
    print(done.stdout)
    return done, {name: int(value) for name, value in (pair.split("=") for pair in done.stdout.split())}


@pytest.mark.parametrize(
    ("cards", "operations"),
    [
        (2, 5 * MILLION),
        pytest.param(1, 10 * MILLION, marks=minutes),
        pytest.param(2, 20 * MILLION, marks=minutes),
        pytest.param(1, 200 * MILLION, marks=prove),
        pytest.param(2, 1200 * MILLION, marks=prove),
    ],
)
def test_no_operation_runs_or_counts_after_the_answer(program, cards, operations):
    done, counts = run(program, cards, operations)
    assert done.returncode == 0, done.stdout
    assert counts["violations"] == 0 and counts["received"] >= operations
    # The right went away and came back in between, and was taken again each time.
    assert counts["answers"] >= 10 and counts["takes"] >= 10, done.stdout


@pytest.mark.parametrize(
    ("sleeper", "operations"),
    [
        ("no-enter", 5 * MILLION),
        pytest.param("no-leave", 5 * MILLION, marks=minutes),
        pytest.param("no-enter", 1000 * MILLION, marks=prove),
        pytest.param("no-leave", 500 * MILLION, marks=prove),
    ],
)
def test_one_violation_among_so_many_is_seen_and_is_the_only_one(program, sleeper, operations):
    """At one operation of one worker, somewhere in the middle, a result is delivered that must not be."""
    done, counts = run(program, 2, operations, sleeper, operations // 3 + 7)
    assert done.returncode == 1 and counts["violations"] == 1, done.stdout
    assert counts["received"] >= operations


@pytest.mark.minutes
def test_checking_and_then_acting_is_seen_although_its_window_is_a_few_instructions(tmp_path):
    naive = build(tmp_path / "naive", *PARTS, CARD, flags=(*FLAGS, "-flto", "-DNAIVE"))
    done, counts = run(naive, 1, 1000 * MILLION, seconds=30)
    assert done.returncode == 1 and counts["violations"] > 0, done.stdout


@pytest.mark.minutes
@pytest.mark.parametrize("broken", [False, True])
def test_without_the_step_of_the_generation_a_right_survives_and_is_seen(tmp_path, broken):
    """The window is between two instructions of take: a delay there holds it open, also for the real source."""
    replacements = [("w.quiesced = 0; w.generation++; } while", "w.quiesced = 0; } while")] if broken else []
    card = tmp_path / "card.c"
    card.write_text(mutant(CARD.read_text(), replacements))
    slow = build(tmp_path / "card.o", card, flags=("-O2", "-c", "-Dvec_cell_load=slow_cell_load"))
    program = build(tmp_path / "slow", *PARTS, slow, flags=(*FLAGS, "-DDELAY"))
    done, counts = run(program, 2, (10_000 if broken else 10) * MILLION, seconds=60)
    assert done.returncode == broken and (counts["violations"] > 0) == broken, done.stdout
