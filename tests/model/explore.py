"""Breadth first through every state that the real rules reach."""

from collections import deque
from typing import NamedTuple

from vecd.ppm.rules import YES, decide


class Reached(NamedTuple):
    """Every state (as a snapshot), and for each the numbers of the states that one yes leads to."""

    state: object  # the working copy: `restore` a snapshot into it
    snapshots: list
    edges: list  # of (request number, state number), by state
    requests: list

    def states(self):
        """The working copy, once in every reached state."""
        for snapshot in self.snapshots:
            self.state.restore(snapshot)
            yield self.state


def explore(state, requests, *, check=lambda state: None, decide=decide, limit=2_000_000):
    """
    All states that `requests` lead to from `state`. `check` is called once in each; AssertionError of it stops.

    Raises AssertionError when there are more than `limit`: a world that is too large is a mistake of the test.
    """
    state = state.copy()
    start = state.snapshot()
    number = {start: 0}
    snapshots, edges = [start], []
    queue = deque([start])
    while queue:
        state.restore(queue.popleft())
        check(state)
        out = []
        for which, request in enumerate(requests):
            decision = decide(state, request)
            if decision.answer != YES:
                assert not decision.changes, f"a refusal changes cells: {decision}"
                continue
            if not decision.changes:
                continue
            state.apply(decision.changes)
            snapshot = state.snapshot()
            state.undo(decision.changes)
            found = number.get(snapshot)
            if found is None:
                found = number[snapshot] = len(snapshots)
                snapshots.append(snapshot)
                queue.append(snapshot)
                assert found < limit, f"more than {limit} states"
            out.append((which, found))
        edges.append(out)
    return Reached(state, snapshots, edges, requests)
