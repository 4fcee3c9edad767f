"""The proof can fail: every condition and every effect of every transition is taken out once; the holes are found."""

from collections import Counter
from functools import cache

import pytest
import z3

from tests.model.induction.ground import Ground
from tests.model.induction.observation import Observation
from tests.model.induction.properties import CONSEQUENCES, DATA, GROUPS
from tests.model.induction.prove import LIMIT, PROVED, SAME, obligations, solver
from tests.model.induction.rules import NO, RULES, Effect, cell
from tests.model.induction.steps import OBJECT, SUBJECT, Transition, transitions
from tests.model.induction.terms import CONTROL, any_state
from vecd.ppm import properties

TRANSITIONS = [*transitions(), Observation()]

# What cannot be proved is not worth looking for as long as what can.
LESS = LIMIT // 4

# Cheap to look for first.
ORDER = (
    *"discretionary instruction shape top virtual chain residue slot type".split(),
    "simple security",
    "labels",
    "taint",
    "status",
    "star",
)

GIVES = "it gives: whoever gets less is as secure. That it is given, the differential test holds"
TAKES = "somebody wanted it back, and no property demands that. That it is taken, the differential test holds"
AUTHORITY = "who may decide: the state would be secure, whoever asked"
NOTHING = "a yes more changes nothing: what it would take is not there"
FORM = "what is asked for has to make sense; what comes of nonsense is secure"
RIGHT = "what the right is good for: the properties speak of states, not of operations. The answers are compared"
MOVES = "data that do not move are seen by nobody. That they move as the taint of tests/model has it, is compared"
CLEARED = "what it excludes is cleared by the effects of the same rule"
TWICE = "another effect of the same rule, or another condition, leaves nothing for it to do in a secure state"

# What no property needs, though no other condition implies it: (rule, words) to the reason. A star is any letter. That
# it is harmless is proved for any size of the world, like the rule itself.
HARMLESS = {
    ("R1", "b += c"): GIVES,
    ("R2", "b += a"): GIVES,
    ("R3", "b += w"): GIVES,
    ("R4", "b += r"): GIVES,
    ("R5", "b += e"): GIVES,
    ("R6", "it is held"): NOTHING,
    ("R6", "b -= *"): TAKES,
    ("R6", "b -= e"): TAKES,
    ("R6", "b of the user is empty"): TAKES,
    ("R6", "settled: cur"): TWICE,
    ("R6", "the object is of kind user"): NOTHING,
    ("R6", "the object is of kind instance"): NOTHING,
    ("R6", "the object is of kind card"): NOTHING,
    ("R7", "the subject is of kind m"): AUTHORITY,
    ("R8", "the subject is of kind m"): AUTHORITY,
    ("R8", "m holds e*"): AUTHORITY,
    ("R8", "its user holds nothing on it"): CLEARED,
    ("R8", "row of M"): TWICE,
    ("R8", "row of b"): TWICE,
    ("R9", "the subject is of kind m"): AUTHORITY,
    ("R9", "M += *"): GIVES,
    ("R10", "the subject is of kind m"): AUTHORITY,
    ("R10", "the object is live"): NOTHING,
    ("R10", "the object is of kind card"): NOTHING,
    ("R10", "its own instance"): NOTHING,
    ("R10", "who gets it is live"): NOTHING,
    ("R10", "of its kind"): NOTHING,
    ("R10", "M -= *"): TAKES,
    ("R10", "settled: cur"): TWICE,
    ("R11", "the subject is of kind m"): AUTHORITY,
    ("R11", "m holds e*"): AUTHORITY,
    ("R11", "owns the slot"): AUTHORITY,
    ("R11", "the level is L2"): FORM,
    ("R11", "in control"): NOTHING,
    ("R11", "a slot owner"): "using without a slot owner is draining: nobody can use it until R12, and it is clean",
    ("R11", "using"): NOTHING,
    ("R11", "the level of the slot owner"): FORM,
    ("R11", "instances have more than one level"): FORM,
    ("R11", "lowered: its user is not connected"): "its memory is wiped in the same step, so that nothing comes down",
    ("R11", "f"): GIVES,
    ("R12", "the subject is of kind m"): AUTHORITY,
    ("R12", "m holds e*"): AUTHORITY,
    ("R12", "owns the slot"): AUTHORITY,
    ("R12", "next is nobody"): AUTHORITY,
    ("R12", "next is nobody or an instance"): FORM,
    ("R12", "not free"): NOTHING,
    ("R12", "out is nobody"): "after a yield nobody owns the slot: what is left names whose it is, until m cleans",
    ("loadkey", "a is held"): RIGHT,
    ("loadkey", "the key is in the slot"): MOVES,
    ("loadkey", "the key is in the engine"): MOVES,
    ("submit", "a is held"): RIGHT,
    ("submit", "has a key slot"): RIGHT,
    ("submit", "data and key into it"): MOVES,
    ("process", "in itself"): AUTHORITY,
    ("process", "the result into the buffers"): MOVES,
    ("config", "w is held"): RIGHT,
    ("config", "mode and IV into the buffers"): MOVES,
    ("fetch", "r or w is held"): RIGHT,
    ("fetch", "the result into memory"): MOVES,
    ("fetch", "the result is of its level"): MOVES,
    ("put", "data into memory"): MOVES,
    ("put", "the data are of its level"): MOVES,
    ("get", "data to the user"): MOVES,
    ("observation", "nobody holds nothing"): FORM,
    ("observation", "key"): "the key slots that were there stay those of the connected",
}


@cache
def ground():
    return Ground()


def taken_out(rule):
    """Every transition of a rule without one of its parts: (transition, the part's type and words, the mutant)."""
    for transition in TRANSITIONS:
        if transition.rule == rule:
            kinds = {part.words: type(part).__name__ for part in reversed(transition.parts(any_state()))}
            for words, kind in reversed(kinds.items()):
                yield transition, kind, words, transition.without(words)


def not_proved(transition):
    groups = [group for group in GROUPS if group not in DATA or transition.rule != "observation"]
    return [o.group for o in obligations(transition, groups, limit=LESS) if o.result not in (PROVED, SAME)]


def implied(transition, words, mutant):
    """The condition follows from the others in every secure state, of any size."""
    v = any_state()
    asked = solver(v, limit=LESS)
    asked.add(*(GROUPS[group](v) for group in DATA))
    asked.add(mutant.step(v).enabled())
    asked.add(z3.Not(z3.And(*(part.formula for part in transition.parts(v) if part.words == words))))
    return asked.check() == z3.unsat


def listed(transition, words):
    return HARMLESS.get((transition.rule, words)) or HARMLESS.get((transition.rule, words.rstrip("rwac") + "*"))


NEEDED, IMPLIED, LISTED, OPEN = "needed", "implied", "listed", "open"


def verdict(transition, kind, words, mutant):
    """
    What a part is good for: `needed`, with a secure state that is left; `implied` by the other conditions; `listed`
    with a reason, and proved to be harmless for any size; or `open`.
    """
    groups = not_proved(mutant)
    if groups:
        order = sorted(groups, key=ORDER.index)
        return NEEDED if any(ground().broken(mutant, group) is not None for group in order) else OPEN
    if kind != "Effect" and implied(transition, words, mutant):
        return IMPLIED
    return LISTED if listed(transition, words) else OPEN


@pytest.mark.prove
@pytest.mark.limit(3600)
@pytest.mark.parametrize("rule", [*RULES, "observation"])
def test_every_part_of_a_rule_is_needed_or_there_is_a_reason_why_not(rule):
    found = {(t.name, kind, words): verdict(t, kind, words, mutant) for t, kind, words, mutant in taken_out(rule)}
    print(f"{rule}: {dict(Counter(found.values()))}")
    assert not [part for part, what in found.items() if what == OPEN]


def test_no_reason_is_left_over():
    parts = {(t.rule, part.words) for t in TRANSITIONS for part in t.parts(any_state())}
    parts |= {(rule, words.rstrip("rwac") + "*") for rule, words in parts}
    assert not set(HARMLESS) - parts


# ---- the holes of the literal rules (docs/model.md), as transitions


def instead(transition, edit):
    return transition._replace(edit=edit)


def without_guard_from_free(parts):
    """H3: R1 takes the card to the level of the instance, whatever it does."""
    v = any_state()
    return [part for part in parts if not part.words.startswith("from free")] + [
        cell("f", "f", OBJECT, becomes=v.f(SUBJECT)),
        cell("st", "st", OBJECT, becomes=CONTROL),
    ]


def c_alone(parts):
    """H4: R6 takes c and nothing else."""
    return [part for part in parts if not isinstance(part, Effect)] + [
        cell("b -= c", "b.c", SUBJECT, OBJECT, becomes=NO)
    ]


HOLES = {
    "H1 who reads a card does not own its slot": (
        Transition("R4", "instance", "card", "").without("owns the slot"),
        ("slot",),
    ),
    "H3 R1 takes a card that works for another down": (
        instead(Transition("R1", "instance", "card", ""), without_guard_from_free),
        ("status", "residue"),
    ),
    "H4 R6 of c leaves r, w, a": (
        instead(Transition("R6", "instance", "card", "c"), c_alone),
        ("simple security", "star", "slot"),
    ),
    "H5 R10 of r changes M alone": (Transition("R10", "m", "card", "r").without("b -= r"), ("discretionary",)),
    "H5 R10 of c changes M alone": (
        instead(
            Transition("R10", "m", "card", "c"),
            lambda parts: [part for part in parts if not isinstance(part, Effect) or part.words == "M -= c"],
        ),
        ("discretionary",),
    ),
    "H6 an instance that holds r on a card is lowered": (
        Transition("R11", "m", "instance", "").without("owns no slot"),
        ("star", "status"),
    ),
    "H9 R9 gives e* to who is not the manager": (Transition("R9", "m", "instance", "e"), ("type",)),
    "H9 R9 gives r on another's instance": (
        Transition("R9", "m", "instance", "r").without("its own instance"),
        ("type",),
    ),
    "H10 R8 leaves the rights of who is gone": (
        Transition("R8", "m", "instance", "").without("row of M", "column of M"),
        ("type",),
    ),
    "H10 R8 ends whose data is in an engine": (
        Transition("R8", "m", "instance", "").without("in no engine"),
        ("residue",),
    ),
    "H13 the user leaves and its instance stays": (
        instead(Transition("R6", "user", "instance", "c"), c_alone),
        ("star", "chain"),
    ),
    "H16 what the guard sees is of two instances": (Observation().without("ctx and out of one"), ("residue",)),
}


@pytest.mark.minutes
@pytest.mark.parametrize("hole", HOLES)
def test_a_literal_rule_leaves_what_is_secure(hole):
    """Z3 finds a secure state and the request; that the state after it is not secure, vecd's own predicates say."""
    transition, groups = HOLES[hole]
    proved = {o.group for o in obligations(transition, groups, limit=LESS) if o.result in (PROVED, SAME)}
    assert not proved
    for group in groups:
        model = ground().broken(transition, group)
        assert model is not None, group
        before, _ = ground().real(model)
        after, _ = ground().real(model, transition.step(ground().v).after)
        assert properties.secure(before), properties.violations(before)
        assert properties.PROPERTIES[group](after), group


@pytest.mark.minutes
def test_H1_levels_alone_do_not_separate_two_users():
    """b reads what a's user put in, and simple security, star and discretionary security hold before and after."""
    g = ground()
    step = HOLES["H1 who reads a card does not own its slot"][0].step(g.v)
    own_data = CONSEQUENCES["who reads a card gets data of its own user alone"]
    names = ("simple security", "star", "discretionary")
    paper = [GROUPS[name](step.after) for name in names]
    request = [(SUBJECT, g.things["b"]), (OBJECT, g.things["k"])]
    model = g.find(step.enabled(), *paper, z3.Not(own_data(step.after)), request=request)
    assert model is not None
    after, _ = g.real(model, step.after)
    assert not any(properties.PROPERTIES[name](after) for name in names)
    assert after.holds("b", "k") & 1 and after.output["k"] == "a"
