"""Decisions on a wallet itself: that there is one, and whether an operator froze it."""

from __future__ import annotations

from processors.ledger.model import Acceptance, Books, Decision, Notice, Refusal, Request
from schemas.commands import FreezeWallet, OpenWallet, UnfreezeWallet
from schemas.events import EventType, FreezeResult, WalletResult
from schemas.rejections import Rejection


def open_wallet(request: Request, data: OpenWallet, books: Books) -> Decision:
    """Accepted always; only the result tells whether the wallet is new."""
    user_id = request.user_id
    created = books.wallet(user_id).opened_at == 0
    result = WalletResult(user_id=user_id, created=created)
    return Acceptance((Notice(user_id, EventType.WALLET_OPENED, result),))


def freeze_wallet(request: Request, data: FreezeWallet, books: Books) -> Decision:
    """Freezing again is accepted: the operator's newest reason is in the event."""
    result = FreezeResult(frozen=True, reason=data.reason)
    notice = Notice(request.user_id, EventType.WALLET_FROZEN, result)
    return Acceptance((notice,), freeze=True)


def unfreeze_wallet(request: Request, data: UnfreezeWallet, books: Books) -> Decision:
    """Lift the operator's freeze; what a shortfall froze stays frozen until it is repaid."""
    wallet = books.wallet(request.user_id)
    if not wallet.frozen_by_operator:
        return Refusal(Rejection.NOT_FROZEN)
    owes = wallet.shortfall > 0
    result = FreezeResult(frozen=owes, reason="shortfall" if owes else None)
    notice = Notice(request.user_id, EventType.WALLET_UNFROZEN, result)
    return Acceptance((notice,), freeze=False)
