"""Where a key is: in the arena while it is loaded, nowhere else, and nowhere at all after that."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable

import pytest

from tests.conformance.machine import ENCRYPT, FIRST, GCM256, SHA256, CardProcess, Guard
from vecd.base import errors
from vecd.wire import ops


def test_the_search_finds_what_is_there(card: CardProcess) -> None:
    """Else the tests below would hold nothing: what stands in ordinary memory of the process is seen."""
    mark = os.urandom(16)
    card.attach(1)
    handle = card.stage(os.urandom(32))
    card.kcv(handle=handle, data=mark)
    # Python's own copy of an argument, as hex text and perhaps as bytes.
    assert card.memory_has(mark.hex().encode()) or card.memory_has(mark)


def test_a_staged_key_is_in_the_arena_alone(card: CardProcess) -> None:
    secret = os.urandom(32)
    handle = card.stage(secret)
    assert card.kcv(handle=handle, data=b"bound") == hmac.digest(secret, b"bound", hashlib.sha256).hex()
    assert card.arena_has(secret) == 1 and card.memory_has(secret) == []
    card.drop(handle=handle)
    assert card.arena_has(secret) == 0 and card.memory_has(secret) == []


def test_a_loaded_key_is_in_the_arena_alone_and_nowhere_after_release(card: CardProcess, guard: Guard) -> None:
    secret = os.urandom(32)
    before = card.counters()["arena_used"]
    key = card.key(1, secret, GCM256)
    guest = card.attach(1)
    for _ in range(100):
        assert guest.ask(ENCRYPT, os.urandom(1000), key=key).status == 0
    for stream in range(1, 9):
        assert guest.ask(ENCRYPT, b"x", key=key, stream=stream, flags=FIRST).status == 0
        assert guest.ask(SHA256, b"x", stream=stream, flags=FIRST).status == 0
    # K itself, and the first round keys of every prepared context.
    assert card.arena_has(secret) >= 2
    assert card.memory_has(secret) == [] and card.memory_has(secret[:16]) == []
    card.drop_instance(instance=1)
    assert card.arena_has(secret) == 0 and card.arena_has(secret[:16]) == 0
    assert card.memory_has(secret) == [] and card.memory_has(secret[:16]) == []
    assert card.counters()["arena_used"] == before


def test_what_cannot_be_loaded_stays_a_handle_and_goes_with_it(card: CardProcess, guard: Guard) -> None:
    secret = os.urandom(24)
    handle = card.stage(secret)
    with pytest.raises(errors.Malformed):
        card.load_key(instance=1, number=1, algorithm=GCM256, usage=7, handle=handle)
    card.drop(handle=handle)
    assert card.arena_has(secret) == 0 and card.memory_has(secret) == []


def test_only_what_was_staged_readable_can_be_read(card: CardProcess) -> None:
    seed = os.urandom(32)
    hidden, shown = card.stage(seed), card.stage(seed, readable=True)
    assert card.peek(handle=shown) == seed.hex()
    with pytest.raises(errors.Denied):
        card.peek(handle=hidden)
    for handle in (hidden, shown):
        card.drop(handle=handle)
        for call in (card.drop, card.peek):
            with pytest.raises(errors.Unknown):
                call(handle=handle)
    for nobody in (0, 1, 2**64 - 1):
        with pytest.raises(errors.Unknown):
            card.kcv(handle=nobody, data=b"")


def test_a_full_arena_is_a_refusal(card: CardProcess) -> None:
    handles = []
    with pytest.raises(errors.Exhausted):
        for _ in range(1025):
            handles.append(card.stage(os.urandom(4096)))
    with pytest.raises(errors.TooLarge):
        card.stage(bytes(16385))
    for handle in handles:
        card.drop(handle=handle)
    card.key(1, os.urandom(32))
    assert card.attach(1).ask(SHA256, b"").status == 0


def test_a_card_has_as_many_key_slots_as_it_was_given(make_card: Callable[..., CardProcess], guard: Guard) -> None:
    card = make_card(keys=2)
    first, _ = card.key(1, os.urandom(32)), card.key(2, os.urandom(32))
    secret = os.urandom(32)
    handle = card.stage(secret)
    with pytest.raises(errors.Exhausted, match="the 2 key slots of this card are taken") as error:
        card.load_key(instance=1, number=9, algorithm=GCM256, usage=7, handle=handle)
    assert error.value.reason == ops.REASONS["KEY_SLOTS"].sentence and "release a key" in error.value.hint
    # The key waits where it was, and the next free slot takes it.
    card.drop_key(instance=1, number=first)
    card.load_key(instance=1, number=9, algorithm=GCM256, usage=7, handle=handle)
    assert card.attach(1).ask(ENCRYPT, b"x", key=9).status == 0
    card.drop_key(instance=1, number=9)
    assert card.arena_has(secret) == 0


def test_a_card_full_of_keys_refuses_the_next_and_serves_on(card: CardProcess, guard: Guard) -> None:
    keys = []
    with pytest.raises(errors.Exhausted):
        while len(keys) < 5000:
            keys.append(card.key(1, os.urandom(32)))
    assert len(keys) > 300
    guest = card.attach(1)
    # A stream needs memory of the arena as well: refused, and the connection goes on.
    replies = [guest.ask(ENCRYPT, b"x", key=keys[0], stream=n, flags=FIRST) for n in range(1, 9)]
    assert any(reply.status for reply in replies)
    assert guest.ask(ENCRYPT, b"x", key=keys[-1]).status == 0
    card.drop_instance(instance=1)
    assert card.keys() == []
    card.key(1, os.urandom(32))
