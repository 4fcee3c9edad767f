"""The bench of the monitor compares with a build that has none of it: bench/bare.h takes out every step there is."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "cext" / "src"
# They ask for nothing and change nothing in a turn that goes well.
KEPT = {"vec_word_load", "vec_card_quiesce"}


def test_every_step_that_a_turn_takes_is_taken_out():
    bare = set(re.findall(r"#define (vec_(?:card|word|cell)_\w+)\(", (ROOT / "bench" / "bare.h").read_text()))
    used = {
        name
        for source in ("step.c", "turn.c")
        for name in re.findall(r"\b(vec_(?:card|word|cell)_\w+)\(", (SOURCE / source).read_text())
    }
    steps = {name for name in used if name.startswith(("vec_card_", "vec_cell_", "vec_word_"))}
    assert len(steps) > 12 and steps - bare <= KEPT


def test_the_other_files_of_a_turn_take_no_step():
    for source in ("batch.c", "request.c", "receive.c", "send.c", "grid.c", "share.c", "driver_soft.c"):
        assert not re.findall(r"\bvec_card_\w+\(", (SOURCE / source).read_text()), source
