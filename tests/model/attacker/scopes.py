"""The scopes in which the protocol is explored, all of them exhaustively, and how many states each has.

`floor` is what a run has to reach: a scope that lost states lost moves, and with them its meaning.
"""

from __future__ import annotations

from .world import Run, Scope

_SCOPES = (
    (Scope("1r small", "one run of A, one session of C and of the authority", card_sessions=1, ca_sessions=1), 30),
    (Scope("1r", "one run of A with C"), 600),
    (Scope("1ro", "the same, and a session before it is known; C has forgotten it", recorded="forgotten"), 600),
    (Scope("1rk", "the same, and C still has that session and its key", recorded="kept"), 600),
    (Scope("2r", "two runs of A with C, two keys", (Run(), Run(key="L"))), 1400),
    (Scope("2s", "two runs of A with C, the same key", (Run(), Run())), 1000),
    (Scope("2rx", "two runs of A, the second with the compromised card X", (Run(), Run("X", "L"))), 2200),
    (Scope("2u", "a run of A and one of the honest user B", (Run(), Run("C", "M", "B")), peers=("A", "B", "E")), 1700),
    (Scope("2c", "a run of A with C and one with the honest card H", (Run(), Run("H")), cards=("C", "H")), 10000),
    (Scope("1n", "as 1r; E and X use nonces of others, too", peers=("A", "E", "C", "X"), reuse=True), 2400),
    (Scope("3r", "as 2r with three sessions each", (Run(), Run(key="L")), card_sessions=3, ca_sessions=3), 31000),
)

SCOPES: dict[str, Scope] = {scope.name: scope for scope, _ in _SCOPES}
FLOOR: dict[str, int] = {scope.name: floor for scope, floor in _SCOPES}
