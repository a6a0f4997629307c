"""The node as the payer sees it, without sockets: answers of 1.14, and every way to get none."""

from __future__ import annotations

from collections import deque
from enum import Enum, auto

import msgspec

from streams.local.node.calls import perform
from streams.local.node.errors import RpcError
from streams.local.node.node import Node as LocalNode
from streams.node.answers import Answer, Verdict, answer_of
from streams.node.client import NodeAway
from streams.node.shapes import BlockShape


class Trouble(Enum):
    """What befalls one broadcast."""

    #: The node never hears of it.
    UNHEARD = auto()
    #: The node takes it, and the answer is lost.
    UNANSWERED = auto()
    #: The node is overloaded or warming up.
    OVERLOADED = auto()
    #: The node refuses it, by a rule that its operator set.
    REFUSED = auto()


class Line:
    """A line to a local node, on which troubles wait for the next broadcasts."""

    def __init__(self, node: LocalNode) -> None:
        self.node = node
        self.troubles: deque[Trouble | None] = deque()
        self.sent: list[str] = []
        self.estimate: int | None = None

    def heal(self) -> None:
        """No more trouble."""
        self.troubles.clear()

    def send(self, raw: bytes) -> Answer:
        """As the real client."""
        trouble = self.troubles.popleft() if self.troubles else None
        match trouble:
            case Trouble.UNHEARD:
                return Answer(Verdict.UNKNOWN, None, "the connection ended")
            case Trouble.OVERLOADED:
                return Answer(Verdict.UNKNOWN, None, "HTTP 500 Work queue depth exceeded")
            case Trouble.REFUSED:
                return answer_of(-26, "64: scriptpubkey")
        self.sent.append(raw.hex())
        try:
            txid = perform(self.node, "sendrawtransaction", [raw.hex()])
        except RpcError as error:
            answer = answer_of(int(error.code), error.message)
        else:
            answer = Answer(Verdict.ACCEPTED, None, str(txid))
        if trouble is Trouble.UNANSWERED:
            return Answer(Verdict.UNKNOWN, None, "timed out")
        return answer

    def fee_rate(self, blocks: int) -> int | None:
        """What the test says."""
        return self.estimate

    def block(self, block_hash: str) -> BlockShape:
        """By the node's own answer."""
        try:
            shape = perform(self.node, "getblock", [block_hash, 2])
        except RpcError as error:
            raise NodeAway(error.message) from error
        return msgspec.json.decode(msgspec.json.encode(shape), type=BlockShape)
