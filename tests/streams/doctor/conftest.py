"""What the doctor's tests of the chain look at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Database
from tests.streams.payer.world import World, world_on


@pytest.fixture
def world(database: Database) -> Iterator[World]:
    """A world in which one user has 1,000 DOGE."""
    with world_on(database) as made:
        made.deposit(1000)
        yield made
