"""What the card process needs of a card, whatever is behind it: the interface that every driver keeps.

A card has a *vault* (secrets under handles: keys on their way into a key slot, the card's own identity) and a
*data path* (the pump: connections, turns, streams), which runs in a thread of its own without Python. docs/cards.md
is the text to this file, cext/include/vec/{arena,driver,pump}.h the C side, docs/model.md and docs/shm.md the theory.

Every method raises a VecError (vecd.base.errors) whose class is the status, with `rule` and `reason`, and returns
within its time-out. Methods may be called from any thread. The methods of the data path wait until the pump
has done it; the pump gets round to them between two turns, so that takes well under a millisecond. Shared strictly,
what takes up a slot waits for it: attach, bind, clean and schedule for the end of the running one, load_key for the
next slot of its instance.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import TracebackType
from typing import Self

from vecd.base.errors import ConfigError

# What a secret may come in.
Secret = bytes | bytearray | memoryview

# Seconds a caller waits for the pump before TimedOut. A turn lasts milliseconds; a guard that holds q, up to 1 s.
TIMEOUT_S = 5.0

# Drivers by name: module and class. Imported by `load` only, so that a card process has one vendor library at most.
DRIVERS = {"soft": ("vecd.cards.soft", "SoftCard")}


class EventKind(IntEnum):
    """What the pump tells unasked; the numbers are VEC_EVENT_* of pump.h."""

    CLOSED = 1  # a data connection of `instance` ended; `value` are left, `reason` says why
    ATTACHED = 2  # a connection of `instance` proved its tag; `value` are attached now
    IDLE = 3  # no request for a second: a good moment for clean()
    OUT_OF_SERVICE = 4  # a wipe could not be checked: the card serves nobody any more
    OVERRUN = 5  # strict: a slot of `instance` ended `value` ns late; nobody's slot moved


@dataclass(frozen=True, slots=True)
class Event:
    kind: EventKind
    instance: int  # index, or -1
    value: int
    reason: str  # sentence of VEC_REASONS, or ""


@dataclass(frozen=True, slots=True)
class Residue:
    """What the guard asks before settle: instance index, or -1 for none."""

    context: int
    output: int
    keys: tuple[int, ...]  # instances with a loaded key slot


@dataclass(frozen=True, slots=True)
class KeySlot:
    instance: int
    number: int  # N_K
    algorithm: int  # VEC_ALG_*
    usage: int
    streams: int  # open now
    drawn: int  # IVs drawn by the card


@dataclass(frozen=True, slots=True)
class Counters:
    """Since the pump was made; of every connection together."""

    requests: int
    refused: int
    bytes_in: int
    bytes_out: int
    turns: int
    switches: int
    wipes: int
    discarded: int  # results that were ready when the right went
    connections: int  # open now
    keys: int  # loaded now
    slots: int  # strict: slots begun, idle ones too
    overruns: int  # slots that ended late
    missed: int  # slots that were over before they could begin
    arena_used: int
    arena_size: int


@dataclass(frozen=True, slots=True)
class Share:
    """What one instance has had of the card."""

    instance: int
    weight: int
    slots: int  # strict: idle ones too
    turns: int
    engine_ns: int  # the card was its, from the start of a turn to the end of it


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the card is shared, as the pump has it."""

    strict: bool
    slot_us: int  # 0 in fair
    round: int  # slots of a round; 0 in fair, and before the first schedule
    realtime: bool  # strict: other programs of the machine do not take its slots
    most: int  # bytes of the largest request that any operation can serve in a slot
    shares: tuple[Share, ...]  # of all that are named in the schedule, or had a turn


class Card(ABC):
    """One card. Made once per process; `close()` wipes everything it held."""

    #: Name of the driver, as `card.hello` reports it.
    driver: str

    @abstractmethod
    def __init__(self, **options: int) -> None:
        """options: `keys`, how many key slots there are; `strict`: 1 where nobody is served before schedule() says
        when; whatever else is the driver's own. Absent: its default."""

    # ---- vault: what protocol code may do with secrets -----------------------------------------------------

    @abstractmethod
    def stage(self, secret: Secret, *, readable: bool = False) -> int:
        """A handle of a copy in the arena; a writable `secret` (bytearray, memoryview of one) is overwritten at once.

        readable: `peek` will show it (identity seeds); a K never is. Immutable bytes are overwritten by wipe(),
        by whoever knows that nobody else refers to them. Raises Exhausted when the arena is full.
        """

    @abstractmethod
    def kcv(self, handle: int, data: bytes) -> bytes:
        """HMAC-SHA256 keyed by the staged secret, 32 bytes. Raises Unknown for a handle that is not there."""

    @abstractmethod
    def peek(self, handle: int) -> memoryview:
        """The secret itself, without a copy, valid until drop(). Raises Denied unless staged readable."""

    @abstractmethod
    def drop(self, handle: int) -> None:
        """The secret is overwritten and read back. Raises Unknown for a handle that is not there (any more)."""

    @abstractmethod
    def wipe(self, secret: Secret) -> None:
        """The bytes of this very object are zero, even of immutable `bytes`: the caller is its only owner."""

    @abstractmethod
    def wipe_stack(self) -> None:
        """What ended calls left on this thread's stack, 64 KiB deep, and in its vector registers is overwritten."""

    # ---- data path: life ----------------------------------------------------------------------------------

    @abstractmethod
    def bind(self, matrices_fd: int, word_fd: int, card: int) -> None:
        """Map what a guard passed (first, or after its restart); quiesced no longer. Starts the pump the first time.

        The descriptors stay the caller's. The engine is wiped; key slots and connections stay: drop what the guard
        does not know.
        """

    @abstractmethod
    def quiesce(self) -> None:
        """The guard is gone: q is set, every request is answered EBUSY until bind()."""

    @abstractmethod
    def close(self) -> None:
        """The pump has stopped, connections are closed, every secret is wiped. May be called twice."""

    # ---- data path: what the guard and the broker ask for ---------------------------------------------------

    @abstractmethod
    def schedule(self, strict: bool, slot_us: int, weights: Mapping[int, int]) -> None:
        """Turns by weight from here on, of instances by index (docs/cards.md, "Turns").

        fair: whoever is not named weighs 1. strict: those named have slots and nobody else is served; a round of slots
        is in the order of `weights`. Raises Malformed (a number out of range), Exhausted (the round would be too long),
        TooLarge (not even a small frame fits into such a slot on this machine); what was scheduled before stays then.
        """

    @abstractmethod
    def shared(self) -> Schedule: ...

    @abstractmethod
    def attach(self, fd: int, instance: int, tag: bytes, *, deadline_s: float = 5.0) -> None:
        """The pump owns the descriptor from here (raised: it is still the caller's): READY is on its way.

        Serves requests of this instance once the peer has sent exactly `tag` (32 bytes); wrong or late, it is
        refused and closed. Events ATTACHED and CLOSED tell.
        """

    @abstractmethod
    def load_key(self, instance: int, number: int, algorithm: int, usage: int, handle: int) -> None:
        """loadkey, in a turn of its own: key slot N_K of the instance is active and `handle` used up.

        Raises Denied with rule and reason (the handle is still there then), Exists, Exhausted (no key slot is free, or
        no memory for it), Malformed, Busy.
        """

    @abstractmethod
    def drop_key(self, instance: int, number: int) -> None:
        """The key slot and its streams are destroyed and read back. Raises NoKey when there is none."""

    @abstractmethod
    def drop_instance(self, instance: int) -> None:
        """Nothing of the instance is left but residue in the engine (clean()): keys, streams, connections, output."""

    @abstractmethod
    def rescind(self, instance: int, attributes: int) -> None:
        """Unsent output that needed one of these attributes is discarded; a connection with half a reply is cut."""

    @abstractmethod
    def clean(self) -> bool:
        """R12(none): the engine is wiped and read back, no owner. False: it is out of service now."""

    @abstractmethod
    def residue(self) -> Residue: ...

    @abstractmethod
    def keys(self) -> Sequence[KeySlot]:
        """Every loaded key slot, for card.hello."""

    @abstractmethod
    def counters(self) -> Counters: ...

    # ---- its audit chain (cext/include/vec/audit.h) -----------------------------------------------------------

    @abstractmethod
    def audit_open(self, sequence: int, value: bytes) -> None:
        """Every turn is recorded from here on, behind this chain value. Raises Exists the second time."""

    @abstractmethod
    def audit_take(self) -> bytes:
        """Records of 64 bytes, oldest first; empty when there is none. They are the caller's to keep."""

    @abstractmethod
    def audit_add(self, kind: int, flags: int = 0, word: int = 0) -> None:
        """A record that is no turn's. Raises Exhausted."""

    @abstractmethod
    def audit_rewind(self, sequence: int, value: bytes, lost: int) -> None:
        """What was taken behind this could not be kept: so many records are missing, and the next one says so."""

    @abstractmethod
    def audit_hold(self, held: bool) -> None:
        """No turn is begun while records cannot be kept: requests are answered EBUSY."""

    # ---- data path: what it tells ---------------------------------------------------------------------------

    @abstractmethod
    def event_fd(self) -> int:
        """Readable while events() has something; the card's own, never to be closed or read by the caller."""

    @abstractmethod
    def events(self) -> list[Event]:
        """What happened since the last call, in order."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def load(driver: str) -> type[Card]:
    """The class of a driver. Raises ConfigError for a name that has no row."""
    if driver not in DRIVERS:
        raise ConfigError(f"no card driver {driver!r}", hint=f"known are: {', '.join(sorted(DRIVERS))}")
    module, name = DRIVERS[driver]
    return getattr(importlib.import_module(module), name)
