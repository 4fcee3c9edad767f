"""Every state that the attacker can bring about in a scope, breadth first, so that a counter-example is shortest.

A state is one state of each machine. What the attacker knows follows from it: all that was sent. Two orders of the same
steps meet in one state (snapshot.py, Chance), so what is left of interleavings is their meeting points.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .claims import CLAIMS, Claim, Marks, wrong
from .knowledge import Knowledge
from .machines import Move, Steps
from .moves import OWN_PAIRS, Attacker, View
from .registration import Registrant, Registration
from .symbolic import term_of
from .world import World

State = tuple[int, ...]


@dataclass
class Report:
    """What was found: numbers, which ends were reached, and the first thing that is wrong."""

    states: int = 0
    transitions: int = 0
    tried: int = 0
    refused: int = 0
    knowledges: int = 0
    local: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    #: The moves that lead to what is wrong: (machine, move, what it sent).
    path: list[tuple[str, Move, tuple]] = field(default_factory=list)
    #: Marks of every kind that were ever left, for the claims not to be empty.
    marks: set[tuple] = field(default_factory=set)


class _Knowledges:
    """The knowledges that occur, numbered, and what each machine can be told out of them."""

    def __init__(self, attacker: Attacker, first: Knowledge) -> None:
        self._attacker = attacker
        self.all: list[Knowledge] = [first]
        self._numbers = {first.terms: 0}
        self._grown: dict[tuple[int, tuple], int] = {}
        self._views: dict[int, View] = {}

    def grown(self, number: int, sent: tuple) -> int:
        if not sent:
            return number
        at = number, sent
        if at not in self._grown:
            larger = self.all[number].learn(*sent)
            found = self._numbers.setdefault(larger.terms, len(self.all))
            if found == len(self.all):
                self.all.append(larger)
            self._grown[at] = found
        return self._grown[at]

    def view(self, number: int) -> View:
        if number not in self._views:
            self._views[number] = self._attacker.view(self.all[number])
        return self._views[number]


class Explorer:
    """A stage with its machines, and an attacker that knows what to ask of each."""

    def __init__(self, world: World | Registration, attacker: Attacker | Registrant) -> None:
        self.world, self.attacker = world, attacker
        self.machines: tuple[Steps, ...] = world.machines
        self.knowledges = _Knowledges(attacker, world.knowledge)
        self._enabled: dict[tuple, list[tuple[int, tuple, Move]]] = {}
        self._moves: dict[tuple, list[Move]] = {}
        self._judged: dict[tuple, bool] = {}
        self.claims = CLAIMS

    def run(self, claims: dict[str, Claim] = CLAIMS, most: int = 10_000_000) -> Report:
        """Everything reachable, or up to and with the first state in which one of the claims is wrong."""
        report, self.claims = Report(), claims
        first: State = (0,) * len(self.machines)
        parents: dict[State, tuple[State, int, Move, tuple] | None] = {first: None}
        report.wrong = self.judge(first, 0, report)
        layer = [(first, 0)]
        while layer and not report.wrong:
            following = []
            for state, known in layer:
                for which in range(len(self.machines)):
                    for to, sent, move in self.steps(which, state[which], known):
                        report.transitions += 1
                        after = (*state[:which], to, *state[which + 1 :])
                        if after in parents:
                            continue
                        parents[after] = state, which, move, sent
                        larger = self.knowledges.grown(known, sent)
                        following.append((after, larger))
                        if why := self.judge(after, larger, report):
                            report.wrong, report.path = why, self._path(parents, after)
                            return self._sum(report, parents)
                        assert len(parents) <= most, f"there are more than {most} states"
            layer = following
        return self._sum(report, parents)

    # ---- inside ----------------------------------------------------------------------------------------------

    def steps(self, which: int, at: int, known: int) -> list[tuple[int, tuple, Move]]:
        """The moves that this machine accepts in this state, out of this knowledge."""
        key = at, self._of(which, known)
        if key not in self._enabled:
            machine, found = self.machines[which], {}
            for move in self.moves(which, known):
                step = machine.step(at, move) if self.within(which, at, move) else None
                if step is not None:
                    found.setdefault((step.to, step.sent), move)
            self._enabled[key] = [(to, sent, move) for (to, sent), move in found.items()]
        return self._enabled[key]

    def within(self, which: int, at: int, move: Move) -> bool:
        """There is room in the scope, and of moves that are alike this is the next."""
        limit, machine = self.world.limits.get((which, move[0])), self.machines[which]
        if limit is None:
            return True
        if machine.drawn(at, limit[0]) >= limit[1]:
            return False
        first = OWN_PAIRS.get(machine.drawing(move)[1])
        return not first or f"{limit[0]}[{first}]" in machine.nodes[at].drawn

    def _of(self, which: int, known: int) -> tuple:
        """What of a knowledge can be told to this machine: knowledges with the same have the same moves."""
        return which, getattr(self.knowledges.view(known), self.attacker.asked[which][0])

    def moves(self, which: int, known: int) -> list[Move]:
        """All that can be told to this machine; the attacker can make each of what it knows."""
        of = self._of(which, known)
        if of not in self._moves:
            moves = list(dict.fromkeys(self.attacker.asked[which][1](self.knowledges.view(known))))
            derives = self.knowledges.all[known].derives
            for move in moves:
                assert all(derives(term_of(part)) for part in move[1:]), f"the attacker cannot make {move}"
            self._moves[of] = moves
        return self._moves[of]

    def judge(self, state: State, known: int, report: Report) -> list[str]:
        marks = frozenset().union(*(m.nodes[n].marks for m, n in zip(self.machines, state, strict=True)))
        key = marks, known
        if key in self._judged:
            return []
        self._judged[key] = True
        report.marks |= marks
        return wrong(Marks(marks, self.world.past), self.knowledges.all[known], self.claims)

    def _path(self, parents: dict, state: State) -> list[tuple[str, Move, tuple]]:
        path = []
        while parents[state] is not None:
            state, which, move, sent = parents[state]
            path.append((self.machines[which].name, move, sent))
        return path[::-1]

    def _sum(self, report: Report, parents: dict) -> Report:
        report.states, report.knowledges = len(parents), len(self.knowledges.all)
        report.local = {m.name: len(m.nodes) for m in self.machines}
        report.tried = sum(len(m.steps) for m in self.machines)
        report.refused = sum(step is None for m in self.machines for step in m.steps.values())
        return report
