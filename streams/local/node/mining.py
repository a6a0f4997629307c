"""Puts blocks together as Core's miners do by default, or exactly as a test wants them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from processors.dogecoin.transactions import Output
from streams.local.node.admission import is_relayed
from streams.local.node.blocks import BLOCK_VERSION, Block, Carried, Header, coinbase, merkle_root
from streams.local.node.chain import BadBlock
from streams.local.node.malleation import malleated
from streams.local.node.pool import Pool
from streams.local.node.rules import BLOCK_SIZE_MAX, Rules, fee_at

#: Room for the header and the coinbase.
_RESERVED = 1_000


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a block shall hold; by default what pays best."""

    #: Exactly these of the mempool, in this order; None for what pays best.
    txids: Sequence[str] | None = None
    #: Not these, nor what hangs on them.
    leave_out: Collection[str] = ()
    #: These under another txid.
    malleate: Collection[str] = ()
    #: Transactions that came to this miner alone, put first and checked by the chain's rules only.
    strangers: Sequence[Carried] = ()


def select(pool: Pool, rules: Rules, plan: Plan) -> list[tuple[Carried, int]]:
    """Transactions for a block, each with its fee, parents before children.

    Left waiting: what peers would not have relayed to a miner, and what pays less than a miner
    asks together with its ancestors. Raises ``BadBlock`` for a plan that names an unknown one.
    """
    if plan.txids is not None:
        unknown = [txid for txid in plan.txids if txid not in pool.entries]
        if unknown:
            raise BadBlock(f"not in the mempool: {', '.join(unknown)}")
        return [(pool.entries[txid].carried, pool.entries[txid].fee) for txid in plan.txids]
    chosen: dict[str, tuple[Carried, int]] = {}
    room = BLOCK_SIZE_MAX - _RESERVED
    for _, package in sorted(_packages(pool, rules, plan), key=lambda each: -each[0]):
        new = [txid for txid in package if txid not in chosen]
        size = sum(pool.entries[txid].size for txid in new)
        if size <= room:
            room -= size
            chosen |= {txid: (pool.entries[txid].carried, pool.entries[txid].fee) for txid in new}
    return list(chosen.values())


def _packages(pool: Pool, rules: Rules, plan: Plan) -> list[tuple[float, list[str]]]:
    """Each that may be mined with all it stands on, and what a byte of it pays."""
    found = []
    out = set(plan.leave_out) | {
        spender
        for stranger in plan.strangers
        for spender in pool.conflicts(stranger) | ({stranger.txid} & pool.entries.keys())
    }
    for txid, waiting in pool.entries.items():
        package = [*pool.ancestors(waiting.carried), txid]
        entries = [pool.entries[each] for each in package]
        # What stands on a malleated one spends outputs that do not come to be.
        if out & set(package) or set(plan.malleate) & set(package[:-1]):
            continue
        fee, size = sum(each.fee for each in entries), sum(each.size for each in entries)
        if fee < fee_at(rules.mining_fee, size):
            continue
        if all(is_relayed(each, rules) for each in entries):
            found.append((fee / size, package))
    return found


def put_together(
    *,
    previous: str,
    height: int,
    time: int,
    extra: int,
    reward: Output,
    carried: Sequence[Carried],
    rules: Rules,
) -> Block:
    """A block on ``previous``; ``extra`` tells apart what would otherwise be equal blocks."""
    transactions = (coinbase(height, extra, [reward]), *carried)
    root = merkle_root([each.txid for each in transactions])
    header = Header(BLOCK_VERSION, previous, root, time, rules.genesis_bits, extra & 0xFFFFFFFF)
    return Block(header, transactions)


def as_planned(carried: Carried, plan: Plan) -> Carried:
    """The transaction as this miner puts it into the block."""
    return malleated(carried) if carried.txid in plan.malleate else carried
