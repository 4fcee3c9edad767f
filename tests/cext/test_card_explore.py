"""Every interleaving of card.c, and of card.c with one thing broken (tests/cext/explore_card.c)."""

import re
import subprocess

import pytest

from tests.cext.compile import HERE, SOURCE, build

CARD = SOURCE / "card.c"
EXPLORER = [HERE / "explore_card.c", HERE / "explore.c"]
SCENARIOS = 18

# What is broken: (text of card.c, what stands there instead), ...; the scenario that shows it; the property broken,
# or "" for whichever comes first. White space does not count.
BEGIN = "if (w.quiesced) return -VEC_EBUSY; strip(&w, i, lost);"
SWITCH = "w.held = 0; w.owner = VEC_NONE; } while (!swap(word, &seen, &w)); *ret_seen"
MUTANTS = {
    "end leaves the generation": (
        [("w.quiesced = 0; w.generation++; } while", "w.quiesced = 0; } while")],
        "revoke-a",
        "survives",
    ),
    "no swap where the right is not held now": (
        [(BEGIN, f"if (w.owner != i || !(w.held & lost)) return 1; {BEGIN}")],
        "revoke-a",
        "survives",
    ),
    "no swap where i does not own the slot": (
        [(BEGIN, f"if (w.owner != i) return 1; {BEGIN}")],
        "switch-to-revoked",
        "survives",
    ),
    "begin ignores the card's q": ([(BEGIN, "strip(&w, i, lost);")], "revoke-r", "two-q"),
    "begin sets no q": (
        [(f"{BEGIN} w.quiesced = 1;", BEGIN), ("if (!w.quiesced) return -VEC_EMALFORMED;", "")],
        "revoke-a",
        "",
    ),
    "force leaves the generation": (
        [
            (
                "strip(&w, i, lost); w.quiesced = 1; w.inflight = 0; w.generation++;",
                "strip(&w, i, lost); w.quiesced = 1; w.inflight = 0;",
            )
        ],
        "force-over-down",
        "two-q",
    ),
    "the cell is read before the word": (
        [
            ("(vec_cell_load(&m->card_m[card][i]) & attribute)", "(cell & attribute)"),
            (
                "uint8_t *ret_why) { uint64_t seen",
                "uint8_t *ret_why) { uint8_t cell = vec_cell_load(&m->card_m[card][i]); uint64_t seen",
            ),
        ],
        "revoke-a",
        "survives",
    ),
    "enter checks once and announces later": (
        [
            ("if (!vec_card_allows(seen, i, attribute))", "if (!checked++ && !vec_card_allows(seen, i, attribute))"),
            ("if (!one_attribute(attribute) || n == 0", "int checked = 0; if (!one_attribute(attribute) || n == 0"),
        ],
        "revoke-a",
        "",
    ),
    "leave does not look at the generation": (
        [
            ("if (w.generation != generation) return -VEC_EDENIED;", "(void)generation;"),
            ("if (n == 0 || n > w.inflight) return -VEC_EINTEGRITY;", "if (w.inflight == 0) return 0;"),
        ],
        "abort-a",
        "stale",
    ),
    "the guard does not wait": (
        [
            ("return w.inflight ? -VEC_EBUSY : 0;", "(void)w; return 0;"),
            ("if (w.inflight) return -VEC_EBUSY; w.quiesced = 0;", "w.quiesced = 0;"),
        ],
        "revoke-a",
        "",
    ),
    "a switch keeps its owner until the end": (
        [(SWITCH, SWITCH.replace("w.owner = VEC_NONE; ", ""))],
        "switch-from-revoked",
        "word",
    ),
    "quiesce leaves the generation": (
        [
            (
                "void vec_card_quiesce(vec_card_word *word) { write_off(word);",
                "void vec_card_quiesce(vec_card_word *word) { atomic_fetch_or(&word->word, VEC_WORD_Q);",
            )
        ],
        "guard-dies",
        "stale",
    ),
}


def mutant(text, replacements):
    for old, new in replacements:
        text, found = re.subn(r"\s+".join(map(re.escape, old.split())), lambda _, new=new: new, text)
        assert found == 1, f"card.c has {found} times: {old}"
    return text


def explorer(where, text):
    card = where / "card.c"
    card.write_text(text)
    stepped = build(where / "card.o", card, flags=("-O1", "-c", "-Wno-error", "-include", str(HERE / "step_atomics.h")))
    return build(where / "explore", *EXPLORER, SOURCE / "memfd.c", stepped, flags=("-O1",))


def run(program, *args):
    return subprocess.run([program, *args], capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    return explorer(tmp_path_factory.mktemp("explore"), CARD.read_text())


def test_no_interleaving_lets_a_right_survive_its_revocation(real):
    done = run(real)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(lines) == SCENARIOS and all(": ok, " in line for line in lines), done.stdout


def test_an_abort_alone_does_not_hold_back_a_reply(real):
    """Why the guard ends the card process before it aborts: said in card.h, shown here."""
    done = run(real, "abort-reply")
    assert done.returncode == 1 and "VIOLATED stale" in done.stdout


@pytest.mark.parametrize("name", MUTANTS)
def test_the_explorer_catches(name, tmp_path):
    replacements, scenario, broken = MUTANTS[name]
    done = run(explorer(tmp_path, mutant(CARD.read_text(), replacements)), scenario)
    assert done.returncode == 1 and f"VIOLATED {broken}" in done.stdout, done.stdout + done.stderr
