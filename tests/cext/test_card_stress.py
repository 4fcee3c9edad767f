"""card.c on real threads under ThreadSanitizer (tests/cext/stress_card.c)."""

import os
import subprocess

import pytest

from tests.cext.compile import HERE, SOURCE, build, compiler

SOURCES = [HERE / "stress_card.c", *(SOURCE / name for name in ("card.c", "shm.c", "memfd.c"))]
# gcc warns that ThreadSanitizer does not follow the fences of the seqlock, which nothing here uses.
SANITIZED = ("-Wno-error", "-O1", "-g", "-fsanitize=thread", "-pthread")
RACE = 66


ENOUGH, SECONDS = 1000, 45


def run(program, mode):
    done = subprocess.run(
        [program, mode, str(ENOUGH), str(SECONDS)],
        capture_output=True,
        text=True,
        timeout=2 * SECONDS,
        env={**os.environ, "TSAN_OPTIONS": f"exitcode={RACE}:halt_on_error=0"},
    )
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
    return build(tmp_path_factory.mktemp("stress") / "stress", *SOURCES, flags=SANITIZED)


@pytest.mark.parametrize("mode", ["drain", "abort", "force"])
def test_no_result_counts_after_the_answer_on_threads(stress, mode):
    done, said = run(stress, mode)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert min(int(said[what]) for what in ("answers", "counted", "turns")) >= ENOUGH, done.stdout
    assert mode == "drain" or int(said["discarded"]) >= 10, done.stdout
    assert mode != "force" or int(said["cut_short"]) >= 10, done.stdout


def test_check_then_act_is_caught_on_threads(tmp_path):
    """The naive worker asks whether it may and then works: its results count after the answer."""
    naive = build(tmp_path / "naive", *SOURCES, flags=(*SANITIZED, "-DNAIVE"))
    done, said = run(naive, "drain")
    assert int(said["violations"]) > 0, done.stdout
    assert done.returncode == RACE and "data race" in done.stderr
