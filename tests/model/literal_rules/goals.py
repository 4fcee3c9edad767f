"""What can be wrong in a state: the properties of docs/model.md, and what the ghost knows."""

from collections.abc import Callable

from tests.model.literal_rules.language import Interpreter, mapped
from vecd.ppm.levels import dominates
from vecd.ppm.properties import PROPERTIES
from vecd.ppm.state import BITS

Goal = Callable[[Interpreter, dict], bool]
PAPER = ("simple security", "star", "discretionary")
"""The properties that the paper has: ss, *, ds."""


def wrong(interpreter: Interpreter, v: dict) -> list[str]:
    """The names of the properties that do not hold."""
    state = interpreter.real(v)
    return [name for name, predicate in PROPERTIES.items() if predicate(state)]


def breaks(name: str) -> Goal:
    """The property does not hold."""
    predicate = PROPERTIES[name]
    return lambda interpreter, v: bool(predicate(interpreter.real(v)))


def paper_holds(interpreter: Interpreter, v: dict) -> bool:
    """All three properties of the paper hold."""
    state = interpreter.real(v)
    return not any(PROPERTIES[name](state) for name in PAPER)


def owner(interpreter: Interpreter, v: dict, i: str) -> str:
    return v.get(("own", None, i), interpreter.world.own.get(i))


def foreign(interpreter: Interpreter, v: dict) -> list[str]:
    """Who has data of another user: "B has data of A"."""
    found = []
    for (table, _, thing), users in v.items():
        if table in ("memory", "got"):
            whose = thing if table == "got" else owner(interpreter, v, thing)
            who = thing if table == "got" else f"{thing} of {whose}"
            found += [f"{who} has data of {user}" for user in sorted(users - {whose})]
    return found


def leaks(interpreter: Interpreter, v: dict) -> bool:
    return bool(foreign(interpreter, v))


def dirty(interpreter: Interpreter, v: dict) -> bool:
    """Nobody is connected to k, and data are in it."""
    return not mapped(v, "k") and bool(v.get(("buffers", None, "k"))) and not v.get(("engine", None, "k"))


def clean(interpreter: Interpreter, v: dict) -> bool:
    return not v.get(("buffers", None, "k")) and not v.get(("engine", None, "k"))


def using(interpreter: Interpreter, v: dict) -> bool:
    return v.get(("level", None, "k")) == 2


def control(interpreter: Interpreter, v: dict) -> bool:
    """k stands at an instance level."""
    return v.get(("level", None, "k"), 0) not in (0, 2, interpreter.world.p)


def private_below(interpreter: Interpreter, v: dict) -> bool:
    """Private data are in the engine of a card that is not at L2."""
    return bool(v.get(("engine", None, "k"))) and not using(interpreter, v)


def readable_free(interpreter: Interpreter, v: dict) -> bool:
    """k is at the level of free cards, somebody's result is in it, and somebody may read it."""
    free = v.get(("level", None, "k")) == interpreter.world.p and bool(v.get(("buffers", None, "k")))
    return free and any(key[0] == "b" and key[2] == "k" and byte & BITS["r"] for key, byte in v.items())


def free_and_connected(interpreter: Interpreter, v: dict) -> bool:
    return v.get(("level", None, "k")) == interpreter.world.p and bool(mapped(v, "k"))


def using_for_nobody(interpreter: Interpreter, v: dict) -> bool:
    return using(interpreter, v) and not mapped(v, "k")


def two_statuses(interpreter: Interpreter, v: dict) -> bool:
    """H has two statuses for one card."""
    return len([key for key in v if key[0] == "status" and key[2] == "k"]) > 1


def written_down(interpreter: Interpreter, v: dict) -> bool:
    """Data that came in at one level are in an instance that stands below it."""
    for (table, _, i), was in v.items():
        level = v.get(("level", None, i), 0)
        if table == "was" and level and level != was and dominates(was, level):
            return True
    return False


def anything(interpreter: Interpreter, v: dict) -> bool:
    return True
