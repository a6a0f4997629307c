"""Decisions on the house's own money: miner's fees, custody, capital and revenue.

House accounts have no balance row, so nothing here can be insufficient; ``wallet doctor`` proves
the sums. A transfer's source is the account credited, its target the one debited.
"""

from __future__ import annotations

from processors.ledger.model import (
    Acceptance,
    Books,
    Decision,
    Notice,
    Posting,
    Refusal,
    Request,
    Side,
)
from processors.ledger.postings import CAPITAL, CHAIN, COLD, FEES, NETWORK_FEES
from schemas.amounts import format_amount
from schemas.commands import Fund, MoveCustody, RecordNetworkFee, WithdrawRevenue
from schemas.events import EventType, NetworkFeeResult, TransferResult
from schemas.ledger import EntryType
from schemas.records import NetworkFee
from schemas.rejections import Rejection

_CUSTODY = {"chain": CHAIN, "cold": COLD}


def record_network_fee(request: Request, data: RecordNetworkFee, books: Books) -> Decision:
    """network_fees → chain, once a confirmed transaction; ``reverse`` takes that posting back."""
    amount = int(data.amount)
    before = books.network_fee(data.txid)
    postings = 0 if before is None else before.postings
    posted = before is not None and before.posted
    if posted and not data.reverse:
        return Refusal(Rejection.FEE_POSTED)
    if data.reverse and not posted:
        return Refusal(Rejection.FEE_NOT_POSTED)
    if before is not None and before.amount != amount:
        return Refusal(
            Rejection.FEE_MISMATCH, f"The fee is known as {format_amount(before.amount)} DOGE."
        )
    ordinal = postings if data.reverse else postings + 1
    if data.ordinal != ordinal:
        return Refusal(Rejection.WRONG_ORDINAL, f"The posting has ordinal {ordinal}.")
    debit, credit = (CHAIN, NETWORK_FEES) if data.reverse else (NETWORK_FEES, CHAIN)
    fee = NetworkFee(txid=data.txid, amount=amount, postings=ordinal, posted=not data.reverse)
    result = NetworkFeeResult(txid=data.txid, amount=format_amount(amount), posted=not data.reverse)
    return Acceptance(
        (Notice(request.user_id, EventType.NETWORK_FEE_RECORDED, result),),
        (Posting(debit, credit, amount, EntryType.NETWORK_FEE, "transaction", data.txid),),
        (fee,),
    )


def move_custody(request: Request, data: MoveCustody, books: Books) -> Decision:
    """Coins went from source to target: the target's account is debited, the source's credited."""
    if data.source == data.target:
        return Refusal(Rejection.SAME_ACCOUNT)
    source, target = _CUSTODY[data.source], _CUSTODY[data.target]
    return _transfer(
        request, source, target, int(data.amount), EntryType.CUSTODY, EventType.CUSTODY_MOVED
    )


def fund(request: Request, data: Fund, books: Books) -> Decision:
    """chain ← capital: the owners put in coins of their own."""
    return _transfer(
        request, CAPITAL, CHAIN, int(data.amount), EntryType.CAPITAL, EventType.CAPITAL_FUNDED
    )


def withdraw_revenue(request: Request, data: WithdrawRevenue, books: Books) -> Decision:
    """fees → chain: fees earned leave the hot wallet."""
    return _transfer(
        request, CHAIN, FEES, int(data.amount), EntryType.REVENUE, EventType.REVENUE_WITHDRAWN
    )


def _transfer(
    request: Request,
    source: Side,
    target: Side,
    amount: int,
    entry_type: EntryType,
    event: EventType,
) -> Acceptance:
    result = TransferResult(
        amount=format_amount(amount), source=source.account.value, target=target.account.value
    )
    return Acceptance(
        (Notice(request.user_id, event, result),),
        (Posting(target, source, amount, entry_type, None, None),),
    )
