"""The Z3 form is what vecd.ppm executes: every answer and every cell, on reachable and on random states."""

import random
from functools import cache
from itertools import product

import pytest

from tests.model import explored, mutation
from tests.model import test_exploration as worlds
from tests.model import test_mutants as mutants
from tests.model.induction import scrambled
from tests.model.induction.differential import Form, ask_all, differences, observe_all, property_differences
from tests.model.induction.finite import Term
from tests.model.induction.steps import transitions
from tests.model.induction.terms import world as axioms
from tests.model.worlds import entities, requests
from vecd.ppm.levels import Levels
from vecd.ppm.request import Request
from vecd.ppm.rules import RULES, decide
from vecd.ppm.state import CARD, INSTANCE, MANAGER, USER, State

# One user with every attribute; creation and destruction; five levels. The others are looked at by make prove.
SMALLER = (explored.every_attribute, explored.come_and_go_alone, explored.five_levels)

# Random, and the same each time.
SEED = 20


@cache
def form():
    return Form()


def every_request(state):
    """All that `requests` has, every level for R7, and for each rule every pair of kinds that it is not for."""
    found = requests(state)
    for r in [r for r in found if r.rule == "R7"]:
        found += [r._replace(level=n) for n in range(state.levels.count + 2)]
    things = [*state.world, None, "zz"]
    kinds = {key: state.kind(key) if key in state.world else None for key in things}
    first = {}
    for s, o in product(things, things):
        first.setdefault((kinds[s], kinds[o]), (s, o))
    for name, (pair, (s, o)) in product(RULES, first.items()):
        if pair not in RULES[name].pairs:
            found.append(Request(name, s, o, "c", to=s, level=3))
    some = entities(state, INSTANCE)[0], entities(state, CARD)[0]
    found += [Request("R13", *some), Request(None, *some), Request("R12", MANAGER, some[1], next="zz")]
    found += [Request("R6", *some, attribute=x) for x in ("e", "x", "", None, 3)]
    found += [Request("R9", MANAGER, some[1], x, to=to) for x in ("e", "x", None) for to in (*things, some[0])]
    found += [Request("R11", *some, level=n) for n in ("2", None, True, 2.0, 0, 99)]
    return found


def compared(world, every):
    """Nothing differs in every `every`-th reachable state of a world, for every request; (states, requests)."""
    found = explored.reached(world)
    state, snapshots = found.state, found.snapshots[::every]
    asked = every_request(state)
    states, answers = ask_all(state, snapshots, asked)
    assert not differences(form(), states, asked, answers)
    wrong, secure = property_differences(states, restored(state, snapshots))
    assert not wrong and secure == len(snapshots)
    assert all(Term(formula).on(states) == states.full for formula in axioms().values())
    return len(snapshots), len(asked)


def restored(state, snapshots):
    for snapshot in snapshots:
        state.restore(snapshot)
        yield state


def random_states(rng, make, count, asked, decide=decide, levels=None):
    """What differs on random states of one random world: sentences; and how many states were secure, answers a yes."""
    state = scrambled.world(rng, levels)
    snapshots = [make(rng, state) for _ in range(count)]
    ghosts = [scrambled.ghost(rng, state) for _ in snapshots]
    wanted = [scrambled.request(rng, state) for _ in range(asked)]
    states, answers = ask_all(state, snapshots, wanted, ghosts, decide)
    wrong, secure = property_differences(states, restored(state, snapshots))
    wrong += differences(form(), states, wanted, answers, ghost=True)
    return wrong, secure, sum(answer.yes.bit_count() for answer in answers)


def many_random_states(rounds, count, asked):
    """Nothing differs in any of the rounds; numbers of states that are secure and that are not, and of each yes."""
    rng = random.Random(SEED)
    good = bad = yes = 0
    for _ in range(rounds):
        for make in (scrambled.secure, scrambled.broken):
            wrong, secure, agreed = random_states(rng, make, count, asked)
            assert not wrong, wrong[0]
            # What is put together to be secure is; what is broken is not for the most part.
            assert (secure == count) == (make is scrambled.secure)
            good, bad, yes = good + secure, bad + count - secure, yes + agreed
    print(f"{good} secure states and {bad} others, {asked} requests in each, {yes} answered yes")
    return good, bad, yes


# ---- quick


def test_the_form_gives_the_answers_and_the_states_of_the_rules_in_a_small_world():
    states, asked = compared(explored.come_and_go_alone, 40)
    assert states >= 50 and asked >= 150


def test_the_form_gives_the_answers_and_the_states_of_the_rules_in_random_states():
    good, bad, yes = many_random_states(1, 120, 80)
    assert good >= 120 and bad >= 80 and yes > 2000


# ---- minutes


@pytest.mark.minutes
@pytest.mark.limit(600)
@pytest.mark.parametrize("world", SMALLER, ids=lambda world: world.__name__)
def test_the_form_is_the_rules_in_every_hundredth_reachable_state_for_every_request(world):
    states, asked = compared(world, 100)
    print(f"{world.__name__}: {states} states, {asked} requests in each")
    assert states >= worlds.SIZES[world] // 100 and asked > 500


@pytest.mark.minutes
@pytest.mark.limit(600)
def test_the_form_is_the_rules_in_random_states_secure_or_not():
    good, bad, yes = many_random_states(2, 150, 100)
    assert good >= 300 and bad >= 200 and yes > 8_000


@pytest.mark.minutes
def test_an_observation_is_what_the_monitor_makes_of_it():
    believed, refused = observe_all(random.Random(SEED), 1200)
    print(f"{believed} observations believed, {refused} refused")
    assert believed > 120 and refused > 400


# A rule of vecd.ppm that forgets what it writes to one table.
FORGETS = [
    ("R1", "b"),
    ("R1", "status"),
    ("R1", "level"),
    ("R2", "b"),
    ("R3", "b"),
    ("R4", "b"),
    ("R5", "b"),
    ("R6", "b"),
    ("R6", "key"),
    ("R6", "current"),
    ("R6", "status"),
    ("R6", "level"),
    ("R7", "live"),
    ("R7", "level"),
    ("R7", "M"),
    ("R8", "M"),
    ("R8", "b"),
    ("R8", "level"),
    ("R8", "live"),
    ("R9", "M"),
    ("R10", "M"),
    ("R10", "b"),
    ("R10", "key"),
    ("R10", "current"),
    ("R10", "status"),
    ("R10", "level"),
    ("R11", "level"),
    ("R11", "status"),
    ("R11", "context"),
    ("R12", "b"),
    ("R12", "context"),
    ("R12", "output"),
    ("R12", "current"),
    ("R12", "status"),
    ("R12", "level"),
    ("loadkey", "key"),
    ("loadkey", "context"),
    ("submit", "context"),
    ("process", "output"),
    ("config", "output"),
]


def noticed(decide, rules, make=scrambled.secure):
    """Requests of these rules, in random states: the first difference, or nothing."""
    rng = random.Random(SEED)
    for _ in range(12):
        state = scrambled.world(rng)
        snapshots = [make(rng, state) for _ in range(40)]
        wanted = [r for r in (scrambled.request(rng, state) for _ in range(300)) if r.rule in rules]
        ghosts = [scrambled.ghost(rng, state) for _ in snapshots]
        states, answers = ask_all(state, snapshots, wanted, ghosts, decide)
        found = differences(form(), states, wanted, answers, ghost=True)
        if found:
            return found[0]
    return ""


@pytest.mark.minutes
@pytest.mark.parametrize(("rule", "table"), FORGETS)
def test_a_rule_that_forgets_a_table_differs(rule, table):
    assert noticed(mutants.without_effect(rule, table), (rule,)).startswith(f"Request(rule='{rule}'")


@pytest.mark.minutes
@pytest.mark.parametrize("lie", [*mutants.LIES, *mutants.IMPLIED])
def test_a_rule_that_sees_what_it_wants_differs(lie, monkeypatch):
    """Also what no property notices, because another guard implies it: here the answer is compared."""
    method, names, seen = (mutants.LIES | mutants.IMPLIED)[lie]
    assert noticed(decide, names) == ""
    changed = mutants.lying(monkeypatch, method, names, seen)
    assert noticed(changed, names, scrambled.broken if lie in mutants.IMPLIED else scrambled.secure)


@pytest.mark.minutes
@pytest.mark.parametrize("what", ["engine", "buffers", "key slot", "memory"])
def test_a_rule_that_does_not_wipe_differs(what):
    def mutant(state, request):
        decision = decide(state, request)
        return decision._replace(wipes=tuple(wipe for wipe in decision.wipes if wipe[0] != what))

    assert noticed(mutant, ("R6", "R7", "R10", "R11", "R12"))


# ---- prove


# Parts of rules.py without which every answer and every cell is the same: they choose words, or skip what is empty.
SAME = {
    "destroy: always True: byte",
    "_instance_busy: guard table == 'b'",
    "_instance_busy: guard table == 'key'",
    "_card_busy: guard connected",
    "_lacks: guard what.kind == INSTANCE and what.owner != s",
    # Without a slot owner there is no level of one, and the next guard refuses.
    "_down: guard current is None",
}


def noticed_anywhere(decide):
    """The kind of random states in which something differs, or is raised; nothing if all is the same."""
    for make in (scrambled.secure, scrambled.broken):
        rng = random.Random(SEED)
        for _ in range(10):
            state = scrambled.world(rng)
            snapshots = [make(rng, state) for _ in range(40)]
            wanted = [scrambled.request(rng, state) for _ in range(300)]
            ghosts = [scrambled.ghost(rng, state) for _ in snapshots]
            try:
                states, answers = ask_all(state, snapshots, wanted, ghosts, decide)
            except (AssertionError, AttributeError, LookupError, TypeError, ValueError):
                return f"{make.__name__}, by raising"
            if differences(form(), states, wanted, answers, ghost=True):
                return make.__name__
    return ""


@pytest.mark.prove
@pytest.mark.limit(600)
@pytest.mark.parametrize("name", mutation.mutants())
def test_a_part_taken_out_of_the_source_of_the_rules_differs(name):
    """Each guard, case, effect and wipe of rules.py, by tests/model/mutation.py."""
    where = noticed_anywhere(mutation.mutants()[name]())
    print(name, where)
    assert bool(where) != (name in SAME), where


@pytest.mark.prove
def test_no_part_that_makes_no_difference_is_left_over():
    assert set(mutation.mutants()) >= SAME


@pytest.mark.prove
@pytest.mark.limit(3600)
@pytest.mark.parametrize("world", worlds.WORLDS, ids=lambda world: world.__name__)
def test_the_form_is_the_rules_in_every_reachable_state_for_every_request(world):
    states, asked = compared(world, 1)
    print(f"{world.__name__}: {states} states, {asked} requests in each")
    assert states >= worlds.SIZES[world] and asked > 500


@pytest.mark.prove
@pytest.mark.limit(3600)
def test_the_form_is_the_rules_in_many_random_states():
    before = form().enabled.copy()
    good, bad, yes = many_random_states(25, 400, 200)
    # About a fifth of four million requests.
    assert good >= 10_000 and bad >= 8_000 and yes > 800_000
    # No row of the table is compared only where it is refused.
    least = min((form().enabled[t.name] - before[t.name], t.name) for t in transitions())
    print(f"least often a yes: {least}")
    assert least[0] >= 100


def test_a_world_has_no_thing_that_the_axioms_leave_out():
    """What State.name refuses is what the axioms exclude: f_v outside the instance levels, an owner that is no user."""
    state = State(Levels(5))
    state.name("A", USER)
    for kind, owner, may in ((USER, None, {2}), (INSTANCE, "A", {5}), (INSTANCE, None, None), (CARD, None, {2, 5})):
        with pytest.raises(ValueError):
            state.name("x", kind, owner, may)
