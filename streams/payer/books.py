"""What a confirmed transaction of ours means for the books, and what taking it back does.

The miner's fee is posted once a confirmed transaction, whichever version it is; what a sweep moved
goes from the hot wallet's account to the cold one's. What is taken back is what was told, read from
the outbox: a malleated twin is named by none of our versions.
"""

from __future__ import annotations

from db.engine import Cursor
from db.treasury.claims import payees
from db.treasury.outboxes import Order
from db.treasury.payouts import Payout, Version, count_keys, staged_data
from schemas.commands import CommandType, Data, MoveCustody, RecordNetworkFee
from schemas.envelope import decode_data
from schemas.ledger import HOUSE
from schemas.payouts import PayoutKind
from streams.payer import orders, templates


def confirmed(
    cursor: Cursor, payout: Payout, version: Version, txid: str, number: int
) -> list[Order]:
    """The commands for a payout that ``txid`` paid as ``version`` says."""
    found: list[Order] = []
    for payee in payees(cursor, payout.id):
        # Where every answer was unknown the ledger has not heard of the broadcast yet.
        found += [orders.broadcast(payee, txid), orders.confirm(payee, txid, number)]
    told = count_keys(cursor, HOUSE, orders.fee_prefix(txid))
    assert told % 2 == 0, f"the fee of {txid} stands posted"
    ordinal = told // 2 + 1
    found.append(orders.network_fee(txid, version.fee, ordinal))
    if payout.kind is PayoutKind.SWEEP:
        found.append(orders.custody(txid, templates.swept(version.template), ordinal))
    return found


def unconfirmed(cursor: Cursor, payout: Payout) -> list[Order]:
    """The commands that take back what ``confirmed`` told last."""
    txid = payout.confirmed_txid
    assert txid is not None
    found = [
        orders.unconfirm(payee, txid, payout.confirmations_told)
        for payee in payees(cursor, payout.id)
    ]
    told = count_keys(cursor, HOUSE, orders.fee_prefix(txid))
    assert told % 2 == 1, f"the fee of {txid} is not posted"
    ordinal = told // 2 + 1
    fee = _told(cursor, orders.fee_key(txid, ordinal), CommandType.RECORD_NETWORK_FEE)
    assert isinstance(fee, RecordNetworkFee)
    found.append(orders.network_fee(txid, fee.amount, ordinal, reverse=True))
    if payout.kind is PayoutKind.SWEEP:
        moved = _told(cursor, orders.custody_key(txid, ordinal), CommandType.MOVE_CUSTODY)
        assert isinstance(moved, MoveCustody)
        found.append(orders.custody(txid, moved.amount, ordinal, back=True))
    return found


def _told(cursor: Cursor, key: str, kind: CommandType) -> Data:
    return decode_data(kind, staged_data(cursor, HOUSE, key))
