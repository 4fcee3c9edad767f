"""What writer and reader of the shared memory both know: tables of cells, an entity, a card word taken apart.

The numbers are those of shm.h, attribute.h and card.h, through the compiler.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from vecd._shm import ffi, lib
from vecd.base import errors
from vecd.base.errors import Integrity, Internal

NONE: Final[int] = lib.VEC_NONE
USERS_MAX: Final[int] = lib.VEC_USERS_MAX
INSTANCES_MAX: Final[int] = lib.VEC_INSTANCES_MAX
CARDS_MAX: Final[int] = lib.VEC_CARDS_MAX
LEVELS_MAX: Final[int] = lib.VEC_LEVELS_MAX

FREE: Final[int] = lib.VEC_FREE
CONTROL: Final[int] = lib.VEC_CONTROL
USING: Final[int] = lib.VEC_USING
STATUS_NAMES: Final[Mapping[int, str]] = MappingProxyType({FREE: "free", CONTROL: "control", USING: "using"})

RWAC: Final[int] = lib.VEC_R | lib.VEC_W | lib.VEC_A | lib.VEC_C

# How many of each kind there can be.
KINDS: Final[Mapping[str, int]] = MappingProxyType({"user": USERS_MAX, "instance": INSTANCES_MAX, "card": CARDS_MAX})


@dataclass(frozen=True, slots=True)
class Cells:
    """One array of cells: what its indices count, and the attributes a cell of it may ever hold."""

    kinds: tuple[str, ...]
    attributes: int


CELLS: Final[Mapping[str, Cells]] = MappingProxyType(
    {
        "user_m": Cells(("instance",), RWAC),
        "user_b": Cells(("instance",), RWAC),
        "card_m": Cells(("card", "instance"), RWAC),
        # r, w and a of the slot owner stand in the card word alone.
        "card_b": Cells(("card", "instance"), lib.VEC_C),
        "manager_user_m": Cells(("user",), lib.VEC_E),
        "manager_user_b": Cells(("user",), lib.VEC_E),
        "manager_instance_m": Cells(("instance",), lib.VEC_E),
        "manager_instance_b": Cells(("instance",), lib.VEC_E),
        "manager_card_m": Cells(("card",), lib.VEC_E),
        "manager_card_b": Cells(("card",), lib.VEC_E),
    }
)


@dataclass(frozen=True, slots=True)
class Entity:
    """A live user, instance or card: id, level f (1 is the highest), the levels it may take f_v, an instance's user."""

    id: bytes
    level: int
    may: frozenset[int]
    owner: int | None = None


@dataclass(frozen=True, slots=True)
class Word:
    """A card word, taken apart."""

    held: int
    quiesced: bool
    status: int
    inflight: int
    owner: int | None
    generation: int


def decode(word: int) -> Word:
    """The word's fields, whatever they say."""
    w = lib.vec_word_decode(word)
    return Word(w.held, bool(w.quiesced), w.status, w.inflight, None if w.owner == NONE else w.owner, w.generation)


def encode(word: Word) -> int:
    """The 64 bits; an Internal for a field that does not fit."""
    owner = NONE if word.owner is None else word.owner
    plain = ffi.new("struct vec_word *", [word.held, word.quiesced, word.status, word.inflight, owner, word.generation])
    bits: int = lib.vec_word_encode(plain)
    if decode(bits) != word:
        raise Internal(f"these are not the fields of a card word: {word}")
    return bits


def check(word: int) -> Word:
    """The word's fields, if some rule allows such a word; Integrity otherwise."""
    why = ffi.new("const char **")
    if lib.vec_word_check(word, why) < 0:
        raise Integrity(f"impossible card word {word:#018x}", reason=ffi.string(why[0]).decode())
    return decode(word)


def require(status: int, what: str) -> None:
    """Nothing, or the exception of a negative status of C."""
    if status < 0:
        raise errors.by_status(-status)(what)
