"""Decisions on locks: money set aside for a bid, under the reference that the bidder names."""

from __future__ import annotations

from typing import Final

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
from processors.ledger.postings import AVAILABLE, BIDS, repayment
from schemas.amounts import format_amount
from schemas.commands import LockFunds, UnlockFunds
from schemas.events import EventType, LockResult
from schemas.ledger import EntryType
from schemas.records import Lock
from schemas.rejections import Rejection

_BID_LOCK: Final = EntryType.BID_LOCK
_BID_UNLOCK: Final = EntryType.BID_UNLOCK
_FUNDS_LOCKED: Final = EventType.FUNDS_LOCKED
_FUNDS_UNLOCKED: Final = EventType.FUNDS_UNLOCKED


def lock_funds(request: Request, data: LockFunds, books: Books) -> Decision:
    """available → bids; locks under one reference add up."""
    user_id = request.user_id
    amount = int(data.amount)
    wallet = books.wallet(user_id)
    if wallet.frozen:
        return Refusal(Rejection.WALLET_FROZEN)
    if amount > wallet.available:
        return insufficient(wallet.available, amount)
    reference_type = data.reference_type
    reference_id = data.reference_id
    before = books.lock(user_id, reference_type, reference_id)
    locked = amount if before is None else before.amount + amount
    posting = Posting(
        Side(user_id, AVAILABLE),
        Side(user_id, BIDS),
        amount,
        _BID_LOCK,
        reference_type,
        reference_id,
    )
    return _accept(request, data, locked, _FUNDS_LOCKED, (posting,))


def unlock_funds(request: Request, data: UnlockFunds, books: Books) -> Decision:
    """bids → available, and from there to what the user owes."""
    user_id = request.user_id
    amount = int(data.amount)
    reference_type = data.reference_type
    reference_id = data.reference_id
    before = books.lock(user_id, reference_type, reference_id)
    locked = 0 if before is None else before.amount
    if amount > locked:
        return lock_insufficient(locked, amount)
    posting = Posting(
        Side(user_id, BIDS),
        Side(user_id, AVAILABLE),
        amount,
        _BID_UNLOCK,
        reference_type,
        reference_id,
    )
    postings: tuple[Posting, ...] = (posting,)
    wallet = books.wallet(user_id)
    if wallet.shortfall:
        postings = (posting, repayment(wallet, amount, reference_type, reference_id))
    return _accept(request, data, locked - amount, _FUNDS_UNLOCKED, postings)


def insufficient(available: int, needed: int) -> Refusal:
    """The refusal of whoever has less than they need."""
    return Refusal(
        Rejection.INSUFFICIENT_FUNDS,
        f"{format_amount(available)} DOGE are available, {format_amount(needed)} are needed.",
    )


def lock_insufficient(locked: int, needed: int) -> Refusal:
    """The refusal of whoever takes more from a lock than it holds."""
    return Refusal(
        Rejection.LOCK_INSUFFICIENT,
        f"{format_amount(locked)} DOGE are locked there, {format_amount(needed)} are asked for.",
    )


def _accept(
    request: Request,
    data: LockFunds,
    locked: int,
    event: EventType,
    postings: tuple[Posting, ...],
) -> Acceptance:
    user_id = request.user_id
    reference_type = data.reference_type
    reference_id = data.reference_id
    amount = format_amount(data.amount)
    result = LockResult(
        reference_type=reference_type,
        reference_id=reference_id,
        amount=amount,
        locked=amount if locked == data.amount else format_amount(locked),
    )
    lock = Lock(
        user_id=user_id, reference_type=reference_type, reference_id=reference_id, amount=locked
    )
    return Acceptance((Notice(user_id, event, result),), postings, (lock,))
