"""What the tests over the real processes get: one cipher machine for each module."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.cipher_machine import CipherMachine, running
from vecd.cli.main import main


@pytest.fixture(scope="module")
def cipher_machine() -> Iterator[CipherMachine]:
    """`vecd dev` with the cards c0 and c1, all processes real; ended when the module is done."""
    with running("c0", "c1") as machine:
        yield machine


@pytest.fixture
def vecctl(machine: Any, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Any]]:
    """vecctl over the module's `machine`: exit code, and what was printed, as an object."""

    def run(*words: str) -> tuple[int, Any]:
        code = main(["--dir", str(machine.root), "--json", *words])
        said = capsys.readouterr()
        return code, json.loads(said.out or said.err)

    return run
