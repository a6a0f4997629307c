"""The table of contents of the ledger: each command and the function that decides it.

A decision depends on the command, the books and the wallet's time that the request carries; on
no clock, no random number and nothing outside. It changes nothing: the journal applies it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from processors.ledger import (
    addresses,
    bids,
    deposits,
    escrows,
    house,
    rules,
    wallets,
    withdrawals,
)
from processors.ledger.invariants import check
from processors.ledger.model import Books, Decision, Request
from schemas.commands import (
    AssignAddress,
    CancelWithdrawal,
    ClaimWithdrawal,
    ConfirmWithdrawal,
    ConvertToEscrow,
    DetectDeposit,
    DisputeEscrow,
    FailWithdrawal,
    FreezeWallet,
    Fund,
    LockFunds,
    MoveCustody,
    OpenWallet,
    PayOrder,
    ProcessDeposit,
    RecordBroadcast,
    RecordNetworkFee,
    RefundEscrow,
    ReleaseEscrow,
    RequestWithdrawal,
    ResolveDispute,
    ReverseDeposit,
    RotateAccount,
    SetRules,
    UnconfirmWithdrawal,
    UnfreezeWallet,
    UnlockFunds,
    WithdrawRevenue,
)

#: Counts the changes of what a command decides; every batch says by which it was decided.
LOGIC_VERSION: Final = 1

DECISIONS: Final[dict[type[msgspec.Struct], Callable[[Request, Any, Books], Decision]]] = {
    OpenWallet: wallets.open_wallet,
    FreezeWallet: wallets.freeze_wallet,
    UnfreezeWallet: wallets.unfreeze_wallet,
    AssignAddress: addresses.assign_address,
    DetectDeposit: deposits.detect_deposit,
    ProcessDeposit: deposits.process_deposit,
    ReverseDeposit: deposits.reverse_deposit,
    LockFunds: bids.lock_funds,
    UnlockFunds: bids.unlock_funds,
    PayOrder: escrows.pay_order,
    ConvertToEscrow: escrows.convert_to_escrow,
    ReleaseEscrow: escrows.release_escrow,
    RefundEscrow: escrows.refund_escrow,
    DisputeEscrow: escrows.dispute_escrow,
    ResolveDispute: escrows.resolve_dispute,
    RequestWithdrawal: withdrawals.request_withdrawal,
    CancelWithdrawal: withdrawals.cancel_withdrawal,
    ClaimWithdrawal: withdrawals.claim_withdrawal,
    RecordBroadcast: withdrawals.record_broadcast,
    ConfirmWithdrawal: withdrawals.confirm_withdrawal,
    UnconfirmWithdrawal: withdrawals.unconfirm_withdrawal,
    FailWithdrawal: withdrawals.fail_withdrawal,
    RecordNetworkFee: house.record_network_fee,
    MoveCustody: house.move_custody,
    Fund: house.fund,
    WithdrawRevenue: house.withdraw_revenue,
    SetRules: rules.set_rules,
    RotateAccount: rules.rotate_account,
}


def decide(request: Request, books: Books) -> Decision:
    """What becomes of a command that was understood, given the books as they stand.

    Raises ``InvariantBroken`` where the decision would break a rule of the ledger: a fault of
    this program, never of the command.
    """
    # Looked up by exact type, since some data extend others.
    decision = DECISIONS[type(request.data)](request, request.data, books)
    check(request, decision, books)
    return decision
