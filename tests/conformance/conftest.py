"""A machine for every driver and both ways to share it: guard's memory, card process, instances 1 and 2 connected
with every right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conformance.machine import CardProcess, Guard

DRIVERS = ["soft"]
INSTANCES = (1, 2)
SHARES = ("fair", "strict")
# Long enough for the largest request on a machine that does other things as well.
SLOT_US = 10000


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=SHARES)
def share(request: pytest.FixtureRequest) -> str:
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
def make_card(driver: str, share: str, guard: Guard) -> Iterator[Callable[..., CardProcess]]:
    """A card process with these options, bound to the guard."""
    made = []

    def make(kind: str = "", **options: Any) -> CardProcess:
        card = CardProcess(driver + kind, options | {"strict": int(share == "strict")})
        made.append(card)
        card.bind(guard)
        if share == "strict":
            card.schedule(strict=True, slot_us=SLOT_US, weights=[[one, 1] for one in INSTANCES])
        return card

    yield make
    for card in made:
        card.close()


@pytest.fixture
def card(make_card: Callable[..., CardProcess]) -> CardProcess:
    return make_card()
