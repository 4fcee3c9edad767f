"""Random walks outside of what moves.py would say: parts of messages exchanged for anything of the same form.

The explorer tries every message of a certain shape; that these are enough is an argument. Here any part of a message,
at any depth, under a signature or inside a seal, becomes another known term of its kind and length, everywhere at once;
whatever the attacker can then build is sent. It is not exhaustive, and needs no argument.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from .claims import CLAIMS, Claim
from .explore import Explorer, Report
from .knowledge import Knowledge
from .machines import Move
from .symbolic import build, is_label, term_of
from .terms import Term, replaced, subterms


@dataclass
class Walks:
    """How many messages were changed so that the attacker could build them, and how many of these were taken."""

    changed: int = 0
    taken: int = 0
    wrong: list[str] = field(default_factory=list)


def _form(term: Term) -> tuple[str, int]:
    """Terms of one form can stand in each other's place: a label for a label, what is signed for what is signed."""
    if term.kind in ("name", "literal"):
        return ("label", 0) if is_label(term) else ("atom", len(build(term)))
    labelled = term.kind == "enc" and any(map(is_label, term.parts[:1]))
    return "labelled" if labelled else term.kind, len(term.parts)


def _changed(move: Move, knowledge: Knowledge, pool: dict[tuple[str, int], list[Term]], choice: random.Random) -> Move:
    """The move with one or two of its parts exchanged, or as it was where that cannot be built."""
    terms = [term_of(part) for part in move[1:]]
    inside = sorted({part for term in terms for part in subterms(term)}, key=repr)
    by = {}
    for old in choice.sample(inside, min(len(inside), choice.choice((1, 1, 2)))):
        by[old] = choice.choice(pool.get(_form(old)) or [old])
    fresh = [replaced(term, by) for term in terms]
    return (move[0], *map(build, fresh)) if fresh != terms and all(map(knowledge.derives, fresh)) else move


def walk(explorer: Explorer, walks: int, length: int, seed: int, claims: dict[str, Claim] = CLAIMS) -> Walks:
    """So many walks of so many messages each, every state judged."""
    choice, found, report = random.Random(seed), Walks(), Report()
    explorer.claims = claims
    pools: dict[int, dict[tuple[str, int], list[Term]]] = {}
    for _ in range(walks):
        state, known = [0] * len(explorer.machines), 0
        for _ in range(length):
            which = choice.randrange(len(state))
            taken = [move for _, _, move in explorer.steps(which, state[which], known)]
            moves = taken if taken and choice.random() < 0.7 else explorer.moves(which, known)
            if not moves:
                continue
            move = choice.choice(moves)
            knowledge = explorer.knowledges.all[known]
            if choice.random() < 0.5 and move[0] not in ("ask", "key, 9"):
                if known not in pools:
                    pools[known] = {}
                    for term in sorted(knowledge.terms, key=repr):
                        pools[known].setdefault(_form(term), []).append(term)
                after = _changed(move, knowledge, pools[known], choice)
                found.changed += after != move
            else:
                after = move
            if not explorer.within(which, state[which], after):
                continue
            step = explorer.machines[which].step(state[which], after)
            if step is None:
                continue
            found.taken += after != move
            state[which], known = step.to, explorer.knowledges.grown(known, step.sent)
            found.wrong = explorer.judge(tuple(state), known, report)
            if found.wrong:
                return found
    return found
