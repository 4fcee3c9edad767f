"""What the tests over the real processes get: one cipher machine for each module."""

from collections.abc import Iterator

import pytest

from tests.integration.cipher_machine import CipherMachine, running


@pytest.fixture(scope="module")
def cipher_machine() -> Iterator[CipherMachine]:
    """`vecd dev` with the cards c0 and c1, all processes real; ended when the module is done."""
    with running("c0", "c1") as machine:
        yield machine
