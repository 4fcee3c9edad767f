"""How a check of the protocol says no."""

from __future__ import annotations

from vecd.base.errors import ProtocolRefused

# What is cut out of a state that does not allow an event.
_ORDER = "it is not this message's turn"


def require(holds: bool, rule: str, reason: str, hint: str = "") -> None:
    """The check holds; otherwise ProtocolRefused with the message (`rule`) and the check in words (`reason`)."""
    if not holds:
        raise ProtocolRefused(f"{rule} was refused", rule=rule, reason=reason, hint=hint)


def in_state(state: object, allowed: tuple[object, ...], rule: str) -> None:
    """The machine is in a state in which this message is expected."""
    require(state in allowed, rule, f"{_ORDER}: the run is {str(state)}")
