"""Blocks come in their order, each fetched while the one before it is in hand."""

from __future__ import annotations

import threading
from typing import Final

import pytest

from streams.node.client import NodeAway
from streams.node.shapes import BlockShape
from streams.watcher.ahead import Ahead
from tests.streams.watcher.upheaval import Wire

#: A test that hangs is told before the suite's own limit.
_SECONDS: Final = 60.0
HASHES: Final = tuple(f"{number:064x}" for number in range(3))


class Stub(Wire):
    """A node of empty blocks that tells which of them it was asked for."""

    def __init__(self, lost: str = "") -> None:
        self.lost = lost
        self.asked = {block_hash: threading.Event() for block_hash in HASHES}

    def block(self, block_hash: str) -> BlockShape:
        self.asked[block_hash].set()
        if block_hash == self.lost:
            raise NodeAway(block_hash)
        return BlockShape(
            hash=block_hash,
            height=0,
            confirmations=1,
            version=1,
            time=0,
            merkleroot="00" * 32,
            bits="00",
            nonce=0,
            tx=(),
        )


def test_the_next_block_is_fetched_while_one_is_in_hand_and_not_before() -> None:
    node = Stub()
    with Ahead(node, HASHES) as ahead:
        for sought, following in zip(ahead, (*HASHES[1:], None), strict=True):
            if following is not None:
                assert not node.asked[following].is_set()
                ahead.begin_next()
                assert node.asked[following].wait(_SECONDS), sought.block.hash


def test_all_come_in_their_order_whether_or_not_they_are_begun_ahead() -> None:
    with Ahead(Stub(), HASHES) as ahead:
        assert [sought.block.hash for sought in ahead] == list(HASHES)
        ahead.begin_next()
        assert list(ahead) == []


def test_a_fault_is_raised_in_its_blocks_place() -> None:
    with Ahead(Stub(lost=HASHES[1]), HASHES) as ahead:
        blocks = iter(ahead)
        assert next(blocks).block.hash == HASHES[0]
        ahead.begin_next()
        with pytest.raises(NodeAway, match=HASHES[1]):
            next(blocks)


def test_what_was_begun_is_done_when_it_is_left_so_that_the_node_may_be_asked_again() -> None:
    node = Stub(lost=HASHES[1])
    before = set(threading.enumerate())
    with Ahead(node, HASHES) as ahead:
        next(iter(ahead))
        ahead.begin_next()
    assert node.asked[HASHES[1]].is_set()
    left = set(threading.enumerate()) - before
    assert not [thread for thread in left if thread.name.startswith("ahead")]
