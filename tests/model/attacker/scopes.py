"""The scopes in which the protocol is explored, all of them exhaustively."""

from __future__ import annotations

from .explore import Explorer
from .moves import Attacker
from .registration import Registrant, Registration
from .world import Run, Scope, World

_RX = (Run(), Run("X", "L"))
_BACK = (Run(), Run(load=False))
_SCOPES: tuple[tuple[Scope, int], ...] = (
    (Scope("1r small", "one run of A, one session of C and of the authority", card_sessions=1, ca_sessions=1), 30),
    (Scope("1r", "one run of A with C"), 600),
    (Scope("1ro", "the same, and a session before it is known; C has forgotten it", recorded="forgotten"), 600),
    (Scope("1rk", "the same, and C still has that session and its key", recorded="kept"), 600),
    (Scope("2r", "two runs of A with C, two keys", (Run(), Run(key="L"))), 1400),
    (Scope("2s", "two runs of A with C, the same key", (Run(), Run())), 1000),
    (Scope("2rx", "two runs of A, the second with the compromised card X", _RX), 2200),
    (Scope("2rb", "as 2rx; E is certified with the encryption key of A, X with that of C", _RX, borrowed=True), 2000),
    (Scope("2u", "a run of A and one of the honest user B", (Run(), Run("C", "M", "B")), peers=("A", "B", "E")), 1700),
    (Scope("2c", "a run of A with C and one with the honest card H", (Run(), Run("H")), cards=("C", "H")), 10000),
    (Scope("1n", "as 1r; E and X use nonces of others, too", peers=("A", "E", "C", "X"), reuse=True), 2400),
    (Scope("3x", "1ro, 2s and 2rx at once", (Run(), Run(), Run("X", "L")), recorded="forgotten"), 3000),
    (Scope("3r", "as 2r with three sessions each", (Run(), Run(key="L")), card_sessions=3, ca_sessions=3), 31000),
)

# With connections, each as its message asks for it: a run that loads its key, one that came back without.
_SCOPES += (
    (Scope("1a", "as 1r, and A attaches", attach=True), 800),
    (Scope("2a", "as 2s, the second run without messages 7 to 12, and A attaches both", _BACK, attach=True), 1200),
)

SCOPES: dict[str, Scope] = {scope.name: scope for scope, _ in _SCOPES}
#: Registration, with one insider.
_INSIDERS = {"reg E": "E", "reg X": "X"}

#: What is in each scope, in words, and how many states it has at least: one that lost states lost moves.
WORDS = {
    **{scope.name: scope.words for scope, _ in _SCOPES},
    **{name: f"A, C and the insider {who} enrol, each with its token" for name, who in _INSIDERS.items()},
}
FLOOR = {**{scope.name: floor for scope, floor in _SCOPES}, **dict.fromkeys(_INSIDERS, 80)}


def explorer(name: str, constant: frozenset[str] = frozenset()) -> Explorer:
    """The scope's machines and its attacker, ready to run; inside `perfect()`."""
    if name in _INSIDERS:
        stage = Registration(_INSIDERS[name])
        return Explorer(stage, Registrant(stage))
    world = World(SCOPES[name], constant)
    return Explorer(world, Attacker(world))
