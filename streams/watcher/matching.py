"""What of a block is ours: found by exact scripts and by outpoints, never by addresses.

A node lists an address for outputs, too, that its owner cannot spend alone (bare multi-signature);
to credit one of those would be a loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from db.chain import Watched
from db.chain_blocks import Coin, Payment, Spend, Spender
from processors.dogecoin.scripts import p2pkh_script, public_key_hash_of
from processors.dogecoin.transactions import Transaction
from streams.node.client import NodeUnusable
from streams.node.shapes import BlockShape, TransactionShape, TransactionUnproven


class Ours(NamedTuple):
    """What a block brings."""

    coins: list[Coin]
    #: Those of the coins that pay users.
    payments: list[Payment]


def hashes_paid(block: BlockShape) -> set[bytes]:
    """The public key hashes that a block pays, by scripts of the one kind that can be ours."""
    scripts = {output.script.hex for each in block.tx for output in each.vout}
    return {key for script in scripts if (key := public_key_hash_of(script)) is not None}


def ours_among(block: BlockShape, watched: Mapping[bytes, Watched]) -> Ours:
    """The outputs that pay scripts of ours; what pays nothing is no coin.

    Each transaction that has one is proven against its txid, so that no amount of ours is the
    node's word alone. Raises ``NodeUnusable`` for one that is not what its txid names.
    """
    ours = Ours([], [])
    by_script = {p2pkh_script(key).hex(): script for key, script in watched.items()}
    for transaction in block.tx:
        proven: Transaction | None = None
        for vout, output in enumerate(transaction.vout):
            script = by_script.get(output.script.hex.lower())
            if script is None:
                continue
            proven = proven or _proven(transaction)
            coin = Coin(
                transaction.txid,
                vout,
                script.public_key_hash,
                proven.outputs[vout].amount,
                transaction.coinbase,
            )
            if not coin.amount:
                continue
            ours.coins.append(coin)
            if script.user_id is not None:
                ours.payments.append(
                    Payment(
                        coin.txid, vout, script.user_id, script.address, coin.amount, coin.coinbase
                    )
                )
    ours.coins.sort()
    ours.payments.sort()
    return ours


def _proven(transaction: TransactionShape) -> Transaction:
    try:
        return transaction.proven()
    except TransactionUnproven as fault:
        raise NodeUnusable(str(fault)) from fault


def outpoints_spent(block: BlockShape) -> dict[tuple[str, int], TransactionShape]:
    """Every outpoint that a block spends, and by what."""
    return {
        (spent.txid, spent.vout): transaction
        for transaction in block.tx
        for spent in transaction.vin
        if spent.coinbase is None
    }


def spends_of(
    spent: Mapping[tuple[str, int], TransactionShape], ours: set[tuple[str, int]]
) -> tuple[list[Spender], list[Spend]]:
    """Who spends our coins, and which; raises ``NodeUnusable`` for what cannot be."""
    spenders: dict[str, Spender] = {}
    spends = []
    for txid, vout in sorted(ours):
        transaction = spent[txid, vout]
        spends.append(Spend(txid, vout, transaction.txid))
        if transaction.txid not in spenders:
            spenders[transaction.txid] = _spender(transaction)
    return list(spenders.values()), spends


def _spender(transaction: TransactionShape) -> Spender:
    proven = _proven(transaction)
    return Spender(
        transaction.txid,
        proven.outputs_hash,
        sum(output.amount for output in proven.outputs),
        len(proven.inputs),
    )
