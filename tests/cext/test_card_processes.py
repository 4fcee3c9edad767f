"""Revocation over processes: workers that die inside, a guard that ends the card (tests/cext/processes_card.c)."""

import subprocess

import pytest

from tests.cext.compile import HERE, SOURCE, build

SOURCES = [HERE / "processes_card.c", *(SOURCE / name for name in ("card.c", "shm.c", "memfd.c"))]
# Of eight rounds: in four somebody is inside for ever, in two the card stops in a step of its own.
KINDS, LEAK, STUCK, ALIVE = 8, 4, 2, 1


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return build(tmp_path_factory.mktemp("processes") / "processes", *SOURCES, flags=("-O2",))


def run(program, *args):
    done = subprocess.run([program, *map(str, args)], capture_output=True, text=True, timeout=900)
    return done, {name: int(value) for name, value in (pair.split("=") for pair in done.stdout.split() if "=" in pair)}


@pytest.mark.parametrize(
    "rounds",
    [
        24,
        pytest.param(200, marks=pytest.mark.minutes),
        pytest.param(6000, marks=(pytest.mark.prove, pytest.mark.limit(1800))),
    ],
)
def test_whoever_dies_inside_nothing_runs_or_is_delivered_after_the_answer_and_the_card_is_usable_again(
    program, rounds
):
    """Each round ends with results of the card that was started anew, on a new word and on the old one in turn."""
    done, counts = run(program, rounds, 7)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    each = rounds // KINDS
    assert counts["rounds"] == rounds and counts["deaths"] == rounds - each * ALIVE
    # The count that the dead left was there, and was written off; a step that nobody finishes was cut short. On a busy
    # machine a step may be cut short before the count is looked at: force writes off both.
    assert counts["forced"] >= each * STUCK and counts["forced"] + counts["aborted"] >= each * (STUCK + LEAK)
    assert counts["leaked"] >= each * LEAK // 2
    assert counts["ended"] >= counts["deaths"] and counts["new_words"] >= each
    assert counts["counted"] >= 20 * rounds and counts["delivered"] >= 2 * rounds, done.stdout


def test_a_guard_that_does_not_wait_is_noticed(program):
    done, counts = run(program, "no-wait", 40, 7)
    assert done.returncode == 1 and counts["violations"] and counts["runs"], done.stdout


def test_a_guard_that_aborts_and_ends_nobody_is_noticed(program):
    """Why abort needs the end of the process: a worker that was only halted goes on and sends its reply."""
    done, counts = run(program, "no-kill", 8, 7)
    assert done.returncode == 1 and counts["late"] >= 4 and counts["runs"] >= 4, done.stdout
