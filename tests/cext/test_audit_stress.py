"""audit.c on real threads (tests/cext/stress_audit.c): no turn is lost, doubled or moved, whoever takes it away."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.cext.compile import HERE, SOURCE, build
from tests.cext.mutants import mutant
from tests.cext.test_card_stress import RACE, SANITIZED, sanitizer  # noqa: F401

STRESS, AUDIT = HERE / "stress_audit.c", SOURCE / "audit.c"
LIBRARIES = ("-Wl,--no-as-needed", "-lcrypto", "-pthread")
FULL = 32768


def run(program, count, seed=1):
    done = subprocess.run(
        [program, str(count), str(seed)],
        capture_output=True,
        text=True,
        timeout=110,
        env={**os.environ, "TSAN_OPTIONS": f"exitcode={RACE}:halt_on_error=0"},
    )
    return done, dict(pair.split("=") for pair in done.stdout.split() if "=" in pair)


def built(tmp_path, *edits: tuple[str, str], flags=("-O2",)):
    source = tmp_path / "audit.c"
    source.write_text(mutant(AUDIT.read_text(), list(edits)) if edits else AUDIT.read_text())
    return build(tmp_path / "stress", STRESS, source, flags=(*flags, *LIBRARIES))


@pytest.mark.parametrize("seed", [1, 2])
def test_every_turn_is_recorded_once_in_order_or_counted_as_lost(tmp_path, seed):
    done, said = run(built(tmp_path), 500_000, seed)
    assert done.returncode == 0, done.stdout
    # Fuller than the ring at times, and at times not to be kept.
    assert int(said["kept"]) > 10 * FULL and int(said["rewound"]) >= 3, done.stdout


def test_without_a_data_race(tmp_path):
    done, _ = run(built(tmp_path, flags=SANITIZED), 100_000)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]


@pytest.mark.minutes
def test_a_head_that_is_not_released_is_a_race(tmp_path):
    released = "atomic_store_explicit(&audit->head, head + 1, memory_order_release)"
    relaxed = released.replace("release)", "relaxed)")
    done, _ = run(built(tmp_path, (released, relaxed), flags=SANITIZED), 100_000)
    assert done.returncode == RACE and "data race" in done.stderr


MUTANTS = {
    "a full ring is overwritten": ("if (head - audit->tail_seen == VEC_AUDIT_RING) make_room", "if (0) make_room"),
    "the ring is taken before older blocks": ("taken = from_blocks(audit, to, most);", "taken = 0; (void)from_blocks;"),
    "what is lost is not told": ("atomic_fetch_add(&audit->lost, lost); old =", "(void)lost; old ="),
    "the chain is not carried on": (
        "audit->sequence++; memcpy(audit->value, value, VEC_AUDIT_VALUE);",
        "audit->sequence++;",
    ),
    "what waits is not hashed anew": (
        "VEC_AUDIT_FACTS); into_blocks(audit, &facts);",
        "VEC_AUDIT_FACTS); (void)facts;",
    ),
}


@pytest.mark.parametrize("what", MUTANTS)
def test_a_planted_defect_is_caught(tmp_path, what):
    program = built(tmp_path, MUTANTS[what], flags=("-O2", "-Wno-unused-function", "-Wno-unused-variable"))
    codes = [run(program, 400_000, seed)[0].returncode for seed in (1, 2, 3)]
    assert 1 in codes, codes
