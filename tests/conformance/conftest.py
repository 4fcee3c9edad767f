"""A machine for every driver: guard's memory, card process, instances 1 and 2 connected with every right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conformance.machine import CardProcess, Guard

DRIVERS = ["soft"]
INSTANCES = (1, 2)


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def guard() -> Iterator[Guard]:
    guard = Guard()
    for instance in INSTANCES:
        guard.give(instance)
        guard.connect(instance)
    yield guard
    guard.close()


@pytest.fixture
def make_card(driver: str, guard: Guard) -> Iterator[Callable[..., CardProcess]]:
    """A card process with these options, bound to the guard."""
    made = []

    def make(kind: str = "", **options: Any) -> CardProcess:
        card = CardProcess(driver + kind, options)
        made.append(card)
        card.bind(guard)
        return card

    yield make
    for card in made:
        card.close()


@pytest.fixture
def card(make_card: Callable[..., CardProcess]) -> CardProcess:
    return make_card()
