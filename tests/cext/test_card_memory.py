"""The explorer's memories against the known small programs, and the other ways to revoke (explore_{litmus,small}.c)."""

import subprocess

import pytest

from tests.cext.compile import HERE, build

EXPLORER = [HERE / "explore.c", HERE / "memory.c"]
MODELS = ("SC", "TSO", "RA")

# The outcome that a program is about, and the models in which it can be seen.
LITMUS = {
    "SB": ("0000", {"TSO", "RA"}),
    "SB+fences": ("0000", set()),
    "SB+xchg-one": ("0000", {"TSO", "RA"}),
    # A locked instruction is a fence on x86, and none in C11.
    "SB+locked": ("0000", {"RA"}),
    "SB+own": ("1010", {"TSO", "RA"}),
    "MP": ("1000", {"RA"}),
    "MP+release+acquire": ("1000", set()),
    "MP+release": ("1000", {"RA"}),
    "MP+fences": ("1000", set()),
    "MP+sequence": ("2000", set()),
    # Loads that see the future are in neither: said in memory.h.
    "LB": ("1100", set()),
    "2+2W": ("0011", {"RA"}),
    "IRIW": ("1010", {"RA"}),
    # The matrices' seqlock, as shm.c has it, and without the reader's fence: a torn snapshot.
    "seqlock": ("1100", set()),
    "seqlock-no-acquire": ("1100", {"RA"}),
}
# Outcomes that no memory has: coherence, and increments that are lost.
NEVER = {"CoRR": {"1000", "2000", "2100"}, "increments": {"0010", "0020"}}
EVERYWHERE = {"CoRR": {"0000", "1200", "2200"}, "increments": {"0030"}, "SB": {"0100", "1100"}, "MP": {"1100"}}

# What each way to revoke comes to; "" is right.
AFTER, NONE = "works after the answer", "no answer"
WAYS = {
    "naive": dict.fromkeys(MODELS, AFTER),
    "seqlock": dict.fromkeys(MODELS, AFTER),
    "counted": dict.fromkeys(MODELS, ""),
    "counted-dies": dict.fromkeys(MODELS, NONE),
    "slots": dict.fromkeys(MODELS, ""),
    "slots-dies": dict.fromkeys(MODELS, ""),
    "slots-no-worker-fence": {"SC": "", "TSO": AFTER, "RA": AFTER},
    "slots-no-revoker-fence": {"SC": "", "TSO": AFTER, "RA": AFTER},
    "slots-no-fence": {"SC": "", "TSO": AFTER, "RA": AFTER},
}


def lines(program, model):
    done = subprocess.run([program, model], capture_output=True, text=True, timeout=60)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    where = tmp_path_factory.mktemp("parts")
    return [build(where / f"{source.stem}.o", source, flags=("-O1", "-c")) for source in EXPLORER]


@pytest.fixture(scope="module")
def litmus(parts, tmp_path_factory):
    """Outcomes by model and program."""
    program = build(tmp_path_factory.mktemp("litmus") / "litmus", HERE / "explore_litmus.c", *parts)
    found = {}
    for model in MODELS:
        said = lines(program, model)
        found[model] = {a.split(":")[0]: set(b.split()) for a, b in zip(said[::2], said[1::2], strict=True)}
    return found


@pytest.mark.parametrize("name", LITMUS)
def test_a_small_program_has_its_outcome_where_it_should(litmus, name):
    outcome, where = LITMUS[name]
    assert {model for model in MODELS if outcome in litmus[model][name]} == where


@pytest.mark.parametrize("model", MODELS)
def test_what_no_memory_does_is_not_done(litmus, model):
    assert set(litmus[model]) == {*LITMUS, *NEVER}
    for name, outcomes in NEVER.items():
        assert not litmus[model][name] & outcomes
    for name, outcomes in EVERYWHERE.items():
        assert outcomes <= litmus[model][name]


def test_a_weaker_memory_has_every_outcome_of_a_stronger_one(litmus):
    for name in litmus["SC"]:
        assert litmus["SC"][name] <= litmus["TSO"][name] <= litmus["RA"][name], name


@pytest.mark.parametrize("model", MODELS)
def test_only_who_announces_itself_in_the_step_of_the_check_or_behind_a_full_fence_is_waited_for(
    parts, tmp_path, model
):
    """docs/shm.md: check-then-act is broken everywhere; slots are right with both fences and with no fewer."""
    found = {}
    for line in lines(build(tmp_path / "small", HERE / "explore_small.c", *parts), model):
        name, said = line.split(": ", 1)
        found[name] = "" if said.startswith("ok, ") else said.removeprefix("VIOLATED ").split(" after:")[0]
    assert found == {name: by_model[model] for name, by_model in WAYS.items()}
