"""A lookout over each kind of node, or over our own alone where a test tells it to misbehave."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from schemas.settings import Settings
from tests.conftest import Database
from tests.streams.watcher.lookout import Lookout
from tests.support.nodes import OurNode, RunningNode, any_node, our_node

__all__ = ["any_node", "our_node"]


@pytest.fixture
def quiet(database: Database) -> Settings:
    """Settings without a broker: what the watcher would send stays in its outbox."""
    return Settings(database_url=database.owner_url, worker_database_url=database.worker_url)


@pytest.fixture
def lookout(quiet: Settings, database: Database, any_node: RunningNode) -> Iterator[Lookout]:
    """Over each node."""
    made = Lookout(quiet, database, any_node)
    yield made
    made.close()


@pytest.fixture
def our_lookout(quiet: Settings, database: Database, our_node: OurNode) -> Iterator[Lookout]:
    """Over our own node."""
    made = Lookout(quiet, database, our_node)
    yield made
    made.close()
