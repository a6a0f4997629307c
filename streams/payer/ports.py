"""What the payer needs of others, as protocols: so that its steps are tested without them."""

from __future__ import annotations

from typing import Protocol

from processors.dogecoin.building import Template
from processors.dogecoin.transactions import Transaction
from streams.node.answers import Answer
from streams.node.shapes import BlockShape


class Node(Protocol):
    """A node that takes transactions."""

    def send(self, raw: bytes) -> Answer:
        """Send signed bytes; what came back, or that nothing did. Raises nothing."""

    def fee_rate(self, blocks: int) -> int | None:
        """Koinu for 1,000 bytes to be in one of the next blocks; None where it knows none.

        Raises ``NodeFault``.
        """

    def block(self, block_hash: str) -> BlockShape:
        """A block, a stale one too; raises ``NodeFault``."""


class Signer(Protocol):
    """Who has the key."""

    def sign(self, template: Template) -> Transaction:
        """The signed transaction; raises ``SigningRefused`` for a template that must not be."""
