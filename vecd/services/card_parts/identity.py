"""The identity of a card: its seeds stand in the card's key arena, and on the disk in a file of their own.

State directory of a card (0700): `identity.json`, which has no secret, and `identity.seeds` (0600): suite byte,
signature seed, HPKE seed. The seeds go from the file into one bytearray and from there into the arena, which overwrites
it; what is written comes from the arena. An operation borrows them (protocol.suites.LentKeys).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from vecd.base.errors import ConfigError, VecError
from vecd.cards.api import Card
from vecd.protocol.identity import Identity
from vecd.protocol.suites import LentKeys, draw_seeds
from vecd.services import enrolment

T = TypeVar("T")

NAME = "identity.seeds"
# Far beyond the seeds of any suite.
SIZE_MAX = 4096


class ArenaSeeds:
    """A SeedSource: seeds under one handle of the card's vault."""

    def __init__(self, card: Card, seeds: bytearray) -> None:
        """They are in the arena and no longer in `seeds`."""
        self._card = card
        self._handle = card.stage(seeds, readable=True)

    def lend(self, operation: Callable[[memoryview], T]) -> T:
        with self._card.peek(self._handle) as view:
            try:
                # By way of C: so it stands deeper on the stack than what then overwrites the stack.
                return next(map(operation, (view,)))
            finally:
                self._card.wipe_stack()

    def drop(self) -> None:
        """They are gone. Once."""
        self._card.drop(self._handle)


def fresh(card: Card) -> tuple[LentKeys, ArenaSeeds]:
    """New key pairs of this card; nothing is on the disk yet."""
    seeds = ArenaSeeds(card, draw_seeds())
    return LentKeys(seeds), seeds


def stored(directory: Path, card: Card) -> Identity | None:
    """The identity of a card that registered before; None at the first start. Raises ConfigError for a damaged one."""
    text = enrolment.text_of(directory)
    if text is None:
        return None
    seeds = ArenaSeeds(card, _read(directory / NAME))
    try:
        return Identity.from_json(text, keys=LentKeys(seeds))
    except VecError as error:
        seeds.drop()
        raise ConfigError(
            f"{directory}: {enrolment.NAME} and {NAME} are not one identity",
            reason=str(error),
            hint="restore both, or move the directory away and enrol the card again",
        ) from None


def store(directory: Path, identity: Identity, seeds: ArenaSeeds, invitation_path: Path) -> None:
    """Seeds and identity are on the disk, in this order, and the enrolment file is gone. Raises Failed."""
    seeds.lend(lambda view: enrolment.write(directory / NAME, view))
    enrolment.store(directory, identity, invitation_path)


def _read(path: Path) -> bytearray:
    try:
        with path.open("rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if status.st_mode & 0o077:
                raise ConfigError(f"others may read {path}", hint=f"chmod 600 {path}, and think about who has read it")
            seeds = bytearray(min(status.st_size, SIZE_MAX))
            got = file.readinto(seeds)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read",
            reason=error.strerror or "",
            hint=f"it belongs to {enrolment.NAME} beside it: restore it, or move both away and enrol the card again",
        ) from None
    if not seeds or got != len(seeds):
        raise ConfigError(f"{path} holds no seeds")
    return seeds
