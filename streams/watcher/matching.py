"""What of a block is ours: found by exact scripts and by outpoints, never by addresses.

A node lists an address for outputs, too, that its owner cannot spend alone (bare multi-signature);
to credit one of those would be a loss.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from db.treasury.blocks import Coin, Payment, Spend, Spender
from db.treasury.chain import Watched
from processors.dogecoin.scripts import public_key_hash_of
from processors.dogecoin.transactions import Transaction
from streams.node.client import NodeUnusable
from streams.node.shapes import BlockShape, TransactionShape, TransactionUnproven


class Sought(NamedTuple):
    """A block, and what of it may be ours."""

    block: BlockShape
    #: Public key hash to the outputs that pay it, by scripts of the one kind that can be ours.
    paid: dict[bytes, list[tuple[TransactionShape, int]]]
    #: Outpoint to what spends it.
    spent: dict[tuple[str, int], TransactionShape]


class Ours(NamedTuple):
    """What a block brings."""

    coins: list[Coin]
    #: Those of the coins that pay users.
    payments: list[Payment]


def sought_in(block: BlockShape) -> Sought:
    """What the database is to be asked for."""
    sought = Sought(block, defaultdict(list), {})
    for transaction in block.tx:
        for vout, output in enumerate(transaction.vout):
            key = public_key_hash_of(output.script.hex)
            if key is not None:
                sought.paid[key].append((transaction, vout))
        for spent in transaction.vin:
            if spent.coinbase is None:
                sought.spent[spent.txid, spent.vout] = transaction
    return sought


def ours_among(sought: Sought, watched: Mapping[bytes, Watched]) -> Ours:
    """The outputs that pay scripts of ours; what pays nothing is no coin.

    Each transaction that has one is proven against its txid, so that no amount of ours is the
    node's word alone. Raises ``NodeUnusable`` for one that is not what its txid names.
    """
    ours = Ours([], [])
    proven: dict[str, Transaction] = {}
    for key, script in watched.items():
        for transaction, vout in sought.paid[key]:
            txid = transaction.txid
            if txid not in proven:
                proven[txid] = _proven(transaction)
            amount = proven[txid].outputs[vout].amount
            if not amount:
                continue
            coinbase = transaction.coinbase
            ours.coins.append(Coin(txid, vout, key, amount, coinbase))
            if script.user_id is not None:
                ours.payments.append(
                    Payment(txid, vout, script.user_id, script.address, amount, coinbase)
                )
    ours.coins.sort()
    ours.payments.sort()
    return ours


def _proven(transaction: TransactionShape) -> Transaction:
    try:
        return transaction.proven()
    except TransactionUnproven as fault:
        raise NodeUnusable(str(fault)) from fault


def spends_of(sought: Sought, ours: set[tuple[str, int]]) -> tuple[list[Spender], list[Spend]]:
    """Who spends our coins, and which; raises ``NodeUnusable`` for what cannot be."""
    spenders: dict[str, Spender] = {}
    spends = []
    for txid, vout in sorted(ours):
        transaction = sought.spent[txid, vout]
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
