"""Every interleaving of card.c, under two memory models, and of card.c with one thing broken (explore_card.c)."""

import re
import subprocess

import pytest

from tests.cext.compile import HERE, SOURCE, build
from tests.cext.mutants import mutant

CARD, SHM = SOURCE / "card.c", SOURCE / "shm.c"
EXPLORER = [HERE / "explore_card.c", HERE / "explore.c", HERE / "memory.c", SOURCE / "memfd.c"]

minutes, prove = pytest.mark.minutes, (pytest.mark.prove, pytest.mark.limit(3600))

# Which scenarios are explored by which target, and how many places there are at least in all of them.
SCOPES = [
    pytest.param(
        "TSO",
        ("revoke-a", "revoke-r", "revoke-c", "revoke-a-then-c", "revoke-a-give-again", "revoke-r-give-again"),
        300_000,
    ),
    pytest.param(
        "TSO",
        ("force-turn-killed", "force-switch", "switch-to-revoked", "switch-from-revoked", "yield-from-nobody"),
        95_000,
    ),
    pytest.param("TSO", ("settle-connect", "guard-dies"), 7_000),
    pytest.param(
        "TSO",
        (
            *("fused-revoke-a", "fused-revoke-r", "fused-revoke-c", "fused-a-give-again", "fused-r-give-again"),
            *("fused-killed", "fused-force-r-over-down"),
        ),
        115_000,
    ),
    pytest.param("TSO", ("abort-a", "force-r-over-down", "force-over-down"), 450_000, marks=minutes),
    pytest.param("TSO", ("abort-c",), 600_000, marks=minutes),
    pytest.param("TSO", ("revoke-both",), 98_000, marks=minutes),
    pytest.param("TSO", ("revoke-three",), 430_000, marks=prove),
    pytest.param("TSO", ("revoke-a-two-workers",), 1_600_000, marks=prove),
    pytest.param(
        "RA",
        ("revoke-a", "force-switch", "switch-to-revoked", "switch-from-revoked", "yield-from-nobody", "settle-connect"),
        120_000,
    ),
    pytest.param("RA", ("fused-revoke-a", "fused-revoke-r", "fused-revoke-c", "fused-killed"), 60_000),
    pytest.param("RA", ("fused-a-give-again", "fused-r-give-again"), 270_000, marks=minutes),
    pytest.param("RA", ("fused-force-r-over-down",), 600_000, marks=prove),
    pytest.param("RA", ("revoke-c", "guard-dies"), 160_000, marks=minutes),
    pytest.param("RA", ("revoke-r", "revoke-a-then-c"), 250_000, marks=prove),
    pytest.param("RA", ("revoke-both", "revoke-three"), 2_000_000, marks=prove),
    pytest.param("RA", ("abort-a", "force-turn-killed", "force-over-down"), 1_000_000, marks=prove),
    pytest.param("RA", ("revoke-a-give-again", "revoke-r-give-again"), 1_900_000, marks=prove),
    pytest.param("RA", ("force-r-over-down",), 5_000_000, marks=prove),
    pytest.param("RA", ("abort-c",), 2_000_000, marks=prove),
    pytest.param("RA", ("revoke-a-two-workers",), 3_900_000, marks=prove),
]
SCENARIOS = 27

# What is broken: (text of card.c, what stands there instead), ...; the scenario that shows it; the property broken,
# or "" for whichever comes first. White space does not count. Shown under TSO, so no weak order is needed for it.
BEGIN = "if (w.quiesced) return -VEC_EBUSY; strip(&w, i, lost);"
SWITCH = "w.held = 0; w.owner = VEC_NONE; } while (!swap(word, &seen, &w)); *ret_seen"
SWAPPED = "strip(&w, i, lost); w.quiesced = 1; } while (!swap(word, &seen, &w)); *ret_seen"
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
    "begin stores and does not swap": (
        [
            (
                SWAPPED,
                SWAPPED.replace(
                    "while (!swap(word, &seen, &w))",
                    "while (atomic_store_explicit(&word->word, vec_word_encode(&w), memory_order_seq_cst), 0)",
                ),
            )
        ],
        "revoke-a",
        "",
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
    "work ends while q is the guard's": (
        [("bits = VEC_WORD_Q | STATUS_BITS", "bits = STATUS_BITS")],
        "fused-revoke-a",
        "",
    ),
    "work begins without a look at M": (
        [("|| (needs & ~vec_cell_load(&m->card_m[card][i])))", ")")],
        "fused-revoke-a",
        "survives",
    ),
    "a reply begins without a look at M": (
        [("|| !(vec_cell_load(&m->card_m[card][i]) & VEC_R))", ")")],
        "fused-revoke-r",
        "survives",
    ),
    "a reply is not announced": (
        [("VEC_R | fields(VEC_CONTROL, n, 0)", "VEC_R | fields(VEC_CONTROL, 0, 0)")],
        "fused-revoke-r",
        "stale",
    ),
    "quiesce leaves the generation": (
        [
            (
                "void vec_card_quiesce(vec_card_word *word) { write_off(word);",
                "void vec_card_quiesce(vec_card_word *word) {"
                " atomic_fetch_or_explicit(&word->word, VEC_WORD_Q, memory_order_acq_rel);",
            )
        ],
        "guard-dies",
        "stale",
    ),
}
QUICK = ("end leaves the generation", "no swap where i does not own the slot")

# One memory order weaker than it is: what is broken, the scenario, and the properties that RA sees broken there. On
# x86 the compiler makes the same instructions of both, and TSO sees nothing.
SWAP = "memory_order_acq_rel, memory_order_acquire)"
LOAD = "atomic_load_explicit(&word->word, memory_order_acquire)"
DRAINED = "vec_word_decode(vec_word_load(word)); return w.inflight"
WEAKER = {
    "the load of the word is relaxed": ((LOAD, LOAD.replace("acquire", "relaxed")), "force-switch", "survives"),
    "a swap that fails is relaxed": ((SWAP, "memory_order_acq_rel, memory_order_relaxed)"), "revoke-a", "survives"),
    "a swap does not release": ((SWAP, "memory_order_acquire, memory_order_acquire)"), "force-switch", "survives"),
    "a swap does not acquire": ((SWAP, "memory_order_release, memory_order_acquire)"), "revoke-c", "race"),
    "a swap is relaxed": ((SWAP, "memory_order_relaxed, memory_order_acquire)"), "yield-from-nobody", "race"),
    "drained is relaxed": (
        (DRAINED, DRAINED.replace("vec_word_load(word)", "atomic_load_explicit(&word->word, memory_order_relaxed)")),
        "revoke-a",
        "race",
    ),
}
# What RA does not miss either: the word alone carries the order of the cells.
STRONGER_THAN_NEEDED = {
    "a cell is stored relaxed": ("__atomic_store_n(cell, value, __ATOMIC_RELEASE)", "__ATOMIC_RELEASE"),
    "a cell is loaded relaxed": ("__atomic_load_n(cell, __ATOMIC_ACQUIRE)", "__ATOMIC_ACQUIRE"),
}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The explorer without what it explores, compiled once."""
    where = tmp_path_factory.mktemp("parts")
    return [build(where / f"{source.stem}.o", source, flags=("-O2", "-c")) for source in EXPLORER]


@pytest.fixture(scope="module")
def explorer(parts, tmp_path_factory):
    """The explorer of these two sources."""

    def of(card=(), shm=()):
        where = tmp_path_factory.mktemp("explore")
        stepped = []
        for source, replacements in ((CARD, card), (SHM, shm)):
            text = where / source.name
            text.write_text(mutant(source.read_text(), replacements))
            flags = ("-O1", "-c", "-Wno-error", "-include", str(HERE / "step_atomics.h"))
            stepped.append(build(where / f"{source.stem}.o", text, flags=flags))
        return build(where / "explore", *parts, *stepped)

    return of


@pytest.fixture(scope="module")
def real(explorer):
    return explorer()


def run(program, *args):
    return subprocess.run([program, *args], capture_output=True, text=True, timeout=3000)


@pytest.mark.parametrize(("model", "scenarios", "least"), SCOPES)
def test_no_interleaving_lets_a_right_survive_its_revocation(real, model, scenarios, least):
    done = run(real, model, *scenarios)
    print(done.stdout)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(lines) == len(scenarios) and all(": ok, " in line for line in lines), done.stdout
    places = sum(int(re.search(r"(\d+) places", line)[1]) for line in lines)
    assert places >= least, places


def test_every_scenario_is_explored_under_both_models():
    by_model = {}
    for row in SCOPES:
        by_model.setdefault(row.values[0], []).extend(row.values[1])
    text = (HERE / "explore_card.c").read_text()
    known = re.findall(r'^        \{"([a-z-]+)"', text, re.MULTILINE)
    known.remove("abort-reply")
    assert len(known) == SCENARIOS and sorted(by_model["TSO"]) == sorted(known)
    assert sorted(by_model["RA"]) == sorted(known)


@pytest.mark.parametrize("model", ["TSO", "RA"])
def test_an_abort_alone_does_not_hold_back_a_reply(real, model):
    """Why the guard ends the card process before it aborts: said in card.h, shown here."""
    done = run(real, model, "abort-reply")
    assert done.returncode == 1 and "VIOLATED stale" in done.stdout


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in QUICK else minutes) for name in MUTANTS])
def test_the_explorer_catches(explorer, name):
    replacements, scenario, broken = MUTANTS[name]
    program = explorer(replacements)
    for model in ("TSO", "RA"):
        done = run(program, model, scenario)
        assert done.returncode == 1 and "VIOLATED" in done.stdout, done.stdout + done.stderr
        assert model == "RA" or f"VIOLATED {broken}" in done.stdout, done.stdout


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "a swap that fails is relaxed" else minutes) for name in WEAKER]
)
def test_a_weaker_order_is_caught_by_the_weaker_model_alone(explorer, name):
    replacement, scenario, broken = WEAKER[name]
    program = explorer([replacement])
    done = run(program, "RA", scenario)
    assert done.returncode == 1 and f"VIOLATED {broken}" in done.stdout, done.stdout + done.stderr
    assert run(program, "TSO", scenario).returncode == 0


@pytest.mark.minutes
@pytest.mark.parametrize("name", STRONGER_THAN_NEEDED)
def test_the_word_alone_carries_the_order_of_the_cells(explorer, name):
    """Nothing rests on the order of a cell: known, and kept, for whoever reads cells without the word."""
    old, order = STRONGER_THAN_NEEDED[name]
    program = explorer(shm=[(old, old.replace(order, "__ATOMIC_RELAXED"))])
    done = run(program, "RA", "revoke-a", "force-switch", "switch-to-revoked", "switch-from-revoked")
    assert done.returncode == 0, done.stdout
