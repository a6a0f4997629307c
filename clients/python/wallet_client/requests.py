"""Every call of the REST API as a value: what to send, and what the answer is read as.

A request that moves money carries its idempotency key from the moment it is made, so the same
value may be sent as often as needed.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Generic, TypeVar
from urllib.parse import quote

from wallet_client import models
from wallet_client.amounts import Amount
from wallet_client.base import encode

PREFIX = "/api/v1/wallet"

T = TypeVar("T")
Doge = Amount | Decimal | int | str


@dataclass(frozen=True, kw_only=True)
class Request(Generic[T]):
    """One call: ``key`` makes it safe to repeat; without one it only reads."""

    method: str
    path: str
    answer: type[T]
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    key: str | None = None


def _get(path: str, answer: type[T], **query: str | None) -> Request[T]:
    given = {name.rstrip("_"): value for name, value in query.items() if value is not None}
    return Request(method="GET", path=PREFIX + path, answer=answer, query=given)


def _post(path: str, answer: type[T], key: str | None, **body: object) -> Request[T]:
    given = {name: value for name, value in body.items() if value is not None}
    return Request(
        method="POST",
        path=PREFIX + path,
        answer=answer,
        body=encode(given),
        # An empty key is a mistake for the wallet to refuse, not a wish for a new one.
        key=str(uuid.uuid4()) if key is None else key,
    )


def _time(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise ValueError("a time needs its offset from UTC")
    return moment.isoformat()


def _segment(ident: str) -> str:
    return quote(ident, safe="")


def _amount(amount: Doge | None) -> Amount | None:
    return None if amount is None else Amount(amount)


def balance(*, at: datetime | None = None) -> Request[models.Balance]:
    """The user's balance, now or as it was then; makes the wallet where there is none."""
    return _get("/balance", models.Balance, at=_time(at))


def deposit_address() -> Request[models.AddressResult]:
    """The address to pay to; makes one where there is none."""
    return _get("/deposit-address", models.AddressResult)


def history(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    entry_type: str | None = None,
    account: str | None = None,
    reference_type: str | None = None,
    reference_id: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Request[models.History]:
    """A page of the user's entries, newest first; ``cursor`` is ``next`` of the page before."""
    return _get(
        "/history",
        models.History,
        limit=None if limit is None else str(limit),
        cursor=cursor,
        type=entry_type,
        account=account,
        reference_type=reference_type,
        reference_id=reference_id,
        from_=_time(since),
        to=_time(until),
    )


def withdraw(
    amount: Doge, address: str, *, idempotency_key: str | None = None
) -> Request[models.WithdrawalAnswer]:
    """Pay to an address on chain; the fee comes on top of the amount."""
    return _post(
        "/withdraw",
        models.WithdrawalAnswer,
        idempotency_key,
        amount=Amount(amount),
        address=address,
    )


def cancel_withdrawal(
    withdrawal_id: str, *, idempotency_key: str | None = None
) -> Request[models.WithdrawalAnswer]:
    """Give back a withdrawal that is still PENDING."""
    return _post(
        f"/withdrawals/{_segment(withdrawal_id)}/cancel", models.WithdrawalAnswer, idempotency_key
    )


def withdrawal(withdrawal_id: str) -> Request[models.WithdrawalResult]:
    """One of the user's withdrawals."""
    return _get(f"/withdrawals/{_segment(withdrawal_id)}", models.WithdrawalResult)


def escrow(escrow_id: str) -> Request[models.EscrowResult]:
    """An escrow, for its buyer, its seller and services."""
    return _get(f"/escrows/{_segment(escrow_id)}", models.EscrowResult)


def command(command_id: str) -> Request[models.CommandStatus]:
    """What became of a command; it may still be pending."""
    return _get(f"/commands/{_segment(command_id)}", models.CommandStatus)


def lock(
    user_id: str,
    amount: Doge,
    reference_type: str,
    reference_id: str,
    *,
    idempotency_key: str | None = None,
) -> Request[models.LockAnswer]:
    """Lock a user's money for a bid, under a reference of yours."""
    return _post(
        "/internal/lock",
        models.LockAnswer,
        idempotency_key,
        user_id=user_id,
        amount=Amount(amount),
        reference_type=reference_type,
        reference_id=reference_id,
    )


def unlock(
    user_id: str,
    amount: Doge,
    reference_type: str,
    reference_id: str,
    *,
    idempotency_key: str | None = None,
) -> Request[models.LockAnswer]:
    """Give back what is locked under a reference."""
    return _post(
        "/internal/unlock",
        models.LockAnswer,
        idempotency_key,
        user_id=user_id,
        amount=Amount(amount),
        reference_type=reference_type,
        reference_id=reference_id,
    )


def pay_order(
    user_id: str,
    seller_id: str,
    order_id: str,
    amount: Doge,
    *,
    idempotency_key: str | None = None,
) -> Request[models.EscrowAnswer]:
    """Pay an order into escrow out of what is available; ``user_id`` is the buyer."""
    return _post(
        "/internal/pay-order",
        models.EscrowAnswer,
        idempotency_key,
        user_id=user_id,
        seller_id=seller_id,
        order_id=order_id,
        amount=Amount(amount),
    )


def convert_to_escrow(
    user_id: str,
    seller_id: str,
    order_id: str,
    amount: Doge,
    reference_type: str,
    reference_id: str,
    *,
    idempotency_key: str | None = None,
) -> Request[models.EscrowAnswer]:
    """Pay an order into escrow out of a lock; the rest of the lock is unlocked."""
    return _post(
        "/internal/convert-to-escrow",
        models.EscrowAnswer,
        idempotency_key,
        user_id=user_id,
        seller_id=seller_id,
        order_id=order_id,
        amount=Amount(amount),
        reference_type=reference_type,
        reference_id=reference_id,
    )


def release_escrow(
    escrow_id: str, amount: Doge | None = None, *, idempotency_key: str | None = None
) -> Request[models.EscrowAnswer]:
    """Pay the seller out of an escrow, all that remains unless an amount is given."""
    return _post(
        "/internal/release-escrow",
        models.EscrowAnswer,
        idempotency_key,
        escrow_id=escrow_id,
        amount=_amount(amount),
    )


def refund_escrow(
    escrow_id: str, amount: Doge | None = None, *, idempotency_key: str | None = None
) -> Request[models.EscrowAnswer]:
    """Pay the buyer back out of an escrow, all that remains unless an amount is given."""
    return _post(
        "/internal/refund-escrow",
        models.EscrowAnswer,
        idempotency_key,
        escrow_id=escrow_id,
        amount=_amount(amount),
    )


def dispute_escrow(
    escrow_id: str, reason: str, *, idempotency_key: str | None = None
) -> Request[models.EscrowAnswer]:
    """Stop release and refund of an escrow until the dispute is resolved."""
    return _post(
        "/internal/dispute-escrow",
        models.EscrowAnswer,
        idempotency_key,
        escrow_id=escrow_id,
        reason=reason,
    )


def resolve_dispute(
    escrow_id: str, to_seller: Doge, to_buyer: Doge, *, idempotency_key: str | None = None
) -> Request[models.EscrowAnswer]:
    """Share what remains between seller (gross of the fee) and buyer."""
    return _post(
        "/internal/resolve-dispute",
        models.EscrowAnswer,
        idempotency_key,
        escrow_id=escrow_id,
        to_seller=Amount(to_seller),
        to_buyer=Amount(to_buyer),
    )
