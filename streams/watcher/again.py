"""Blocks that were followed, read again for scripts that were not watched when they were read.

An operator asks for it after the watcher's or the payer's tables were lost and the addresses of
change came later than the blocks that pay them. A piece is read between two looks at the node, so
the chain is followed meanwhile. What is found is kept in memory until the tip is reached, and
booked in one transaction: no coin is ever seen without what has spent it since. A crash begins
again from the first block; what is in the tables already is not touched, so that it may be done
any number of times.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import Final, NamedTuple

from db.engine import Connection, Cursor
from db.together import together
from db.treasury import blocks as chain_blocks
from db.treasury import chain
from db.treasury.blocks import Coin, Payment, Spend, Spender
from db.treasury.chain import State
from streams import metrics
from streams.node.shapes import BlockShape
from streams.watcher import matching
from streams.watcher.booking import Late, book_late
from streams.watcher.ports import Node
from streams.watcher.progress import Progress

log = logging.getLogger(__name__)

#: Read between two looks at the node.
_PIECE_BLOCKS: Final = 100
_WORDS: Final = "reading blocks again"


class _Found(NamedTuple):
    """A coin that is not in the tables, and the user's payment that it is, if it is one."""

    coin: Coin
    payment: Payment | None


class _Spent(NamedTuple):
    """What spends a coin that was found."""

    spend: Spend
    spender: Spender


class Again:
    """Where it is in reading blocks again, and what it has found so far."""

    def __init__(self, maturity: int) -> None:
        self._maturity = maturity
        self._progress = Progress(words=_WORDS)
        #: The last block that was read, or would come before the first.
        self._at: tuple[int, str] | None = None
        self._found: dict[tuple[str, int], _Found] = {}
        #: Found coins and their spenders by the block that they stand in.
        self._blocks: dict[tuple[int, str], list[_Found]] = defaultdict(list)
        self._spent: dict[tuple[int, str], list[_Spent]] = defaultdict(list)

    def step(self, connection: Connection, node: Node, state: State) -> int:
        """Read a piece, and book what was found once the tip is reached; how many blocks.

        Raises ``NodeFault``; then the piece is read again.
        """
        start = state.rescan_from
        assert start is not None
        with connection.transaction(), connection.cursor() as cursor:
            if state.rescan_height is None or not self._stands(cursor):
                self._begin(cursor, start)
            ahead = chain.followed_from(
                cursor, start if self._at is None else self._at[0] + 1, _PIECE_BLOCKS
            )
            tip = chain.tip(cursor)
        for place in ahead:
            self._read(connection, node.block(place[1]), place)
        with connection.transaction(), connection.cursor() as cursor:
            if self._at is None or self._at == tip:
                self._end(connection, cursor)
            else:
                chain.note_rescan(cursor, self._at[0])
                self._progress.followed(self._at[0], 0 if tip is None else tip[0])
        return len(ahead)

    def _stands(self, cursor: Cursor) -> bool:
        """Whether what was read last is on our chain still; a reorganisation begins it again."""
        return self._at is not None and chain.is_followed(cursor, self._at[1])

    def _begin(self, cursor: Cursor, start: int) -> None:
        self._at = None
        self._progress = Progress(words=_WORDS)
        for found in (self._found, self._blocks, self._spent):
            found.clear()
        chain.begin_rescan(cursor, start)
        log.info(_WORDS, extra={"height": start})

    def _read(self, connection: Connection, block: BlockShape, place: tuple[int, str]) -> None:
        sought = matching.sought_in(block)
        with connection.transaction(), together(connection) as server:
            ours = matching.ours_among(sought, chain.watched_among(server, sought.paid)())
            outpoints = {(coin.txid, coin.vout) for coin in ours.coins}
            known = chain_blocks.coins_among(server, outpoints)()
        payments = {(each.txid, each.vout): each for each in ours.payments}
        for coin in ours.coins:
            outpoint = coin.txid, coin.vout
            if outpoint not in known:
                found = _Found(coin, payments.get(outpoint))
                self._found[outpoint] = found
                self._blocks[place].append(found)
        spenders, spends = matching.spends_of(sought, self._found.keys() & sought.spent.keys())
        by_txid = {spender.txid: spender for spender in spenders}
        for spend in spends:
            self._spent[place].append(_Spent(spend, by_txid[spend.spender_txid]))
        self._at = place

    def _end(self, connection: Connection, cursor: Cursor) -> None:
        if not chain.end_rescan(cursor):
            return
        late = [self._late(*place) for place in sorted({*self._blocks, *self._spent})]
        with together(connection) as server:
            booked = book_late(server, late, maturity=self._maturity)
        metrics.COINS_SPENT.inc(booked.spent)
        metrics.RECEIPTS.labels("received").inc(booked.received)
        log.info(
            "read again",
            extra={"coins": len(self._found), "spent": booked.spent, "received": booked.received},
        )

    def _late(self, height: int, block_hash: str) -> Late:
        found = self._blocks.get((height, block_hash), [])
        spent = self._spent.get((height, block_hash), [])
        return Late(
            hash=block_hash,
            height=height,
            coins=[each.coin for each in found],
            payments=[each.payment for each in found if each.payment is not None],
            spenders=list({each.spender.txid: each.spender for each in spent}.values()),
            spends=[each.spend for each in spent],
        )
