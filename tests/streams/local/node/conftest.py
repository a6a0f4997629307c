"""A node in memory, with coins, for each test of its rules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streams.local.node.node import Node
from tests.streams.local.node.play import rich_node


@pytest.fixture
def node() -> Iterator[Node]:
    """One whose miner has five coins of 500,000 DOGE."""
    node = rich_node()
    yield node
    node.close()
