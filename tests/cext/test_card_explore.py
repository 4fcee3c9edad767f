"""Every interleaving of card.c, and of card.c with one thing broken (tests/cext/explore_card.c)."""

import subprocess

import pytest

from tests.cext.compile import HERE, SOURCE, build

CARD = SOURCE / "card.c"

BEGIN_CHECK = """                if (w.quiesced)
                        return -VEC_EBUSY;
                strip(&w, i, lost);
"""
FORCE_STEP = """                strip(&w, i, lost);
                w.quiesced = 1;
                w.inflight = 0;
                w.generation++;
"""
END_STEP = """                w.quiesced = 0;
                w.generation++;
        } while (!swap(word, &seen, &w));
        return 0;
}

int vec_card_settle"""
TAKE_CELL = """                if (!(vec_cell_load(&m->card_m[card][i]) & attribute)) {"""
TAKE_LOAD = """                  uint8_t *ret_why)
{
        uint64_t seen = vec_word_load(word);
"""
ENTER_CHECK = """                if (!vec_card_allows(seen, i, attribute))
                        return w.quiesced ? -VEC_EBUSY : -VEC_EDENIED;
                if (w.inflight + n"""

# What is broken: the text of card.c, what stands there instead, the scenario that shows it, the property it breaks.
MUTANTS = {
    "end leaves the generation": (
        [(END_STEP, END_STEP.replace("                w.generation++;\n", ""))],
        "revoke-a",
        "survives",
    ),
    "no swap where the right is not held now": (
        [
            (
                BEGIN_CHECK,
                "                if (w.owner != i || !(w.held & lost))\n                        return 1;\n"
                + BEGIN_CHECK,
            )
        ],
        "revoke-a",
        "survives",
    ),
    "no swap where i does not own the slot": (
        [(BEGIN_CHECK, "                if (w.owner != i)\n                        return 1;\n" + BEGIN_CHECK)],
        "switch-to-revoked",
        "survives",
    ),
    "begin ignores the card's q": (
        [(BEGIN_CHECK, "                strip(&w, i, lost);\n")],
        "revoke-r",
        "two-q",
    ),
    "begin sets no q": (
        [
            (BEGIN_CHECK + "                w.quiesced = 1;\n", BEGIN_CHECK),
            ("                if (!w.quiesced)\n                        return -VEC_EMALFORMED;\n", ""),
        ],
        "revoke-a",
        "",
    ),
    "force leaves the generation": (
        [(FORCE_STEP, FORCE_STEP.replace("                w.generation++;\n", ""))],
        "force-over-down",
        "two-q",
    ),
    "the cell is read before the word": (
        [
            (
                TAKE_LOAD,
                TAKE_LOAD.replace(
                    "        uint64_t seen",
                    "        uint8_t cell = vec_cell_load(&m->card_m[card][i]);\n        uint64_t seen",
                ),
            ),
            (TAKE_CELL, "                if (!(cell & attribute)) {"),
        ],
        "revoke-a",
        "survives",
    ),
    "enter checks once and announces later": (
        [
            (
                ENTER_CHECK,
                "                if (!checked && !vec_card_allows(seen, i, attribute))\n                        return w.quiesced ? -VEC_EBUSY : -VEC_EDENIED;\n                checked = 1;\n                if (w.inflight + n",
            ),
            (
                "        if (!one_attribute(attribute) || n == 0",
                "        int checked = 0;\n\n        if (!one_attribute(attribute) || n == 0",
            ),
        ],
        "revoke-a",
        "",
    ),
    "leave does not look at the generation": (
        [
            (
                "                if (w.generation != generation)\n                        return -VEC_EDENIED;\n                /* More",
                "                /* More",
            ),
            (
                "                if (n == 0 || n > w.inflight)\n                        return -VEC_EINTEGRITY;\n",
                "                if (w.inflight == 0)\n                        return generation ? 0 : 0;\n",
            ),
        ],
        "abort-a",
        "stale",
    ),
    "the guard does not wait": (
        [
            ("        return w.inflight ? -VEC_EBUSY : 0;", "        return w.inflight ? 0 : 0;"),
            (
                "                if (w.inflight)\n                        return -VEC_EBUSY;\n                w.quiesced = 0;",
                "                w.quiesced = 0;",
            ),
        ],
        "revoke-a",
        "",
    ),
    "a switch keeps its owner until the end": (
        [
            (
                "                w.held = 0;\n                w.owner = VEC_NONE;\n        } while (!swap(word, &seen, &w));\n        *ret_seen",
                "                w.held = 0;\n        } while (!swap(word, &seen, &w));\n        *ret_seen",
            )
        ],
        "switch-from-revoked",
        "word",
    ),
    "quiesce leaves the generation": (
        [
            (
                "void vec_card_quiesce(vec_card_word *word)\n{\n        write_off(word);",
                "void vec_card_quiesce(vec_card_word *word)\n{\n        atomic_fetch_or(&word->word, VEC_WORD_Q);",
            )
        ],
        "guard-dies",
        "stale",
    ),
}


def explorer(tmp_path, text):
    card = tmp_path / "card.c"
    card.write_text(text)
    stepped = build(tmp_path / "card.o", card, flags=("-O1", "-c", "-include", str(HERE / "step_atomics.h")))
    return build(tmp_path / "explore", HERE / "explore_card.c", SOURCE / "memfd.c", stepped, flags=("-O1",))


def run(program, *args):
    return subprocess.run([program, *args], capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    return explorer(tmp_path_factory.mktemp("explore"), CARD.read_text())


def test_no_interleaving_lets_a_right_survive_its_revocation(real):
    done = run(real)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(lines) == 18 and all(": ok, " in line for line in lines), done.stdout


def test_an_abort_alone_does_not_hold_back_a_reply(real):
    """Why the guard ends the card process before it aborts: said in card.h, shown here."""
    done = run(real, "abort-reply")
    assert done.returncode == 1 and "VIOLATED stale" in done.stdout


@pytest.mark.parametrize("name", MUTANTS)
def test_the_explorer_catches(name, tmp_path):
    replacements, scenario, broken = MUTANTS[name]
    text = CARD.read_text()
    for old, new in replacements:
        assert text.count(old) == 1, f"card.c no longer has once: {old}"
        text = text.replace(old, new)
    done = run(explorer(tmp_path, text), scenario)
    assert done.returncode == 1 and f"VIOLATED {broken}" in done.stdout, done.stdout + done.stderr
