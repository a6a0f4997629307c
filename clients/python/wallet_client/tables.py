"""Which struct is whose, and which topic carries it.

Made by `make docs` from the wallet's JSON Schemas; change it there.
"""

from __future__ import annotations

from typing import Final

from wallet_client import models
from wallet_client.base import Model

#: The command topics by the code that ids carry.
TOPICS: Final = ["wallet.commands", "wallet.commands.users", "wallet.commands.treasury"]
#: The user of commands that concern no user.
HOUSE: Final = "00000000-0000-8000-8000-00000000d09e"
HOUSE_COMMANDS: Final = frozenset[type[Model]](
    [
        models.Fund,
        models.MoveCustody,
        models.RecordNetworkFee,
        models.RotateAccount,
        models.SetRules,
        models.WithdrawRevenue,
    ]
)
#: Why a record cannot be read as a command at all.
DEAD_LETTERS: Final = frozenset(
    [
        "empty_record",
        "too_large",
        "not_utf8",
        "not_json",
        "not_an_object",
        "unknown_field",
        "missing_field",
        "wrong_type",
        "wrong_version",
        "unknown_type",
        "not_permitted_here",
        "bad_user_id",
        "key_mismatch",
        "misplaced",
        "bad_id",
        "bad_idempotency_key",
        "bad_text",
        "control_characters",
        "bad_number",
        "bad_choice",
        "bad_time",
        "amount_not_text",
        "amount_malformed",
        "amount_negative",
        "amount_too_precise",
        "amount_too_large",
        "amount_zero",
        "wrong_user",
        "unprocessable",
    ]
)
#: A command's struct to its type and the code of its topic.
COMMANDS: Final[dict[type[Model], tuple[str, int]]] = {
    models.OpenWallet: ("open_wallet", 1),
    models.AssignAddress: ("assign_address", 1),
    models.DetectDeposit: ("detect_deposit", 2),
    models.ProcessDeposit: ("process_deposit", 2),
    models.ReverseDeposit: ("reverse_deposit", 2),
    models.LockFunds: ("lock_funds", 0),
    models.UnlockFunds: ("unlock_funds", 0),
    models.PayOrder: ("pay_order", 0),
    models.ConvertToEscrow: ("convert_to_escrow", 0),
    models.ReleaseEscrow: ("release_escrow", 0),
    models.RefundEscrow: ("refund_escrow", 0),
    models.DisputeEscrow: ("dispute_escrow", 0),
    models.ResolveDispute: ("resolve_dispute", 0),
    models.RequestWithdrawal: ("request_withdrawal", 1),
    models.CancelWithdrawal: ("cancel_withdrawal", 1),
    models.ClaimWithdrawal: ("claim_withdrawal", 2),
    models.RecordBroadcast: ("record_broadcast", 2),
    models.ConfirmWithdrawal: ("confirm_withdrawal", 2),
    models.UnconfirmWithdrawal: ("unconfirm_withdrawal", 2),
    models.FailWithdrawal: ("fail_withdrawal", 2),
    models.RecordNetworkFee: ("record_network_fee", 2),
    models.MoveCustody: ("move_custody", 2),
    models.Fund: ("fund", 2),
    models.WithdrawRevenue: ("withdraw_revenue", 2),
    models.FreezeWallet: ("freeze_wallet", 2),
    models.UnfreezeWallet: ("unfreeze_wallet", 2),
    models.SetRules: ("set_rules", 2),
    models.RotateAccount: ("rotate_account", 2),
}
#: An event's type to the struct of its result.
RESULTS: Final[dict[str, type[Model]]] = {
    "wallet.opened": models.WalletResult,
    "address.assigned": models.AddressResult,
    "deposit.detected": models.DepositResult,
    "deposit.confirmed": models.DepositResult,
    "deposit.reversed": models.DepositReversedResult,
    "withdrawal.requested": models.WithdrawalResult,
    "withdrawal.processing": models.WithdrawalResult,
    "withdrawal.broadcast": models.WithdrawalResult,
    "withdrawal.confirmed": models.WithdrawalResult,
    "withdrawal.unconfirmed": models.WithdrawalResult,
    "withdrawal.failed": models.WithdrawalResult,
    "funds.locked": models.LockResult,
    "funds.unlocked": models.LockResult,
    "order.paid": models.EscrowResult,
    "escrow.created": models.EscrowResult,
    "escrow.released": models.EscrowResult,
    "sale.credited": models.SaleResult,
    "escrow.refunded": models.EscrowResult,
    "escrow.disputed": models.EscrowResult,
    "escrow.resolved": models.EscrowResult,
    "wallet.frozen": models.FreezeResult,
    "wallet.unfrozen": models.FreezeResult,
    "network_fee.recorded": models.NetworkFeeResult,
    "custody.moved": models.TransferResult,
    "capital.funded": models.TransferResult,
    "revenue.withdrawn": models.TransferResult,
    "rules.changed": models.RulesResult,
    "account.rotated": models.AccountResult,
}
