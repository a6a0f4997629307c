"""What the watcher needs of others, as protocols: so that lies and outages can be played."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from db.engine import Connection
from streams import alarms
from streams.node.shapes import BlockShape, ChainShape, HeaderShape


class Node(Protocol):
    """A node that knows a chain. Every call raises ``NodeFault``."""

    def chain(self) -> ChainShape:
        """What it follows and how far it is."""

    def block_hash(self, height: int) -> str | None:
        """Its main chain's block at a height; None above its tip."""

    def block_hashes(self, heights: Sequence[int]) -> list[str | None]:
        """The same for many."""

    def header(self, block_hash: str) -> HeaderShape | None:
        """A block's header; None where it is unknown."""

    def block(self, block_hash: str) -> BlockShape:
        """A block, whole."""

    def close(self) -> None:
        """Let go of it."""


class Relay(Protocol):
    """Who puts the outbox's commands on their topic."""

    def run_once(self, connection: Connection) -> int:
        """Send what waits; how many. Raises ``KafkaUnavailable``."""

    def close(self) -> None:
        """Let go of the broker."""


class Bell(alarms.Bell, Protocol):
    """Who is told when an operator must look, by way of the broker."""

    def close(self) -> None:
        """Let go of the broker."""
