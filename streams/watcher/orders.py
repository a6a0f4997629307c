"""The watcher's commands: what each is keyed by, so that saying a thing twice says it once."""

from __future__ import annotations

from db.treasury.blocks import Receipt
from db.treasury.outboxes import Order
from schemas.amounts import Koinu
from schemas.commands import (
    CommandType,
    Data,
    DetectDeposit,
    ProcessDeposit,
    ReverseDeposit,
)
from schemas.envelope import encode_data


def detect(receipt: Receipt) -> Order:
    """A payment was seen in a block; said once for each block that it is seen in."""
    key = f"detect:{receipt.txid}:{receipt.vout}:{receipt.block_hash}"
    data = DetectDeposit(
        txid=receipt.txid,
        vout=receipt.vout,
        address=receipt.address,
        amount=Koinu(receipt.amount),
        block_hash=receipt.block_hash,
        height=receipt.height,
    )
    return _order(CommandType.DETECT_DEPOSIT, receipt, key, data)


def process(receipt: Receipt) -> Order:
    """It has its confirmations; ``creditings`` counts this one."""
    key = f"deposit:{receipt.txid}:{receipt.vout}:{receipt.creditings}"
    data = ProcessDeposit(
        txid=receipt.txid,
        vout=receipt.vout,
        address=receipt.address,
        amount=Koinu(receipt.amount),
        block_hash=receipt.block_hash,
        height=receipt.height,
        ordinal=receipt.creditings,
    )
    return _order(CommandType.PROCESS_DEPOSIT, receipt, key, data)


def reverse(receipt: Receipt) -> Order:
    """The chain took it back after its last crediting."""
    key = f"reversal:{receipt.txid}:{receipt.vout}:{receipt.creditings}"
    data = ReverseDeposit(txid=receipt.txid, vout=receipt.vout, ordinal=receipt.creditings)
    return _order(CommandType.REVERSE_DEPOSIT, receipt, key, data)


def _order(kind: CommandType, receipt: Receipt, key: str, data: Data) -> Order:
    return Order(receipt.user_id, kind.value, key, encode_data(data).decode())
