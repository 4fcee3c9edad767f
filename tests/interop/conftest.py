"""One machine for all tests of this folder, and guests that enrolled with the client of this folder."""

import itertools
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.integration.cipher_machine import CipherMachine, Guest, running

from .client import Client
from .control import Control
from .registration import Identity, register


@dataclass
class Enrolled:
    """A guest, its identity, its first key."""

    guest: Guest
    identity: Identity
    key: bytes

    @property
    def address(self) -> str:
        return self.guest.address

    def client(self) -> Client:
        return Client(self.address, self.identity)


@pytest.fixture(scope="package")
def machine() -> Iterator[CipherMachine]:
    with running("c0") as started:
        yield started


@pytest.fixture(scope="package")
def enrol(machine) -> Callable[..., Enrolled]:
    """A fresh guest, registered by the client of this folder."""
    numbers = itertools.count(1)

    def one(alg: str = "AES-256-GCM", usage: int = 3, suite: int = 2, key: bytes = b"") -> Enrolled:
        guest = machine.add(f"I{next(numbers)}", enrolled=False)
        key = key or secrets.token_bytes(16 if "128" in alg else 32)
        control = Control(guest.address)
        identity = register(control, guest.enrolment, key, alg, usage, suite)
        control.close()
        return Enrolled(guest, identity, key)

    return one
