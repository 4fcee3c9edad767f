"""A register at full scale: 4,000 instances of 1,000 users, each with rac on every one of 64 cards."""

from __future__ import annotations

import os
from pathlib import Path

from vecd.services.guard_parts import register
from vecd.services.guard_parts.register import Card, Instance, Register, User

INSTANCES, USERS, CARDS = 4000, 1000, 64
RIGHTS = "rac"


def filled(instances: int = INSTANCES, users: int = USERS, cards: int = CARDS) -> Register:
    """u0 .. with u0.1 .., c0 ..; M has `rac` everywhere."""
    made = Register(generation=1, next_instance=instances % 4095)
    for at in range(users):
        made.users[f"u{at}"] = User(f"u{at}", (1 << 64 | at).to_bytes(16, "big"), at, os.geteuid())
    for at in range(cards):
        made.cards[f"c{at}"] = Card(f"c{at}", (2 << 64 | at).to_bytes(16, "big"), at)
    for at in range(instances):
        owner = f"u{at % users}"
        name = f"{owner}.{at // users + 1}"
        made.instances[name] = Instance(name, (3 << 64 | at).to_bytes(16, "big"), at, owner)
        made.access[owner, name] = RIGHTS
        for card in made.cards:
            made.access[name, card] = RIGHTS
    return made


def put(path: Path, whole: Register) -> None:
    """The guard below `path` starts with it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    register.store(path, whole)


def config(cards: int = CARDS) -> str:
    """vecd.toml with these cards."""
    return "".join(f'[[card]]\nname = "c{at}"\n' for at in range(cards))
