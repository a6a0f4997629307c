"""Decisions on payments in: seen, credited, and taken back when the chain takes them back."""

from __future__ import annotations

from typing import Final

import msgspec

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
from processors.ledger.postings import (
    AVAILABLE,
    CHAIN,
    PENDING,
    SHORTFALL,
    holdings,
    repayment,
)
from schemas.amounts import KOINU_MAX, format_amount
from schemas.commands import DetectDeposit, ProcessDeposit, ReverseDeposit
from schemas.events import DepositResult, DepositReversedResult, EventType
from schemas.ledger import DepositStatus, EntryType, WithdrawalStatus
from schemas.records import Deposit, Record, Wallet, Withdrawal
from schemas.rejections import Rejection

REVERSED_DEPOSIT: Final = "reversed_deposit"

_DEPOSIT: Final = EntryType.DEPOSIT
_CREDITED: Final = DepositStatus.CREDITED
_CONFIRMED: Final = EventType.DEPOSIT_CONFIRMED


def detect_deposit(request: Request, data: DetectDeposit, books: Books) -> Decision:
    """Record the payment, or the block that it moved to; a reversed one stays reversed."""
    before = books.deposit(data.txid, data.vout)
    fault = _fault_of(request, data, before, books)
    if fault is not None:
        return Refusal(fault)
    deposit = _record(
        request,
        data,
        before,
        DepositStatus.DETECTED if before is None else before.status,
        0 if before is None else before.creditings,
    )
    notice = Notice(request.user_id, EventType.DEPOSIT_DETECTED, deposit_result(deposit))
    return Acceptance((notice,), records=(deposit,))


def process_deposit(request: Request, data: ProcessDeposit, books: Books) -> Decision:
    """chain → available, and from there to what the user owes.

    A deposit that was credited once counts as large enough for ever, whatever the rules say now.
    """
    user_id = request.user_id
    amount = int(data.amount)
    before = books.deposit(data.txid, data.vout)
    fault = _fault_of(request, data, before, books)
    if fault is not None:
        return Refusal(fault)
    creditings = 1 if before is None else before.creditings + 1
    if creditings == 1 and amount < books.rules.deposit_minimum:
        return Refusal(
            Rejection.DEPOSIT_BELOW_MINIMUM,
            f"Deposits are credited from {format_amount(books.rules.deposit_minimum)} DOGE on.",
        )
    if data.ordinal != creditings:
        return Refusal(Rejection.WRONG_ORDINAL, f"The next crediting has ordinal {creditings}.")
    wallet = books.wallet(user_id)
    if holdings(wallet) + amount > KOINU_MAX:
        return Refusal(Rejection.BALANCE_OVERFLOW)
    outpoint = f"{data.txid}:{data.vout}"
    posting = Posting(CHAIN, Side(user_id, AVAILABLE), amount, _DEPOSIT, "deposit", outpoint)
    postings: tuple[Posting, ...] = (posting,)
    if wallet.shortfall:
        postings = (posting, repayment(wallet, amount, "deposit", outpoint))
    deposit = _record(request, data, before, _CREDITED, creditings)
    notice = Notice(user_id, _CONFIRMED, deposit_result(deposit))
    return Acceptance((notice,), postings, (deposit,))


def reverse_deposit(request: Request, data: ReverseDeposit, books: Books) -> Decision:
    """available → chain; what is not there is owed.

    First, as many unclaimed withdrawals fail as it takes, the oldest first: pending → available.
    What still lacks is posted shortfall → chain, and freezes the wallet until it is repaid.
    """
    before = books.deposit(data.txid, data.vout)
    if before is None or before.user_id != request.user_id:
        return Refusal(Rejection.DEPOSIT_UNKNOWN)
    if before.status is not _CREDITED:
        return Refusal(Rejection.DEPOSIT_NOT_CREDITED)
    if data.ordinal != before.creditings:
        return Refusal(
            Rejection.WRONG_ORDINAL, f"The present crediting has ordinal {before.creditings}."
        )
    wallet = books.wallet(request.user_id)
    amount = before.amount
    given_up = _withdrawals_to_fail(wallet, amount, books)
    refunded = sum(withdrawal.amount + withdrawal.fee for withdrawal in given_up)
    repaid = min(wallet.shortfall, refunded)
    taken = min(wallet.available + refunded - repaid, amount)
    owed = amount - taken
    if wallet.shortfall - repaid + owed > KOINU_MAX:
        return Refusal(Rejection.BALANCE_OVERFLOW)
    deposit = msgspec.structs.replace(
        before, status=DepositStatus.REVERSED, updated_at=request.time
    )
    failed = [
        msgspec.structs.replace(
            withdrawal,
            status=WithdrawalStatus.FAILED,
            reason=REVERSED_DEPOSIT,
            updated_at=request.time,
        )
        for withdrawal in given_up
    ]
    records: tuple[Record, ...] = (deposit, *failed)
    notice = Notice(
        request.user_id, EventType.DEPOSIT_REVERSED, _reversed_result(deposit, given_up, owed)
    )
    return Acceptance(
        (notice,), _reversal_postings(deposit, given_up, repaid, taken, owed), records
    )


def _fault_of(
    request: Request, data: DetectDeposit, before: Deposit | None, books: Books
) -> Rejection | None:
    if books.address(request.user_id, data.address) is None:
        return Rejection.ADDRESS_NOT_YOURS
    if before is None:
        return None
    if (
        before.amount != data.amount
        or before.address != data.address
        or before.user_id != request.user_id
    ):
        return Rejection.DEPOSIT_MISMATCH
    if before.status is _CREDITED:
        return Rejection.DEPOSIT_CREDITED
    return None


def _record(
    request: Request,
    data: DetectDeposit,
    before: Deposit | None,
    status: DepositStatus,
    creditings: int,
) -> Deposit:
    time = request.time
    return Deposit(
        txid=data.txid,
        vout=data.vout,
        user_id=request.user_id,
        address=data.address,
        amount=int(data.amount),
        status=status,
        creditings=creditings,
        block_hash=data.block_hash,
        height=data.height,
        detected_at=time if before is None else before.detected_at,
        updated_at=time,
    )


def _withdrawals_to_fail(wallet: Wallet, amount: int, books: Books) -> list[Withdrawal]:
    """The oldest unclaimed withdrawals, as many as cover what is not available."""
    lacking = amount + wallet.shortfall - wallet.available
    chosen: list[Withdrawal] = []
    if lacking <= 0:
        return chosen
    unclaimed = sorted(
        books.pending_withdrawals(wallet.user_id),
        key=lambda withdrawal: (withdrawal.requested_at, withdrawal.id),
    )
    for withdrawal in unclaimed:
        if lacking <= 0:
            break
        chosen.append(withdrawal)
        lacking -= withdrawal.amount + withdrawal.fee
    return chosen


def _reversal_postings(
    deposit: Deposit, given_up: list[Withdrawal], repaid: int, taken: int, owed: int
) -> tuple[Posting, ...]:
    available = Side(deposit.user_id, AVAILABLE)
    pending = Side(deposit.user_id, PENDING)
    outpoint = f"{deposit.txid}:{deposit.vout}"
    postings = [
        Posting(
            pending,
            available,
            withdrawal.amount + withdrawal.fee,
            EntryType.REFUND,
            "withdrawal",
            withdrawal.id,
        )
        for withdrawal in given_up
    ]
    for debit, credit, amount, entry_type in (
        (available, SHORTFALL, repaid, EntryType.SHORTFALL_REPAYMENT),
        (available, CHAIN, taken, EntryType.DEPOSIT_REVERSAL),
        (SHORTFALL, CHAIN, owed, EntryType.DEPOSIT_REVERSAL),
    ):
        if amount:
            postings.append(Posting(debit, credit, amount, entry_type, "deposit", outpoint))
    return tuple(postings)


def deposit_result(deposit: Deposit) -> DepositResult:
    """The deposit as results and events show it."""
    return DepositResult(
        txid=deposit.txid,
        vout=deposit.vout,
        address=deposit.address,
        amount=format_amount(deposit.amount),
        status=deposit.status,
        creditings=deposit.creditings,
        block_hash=deposit.block_hash,
        height=deposit.height,
    )


def _reversed_result(
    deposit: Deposit, given_up: list[Withdrawal], owed: int
) -> DepositReversedResult:
    return DepositReversedResult(
        txid=deposit.txid,
        vout=deposit.vout,
        address=deposit.address,
        amount=format_amount(deposit.amount),
        status=deposit.status,
        creditings=deposit.creditings,
        block_hash=deposit.block_hash,
        height=deposit.height,
        withdrawals_failed=tuple(withdrawal.id for withdrawal in given_up),
        shortfall_added=format_amount(owed),
    )
