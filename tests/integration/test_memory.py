"""Where a guest's key stands on the host: in the card's key arena, nowhere else, and after its release nowhere."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.integration import memory
from tests.integration.cipher_machine import CipherMachine, Guest, running
from vecd.guest import Card

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="condition not met: root, since no process of ours lets its own user read its memory"
)

LOCKED = {"lo", "dd", "dc"}
OTHERS = ("guard", "broker", "authority", "dev")
READ_AT_LEAST = 10 << 20


@pytest.fixture(scope="module", params=["vecd", "tests.integration.without_memfd_secret"])
def machine(request: pytest.FixtureRequest) -> Iterator[CipherMachine]:
    """With memfd_secret nobody can look into the arena, the test included; without it the test can."""
    with running("c0", module=request.param) as made:
        yield made


@pytest.fixture(scope="module")
def plain(machine: CipherMachine) -> bool:
    return "without" in machine.module


def needles(key: bytes) -> tuple[bytes, bytes]:
    """Both halves: a key schedule starts with the key, round key by round key."""
    return key[:16], key[-16:]


def work(card: Card, guest: Guest) -> None:
    key = card.load_key(guest.key)
    sealed = card.encrypt(key, b"some data", b"header")
    assert card.decrypt(key, sealed, b"header") == b"some data"
    with card.encrypt_stream(key) as stream:
        stream.update(bytes(300_000))
        stream.finish()


def test_a_key_is_in_the_arena_alone_and_gone_after_release(machine: CipherMachine, plain: bool) -> None:
    guests = [machine.add("A"), machine.add("B")]
    (card_pid,) = machine.pids("card", "c0")
    with guests[0].connect() as first:
        with guests[1].connect() as second:
            for card, guest in zip((first, second), guests, strict=True):
                work(card, guest)
            for guest in guests:
                in_card = memory.search(card_pid, *needles(guest.key))
                assert in_card.read > READ_AT_LEAST
                assert all(mapping.flags >= LOCKED for mapping in in_card.found), in_card.found
                # Where the kernel lets root look into the arena, the key is there, and the search can find it.
                assert bool(in_card.found) == plain
                if not plain:
                    assert any(mapping.flags >= LOCKED for mapping in in_card.closed)
                _nowhere(machine, guest, OTHERS)
        # B has let go, A has not.
        gone = memory.search(card_pid, *needles(guests[1].key))
        assert gone.found == () and gone.read > READ_AT_LEAST
        assert bool(memory.search(card_pid, *needles(guests[0].key)).found) == plain
    for guest in guests:
        assert memory.search(card_pid, *needles(guest.key)).found == ()
        _nowhere(machine, guest, OTHERS)


def test_a_withdrawn_right_takes_the_key_out_of_the_card(machine: CipherMachine) -> None:
    guest = machine.add("W")
    (card_pid,) = machine.pids("card", "c0")
    with guest.connect() as card:
        work(card, guest)
        machine.admin("access.rescind", subject="W.1", object="c0", attribute="c")
        assert memory.search(card_pid, *needles(guest.key)).found == ()


def test_a_key_that_was_refused_leaves_nothing(machine: CipherMachine) -> None:
    """Message 7 was opened, and the authority then says keybad or the guard no: K had been staged."""
    guest = machine.add("Z")
    (card_pid,) = machine.pids("card", "c0")
    with guest.connect(retry=False) as card:
        machine.admin("access.rescind", subject="Z.1", object="c0", attribute="a")
        with pytest.raises(Exception, match="R2"):
            card.load_key(guest.key)
        assert memory.search(card_pid, *needles(guest.key)).found == ()
        _nowhere(machine, guest, OTHERS)


def test_no_key_stands_in_a_log(machine: CipherMachine) -> None:
    guest = machine.add("L")
    with guest.connect() as card:
        work(card, guest)
    log = machine.log_path.read_bytes()
    assert guest.key not in log and guest.key.hex().encode() not in log


def _nowhere(machine: CipherMachine, guest: Guest, roles: tuple[str, ...]) -> None:
    for role in roles:
        for pid in machine.pids(role):
            found = memory.search(pid, *needles(guest.key), guest.key.hex().encode())
            assert found.found == (), f"{role}: {found.found}"
            assert found.read > READ_AT_LEAST
