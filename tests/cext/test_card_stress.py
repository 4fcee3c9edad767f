"""card.c on real threads under ThreadSanitizer (tests/cext/stress_card.c)."""

import os
import subprocess

import pytest

from tests.cext.compile import HERE, SOURCE, build, compiler
from tests.cext.mutants import mutant

SOURCES = [HERE / "stress_card.c", *(SOURCE / name for name in ("card.c", "shm.c", "memfd.c"))]
# gcc warns that ThreadSanitizer does not follow the fences of the seqlock, which nothing here uses.
SANITIZED = ("-Wno-error", "-O1", "-g", "-fsanitize=thread", "-pthread")
RACE = 66


SECONDS = 45


def run(program, mode, workers, enough, seconds=SECONDS):
    done = subprocess.run(
        [program, mode, str(workers), str(enough), str(seconds)],
        capture_output=True,
        text=True,
        timeout=2 * seconds,
        env={**os.environ, "TSAN_OPTIONS": f"exitcode={RACE}:halt_on_error=0"},
    )
    print(done.stdout)
    return done, dict(pair.split("=") for pair in done.stdout.split())


@pytest.fixture(scope="module", autouse=True)
def sanitizer(tmp_path_factory):
    """The compiler has the run-time part of ThreadSanitizer: gcc brings it, clang's is a package of its own."""
    probe = tmp_path_factory.mktemp("probe")
    (probe / "probe.c").write_text("int main(void) { return 0; }\n")
    command = [*compiler(), "-fsanitize=thread", str(probe / "probe.c"), "-o", str(probe / "probe")]
    if subprocess.run(command, capture_output=True, timeout=60).returncode:
        pytest.skip("condition not met: the compiler has ThreadSanitizer's run-time library")


@pytest.fixture(scope="module")
def stress(tmp_path_factory):
    """By way: each step by itself, or as the pump goes, with several in one change."""
    ways = {"steps": (), "fused": ("-DFUSED",)}
    folder = tmp_path_factory.mktemp("stress")
    return {way: build(folder / way, *SOURCES, flags=(*SANITIZED, *flags)) for way, flags in ways.items()}


prove = (pytest.mark.prove, pytest.mark.limit(900))


@pytest.mark.parametrize(
    ("way", "workers", "enough"),
    [
        ("steps", 4, 150),
        ("fused", 4, 150),
        pytest.param("steps", 2, 1000, marks=pytest.mark.minutes),
        pytest.param("steps", 8, 500, marks=pytest.mark.minutes),
        pytest.param("fused", 2, 250, marks=pytest.mark.minutes),
        pytest.param("fused", 8, 500, marks=prove),
        pytest.param("steps", 4, 10_000, marks=prove),
        pytest.param("fused", 4, 10_000, marks=prove),
    ],
)
@pytest.mark.parametrize("mode", ["drain", "abort", "force"])
def test_no_result_counts_after_the_answer_on_threads(stress, way, mode, workers, enough):
    """Workers, the card thread and a revoker: at least `enough` answers, turns, and results that counted."""
    done, said = run(stress[way], mode, workers, enough, SECONDS if enough <= 1000 else 400)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert min(int(said[what]) for what in ("answers", "counted", "turns")) >= enough, done.stdout
    assert mode == "drain" or int(said["discarded"]) >= 10, done.stdout
    assert mode != "force" or int(said["cut_short"]) >= 10, done.stdout


def test_check_then_act_is_caught_on_threads(tmp_path):
    """The naive worker asks whether it may and then works: its results count after the answer."""
    naive = build(tmp_path / "naive", *SOURCES, flags=(*SANITIZED, "-DNAIVE"))
    done, said = run(naive, "drain", 4, 1000)
    assert int(said["violations"]) > 0, done.stdout
    assert done.returncode == RACE and "data race" in done.stderr


# ThreadSanitizer sees that whoever wipes does not know what the workers wrote. That a swap has to acquire it does not
# see: the load before it does, and that the word came back in between takes the weaker model of explore_card.c.
SWAP = "memory_order_acq_rel, memory_order_acquire)"


@pytest.mark.minutes
def test_a_swap_that_does_not_release_is_a_race(tmp_path):
    card = tmp_path / "card.c"
    text = (SOURCE / "card.c").read_text()
    card.write_text(mutant(text, [(SWAP, SWAP.replace("memory_order_acq_rel", "memory_order_acquire"))]))
    weak = build(tmp_path / "weak", SOURCES[0], card, *SOURCES[2:], flags=SANITIZED)
    done, _ = run(weak, "drain", 4, 100)
    assert done.returncode == RACE and "data race" in done.stderr, done.stdout


# That a step counts in its own generation alone takes a second card thread to see: explore_card.c has one.
FUSED_DEFECTS = {
    "begin_work does not look at M": ("|| (needs & ~vec_cell_load(&m->card_m[card][i])))", ")"),
    "the one change of several steps does not release": (
        "next, memory_order_acq_rel, memory_order_relaxed)",
        "next, memory_order_acquire, memory_order_relaxed)",
    ),
}


@pytest.mark.minutes
@pytest.mark.parametrize("defect", FUSED_DEFECTS)
def test_a_defect_of_the_fused_steps_is_seen_on_threads(tmp_path, defect):
    card = tmp_path / "card.c"
    card.write_text(mutant((SOURCE / "card.c").read_text(), [FUSED_DEFECTS[defect]]))
    weak = build(tmp_path / "weak", SOURCES[0], card, *SOURCES[2:], flags=(*SANITIZED, "-DFUSED"))
    done, said = run(weak, "drain", 2, 500)
    assert int(said["violations"]) or (done.returncode == RACE and "data race" in done.stderr), done.stdout
