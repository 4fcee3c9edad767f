"""The worlds that are explored whole, and what was reached in each: once a process."""

from functools import cache

from tests.model.explore import explore
from tests.model.worlds import STATIC, empty, made, requests
from vecd.ppm.levels import USING
from vecd.ppm.request import Request, connect
from vecd.ppm.state import CARD, INSTANCE


def on_cards(state, *more):
    """What guests and cards ask on cards, and who connects: of users on instances c alone, the rest shows elsewhere."""
    return [
        r
        for r in requests(state, rules=STATIC)
        if state.kind(r.object) == CARD or r.rule == "R1" or (r.rule == "R6" and r.attribute == "c")
    ] + list(more)


def three_instances():
    state = made("AB", ("aA", "bB", "cA"))
    return state, on_cards(state)


def rights_change():
    state = made(rights="rac")
    changes = [
        r
        for r in requests(state, rules=("R9", "R10"), attributes="rc")
        if r.attribute == "c" or (r.to, r.object) == ("a", "k")
    ]
    return state, [r for r in on_cards(state, *changes) if r.rule not in ("R3", "config")]


def every_attribute():
    state = made("A", ("aA",))
    return state, requests(state, rules=STATIC)


def come_and_go():
    state = empty()
    wanted = requests(
        state,
        rules=STATIC | {"R5", "R7", "R8", "R9", "R10"} - {"R3", "config", "put", "get", "fetch"},
        attributes="c",
        levels=(USING, 3),
    )
    # What an instance does once it is connected is seen in the other worlds.
    wanted = [r for r in wanted if r.rule not in ("R2", "R4", "submit", "process") and r.subject != "b"]
    return state, wanted + [Request("R9", "m", "k", "a", to="a"), Request("R2", "a", "k"), connect("b", "k")]


def come_and_go_alone():
    state = empty("A", ("aA",))
    return state, requests(state, attributes="ace", levels=(USING, 3, 4))


def five_levels():
    state = made(levels=5, rights="rac")
    return state, on_cards(state) + [r for r in requests(state, rules=("R11",)) if state.kind(r.object) == INSTANCE]


def two_cards():
    state = made(cards="kl", rights="rac")
    return state, on_cards(state)


def user_data():
    state = made("A", ("aA", "bA"))
    return state, requests(state, rules=STATIC, attributes="ac")


@cache
def reached(world):
    return explore(*world())
