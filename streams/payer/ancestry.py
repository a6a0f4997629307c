"""Whether a coin whose transaction fell out of the chain can ever come back.

It cannot once an ancestor of it lost to a conflict that is deep enough: then a payment that spends
the coin is dead too. Looked for in the blocks themselves, stale and active, for the inputs of
others' transactions stand nowhere else. This is a disaster's work: without a coin adrift nothing
is asked of the node.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Final

from db.treasury import payouts as store
from db.treasury.payouts import Block, Tip
from streams.node.client import NodeFault
from streams.node.shapes import BlockShape, TransactionShape
from streams.payer.judging import Outpoint
from streams.payer.office import Office

log = logging.getLogger(__name__)

_REWARD: Final = "reward of height"
#: Read in one look, so that a fork of long ago keeps no payment waiting.
_READ_MAX: Final = 500
_SUBJECT: Final = "payouts under way"


class Ancestry:
    """Remembers what it read of blocks, as long as the same coins are adrift."""

    def __init__(self) -> None:
        self._adrift: tuple[Outpoint, ...] = ()
        self._tip = ""
        #: What ``look`` found last.
        self.buried: frozenset[Outpoint] = frozenset()
        #: Of stale blocks that were read: what each transaction spends.
        self._stale: dict[str, dict[str, tuple[Outpoint, ...]]] = {}
        #: Of active blocks that were read: who spends what is of interest.
        self._active: dict[str, dict[Outpoint, str]] = {}
        self._wanted: frozenset[Outpoint] = frozenset()
        #: How many blocks may still be read in this look.
        self._left = _READ_MAX

    def look(self, office: Office) -> frozenset[Outpoint]:
        """The coins adrift that never come back.

        Where the node cannot be asked, those that were known before: nothing fails for that.
        """
        with office.work("look for coins adrift") as cursor:
            adrift = tuple(store.adrift(cursor))
            tip = store.read_tip(cursor) if adrift else None
            if tip is None:
                office.silence("coins-adrift", _SUBJECT)
                self.buried = frozenset()
                return self.buried
            if (adrift, tip.hash) == (self._adrift, self._tip):
                return self.buried
            # However long ago the fork was: the conflict may be mined at any time after it.
            lowest = store.tip_before_adrift(cursor) - 2 * office.limits.burial_confirmations
            blocks = store.blocks_from_fork(cursor, lowest)
        office.alarm(
            "coins-adrift",
            _SUBJECT,
            f"{len(adrift)} coins of payouts under way lost their block in a reorganisation, the "
            f"first of transaction {adrift[0][0]}.",
        )
        self._left = _READ_MAX
        try:
            self.buried = self._search(office, adrift, tip, blocks)
        except NodeFault as fault:
            log.warning("ancestors not looked at", extra={"cause": str(fault)})
            return self.buried & set(adrift)
        if self._left > 0:
            self._adrift, self._tip = adrift, tip.hash
        return self.buried

    def _search(
        self, office: Office, adrift: Iterable[Outpoint], tip: Tip, blocks: Iterable[Block]
    ) -> frozenset[Outpoint]:
        listed = list(blocks)
        self._stale = {
            block.hash: self._stale.get(block.hash) or _inputs_of(self._block(office, block))
            for block in listed
            if not block.active
        }
        spends = {txid: inputs for found in self._stale.values() for txid, inputs in found.items()}
        lines = {outpoint: _line(outpoint[0], spends) for outpoint in adrift}
        wanted = frozenset(o for line in lines.values() for txid in line for o in spends[txid])
        if wanted != self._wanted:
            self._wanted, self._active = wanted, {}
        deep = tip.height - office.limits.conflict_confirmations + 1
        winners: dict[Outpoint, str] = {}
        for block in listed:
            if block.active and block.height <= deep:
                if block.hash not in self._active:
                    if self._left <= 0:
                        # The rest is read in the next rounds.
                        break
                    self._active[block.hash] = _spenders(self._block(office, block), wanted)
                winners |= self._active[block.hash]
        return frozenset(
            outpoint
            for outpoint, line in lines.items()
            if any(winners.get(o, txid) != txid for txid in line for o in spends[txid])
        )

    def _block(self, office: Office, block: Block) -> BlockShape:
        self._left -= 1
        return office.node.block(block.hash)


def _spent_by(block: BlockShape, each: TransactionShape) -> tuple[Outpoint, ...]:
    """What a transaction spends; a coinbase spends, as it were, the reward of its height.

    So the coinbase of a stale block lost to the one that the active chain has instead.
    """
    if each.coinbase:
        return ((_REWARD, block.height),)
    return tuple((i.txid, i.vout) for i in each.vin)


def _inputs_of(block: BlockShape) -> dict[str, tuple[Outpoint, ...]]:
    return {each.txid: _spent_by(block, each) for each in block.tx}


def _spenders(block: BlockShape, wanted: frozenset[Outpoint]) -> dict[Outpoint, str]:
    return {
        outpoint: each.txid
        for each in block.tx
        for outpoint in _spent_by(block, each)
        if outpoint in wanted
    }


def _line(txid: str, spends: Mapping[str, tuple[Outpoint, ...]]) -> list[str]:
    """A transaction and its ancestors, as far as stale blocks tell."""
    found: list[str] = []
    waiting = [txid]
    while waiting:
        each = waiting.pop()
        if each in spends and each not in found:
            found.append(each)
            waiting += [parent for parent, _ in spends[each]]
    return found
