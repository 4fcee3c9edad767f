"""From what holds to what a policy says: the requests, tried on a copy, leave exactly what the policy says."""

from collections import Counter
from random import Random

import pytest

from vecd.ppm import policy, policy_change
from vecd.ppm import request as requests
from vecd.ppm.monitor import Monitor
from vecd.ppm.properties import indexes, violations
from vecd.ppm.state import CARD, GIVABLE, INSTANCE, USER, byte_of, letters

CARDS = ("c0", "c1")
GUESTS = ("A", "B", "C")
RIGHTS = ("", "c", "rac", "rwac")


def drawn(chance: Random) -> list:
    """
    For each guest None, where the policy does not name it; or level, f_v, and of two instances the rights on each
    card. The second may be none, or of a level of its own, to which the guest has c alone.
    """
    rows = []
    for _ in GUESTS:
        level = chance.choice((3, 3, 4))
        may = chance.choice(("[3, 4]", "[3, 4]", f"[{level}]"))
        first, second = ([chance.choice(RIGHTS) for _ in CARDS] for _ in range(2))
        second = chance.choice((second, None, 3, 4))
        rows.append(chance.choice((None, (level, may, first, second), (level, may, first, second))))
    return rows


def loaded(rows) -> policy.Policy:
    text = "schema = 1\n[model]\nlevels = 5\n" + "".join(f'[[card]]\nname = "{card}"\n' for card in CARDS)
    for name, row in zip(GUESTS, rows, strict=True):
        if row is None:
            continue
        level, may, *instances = row
        text += f'[[guest]]\nname = "{name}"\nlevel = {level}\nmay = {may}\n'
        for number, cards in enumerate(instances, 1):
            if cards is None:
                continue
            own = f"{name}.{number}"
            if isinstance(cards, int):
                text += f'[[instance]]\nname = "{own}"\nowner = "{name}"\nmay = [3, 4]\nlevel = {cards}\n'
                text += f'[[allow]]\nsubject = "{name}"\nobject = "{own}"\nrights = "c"\n'
                continue
            text += f'[[instance]]\nname = "{own}"\nowner = "{name}"\nmay = {may}\n'
            text += f'[[allow]]\nsubject = "{name}"\nobject = "{own}"\nrights = "rac"\n'
            for card, rights in zip(CARDS, cards, strict=True):
                if rights:
                    text += f'[[allow]]\nsubject = "{own}"\nobject = "{card}"\nrights = "{rights}"\n'
    return policy.require({"x.toml": text.encode()})


def world(before: policy.Policy, living, busy) -> Monitor:
    """What holds: these guests live with what the policy gives them, or as guests without one; some in sessions."""
    monitor = Monitor(5)
    for card in CARDS:
        monitor.name(card, CARD)
        monitor.require(requests.create(card)), monitor.require(requests.instruct(card))
    for name in living:
        row = before.guests.get(name)
        made = [(name, USER, None, row)] + [(one.name, INSTANCE, name, one) for one in before.instances_of(name)]
        for key, kind, owner, of in made if row else [(name, USER, None, None), (f"{name}.1", INSTANCE, name, None)]:
            monitor.name(key, kind, owner, of.may if of else None)
            monitor.require(requests.create(key, of.level if of else None)), monitor.require(requests.instruct(key))
    cells = {pair: right.rights for pair, right in before.cells.items()}
    for name in living:
        if name not in before.guests:
            cells |= {(name, f"{name}.1"): "rac", (f"{name}.1", "c0"): "rac"}
    for (subject, target), rights in cells.items():
        if subject in monitor.state.live and target in monitor.state.live:
            for letter in rights:
                monitor.require(requests.give(subject, target, letter))
    for instance, card, far in busy:
        owner = instance.partition(".")[0]
        if instance in monitor.state.live:
            for request in (
                requests.connect(owner, instance),
                requests.append(owner, instance),
                requests.read(owner, instance),
                requests.connect(instance, card),
                requests.switch(card, instance),
                requests.append(instance, card),
                requests.move(instance, card, 2),
            )[:far]:
                monitor.ask(request)
    return monitor


def M(state, whose) -> dict:
    return {
        (s, o): byte & GIVABLE
        for o, column in state.M.items()
        for s, byte in column.items()
        if byte & GIVABLE and str(s).partition(".")[0] in whose
    }


@pytest.mark.parametrize("runs", [100, pytest.param(1000, marks=pytest.mark.minutes)])
def test_after_the_requests_what_holds_is_what_the_policy_says(runs):
    """Pairs of policies over random states with sessions open, and a floor on what came up in them."""
    seen: Counter[str] = Counter()
    for run in range(runs):
        chance = Random(run)
        first, second = drawn(chance), drawn(chance)
        # Mostly a small change, as people make them.
        second = [chance.choice((one, one, other)) for one, other in zip(first, second, strict=True)]
        living = {name for name in GUESTS if chance.random() < 0.8}
        busy = [
            (f"{chance.choice(GUESTS)}.{chance.choice((1, 1, 2))}", chance.choice(CARDS), chance.randint(1, 7))
            for _ in range(chance.randint(0, 4))
        ]
        changed(first, second, living, busy, seen)
    assert 3 * seen["possible"] > runs and 8 * seen["refused"] > runs and 8 * seen["busy"] > runs, seen
    assert seen["R9"] > runs / 4 and seen["R10"] > runs and seen["R7"] > runs / 40 and seen["R11"], seen


def changed(first, second, living, busy, seen):
    before, after = loaded(first), loaded(second)
    monitor = world(before, sorted(living), busy)
    state = monitor.state
    found = state.snapshot()
    plan = policy_change.plan(state, after, before)
    # Deciding changes nothing.
    assert state.snapshot() == found and indexes(state) == []
    assert plan.possible == (not plan.problems)
    for problem in plan.problems:
        assert problem.rule and problem.hint and problem.place.line >= 1, problem
    seen["possible" if plan.possible else "refused"] += 1
    if not plan.possible:
        return
    seen["busy"] += bool(state.current)
    for step in plan.steps:
        seen[step.request.rule] += 1
        if step.request.rule == "R7":
            row = after.instances[step.request.object]
            monitor.name(row.name, INSTANCE, row.owner, row.may)
        assert monitor.ask(step.request) == step.decision and step.decision
        assert violations(state) == []
        # Whatever gives, or moves, has a row that wants it.
        assert step.place or step.request.rule == "R10"
    ours = {name for name in living if name in before.guests or name in after.guests}
    wanted = {
        pair: byte_of(right.rights)
        for pair, right in after.cells.items()
        if pair[0] in state.live and pair[1] in state.live
    }
    assert M(state, ours) == wanted
    assert {name: state.level[name] for name in after.instances if name in state.live} == {
        name: row.level for name, row in after.instances.items() if name in state.live
    }
    # Nobody else lost or got anything, and there is nothing left to do.
    others = set(living) - ours
    assert M(state, others) == {(s, o): b for (s, o), b in M(world(before, sorted(living), []).state, others).items()}
    again = policy_change.plan(state, after, after)
    assert again.steps == () and again.possible
    assert plan.waiting == len(after.cells) - len(wanted)


def test_rights_go_before_any_comes():
    """No state on the way has more than before and after together."""
    before = loaded([(3, "[3]", ["rac", ""], None), None, None])
    after = loaded([(3, "[3]", ["", "rac"], ["rac", ""]), None, None])
    plan = policy_change.plan(world(before, ["A"], []).state, after, before)
    rules = [step.request.rule for step in plan.steps]
    assert rules == ["R10"] * 3 + ["R7", "R5"] + ["R9"] * 9
    assert [letters(policy_change.target(after, "A.1", card)) for card in CARDS] == ["", "rac"]
