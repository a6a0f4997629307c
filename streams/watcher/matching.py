"""What of a block is ours: found by exact scripts and by outpoints, never by addresses.

A node lists an address for outputs, too, that its owner cannot spend alone (bare multi-signature);
to credit one of those would be a loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from db.chain import Watched
from db.chain_blocks import Coin, Payment, Spend, Spender
from processors.dogecoin.scripts import p2pkh_script, public_key_hash_of
from processors.dogecoin.transactions import Output, outputs_hash
from streams.node.client import NodeUnusable
from streams.node.shapes import AmountUnreadable, BlockShape, TransactionShape, is_hash

#: A script of the one kind, in hex.
_SCRIPT_DIGITS: Final = 50


class Ours(NamedTuple):
    """What a block brings."""

    coins: list[Coin]
    #: Those of the coins that pay users.
    payments: list[Payment]


def hashes_paid(block: BlockShape) -> set[bytes]:
    """The public key hashes that a block pays, by scripts of the one kind that can be ours."""
    scripts = {output.script.hex.lower() for each in block.tx for output in each.vout}
    return {key for script in scripts if (key := _key_of(script)) is not None}


def _key_of(script: str) -> bytes | None:
    """``public_key_hash_of``, asked only where the script may be of that kind."""
    if len(script) != _SCRIPT_DIGITS:
        return None
    if not script.startswith("76a914"):
        return None
    return public_key_hash_of(script)


def ours_among(block: BlockShape, watched: Mapping[bytes, Watched]) -> Ours:
    """The outputs that pay scripts of ours; what pays nothing is no coin.

    Raises ``NodeUnusable`` for an amount or a txid that cannot be.
    """
    ours = Ours([], [])
    by_script = {p2pkh_script(key).hex(): script for key, script in watched.items()}
    for transaction in block.tx:
        for vout, output in enumerate(transaction.vout):
            script = by_script.get(output.script.hex.lower())
            if script is None:
                continue
            coin = _coin(script.public_key_hash, transaction, vout)
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


def _coin(key: bytes, transaction: TransactionShape, vout: int) -> Coin:
    amount = _amount_of(transaction, vout)
    return Coin(_txid_of(transaction), vout, key, amount, transaction.coinbase)


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
        spender = _txid_of(transaction)
        spends.append(Spend(txid, vout, spender))
        if spender not in spenders:
            spenders[spender] = _spender(transaction)
    return list(spenders.values()), spends


def _spender(transaction: TransactionShape) -> Spender:
    try:
        outputs = [
            Output(_amount_of(transaction, vout), bytes.fromhex(output.script.hex))
            for vout, output in enumerate(transaction.vout)
        ]
    except ValueError as error:
        raise NodeUnusable(f"a script of transaction {transaction.txid}: {error}") from error
    return Spender(
        transaction.txid,
        outputs_hash(outputs),
        sum(output.amount for output in outputs),
        len(transaction.vin),
    )


def _amount_of(transaction: TransactionShape, vout: int) -> int:
    try:
        return transaction.vout[vout].amount
    except AmountUnreadable as error:
        raise NodeUnusable(f"output {vout} of transaction {transaction.txid}: {error}") from error


def _txid_of(transaction: TransactionShape) -> str:
    if not is_hash(transaction.txid):
        raise NodeUnusable(f"{transaction.txid!r} is no txid")
    return transaction.txid
