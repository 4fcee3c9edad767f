"""The soft card: libcrypto in this process, behind the interface of api.py; the C side does the work.

`prepare()` comes first in a card process, before anything imports hashlib, hmac, secrets or ssl: the arena
has to be under libcrypto before libcrypto allocates (docs/cards.md, "Where a key is"). This module and what it
imports do not import them.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from vecd._card import ffi, lib
from vecd.base import errors

from .api import TIMEOUT_S, Card, Counters, Event, EventKind, KeySlot, Residue, Schedule, Secret, Share

# Records that are taken at once: a quarter of what may wait.
AUDIT_RECORDS = lib.VEC_AUDIT_RING // 4

_PREPARE = {
    lib.VEC_EEXISTS: (
        "libcrypto has allocated memory already, so the arena cannot hold its key schedules",
        "call vecd.cards.soft.prepare() before anything imports hashlib, hmac, secrets or ssl",
    ),
    lib.VEC_EEXHAUSTED: (
        "the key arena cannot be locked in memory",
        "raise RLIMIT_MEMLOCK (LimitMEMLOCK= of the unit) to 8 MiB or more",
    ),
}


def prepare(size: int = lib.VEC_ARENA_SIZE) -> None:
    """The key arena exists and libcrypto allocates secrets in it. Again is allowed. Raises Failed with the reason."""
    r = lib.vec_arena_prepare(size)
    if r < 0:
        message, hint = _PREPARE.get(-r, ("the key arena cannot be made", ""))
        detail = os.strerror(ffi.errno) if -r == lib.VEC_EEXHAUSTED else ""
        raise errors.Failed(message, reason=detail, hint=hint)


def _text(c_string: Any) -> str:
    return ffi.string(c_string).decode()


def raise_status(r: int, reason: int, what: str) -> None:
    """Nothing for 0; otherwise the error of the status, with the rule and the sentence of the reason."""
    if r >= 0:
        return
    rule = lib.vec_reason_rule(reason)
    raise errors.by_status(-r)(
        f"{what}: {_text(lib.vec_status_sentence(r))}",
        rule=f"R{rule}" if rule else "",
        reason=_text(lib.vec_reason_sentence(reason)),
    )


def _chain_value(value: bytes) -> Any:
    if len(value) != lib.VEC_AUDIT_VALUE:
        raise errors.Malformed(f"a chain value has {lib.VEC_AUDIT_VALUE} bytes, not {len(value)}")
    return ffi.from_buffer(value)


class SoftCard(Card):
    """A soft card and its pump thread. Calls prepare()."""

    driver = "soft"

    def __init__(self, **options: int) -> None:
        """options: fields of struct vec_pump_options (pump.h); what is not named has its default."""
        prepare()
        chosen = ffi.new("struct vec_pump_options *")
        lib.vec_pump_defaults(chosen)
        for name, value in options.items():
            setattr(chosen, name, value)
        made = ffi.new("vec_pump **")
        raise_status(lib.vec_pump_new(self._table(), chosen, made), 0, "the pump cannot be made")
        self._pump = made[0]
        self._slots = chosen.keys
        self._handles: set[int] = set()
        self._closing, self._taking = threading.Lock(), threading.Lock()
        self._taken: Any = None
        self._closed = False
        self._thread = threading.Thread(target=lib.vec_pump_run, args=(self._pump,), name="pump", daemon=True)
        self._thread.start()
        # libcrypto takes itself apart at exit: the pump must not be in it then.
        atexit.register(self.close)

    def _table(self) -> Any:
        """The driver's table of functions."""
        return lib.vec_driver_soft()

    def _ask(self, what: str, function: Any, *args: Any, timeout_s: float = TIMEOUT_S) -> None:
        if self._closed:
            raise errors.Gone(f"{what}: the card is closed")
        reason = ffi.new("uint8_t *")
        r = function(self._pump, *args, int(timeout_s * 1000), reason)
        raise_status(r, reason[0], what)

    # ---- vault ----------------------------------------------------------------------------------------------

    def stage(self, secret: Secret, *, readable: bool = False) -> int:
        view = memoryview(secret)
        handle = ffi.new("uint64_t *")
        with ffi.from_buffer(view) as source:
            r = lib.vec_vault_stage(source, len(source), readable, handle)
            if not view.readonly:
                lib.vec_wipe(source, len(source))
        lib.vec_stack_wipe()
        raise_status(r, 0, "a secret cannot be staged")
        self._handles.add(handle[0])
        return handle[0]

    def kcv(self, handle: int, data: bytes) -> bytes:
        out = ffi.new("uint8_t[32]")
        raise_status(lib.vec_vault_kcv(handle, ffi.from_buffer(data), len(data), out), 0, "kcv")
        return bytes(ffi.buffer(out))

    def peek(self, handle: int) -> memoryview:
        secret, size = ffi.new("uint8_t **"), ffi.new("size_t *")
        raise_status(lib.vec_vault_peek(handle, secret, size), 0, "a staged secret cannot be read")
        return memoryview(ffi.buffer(secret[0], size[0])).toreadonly()

    def drop(self, handle: int) -> None:
        raise_status(lib.vec_vault_drop(handle), 0, "a staged secret cannot be dropped")
        self._handles.discard(handle)

    def wipe(self, secret: Secret) -> None:
        with ffi.from_buffer(secret) as source:
            lib.vec_wipe(ffi.cast("void *", source), len(source))

    def wipe_stack(self) -> None:
        lib.vec_stack_wipe()

    # ---- life -------------------------------------------------------------------------------------------------

    def bind(self, matrices_fd: int, word_fd: int, card: int) -> None:
        self._ask("the guard's memory cannot be bound", lib.vec_pump_bind, matrices_fd, word_fd, card)

    def quiesce(self) -> None:
        self._ask("quiesce", lib.vec_pump_quiesce)

    def close(self) -> None:
        with self._closing:
            if self._closed:
                return
            self._closed = True
            atexit.unregister(self.close)
            lib.vec_pump_stop(self._pump)
            self._thread.join()
            lib.vec_pump_free(self._pump)
            for handle in self._handles:
                # load_key used up some of them.
                with contextlib.suppress(errors.Unknown):
                    raise_status(lib.vec_vault_drop(handle), 0, "close")

    # ---- what the guard and the broker ask for --------------------------------------------------------------------

    def schedule(self, strict: bool, slot_us: int, weights: Mapping[int, int]) -> None:
        shares = ffi.new("struct vec_share[]", [{"instance": i, "weight": w} for i, w in weights.items()])
        what = f"share = {'strict' if strict else 'fair'}, {len(weights)} instances"
        try:
            self._ask(what, lib.vec_pump_schedule, strict, slot_us, shares, len(weights))
        except errors.Exhausted as error:
            slots = sum(weights.values())
            raise errors.Exhausted(
                f"{what}: a round of {slots} slots of {slot_us} us is longer than {lib.VEC_ROUND_US_MAX} us",
                reason=error.reason,
                hint="lower slot_us or the weights, let fewer instances on this card, or use share = fair",
            ) from None
        except errors.TooLarge as error:
            raise errors.TooLarge(
                f"{what}: into a slot of {slot_us} us not even a small request fits on this machine",
                reason=error.reason,
                hint="raise slot_us in the [[card]] of vecd.toml",
            ) from None

    def shared(self) -> Schedule:
        count, most, grid = ffi.new("uint32_t *"), 64, ffi.new("struct vec_grid_report *")
        while True:
            got = ffi.new("struct vec_share_report[]", most)
            self._ask("how the card is shared", lib.vec_pump_shares, grid, got, most, count)
            if count[0] <= most:
                break
            most = count[0]
        shares = tuple(Share(s.instance, s.weight, s.slots, s.turns, s.engine_ns) for s in got[0 : count[0]])
        most = grid.most if grid.round else 0
        return Schedule(bool(grid.strict), grid.slot_us, grid.round, bool(grid.realtime), most, shares)

    def attach(self, fd: int, instance: int, tag: bytes, *, deadline_s: float = 5.0) -> None:
        if len(tag) != lib.VEC_ATTACH_TAG_SIZE:
            raise errors.Malformed(f"attach: the tag has {lib.VEC_ATTACH_TAG_SIZE} bytes, not {len(tag)}")
        deadline_ms = max(1, int(deadline_s * 1000))
        self._ask("attach", lib.vec_pump_attach, fd, instance, ffi.from_buffer(tag), deadline_ms)

    def load_key(self, instance: int, number: int, algorithm: int, usage: int, handle: int) -> None:
        try:
            self._ask(f"key {number}", lib.vec_pump_load_key, instance, number, algorithm, usage, handle)
        except errors.Exhausted as error:
            if error.reason != _text(lib.vec_reason_sentence(lib.VEC_REASON_KEY_SLOTS)):
                raise
            raise errors.Exhausted(
                f"key {number}: the {self._slots} key slots of this card are taken",
                reason=error.reason,
                hint="release a key, or have slots raised in the [[card]] of vecd.toml",
            ) from None
        self._handles.discard(handle)

    def drop_key(self, instance: int, number: int) -> None:
        self._ask(f"key {number}", lib.vec_pump_drop_key, instance, number)

    def drop_instance(self, instance: int) -> None:
        self._ask(f"instance {instance}", lib.vec_pump_drop_instance, instance)

    def rescind(self, instance: int, attributes: int) -> None:
        self._ask(f"instance {instance}", lib.vec_pump_rescind, instance, attributes)

    def clean(self) -> bool:
        try:
            self._ask("clean", lib.vec_pump_clean)
        except errors.Hardware:
            return False
        return True

    def residue(self) -> Residue:
        got = ffi.new("struct vec_residue *")
        self._ask("residue", lib.vec_pump_residue, got)
        context, output = (-1 if i == lib.VEC_NONE else i for i in (got.context, got.output))
        return Residue(context, output, tuple(sorted({slot.instance for slot in self.keys()})))

    def keys(self) -> Sequence[KeySlot]:
        count, most = ffi.new("uint32_t *"), 64
        while True:
            slots = ffi.new("struct vec_key_slot[]", most)
            self._ask("keys", lib.vec_pump_keys, slots, most, count)
            if count[0] <= most:
                return [KeySlot(s.instance, s.number, s.alg, s.usage, s.streams, s.drawn) for s in slots[0 : count[0]]]
            most = count[0]

    def counters(self) -> Counters:
        got, arena = ffi.new("struct vec_counters *"), ffi.new("struct vec_arena_report *")
        self._ask("counters", lib.vec_pump_counters, got)
        lib.vec_arena_report(arena)
        names = [name for name, _ in ffi.typeof("struct vec_counters").fields]
        return Counters(**{name: getattr(got, name) for name in names}, arena_used=arena.used, arena_size=arena.size)

    # ---- its audit chain ----------------------------------------------------------------------------------------

    def _audit(self) -> Any:
        if self._closed:
            raise errors.Gone("the card is closed")
        return lib.vec_pump_audit(self._pump)

    def audit_open(self, sequence: int, value: bytes) -> None:
        raise_status(lib.vec_audit_open(self._audit(), sequence, _chain_value(value)), 0, "the audit chain")

    def audit_take(self) -> bytes:
        with self._taking:
            if self._taken is None:
                self._taken = ffi.new("uint8_t[]", AUDIT_RECORDS * lib.VEC_AUDIT_RECORD)
            count = lib.vec_audit_take(self._audit(), self._taken, AUDIT_RECORDS)
            return bytes(ffi.buffer(self._taken, count * lib.VEC_AUDIT_RECORD))

    def audit_add(self, kind: int, flags: int = 0, word: int = 0) -> None:
        raise_status(lib.vec_audit_add(self._audit(), kind, flags, word), 0, "the audit chain")

    def audit_rewind(self, sequence: int, value: bytes, lost: int) -> None:
        lib.vec_audit_rewind(self._audit(), sequence, _chain_value(value), lost)

    def audit_hold(self, held: bool) -> None:
        lib.vec_audit_hold(self._audit(), held)

    # ---- what it tells ------------------------------------------------------------------------------------------

    def event_fd(self) -> int:
        return lib.vec_pump_event_fd(self._pump)

    def events(self) -> list[Event]:
        got, out = ffi.new("struct vec_event *"), []
        while not self._closed and lib.vec_pump_event(self._pump, got) == 0:
            instance = -1 if got.instance == lib.VEC_NONE else got.instance
            out.append(Event(EventKind(got.kind), instance, got.value, _text(lib.vec_reason_sentence(got.reason))))
        return out
