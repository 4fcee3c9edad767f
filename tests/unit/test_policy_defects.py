"""The tests of the policy can fail: each part of it is taken out once, and a test that holds it notices."""

import functools

import pytest

from tests.unit import test_guard_policy as held
from tests.unit.policy_cases import REFUSED
from vecd.base import folder
from vecd.ppm import policy, policy_change, policy_rows, policy_text, policy_trial
from vecd.ppm.rules import RULES
from vecd.services.guard_parts import applied
from vecd.services.guard_parts import policy as part


def found(text: str) -> tuple:
    return policy.check({"x.toml": text.encode()}).problems


@functools.cache
def sound() -> dict[str, object]:
    return answers()


def answers() -> dict[str, object]:
    """Every refused policy with what is found there; an exception is a finding, too."""
    seen: dict[str, object] = {}
    for what, (text, *_) in REFUSED.items():
        try:
            seen[what] = found(text)
        except Exception as error:
            seen[what] = type(error)
    return seen


def without_line(statements):
    return lambda text: ((begin + 1, meaning, header) for begin, meaning, header in statements(text))


# What is taken out of the check: where it stands, and what stands there instead.
CHECKS = {
    "no session is needed": (policy_trial, "_session", lambda u, i: []),
    "what goes up need not come back": (
        policy_trial,
        "_exchanges",
        lambda u, i, k, may: [],
    ),
    "no right is used": (policy_trial, "_unused", lambda trial, state: iter(())),
    "missing rights are given on the way": (policy_trial, "_BY_POLICY", frozenset()),
    "a pair may stand twice": (
        policy_trial,
        "_pair",
        lambda trial, monitor, allow, subject, target: (
            trial.cells.pop((subject, target), None),
            PAIR(trial, monitor, allow, subject, target),
        )[1],
    ),
    "any name is one": (policy_rows, "_plain", lambda name, what: None),
    "any number is a weight": (policy_rows, "_weight", lambda value: value),
    "a name may be used again": (policy_rows.Rows, "named", lambda self, name: None),
    "lines are counted wrong": (policy_text, "_statements", without_line(policy_text._statements)),
    "keys are not compared": (policy_rows, "_nearest", lambda word, known: ""),
    "up to 99 levels": (policy_rows, "LEVELS_MAX", 99),
}
PAIR = policy_trial._pair


@pytest.mark.parametrize("what", CHECKS)
def test_without_this_part_of_the_check_a_case_is_answered_otherwise(monkeypatch, what):
    before = sound()
    where, name, instead = CHECKS[what]
    monkeypatch.setattr(where, name, instead)
    if name in ("_exchanges",):
        monkeypatch.setattr(
            policy_trial, "_USES", {**policy_trial._USES, ("card", "a"): instead, ("card", "r"): instead}
        )
    if name == "_weight":
        tables = {key: dict(row) for key, row in policy_rows.TABLES.items()}
        tables["instance"]["weight"] = policy_rows.Key(instead, 1)
        monkeypatch.setattr(policy_rows, "TABLES", tables)
    differ = [case for case, answer in answers().items() if answer != before[case]]
    assert differ, f"{what}: nobody notices"


@pytest.mark.parametrize("rule", ["R7", "R9"])
def test_what_the_rules_refuse_is_refused_by_them_alone(monkeypatch, rule):
    """With a rule that says yes to everything, cases that name it are let through: nothing else decides them."""
    row = RULES[rule]

    def lenient(state, request):
        decision = row.function(state, request)
        if decision or rule == "R7" and request.object in state.live:
            return decision
        return decision._replace(answer="yes", changes=())

    before = sound()
    monkeypatch.setitem(RULES, rule, row._replace(function=lenient))
    differ = [case for case, answer in answers().items() if answer != before[case]]
    assert len(differ) >= 3, differ


async def _nothing(*_args, **_more):
    return []


def _all_back(guard, card, before, joined=part.joined):
    joined(guard, card, None)


def _from_files(paths, register, *, fresh):
    return policy.require(applied.read(paths))


# What is taken out of the guard, and the test that notices.
PARTS = {
    "nothing is drained": (
        part,
        "_drained",
        _nothing,
        held.test_apply_takes_and_gives_and_tells_each_request_with_its_row,
    ),
    "a new card gets everything": (
        part,
        "joined",
        _all_back,
        held.test_a_card_in_the_place_of_another_brings_nothing_back_that_was_rescinded,
    ),
    "a new card gets nothing": (
        part,
        "joined",
        lambda guard, card, before: None,
        held.test_a_right_on_a_card_that_is_not_there_yet_comes_with_it,
    ),
    "access give is not asked": (
        part,
        "permits",
        lambda *_: None,
        held.test_access_stays_within_the_policy_and_a_rescind_always_works,
    ),
    "whoever writes is believed": (
        folder,
        "_only_ours",
        lambda path, found: None,
        lambda root: held.test_files_that_somebody_else_could_have_made_are_not_believed(
            root, lambda path: path.chmod(0o666), "others may write"
        ),
    ),
    "files are read at every start": (
        applied,
        "at_start",
        _from_files,
        held.test_a_restart_with_guests_reads_no_file,
    ),
    "what is fixed may change": (
        policy_change,
        "_fixed",
        lambda state, policy, identities: iter(()),
        held.test_what_is_refused_changes_nothing,
    ),
    "strangers may live in a closed policy": (
        policy_change,
        "_strangers",
        lambda state, policy: iter(()),
        held.test_a_closed_policy_lets_nobody_in_whom_it_does_not_name,
    ),
    "no word is looked at": (
        part,
        "_stands",
        lambda guard, link, instance: (0, False),
        held.test_a_part_of_a_right_is_taken_without_the_session,
    ),
}


@pytest.mark.parametrize("what", PARTS)
def test_without_this_part_of_the_guard_a_test_fails(monkeypatch, tmp_path, what):
    where, name, instead, test = PARTS[what]
    monkeypatch.setattr(where, name, instead)
    with pytest.raises((Exception, pytest.fail.Exception)):
        test(tmp_path)
