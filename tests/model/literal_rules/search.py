"""Breadth first over the states of an interpreter: the shortest way to a goal, and what can never be reached."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from tests.model.literal_rules.language import Interpreter
from vecd.ppm.request import Request


class Found(NamedTuple):
    """The shortest trace to the goal (None: there is none within the depth), and what was looked at."""

    trace: tuple[Request, ...] | None
    states: tuple[dict, ...]  # before the first request, after each
    seen: int
    depth: int | None  # every state up to here was seen; None: all there are


def _frozen(v: dict) -> frozenset:
    return frozenset(v.items())


def shortest(
    interpreter: Interpreter,
    start: dict,
    requests: Iterable[Request],
    goal: Callable[[Interpreter, dict], bool],
    *,
    within: Callable[[Interpreter, dict], bool] = lambda interpreter, v: True,
    depth: int | None = None,
) -> Found:
    """
    The first state in which `goal` holds, of those that are reached through states where `within` holds.

    `depth` is how many requests there may be; without it the search ends when there are no more states.
    """
    requests = tuple(requests)
    came: dict[frozenset, tuple] = {_frozen(start): (None, None)}
    layer, steps = [start], 0

    def way(v: dict) -> Found:
        trace, states, at = [], [v], _frozen(v)
        while came[at][1] is not None:
            before, request = came[at]
            trace.append(request)
            states.append(dict(before))
            at = before
        return Found(tuple(reversed(trace)), tuple(reversed(states)), len(came), steps)

    if goal(interpreter, start):
        return way(start)
    while layer and (depth is None or steps < depth):
        steps += 1
        following = []
        for v in layer:
            before = None
            for request in requests:
                _, after = interpreter.step(v, request)
                if after is v:
                    continue
                key = _frozen(after)
                if key in came or not within(interpreter, after):
                    continue
                before = before or _frozen(v)
                came[key] = (before, request)
                if goal(interpreter, after):
                    return way(after)
                following.append(after)
        layer = following
    return Found(None, (), len(came), steps if layer else None)


def without_repeats(
    interpreter: Interpreter, start: dict, requests: Iterable[Request], goal: Callable, depth: int
) -> int:
    """
    How many requests the shortest way to the goal has, found another way: every sequence of up to `depth` requests,
    by recursion, with no memory of states. 0 when there is none.
    """
    requests = tuple(requests)

    def within(v: dict, left: int) -> bool:
        for request in requests:
            _, after = interpreter.step(v, request)
            if after is not v and after != v and (goal(interpreter, after) or (left > 1 and within(after, left - 1))):
                return True
        return False

    return next((n for n in range(1, depth + 1) if within(start, n)), 0)


def never(interpreter: Interpreter, start: dict, requests: Iterable[Request], goal: Callable) -> bool:
    """No sequence of these requests, of whatever length, leads from `start` to the goal."""
    return shortest(interpreter, start, requests, goal).trace is None


class Differs(NamedTuple):
    """What `asks` is answered after `trace`, and what without the requests of `hidden` in it."""

    trace: tuple[Request, ...]
    asks: Request
    answers: tuple[str, str]
    seen: int


def interference(
    interpreter: Interpreter,
    start: dict,
    requests: Iterable[Request],
    hidden: Callable[[Request], bool],
    watched: Callable[[Request], bool],
    cells: Callable[[dict], dict] = lambda v: v,
) -> Differs | int:
    """
    The shortest trace after which a watched request is answered differently than after the same trace without the
    hidden ones; the number of pairs of states when there is none.
    """
    requests = tuple(requests)
    beginning = (cells(start), cells(start))

    def key(pair: tuple[dict, dict]) -> tuple:
        return _frozen(pair[0]), _frozen(pair[1])

    came: dict[tuple, tuple] = {key(beginning): ()}
    layer = [beginning]
    while layer:
        following = []
        for pair in layer:
            trace = came[key(pair)]
            for request in requests:
                one, after_one = interpreter.step(pair[0], request)
                if hidden(request):
                    after = (cells(after_one), pair[1])
                else:
                    two, after_two = interpreter.step(pair[1], request)
                    if watched(request) and one != two:
                        return Differs(trace, request, (one, two), len(came))
                    after = (cells(after_one), cells(after_two))
                found = key(after)
                if found not in came:
                    came[found] = (*trace, request)
                    following.append(after)
        layer = following
    return len(came)
