"""
Requests, and the next step in words: what a person does so that a request is made.

A refusal names one request that would remove its cause (`Decision.remedy`). Who makes such a
request, and how, is this table: people speak to vecctl, guests connect, the card gives turns.
"""

from typing import Any, NamedTuple

from vecd.ppm.levels import USING
from vecd.ppm.state import INSTANCE, Key, State


class Request(NamedTuple):
    """
    One request to the reference monitor: a rule (R1..R12) or a data operation (submit, ...).

    attribute: a letter of "rwace", in R6, R9, R10. to: who gets or loses it, in R9 and R10, where the subject is the
    manager. level: in R11, and in R7 (None: the default). next: the next slot owner in R12 (None: nobody). Nothing
    here is checked yet: a request of the wrong form is what the rules answer with `?`.
    """

    rule: str
    subject: Key
    object: Key
    attribute: Any = None
    to: Any = None
    level: Any = None
    next: Any = None


def _name(state: State, key: Key | None) -> str:
    """The bare name, as vecctl takes it: "instance A.1" without its kind."""
    return state.words(key).rpartition(" ")[2] if key is not None else "none"


def step(state: State, request: Request) -> str:
    """The sentence that says how to bring `request` about: a vecctl command where people decide."""
    name = {field: _name(state, getattr(request, field)) for field in ("subject", "object", "to", "next")}
    kind = state.kind(request.object)
    pattern = _STEPS.get((request.rule, kind)) or _STEPS[request.rule, None]
    if request.rule == "R11" and kind != INSTANCE and request.level != USING:
        pattern = _DOWN
    return pattern.format(attribute=request.attribute, level=request.level, **name)


_DOWN = "wait until {object} goes down to control after this batch (R11, by the card): vecctl card show {object}"

_STEPS = {
    ("R1", INSTANCE): "{subject} connects to its instance {object} (R1) when its guest opens a session",
    ("R1", None): "{subject} connects to {object} (R1) when its guest opens a session on that card",
    ("R2", INSTANCE): "{subject} asks for a on {object} (R2) when its guest opens a session",
    ("R2", None): "{subject} asks for a on {object} (R2, by the card, at the start of a turn)",
    ("R3", None): "{subject} asks for w on {object} (R3)",
    ("R4", INSTANCE): "{subject} asks for r on {object} (R4) when its guest opens a session",
    ("R4", None): "{subject} asks for r on {object} (R4, by the card, once the batch is done)",
    ("R5", None): "the guard takes e* on {object} (R5) when it starts: vecctl status",
    ("R6", None): "{subject} gives back {attribute} on {object} (R6) when its guest ends the session",
    ("R7", INSTANCE): "vecctl guest add, which creates {object} (R7)",
    ("R7", None): "{object} is created (R7): vecctl guest add for a user; a card when it registers",
    ("R8", None): "vecctl guest remove, which destroys {object} (R8); a card when it is retired",
    ("R9", None): "vecctl access give {to} {object} {attribute}",
    ("R10", None): "vecctl access rescind {to} {object} {attribute}",
    ("R11", INSTANCE): "the manager moves {object} to level {level} (R11)",
    ("R11", None): "wait until {object} goes up to using (R11, by the card): vecctl card show {object}",
    ("R12", None): "wait until the card has wiped itself and given the turn to {next} (R12): vecctl card show {object}",
    ("loadkey", None): "{subject} loads a key on {object} first",
    ("submit", None): "{subject} submits data to {object} first",
}
