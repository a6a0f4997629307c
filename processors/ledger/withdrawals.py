"""Decisions on payments out: held, claimed, sent, confirmed, or given back.

A cancel is accepted before the payer's claim alone, and the payer pays only what it has claimed:
that is all that keeps a cancel and a payment apart.
"""

from __future__ import annotations

from typing import Final

import msgspec

from processors.ledger.bids import insufficient
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
from processors.ledger.postings import AVAILABLE, CHAIN, FEES, PENDING, holdings, repayment
from schemas.addresses import check_address
from schemas.amounts import KOINU_MAX, format_amount
from schemas.commands import (
    CancelWithdrawal,
    ClaimWithdrawal,
    ConfirmWithdrawal,
    FailWithdrawal,
    RecordBroadcast,
    RequestWithdrawal,
    UnconfirmWithdrawal,
)
from schemas.events import EventType, WithdrawalResult
from schemas.ledger import EntryType, WithdrawalStatus
from schemas.records import Withdrawal
from schemas.rejections import Rejection
from schemas.times import format_time

CANCELLED: Final = "cancelled"

_PENDING: Final = WithdrawalStatus.PENDING
_PROCESSING: Final = WithdrawalStatus.PROCESSING
_BROADCAST: Final = WithdrawalStatus.BROADCAST
_CONFIRMED: Final = WithdrawalStatus.CONFIRMED
_FAILED: Final = WithdrawalStatus.FAILED

_WITHDRAWAL: Final = EntryType.WITHDRAWAL
_REQUESTED: Final = EventType.WITHDRAWAL_REQUESTED


def request_withdrawal(request: Request, data: RequestWithdrawal, books: Books) -> Decision:
    """available → pending: the amount, and the fee that the rules ask on top."""
    rules = books.rules
    user_id = request.user_id
    amount = int(data.amount)
    fault = check_address(data.address, rules.network)
    if fault is not None:
        return Refusal(fault)
    if books.address(user_id, data.address) is not None:
        return Refusal(Rejection.ADDRESS_OWN)
    if amount < rules.withdrawal_minimum:
        return Refusal(
            Rejection.BELOW_MINIMUM,
            f"Withdrawals start at {format_amount(rules.withdrawal_minimum)} DOGE.",
        )
    if amount > rules.withdrawal_maximum:
        return Refusal(
            Rejection.ABOVE_MAXIMUM,
            f"Withdrawals end at {format_amount(rules.withdrawal_maximum)} DOGE.",
        )
    wallet = books.wallet(user_id)
    if wallet.frozen:
        return Refusal(Rejection.WALLET_FROZEN)
    held = amount + rules.withdrawal_fee
    if held > wallet.available:
        return insufficient(wallet.available, held)
    time = request.time
    withdrawal = Withdrawal(
        id=request.id,
        user_id=user_id,
        amount=amount,
        fee=rules.withdrawal_fee,
        destination_address=data.address,
        requested_at=time,
        updated_at=time,
    )
    posting = Posting(
        Side(user_id, AVAILABLE),
        Side(user_id, PENDING),
        held,
        _WITHDRAWAL,
        "withdrawal",
        request.id,
    )
    notice = Notice(user_id, _REQUESTED, withdrawal_result(withdrawal))
    return Acceptance((notice,), (posting,), (withdrawal,))


def cancel_withdrawal(request: Request, data: CancelWithdrawal, books: Books) -> Decision:
    """pending → available, if nobody has claimed it."""
    before = _found(request, data.withdrawal_id, books, _PENDING)
    if isinstance(before, Refusal):
        return before
    return _give_back(request, before, CANCELLED, books)


def claim_withdrawal(request: Request, data: ClaimWithdrawal, books: Books) -> Decision:
    """The payer takes it in hand; a frozen wallet pays nobody."""
    before = _found(request, data.withdrawal_id, books, _PENDING)
    if isinstance(before, Refusal):
        return before
    if books.wallet(request.user_id).frozen:
        return Refusal(Rejection.WALLET_FROZEN)
    after = msgspec.structs.replace(before, status=_PROCESSING, updated_at=request.time)
    return _accept(after, EventType.WITHDRAWAL_PROCESSING, ())


def record_broadcast(request: Request, data: RecordBroadcast, books: Books) -> Decision:
    """The payment was sent; another version of it replaces the one before."""
    before = _found(request, data.withdrawal_id, books, _PROCESSING, _BROADCAST)
    if isinstance(before, Refusal):
        return before
    after = msgspec.structs.replace(
        before, status=_BROADCAST, txid=data.txid, updated_at=request.time
    )
    return _accept(after, EventType.WITHDRAWAL_BROADCAST, ())


def confirm_withdrawal(request: Request, data: ConfirmWithdrawal, books: Books) -> Decision:
    """pending → chain the amount, pending → fees the fee.

    The transaction recorded is the one that confirmed: a txid is malleable, so it may be another.
    """
    before = _found(request, data.withdrawal_id, books, _BROADCAST)
    if isinstance(before, Refusal):
        return before
    pending = Side(before.user_id, PENDING)
    after = msgspec.structs.replace(
        before, status=_CONFIRMED, txid=data.txid, updated_at=request.time
    )
    postings = [
        Posting(pending, CHAIN, before.amount, _WITHDRAWAL, "withdrawal", before.id),
    ]
    if before.fee:
        postings.append(
            Posting(pending, FEES, before.fee, EntryType.FEE_DEBIT, "withdrawal", before.id)
        )
    return _accept(after, EventType.WITHDRAWAL_CONFIRMED, tuple(postings))


def unconfirm_withdrawal(request: Request, data: UnconfirmWithdrawal, books: Books) -> Decision:
    """chain → pending, fees → pending: the payment is out of the chain, and waits for it again."""
    before = _found(request, data.withdrawal_id, books, _CONFIRMED)
    if isinstance(before, Refusal):
        return before
    if before.txid != data.txid:
        return Refusal(
            Rejection.WITHDRAWAL_TXID_MISMATCH, f"The withdrawal was confirmed by {before.txid}."
        )
    if holdings(books.wallet(before.user_id)) + before.amount + before.fee > KOINU_MAX:
        return Refusal(Rejection.BALANCE_OVERFLOW)
    pending = Side(before.user_id, PENDING)
    reversal = EntryType.WITHDRAWAL_REVERSAL
    after = msgspec.structs.replace(before, status=_BROADCAST, updated_at=request.time)
    postings = [
        Posting(CHAIN, pending, before.amount, reversal, "withdrawal", before.id),
    ]
    if before.fee:
        postings.append(Posting(FEES, pending, before.fee, reversal, "withdrawal", before.id))
    return _accept(after, EventType.WITHDRAWAL_UNCONFIRMED, tuple(postings))


def fail_withdrawal(request: Request, data: FailWithdrawal, books: Books) -> Decision:
    """pending → available: no version of the payment can confirm any more."""
    before = _found(request, data.withdrawal_id, books, _PROCESSING, _BROADCAST)
    if isinstance(before, Refusal):
        return before
    return _give_back(request, before, data.reason, books)


def _found(
    request: Request, withdrawal_id: str, books: Books, *allowed: WithdrawalStatus
) -> Withdrawal | Refusal:
    withdrawal = books.withdrawal(withdrawal_id)
    if withdrawal is None or withdrawal.user_id != request.user_id:
        return Refusal(Rejection.WITHDRAWAL_NOT_FOUND)
    if withdrawal.status not in allowed:
        return Refusal(
            Rejection.WITHDRAWAL_WRONG_STATUS, f"The withdrawal is {withdrawal.status.value}."
        )
    return withdrawal


def _give_back(request: Request, before: Withdrawal, reason: str, books: Books) -> Acceptance:
    held = before.amount + before.fee
    after = msgspec.structs.replace(before, status=_FAILED, reason=reason, updated_at=request.time)
    postings = [
        Posting(
            Side(before.user_id, PENDING),
            Side(before.user_id, AVAILABLE),
            held,
            EntryType.REFUND,
            "withdrawal",
            before.id,
        )
    ]
    wallet = books.wallet(before.user_id)
    if wallet.shortfall:
        postings.append(repayment(wallet, held, "withdrawal", before.id))
    return _accept(after, EventType.WITHDRAWAL_FAILED, tuple(postings))


def _accept(after: Withdrawal, event: EventType, postings: tuple[Posting, ...]) -> Acceptance:
    notice = Notice(after.user_id, event, withdrawal_result(after))
    return Acceptance((notice,), postings, (after,))


def withdrawal_result(withdrawal: Withdrawal) -> WithdrawalResult:
    """The withdrawal as results and events show it."""
    return WithdrawalResult(
        id=withdrawal.id,
        user_id=withdrawal.user_id,
        amount=format_amount(withdrawal.amount),
        fee=format_amount(withdrawal.fee),
        destination_address=withdrawal.destination_address,
        status=withdrawal.status,
        txid=withdrawal.txid,
        reason=withdrawal.reason,
        requested_at=format_time(withdrawal.requested_at),
    )
