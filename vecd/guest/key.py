"""Handles of loaded keys, and what an encryption gives back."""

from __future__ import annotations

from dataclasses import dataclass

from vecd.base.secret import wipe
from vecd.guest.held import Given, Raw
from vecd.wire import ops


@dataclass(frozen=True, slots=True)
class Sealed:
    """A ciphertext and what decrypting it takes beside the key; the tag is empty where the algorithm has none."""

    iv: bytes
    ciphertext: bytes
    tag: bytes


class Key:
    """A key in a card, named by its number N_K; the key itself is in the card.

    What is needed to load it again after a reconnection is kept: the callable that was given, or a copy of the
    bytes that is overwritten on release.
    """

    def __init__(self, alg: ops.Alg, usage: int | None, given: Given | None) -> None:
        self.alg = alg
        self.usage = usage
        self.number = 0
        self._copy = None if given is None or callable(given) else bytearray(given)
        self._fetch = given if callable(given) else None

    @property
    def given(self) -> Given | None:
        """What loads the key; None for a handle that only names a number."""
        return self._fetch or self._copy

    def named(self, number: int) -> Key:
        """A handle that names another number and can load nothing."""
        other = Key(self.alg, self.usage, None)
        other.number = number
        return other

    def forget(self) -> None:
        """The card has the key no longer, and nothing here can load it again."""
        self.number = 0
        self._fetch = None
        if self._copy is not None:
            wipe(self._copy)
            self._copy = None

    def __repr__(self) -> str:
        return f"<key {self.number} {self.alg.text}>"


__all__ = ["Given", "Key", "Raw", "Sealed"]
