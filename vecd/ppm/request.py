"""
Requests: what may be asked of the reference monitor, and in words, what has to happen so that it is asked.

A refusal names one request that would remove its cause (`Decision.remedy`). Who makes such a
request, and how, is this table: people speak to vecctl, guests connect, the card gives turns.
"""

from typing import Any, NamedTuple

from vecd.ppm.levels import USING, Level
from vecd.ppm.state import INSTANCE, MANAGER, Key, State


class Request(NamedTuple):
    """
    One request to the reference monitor: a rule (R1..R12) or a data operation (submit, ...).

    attribute: a letter of "rwace", in R6, R9, R10. to: who gets or loses it, in R9 and R10, where the subject is the
    manager. level: in R11, and in R7 (None: the default). next: the next slot owner in R12 (None: nobody). Nothing
    here is checked yet: a request of the wrong form is what the rules answer with `?`.
    """

    rule: Any
    subject: Any
    object: Any
    attribute: Any = None
    to: Any = None
    level: Any = None
    next: Any = None


def connect(subject: Key, object: Key) -> Request:
    """R1: c on an instance or a card."""
    return Request("R1", subject, object)


def append(subject: Key, object: Key) -> Request:
    """R2: a."""
    return Request("R2", subject, object)


def write(subject: Key, object: Key) -> Request:
    """R3: w."""
    return Request("R3", subject, object)


def read(subject: Key, object: Key) -> Request:
    """R4: r."""
    return Request("R4", subject, object)


def instruct(object: Key) -> Request:
    """R5: the manager takes e*."""
    return Request("R5", MANAGER, object)


def release(subject: Key, object: Key, attribute: str) -> Request:
    """R6: give back one attribute; with c everything goes."""
    return Request("R6", subject, object, attribute)


def create(object: Key, level: Level | None = None) -> Request:
    """R7: a named thing becomes live."""
    return Request("R7", MANAGER, object, level=level)


def destroy(object: Key) -> Request:
    """R8: a free thing ends."""
    return Request("R8", MANAGER, object)


def give(to: Key, object: Key, attribute: str) -> Request:
    """R9: `to` may ask for the attribute from now on."""
    return Request("R9", MANAGER, object, attribute, to=to)


def rescind(to: Key, object: Key, attribute: str) -> Request:
    """R10: `to` may not ask for it any more, and does not hold it."""
    return Request("R10", MANAGER, object, attribute, to=to)


def move(subject: Key, object: Key, level: Level) -> Request:
    """R11: the slot owner or the manager takes a card up (L2) or down, the manager an instance."""
    return Request("R11", subject, object, level=level)


def switch(card: Key, next: Key | None, subject: Key = MANAGER) -> Request:
    """R12: the card is clean and its slot is `next`'s, or nobody's."""
    return Request("R12", subject, card, next=next)


def _name(state: State, key: Key | None) -> str:
    """The bare name, as vecctl takes it: "instance A.1" without its kind."""
    return state.words(key).rpartition(" ")[2] if key is not None else "nobody"


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
