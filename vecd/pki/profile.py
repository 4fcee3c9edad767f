"""How long the authority's statements are valid, and how much one party may have. docs/protocol.md, "Profile"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_DAY_S = 86400
_LIFETIME_S = MappingProxyType({"user": 365 * _DAY_S, "card": 365 * _DAY_S, "broker": 365 * _DAY_S})


@dataclass(frozen=True, slots=True)
class Profile:
    # Certificates: a card that shows evidence of its boot gets no more than the time until it must show it again.
    lifetime_s: Mapping[str, int] = field(default_factory=lambda: _LIFETIME_S)
    # A party whose clock is behind the authority's by less than this accepts its certificate at once.
    backdate_s: int = 300
    # V, O and keybad; never more than 300 (messages.STATEMENT_MAX_S).
    statement_s: int = 300
    # Enrolment tokens, unless the operator says otherwise; and the most the operator may say.
    token_s: int = _DAY_S
    token_max_s: int = 30 * _DAY_S
    # Registered keys of one user that are not revoked.
    keys_per_user: int = 1024
    # Suites whose keys are certified.
    suites: frozenset[int] = frozenset({1, 2, 3})
