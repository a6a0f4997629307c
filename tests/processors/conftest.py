"""The applier on a database of its own, for all tests of the folder that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Database
from tests.support.till import Till, seeded, till_on


@pytest.fixture
def till(database: Database) -> Iterator[Till]:
    """A till that holds all partitions; whatever it did must be sound in the end."""
    with till_on(seeded(database)) as made:
        made.take_over()
        yield made
        made.audit()
