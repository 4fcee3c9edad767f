"""The steps of card.c are the rules: in every reachable state of small worlds, and on long walks (steps_card.c)."""

import subprocess

import pytest

from tests.cext import steps_table
from tests.cext.compile import HERE, SOURCE, build
from tests.cext.mutants import mutant

CARD = SOURCE / "card.c"
PARTS = [HERE / "steps_card.c", HERE / "steps_world.c", SOURCE / "shm.c", SOURCE / "memfd.c"]

# World: at least so many states, operations, and comparisons of everything after a step.
SCOPES = {
    steps_table.two_instances: (2050, 48, 200_000),
    steps_table.three_instances: (2807, 64, 440_000),
    steps_table.three_changing: (12_332, 66, 1_700_000),
    steps_table.two_cards: (42_915, 72, 6_000_000),
}
WORLDS = (
    steps_table.two_instances,
    pytest.param(steps_table.three_instances, marks=pytest.mark.minutes),
    pytest.param(steps_table.three_changing, marks=pytest.mark.minutes),
    pytest.param(steps_table.two_cards, marks=(pytest.mark.prove, pytest.mark.limit(1800))),
)

# What is broken in card.c. Each is an answer or an effect that the rules do not give; each found in the smallest world.
LEVEL = "if (attribute == VEC_R && w.status != VEC_CONTROL) {"
CELL = "if (!(vec_cell_load(&m->card_m[card][i]) & attribute)) {"
BEGINS = "(seen & bits) != (VEC_C | fields(VEC_CONTROL, 0, i))"
REPLIES = "| VEC_R | fields(VEC_CONTROL, n, 0))"
NOT_CONNECTED = "if (!(w.held & VEC_C)) { *ret_why"
UP = "if (w.status != VEC_CONTROL || (w.held & (VEC_R | VEC_W)))"
NEXT = "if (next != VEC_NONE && (vec_cell_load(&m->card_b[card][next]) & VEC_C)) {"
SWITCHED = "w.status = VEC_CONTROL; w.quiesced = 0; w.generation++;"
WORKS = "return status == VEC_USING ? VEC_A : status == VEC_CONTROL ? VEC_R | VEC_W : 0;"
MUTANTS = {
    "R4 reads in using": [(LEVEL, LEVEL.replace("!= VEC_CONTROL", "== VEC_FREE"))],
    "R2 is refused in using": [(LEVEL, LEVEL.replace("attribute == VEC_R && ", ""))],
    "R2 and R4 do not look at M": [(CELL, "if (0) {")],
    "R4 looks at a in M": [(CELL, CELL.replace("& attribute", "& VEC_A"))],
    "R2 and R4 look at M of another card": [(CELL, CELL.replace("[card]", "[card ^ 1]"))],
    "R2 and R4 give the slot to who asks": [
        (
            "r = owner_may_step(&w, i); if (r < 0) { *ret_why",
            "w.owner = (uint16_t)i; r = owner_may_step(&w, i); if (r < 0) { *ret_why",
        )
    ],
    "a wrong reason": [
        ("? VEC_REASON_M_LACKS_A : VEC_REASON_M_LACKS_R", "? VEC_REASON_M_LACKS_R : VEC_REASON_M_LACKS_A")
    ],
    "a refusal by the slot says not connected": [
        ("VEC_REASON_QUIESCED : VEC_REASON_SLOT_LOST", "VEC_REASON_QUIESCED : VEC_REASON_NOT_CONNECTED")
    ],
    "R6 gives back what is not held": [("if (!(w.held & attribute)) return -VEC_EDENIED;", "")],
    "R6 gives back everything but c": [
        ("w.held &= (uint8_t)~attribute; } while", "w.held &= VEC_C; (void)attribute; } while")
    ],
    "R6 does not wait for what is in flight": [
        ("if (w.inflight) return -VEC_EBUSY; w.held &= (uint8_t)~attribute;", "w.held &= (uint8_t)~attribute;")
    ],
    "R11 goes up with r held": [(UP, "if (w.status != VEC_CONTROL || (w.held & VEC_W))")],
    "R11 goes up from anything": [(UP, "if (w.held & (VEC_R | VEC_W))")],
    "R11 drops a on the way up": [("w.status = VEC_USING; } while", "w.status = VEC_USING; w.held &= VEC_C; } while")],
    "R11 down leaves it using": [("w.status = VEC_CONTROL; w.quiesced = 0; return", "w.quiesced = 0; return")],
    "R11 down moves the generation": [
        (
            "w.status = VEC_CONTROL; w.quiesced = 0; return",
            "w.status = VEC_CONTROL; w.quiesced = 0; w.generation++; return",
        )
    ],
    "R12 gives the slot to who is not connected": [(NEXT, "if (next != VEC_NONE) {")],
    "R12 never gives the slot": [(NEXT, "if (0) {")],
    "R12 leaves the next one what the last one held": [("w.held = VEC_C; }", "w.held = VEC_C | VEC_A; }")],
    "R12 leaves it using": [(SWITCHED, "w.quiesced = 0; w.generation++;")],
    "R12 does not move the generation": [(SWITCHED, "w.status = VEC_CONTROL; w.quiesced = 0;")],
    "R12 wipes a free card": [
        ("if (w.status == VEC_FREE) return -VEC_EDENIED; w.quiesced = 1;", "w.quiesced = 1;"),
        ("w.inflight || w.status == VEC_FREE)", "w.inflight)"),
    ],
    "R1 leaves the card free": [
        (
            "w.status = VEC_CONTROL; } while (!swap(word, &seen, &w)); return 0; } static int revocable",
            "break; } while (!swap(word, &seen, &w)); return 0; } static int revocable",
        )
    ],
    "R1 takes a card that is using down": [
        ("if (w.status != VEC_FREE) return 0;", "if (w.status == VEC_CONTROL) return 0;")
    ],
    "R10 of one strips another": [("if (w->owner != i) return;", "(void)i;")],
    "R10 of c leaves r and a": [("w->held = 0; w->owner = VEC_NONE;", "w->owner = VEC_NONE;")],
    "R10 of c leaves the slot": [("w->held = 0; w->owner = VEC_NONE;", "w->held = VEC_C;")],
    "R10 of a takes c": [("w->held &= (uint8_t)~lost;", "w->held &= (uint8_t)~(lost | VEC_C);")],
    "R10 takes nothing": [("w->held &= (uint8_t)~lost;", "")],
    "R10 ends with the same generation": [("w.quiesced = 0; w.generation++; } while", "w.quiesced = 0; } while")],
    "force does not move the generation": [
        (
            "w.inflight = 0; w.generation++; } while (!swap(word, &seen, &w)); *ret_seen",
            "w.inflight = 0; } while (!swap(word, &seen, &w)); *ret_seen",
        )
    ],
    "settle frees a card with a slot owner": [("if (w.owner != VEC_NONE) return -VEC_EDENIED;", "")],
    "settle leaves it in control": [("w.status = VEC_FREE; w.generation++;", "w.generation++;")],
    "submit enters in control": [(WORKS, WORKS.replace("VEC_R | VEC_W", "VEC_R | VEC_W | VEC_A"))],
    "fetch does not enter in control": [(WORKS, WORKS.replace("VEC_R | VEC_W", "VEC_W"))],
    "enter for whoever asks": [
        ("return one_attribute(attribute) && !owner_may_step(&w, i) &&", "(void)i; return one_attribute(attribute) &&")
    ],
    "enter does not look at what is held": [
        ("(w.held & works_by(w.status) & attribute) != 0", "(works_by(w.status) & attribute) != 0")
    ],
    "leave counts one too few": [
        ("w.inflight = (uint16_t)(w.inflight - n);", "w.inflight = (uint16_t)(w.inflight - (n > 1 ? n - 1 : n));")
    ],
    "leave takes more than entered": [("if (n == 0 || n > w.inflight) return -VEC_EINTEGRITY;", "")],
    "work begins without a look at M": [("|| (needs & ~vec_cell_load(&m->card_m[card][i])))", ")")],
    "work begins with r held": [
        ("= VEC_C | VEC_R | VEC_W | VEC_WORD_Q | STATUS_BITS", "= VEC_C | VEC_WORD_Q | STATUS_BITS")
    ],
    "work begins in using": [(BEGINS, "(seen & bits & ~STATUS_BITS) != (VEC_C | fields(VEC_FREE, 0, i))")],
    "work begins for another": [(BEGINS, "(seen & bits & ~OWNER_BITS) != (VEC_C | fields(VEC_CONTROL, 0, 0))")],
    "work ends and q is clear": [("next = (seen & ~INFLIGHT_BITS) | VEC_WORD_Q;", "next = seen & ~INFLIGHT_BITS;")],
    "work ends while another is inside": [
        ("(seen & bits) != fields(VEC_USING, n, i)", "(seen & bits & ~INFLIGHT_BITS) != fields(VEC_USING, 0, i)")
    ],
    "a reply begins without a look at M": [("|| !(vec_cell_load(&m->card_m[card][i]) & VEC_R))", ")")],
    "a reply begins and the card is using": [(REPLIES, "| VEC_R | fields(VEC_USING, n, 0))")],
    "a reply is not announced": [(REPLIES, "| VEC_R | fields(VEC_CONTROL, 0, 0))")],
    "a reply ends and r stays": [("seen & ~(INFLIGHT_BITS | (uint64_t)VEC_R)", "seen & ~INFLIGHT_BITS")],
    "the generation has 33 bits": [
        (
            "#define GENERATION_MASK ((UINT64_C(1) << (64 - VEC_WORD_GENERATION_SHIFT)) - 1)",
            "#define GENERATION_MASK ((UINT64_C(1) << 33) - 1)",
        )
    ],
}
# Impossible in any state that the rules reach, so the difference cannot be seen: the guard is a second line.
IMPLIED = {
    "R11 goes up with requests in flight, which need r or w, with which it does not go up": [
        ("if (w.inflight) return -VEC_EBUSY; w.status = VEC_USING;", "w.status = VEC_USING;")
    ],
    "fetch enters in using, where nobody holds r": [(WORKS, WORKS.replace("? VEC_A :", "? VEC_A | VEC_R :"))],
    "R2 and R4 without c": [(NOT_CONNECTED, "if (0) { *ret_why")],
}
QUICK = ("R4 reads in using", "R12 gives the slot to who is not connected", "R10 of c leaves r and a")


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """All but card.c, compiled once."""
    where = tmp_path_factory.mktemp("parts")
    return [build(where / f"{source.stem}.o", source, flags=("-O2", "-c")) for source in PARTS]


@pytest.fixture
def broken(parts, tmp_path):
    """The program with a broken card.c; what a mutant no longer uses is no error of it."""

    def of(replacements):
        card = tmp_path / "card.c"
        card.write_text(mutant(CARD.read_text(), replacements))
        return build(tmp_path / "steps", *parts, card, flags=("-O0", "-Wno-error"))

    return of


def run(path, table, *args):
    done = subprocess.run([path, table, *args], capture_output=True, text=True, timeout=900)
    return done, dict(pair.split("=") for pair in done.stdout.split() if "=" in pair)


@pytest.fixture(scope="module")
def real(parts, tmp_path_factory):
    return build(tmp_path_factory.mktemp("steps") / "steps", *parts, CARD, flags=("-O2",))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The file with the table of a world, made once."""
    made, where = {}, tmp_path_factory.mktemp("tables")

    def of(world):
        if world not in made:
            made[world] = where / world.__name__
            made[world].write_bytes(steps_table.table(*world()).data)
        return made[world]

    return of


@pytest.mark.parametrize("world", WORLDS)
def test_every_step_is_its_rule_in_every_reachable_state(real, table, world):
    done, counts = run(real, table(world), "every")
    print(done.stdout)
    assert done.returncode == 0, done.stdout
    states, operations, checked = SCOPES[world]
    assert int(counts["states"]) >= states and int(counts["operations"]) >= operations, done.stdout
    assert int(counts["checked"]) >= checked and int(counts["in_flight"]) >= 30_000, done.stdout
    # Whole turns in four changes of the word, each held against its rules one after the other.
    assert int(counts["fused"]) >= states // 10, done.stdout


STEPS = (100_000, pytest.param(10_000_000, marks=pytest.mark.minutes))


@pytest.mark.parametrize("steps", STEPS)
def test_on_a_long_walk_the_steps_stay_with_the_rules(real, table, steps):
    """
    One memory that is never put right, across the wrap of the generation, with requests left in flight.

    Ten million steps are walked in the world of three instances, a hundred thousand in that of two.
    """
    world = steps_table.two_instances if steps < 1_000_000 else steps_table.three_changing
    done, counts = run(real, table(world), "walk", str(steps), "20261121")
    print(done.stdout)
    assert done.returncode == 0, done.stdout
    assert int(counts["walked"]) == steps
    assert int(counts["visited"]) >= (400 if steps < 1_000_000 else 5000), done.stdout
    assert all(
        int(counts[what]) >= steps // 10_000 for what in ("forced", "cut_short", "written_off", "waited", "fused")
    )


@pytest.mark.prove
@pytest.mark.limit(1800)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("world", [steps_table.three_changing, steps_table.two_cards])
def test_on_a_hundred_million_steps_too(real, table, world, seed):
    done, counts = run(real, table(world), "walk", "100000000", str(seed))
    assert done.returncode == 0, done.stdout
    assert int(counts["walked"]) == 100_000_000


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.minutes) for name in MUTANTS]
)
def test_a_step_that_is_not_its_rule_is_noticed(table, broken, name):
    done, _ = run(broken(MUTANTS[name]), table(steps_table.two_instances), "every")
    assert done.returncode == 1 and "DIFFERS" in done.stdout, done.stdout + done.stderr


@pytest.mark.minutes
@pytest.mark.parametrize("name", IMPLIED)
def test_a_guard_that_no_reachable_state_needs_is_known(table, broken, name):
    """Not noticed, because every reachable state has it: kept, and listed, so that the list is the whole of it."""
    done, _ = run(broken(IMPLIED[name]), table(steps_table.two_instances), "every")
    assert done.returncode == 0, done.stdout
