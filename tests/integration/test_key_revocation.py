"""Further keys: a revoked one is in no card afterwards, and a request whose answer was lost is made again."""

import os
import signal
import threading
import time

import pytest

from tests.integration.cipher_machine import running
from vecd.base.errors import Busy, NoKey
from vecd.guest import control

BACK_S = 15.0


@pytest.fixture(scope="module")
def machine():
    with running("c0") as machine:
        yield machine


@pytest.fixture
def card(machine):
    name = f"g{os.urandom(3).hex()}"
    guest = machine.add(name)
    with guest.connect(timeout=BACK_S) as card:
        card.load_key(guest.key)
        yield card


def loaded(card, name="further"):
    secret = os.urandom(32)
    record = card.register_key(secret, name)
    return secret, record, card.load_key(secret)


@pytest.mark.parametrize("role", ["guard", "broker"])
def test_a_key_that_is_revoked_while_a_daemon_is_away_is_in_no_card(machine, card, role):
    _, record, key = loaded(card)
    (pid,) = machine.pids(role)
    # Whoever starts processes again is stopped, so that the daemon stays away.
    machine.process.send_signal(signal.SIGSTOP)
    try:
        os.kill(pid, signal.SIGKILL)
        revoking = threading.Thread(target=card.revoke_key, args=(record,), daemon=True)
        revoking.start()
        time.sleep(1.0)
        assert revoking.is_alive(), "it is not revoked while it is in a card"
    finally:
        machine.process.send_signal(signal.SIGCONT)
    revoking.join(BACK_S)
    assert not revoking.is_alive() and record not in card.identity.registered
    number, other = key.number, card._connection._keys
    assert number == 0 and key not in other, "its handle is void"


def test_a_revoked_key_that_was_loaded_is_unknown_to_the_card(card):
    _, record, key = loaded(card)
    old = key.named(key.number)
    card.encrypt(old, b"x")
    card.revoke_key(record)
    for handle in (old, key):
        with pytest.raises(NoKey):
            card.encrypt(handle, b"x")


def test_what_needs_any_key_does_not_try_the_revoked_one(machine, card):
    first = next(iter(card._connection._keys))
    secret, record, _ = loaded(card)
    # The first that would be tried is the one that is revoked.
    card._connection._keys[first] = card._connection._keys.pop(first)
    card.revoke_key(record)
    machine.admin("access.rescind", subject=card.instance, object="c0", attribute="c")
    machine.admin("access.give", subject=card.instance, object="c0", attribute="c")
    assert card.null(b"x", timeout=BACK_S) == b"x"


@pytest.fixture
def lost(monkeypatch):
    """The first answer of the authority to each of these operations is lost on its way."""
    once, lose = control.once, {"KEY", "KEYREV"}

    def losing(address, operation, data, deadline):
        answer = once(address, operation, data, deadline)
        if operation in lose:
            lose.discard(operation)
            raise Busy("the authority went away")
        return answer

    monkeypatch.setattr(control, "once", losing)
    return lose


def test_a_request_whose_answer_was_lost_is_made_again(card, lost):
    before = len(card.identity.registered)
    secret, record, key = loaded(card)
    assert "KEY" not in lost and len(card.identity.registered) == before + 1
    assert card.decrypt(key, card.encrypt(key, b"x")) == b"x"
    card.revoke_key(record)
    assert not lost and len(card.identity.registered) == before
    with pytest.raises(NoKey):
        card.load_key(secret)
