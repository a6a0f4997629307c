"""Decisions on escrows: an order's money, the buyer's until it is released or refunded.

Every escrow command is keyed by the buyer. The fee is frozen when the escrow is made, and what of
it was taken so far is floor(fee_amount × gross released / amount), so that parts never take more.
"""

from __future__ import annotations

from typing import Final

import msgspec

from processors.ledger.bids import insufficient, lock_insufficient
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
from processors.ledger.postings import AVAILABLE, BIDS, ESCROW, FEES, holdings, repayment
from schemas.amounts import KOINU_MAX, format_amount
from schemas.commands import (
    ConvertToEscrow,
    DisputeEscrow,
    PayOrder,
    RefundEscrow,
    ReleaseEscrow,
    ResolveDispute,
)
from schemas.events import EscrowResult, EventType, SaleResult
from schemas.ledger import HOUSE, EntryType, EscrowStatus
from schemas.records import Escrow, Lock
from schemas.rejections import Rejection
from schemas.times import format_time

_BASIS_POINTS: Final = 10_000
_ZERO: Final = format_amount(0)

_LOCKED: Final = EscrowStatus.LOCKED
_RELEASED: Final = EscrowStatus.RELEASED
_REFUNDED: Final = EscrowStatus.REFUNDED
_DISPUTED: Final = EscrowStatus.DISPUTED

_ESCROW_LOCK: Final = EntryType.ESCROW_LOCK
_BID_UNLOCK: Final = EntryType.BID_UNLOCK
_SALE_CREDIT: Final = EntryType.SALE_CREDIT
_FEE_DEBIT: Final = EntryType.FEE_DEBIT
_REFUND: Final = EntryType.REFUND

_ORDER_PAID: Final = EventType.ORDER_PAID
_CREATED: Final = EventType.ESCROW_CREATED
_ESCROW_RELEASED: Final = EventType.ESCROW_RELEASED
_ESCROW_REFUNDED: Final = EventType.ESCROW_REFUNDED
_SALE_CREDITED: Final = EventType.SALE_CREDITED


def pay_order(request: Request, data: PayOrder, books: Books) -> Decision:
    """available → escrow, both the buyer's."""
    fault = _fault_of_order(request, data, books)
    if fault is not None:
        return Refusal(fault)
    buyer = request.user_id
    amount = int(data.amount)
    wallet = books.wallet(buyer)
    if wallet.frozen:
        return Refusal(Rejection.WALLET_FROZEN)
    if amount > wallet.available:
        return insufficient(wallet.available, amount)
    escrow = _new_escrow(request, data, books)
    posting = Posting(
        Side(buyer, AVAILABLE), Side(buyer, ESCROW), amount, _ESCROW_LOCK, "escrow", escrow.id
    )
    notice = Notice(buyer, _ORDER_PAID, _new_result(escrow))
    return Acceptance((notice,), (posting,), (escrow,))


def convert_to_escrow(request: Request, data: ConvertToEscrow, books: Books) -> Decision:
    """bids → escrow; what is left of the lock → available, and the lock is empty."""
    fault = _fault_of_order(request, data, books)
    if fault is not None:
        return Refusal(fault)
    buyer = request.user_id
    amount = int(data.amount)
    reference_type = data.reference_type
    reference_id = data.reference_id
    before = books.lock(buyer, reference_type, reference_id)
    locked = 0 if before is None else before.amount
    if amount > locked:
        return lock_insufficient(locked, amount)
    if books.wallet(buyer).frozen:
        return Refusal(Rejection.WALLET_FROZEN)
    escrow = _new_escrow(request, data, books)
    bids = Side(buyer, BIDS)
    posting = Posting(bids, Side(buyer, ESCROW), amount, _ESCROW_LOCK, "escrow", escrow.id)
    postings: tuple[Posting, ...] = (posting,)
    if locked > amount:
        # A wallet that owes is frozen and does not come here: no repayment.
        rest = Posting(
            bids,
            Side(buyer, AVAILABLE),
            locked - amount,
            _BID_UNLOCK,
            reference_type,
            reference_id,
        )
        postings = (posting, rest)
    emptied = Lock(
        user_id=buyer, reference_type=reference_type, reference_id=reference_id, amount=0
    )
    notice = Notice(buyer, _CREATED, _new_result(escrow))
    return Acceptance((notice,), postings, (escrow, emptied))


def release_escrow(request: Request, data: ReleaseEscrow, books: Books) -> Decision:
    """Buyer's escrow → seller's available, gross; from there the fee, and what the seller owes."""
    escrow = _found(request, data.escrow_id, books)
    if isinstance(escrow, Refusal):
        return escrow
    amount = escrow.remaining if data.amount is None else int(data.amount)
    fault = _fault_of_share(escrow, amount)
    if fault is not None:
        return fault
    if holdings(books.wallet(escrow.seller_id)) + amount > KOINU_MAX:
        return Refusal(Rejection.BALANCE_OVERFLOW, "The seller's balance would overflow.")
    after = _settled(request, escrow, amount, 0)
    shown = escrow_result(after)
    return Acceptance(
        (
            Notice(escrow.buyer_id, _ESCROW_RELEASED, shown),
            Notice(escrow.seller_id, _SALE_CREDITED, _sale_result(escrow, after, amount, shown)),
        ),
        _sale_postings(escrow, after, amount, books),
        (after,),
    )


def refund_escrow(request: Request, data: RefundEscrow, books: Books) -> Decision:
    """escrow → available, and from there to what the buyer owes."""
    escrow = _found(request, data.escrow_id, books)
    if isinstance(escrow, Refusal):
        return escrow
    amount = escrow.remaining if data.amount is None else int(data.amount)
    fault = _fault_of_share(escrow, amount)
    if fault is not None:
        return fault
    after = _settled(request, escrow, 0, amount)
    notice = Notice(escrow.buyer_id, _ESCROW_REFUNDED, escrow_result(after))
    return Acceptance((notice,), _refund_postings(escrow, amount, books), (after,))


def dispute_escrow(request: Request, data: DisputeEscrow, books: Books) -> Decision:
    """Nothing moves; from here on neither release nor refund does."""
    escrow = _found(request, data.escrow_id, books)
    if isinstance(escrow, Refusal):
        return escrow
    if escrow.remaining == 0:
        return Refusal(Rejection.ESCROW_CLOSED)
    if escrow.status is _DISPUTED:
        return Refusal(Rejection.ESCROW_DISPUTED)
    after = msgspec.structs.replace(
        escrow, status=_DISPUTED, dispute_reason=data.reason, updated_at=request.time
    )
    notice = Notice(escrow.buyer_id, EventType.ESCROW_DISPUTED, escrow_result(after))
    return Acceptance((notice,), records=(after,))


def resolve_dispute(request: Request, data: ResolveDispute, books: Books) -> Decision:
    """All that remains, in two shares: one as a release (gross), one as a refund."""
    escrow = _found(request, data.escrow_id, books)
    if isinstance(escrow, Refusal):
        return escrow
    if escrow.remaining == 0:
        return Refusal(Rejection.ESCROW_CLOSED)
    if escrow.status is not _DISPUTED:
        return Refusal(Rejection.ESCROW_NOT_DISPUTED)
    to_seller, to_buyer = int(data.to_seller), int(data.to_buyer)
    if to_seller + to_buyer != escrow.remaining:
        return Refusal(
            Rejection.ESCROW_PARTS_MISMATCH,
            f"{format_amount(escrow.remaining)} DOGE remain to be shared.",
        )
    if to_seller and holdings(books.wallet(escrow.seller_id)) + to_seller > KOINU_MAX:
        return Refusal(Rejection.BALANCE_OVERFLOW, "The seller's balance would overflow.")
    after = _settled(request, escrow, to_seller, to_buyer)
    shown = escrow_result(after)
    notices = [Notice(escrow.buyer_id, EventType.ESCROW_RESOLVED, shown)]
    postings: tuple[Posting, ...] = ()
    if to_seller:
        sale = _sale_result(escrow, after, to_seller, shown)
        notices.append(Notice(escrow.seller_id, _SALE_CREDITED, sale))
        postings = _sale_postings(escrow, after, to_seller, books)
    if to_buyer:
        postings += _refund_postings(escrow, to_buyer, books)
    return Acceptance(tuple(notices), postings, (after,))


def _fault_of_order(request: Request, data: PayOrder, books: Books) -> Rejection | None:
    if books.escrow_of_order(request.user_id, data.order_id) is not None:
        return Rejection.ESCROW_EXISTS
    if data.seller_id == request.user_id:
        return Rejection.SELF_DEALING
    if data.seller_id == HOUSE:
        return Rejection.HOUSE_SELLER
    return None


def _found(request: Request, escrow_id: str, books: Books) -> Escrow | Refusal:
    escrow = books.escrow(escrow_id)
    if escrow is None or escrow.buyer_id != request.user_id:
        return Refusal(Rejection.ESCROW_NOT_FOUND)
    return escrow


def _fault_of_share(escrow: Escrow, amount: int) -> Refusal | None:
    """Why that much cannot be released or refunded."""
    if escrow.remaining == 0:
        return Refusal(Rejection.ESCROW_CLOSED)
    if escrow.status is _DISPUTED:
        return Refusal(Rejection.ESCROW_DISPUTED)
    if amount > escrow.remaining:
        return Refusal(
            Rejection.ESCROW_INSUFFICIENT,
            f"{format_amount(escrow.remaining)} DOGE remain, not {format_amount(amount)}.",
        )
    return None


def _new_escrow(request: Request, data: PayOrder, books: Books) -> Escrow:
    amount = int(data.amount)
    time = request.time
    return Escrow(
        id=request.id,
        order_id=data.order_id,
        buyer_id=request.user_id,
        seller_id=data.seller_id,
        amount=amount,
        fee_amount=amount * books.rules.escrow_fee_basis_points // _BASIS_POINTS,
        remaining=amount,
        created_at=time,
        updated_at=time,
    )


def _settled(request: Request, escrow: Escrow, gross: int, refund: int) -> Escrow:
    """The escrow after ``gross`` of it went to the seller and ``refund`` to the buyer."""
    gross_released = escrow.released + escrow.fees + gross
    fees = escrow.fee_amount * gross_released // escrow.amount
    remaining = escrow.remaining - gross - refund
    status = escrow.status
    if remaining == 0:
        status = _RELEASED if gross_released else _REFUNDED
    return Escrow(
        id=escrow.id,
        order_id=escrow.order_id,
        buyer_id=escrow.buyer_id,
        seller_id=escrow.seller_id,
        amount=escrow.amount,
        fee_amount=escrow.fee_amount,
        released=gross_released - fees,
        refunded=escrow.refunded + refund,
        fees=fees,
        remaining=remaining,
        status=status,
        dispute_reason=escrow.dispute_reason,
        created_at=escrow.created_at,
        updated_at=request.time,
    )


def _sale_postings(escrow: Escrow, after: Escrow, gross: int, books: Books) -> tuple[Posting, ...]:
    escrow_id = escrow.id
    seller = Side(escrow.seller_id, AVAILABLE)
    fee = after.fees - escrow.fees
    sale = Posting(Side(escrow.buyer_id, ESCROW), seller, gross, _SALE_CREDIT, "escrow", escrow_id)
    postings: tuple[Posting, ...] = (sale,)
    if fee:
        postings = (sale, Posting(seller, FEES, fee, _FEE_DEBIT, "escrow", escrow_id))
    wallet = books.wallet(escrow.seller_id)
    if wallet.shortfall and gross > fee:
        postings += (repayment(wallet, gross - fee, "escrow", escrow_id),)
    return postings


def _refund_postings(escrow: Escrow, amount: int, books: Books) -> tuple[Posting, ...]:
    buyer = escrow.buyer_id
    posting = Posting(
        Side(buyer, ESCROW), Side(buyer, AVAILABLE), amount, _REFUND, "escrow", escrow.id
    )
    wallet = books.wallet(buyer)
    if wallet.shortfall:
        return (posting, repayment(wallet, amount, "escrow", escrow.id))
    return (posting,)


def _sale_result(escrow: Escrow, after: Escrow, gross: int, shown: EscrowResult) -> SaleResult:
    """What the seller got; a first release shows the same texts as the escrow itself."""
    fee = after.fees - escrow.fees
    first = escrow.released == 0 and escrow.fees == 0
    return SaleResult(
        escrow_id=escrow.id,
        order_id=escrow.order_id,
        buyer_id=escrow.buyer_id,
        gross=shown.amount if gross == escrow.amount else format_amount(gross),
        fee=shown.fees if first else format_amount(fee),
        net=shown.released if first else format_amount(gross - fee),
        escrow_status=after.status,
    )


def escrow_result(escrow: Escrow) -> EscrowResult:
    """The escrow as results and events show it."""
    fee_amount = format_amount(escrow.fee_amount)
    return EscrowResult(
        id=escrow.id,
        order_id=escrow.order_id,
        buyer_id=escrow.buyer_id,
        seller_id=escrow.seller_id,
        amount=format_amount(escrow.amount),
        fee_amount=fee_amount,
        released=format_amount(escrow.released) if escrow.released else _ZERO,
        refunded=format_amount(escrow.refunded) if escrow.refunded else _ZERO,
        fees=fee_amount if escrow.fees == escrow.fee_amount else format_amount(escrow.fees),
        remaining=format_amount(escrow.remaining) if escrow.remaining else _ZERO,
        status=escrow.status,
        created_at=format_time(escrow.created_at),
    )


def _new_result(escrow: Escrow) -> EscrowResult:
    """The same of an escrow just made, for half the cost."""
    amount = format_amount(escrow.amount)
    return EscrowResult(
        id=escrow.id,
        order_id=escrow.order_id,
        buyer_id=escrow.buyer_id,
        seller_id=escrow.seller_id,
        amount=amount,
        fee_amount=format_amount(escrow.fee_amount),
        released=_ZERO,
        refunded=_ZERO,
        fees=_ZERO,
        remaining=amount,
        status=_LOCKED,
        created_at=format_time(escrow.created_at),
    )
