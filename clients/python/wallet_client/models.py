"""What stands on the wire, as frozen structs.

Made by `make docs` from the wallet's JSON Schemas; change it there.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta

from wallet_client.amounts import Amount
from wallet_client.base import Model


class Account(StrEnum):
    """
    Where money stands. A user's accounts are liabilities, raised by a credit.
    """

    AVAILABLE = "available"
    BIDS = "bids"
    CAPITAL = "capital"
    CHAIN = "chain"
    COLD = "cold"
    ESCROW = "escrow"
    FEES = "fees"
    NETWORK_FEES = "network_fees"
    PENDING = "pending"
    SHORTFALL = "shortfall"
    SUSPENSE = "suspense"


class AccountResult(Model, frozen=True, kw_only=True):
    """The account that new addresses are derived from, by the rules of this version."""

    version: int
    account_key: str
    first_address: str


class AddressResult(Model, frozen=True, kw_only=True):
    """Where the user may pay in, from which amount, and the fewest confirmations it takes."""

    address: str
    network: str
    minimum: Amount
    confirmations: int


class AssignAddress(Model, frozen=True, kw_only=True):
    """Give the user a deposit address: the active one, or with `rotate` a new one."""

    rotate: bool = False


class Balance(Model, frozen=True, kw_only=True):
    """A user's balance, as of one version of the wallet; `locked` is bids and escrow."""

    user_id: str
    available: Amount
    locked: Amount
    bids: Amount
    escrow: Amount
    pending: Amount
    shortfall: Amount
    frozen: bool
    version: int
    updated_at: Annotated[str, Meta(description="RFC 3339, UTC, milliseconds")]


class CommandRejected(Model, frozen=True, kw_only=True):
    """The document of a rejection: its code and the line that says what to do."""

    code: str
    message: str
    type: str
    idempotency_key: str


class CommandReplayed(Model, frozen=True, kw_only=True):
    """The document of a replay: no money moved; the first record's outcome stands."""

    first_command_id: str
    outcome: Literal["accepted", "rejected"]
    code: str | None
    idempotency_key: str


class CommandType(StrEnum):
    """
    The commands there are.
    """

    OPEN_WALLET = "open_wallet"
    ASSIGN_ADDRESS = "assign_address"
    DETECT_DEPOSIT = "detect_deposit"
    PROCESS_DEPOSIT = "process_deposit"
    REVERSE_DEPOSIT = "reverse_deposit"
    LOCK_FUNDS = "lock_funds"
    UNLOCK_FUNDS = "unlock_funds"
    PAY_ORDER = "pay_order"
    CONVERT_TO_ESCROW = "convert_to_escrow"
    RELEASE_ESCROW = "release_escrow"
    REFUND_ESCROW = "refund_escrow"
    DISPUTE_ESCROW = "dispute_escrow"
    RESOLVE_DISPUTE = "resolve_dispute"
    REQUEST_WITHDRAWAL = "request_withdrawal"
    CANCEL_WITHDRAWAL = "cancel_withdrawal"
    CLAIM_WITHDRAWAL = "claim_withdrawal"
    RECORD_BROADCAST = "record_broadcast"
    CONFIRM_WITHDRAWAL = "confirm_withdrawal"
    UNCONFIRM_WITHDRAWAL = "unconfirm_withdrawal"
    FAIL_WITHDRAWAL = "fail_withdrawal"
    RECORD_NETWORK_FEE = "record_network_fee"
    MOVE_CUSTODY = "move_custody"
    FUND = "fund"
    WITHDRAW_REVENUE = "withdraw_revenue"
    FREEZE_WALLET = "freeze_wallet"
    UNFREEZE_WALLET = "unfreeze_wallet"
    SET_RULES = "set_rules"
    ROTATE_ACCOUNT = "rotate_account"


class ConfirmationTier(Model, frozen=True, kw_only=True):
    """From this exposure on, a deposit needs that many confirmations."""

    exposure: Amount
    confirmations: Annotated[int, Meta(ge=1, le=1000)]


class DepositStatus(StrEnum):
    """
    Seen in a block; credited; taken back after a reorganisation.
    """

    CREDITED = "credited"
    DETECTED = "detected"
    REVERSED = "reversed"


class EntryType(StrEnum):
    """
    What an entry was made for.
    """

    BID_LOCK = "BID_LOCK"
    BID_UNLOCK = "BID_UNLOCK"
    CAPITAL = "CAPITAL"
    CUSTODY = "CUSTODY"
    DEPOSIT = "DEPOSIT"
    DEPOSIT_REVERSAL = "DEPOSIT_REVERSAL"
    ESCROW_LOCK = "ESCROW_LOCK"
    FEE_DEBIT = "FEE_DEBIT"
    NETWORK_FEE = "NETWORK_FEE"
    REFUND = "REFUND"
    REVENUE = "REVENUE"
    SALE_CREDIT = "SALE_CREDIT"
    SHORTFALL_REPAYMENT = "SHORTFALL_REPAYMENT"
    WITHDRAWAL = "WITHDRAWAL"
    WITHDRAWAL_REVERSAL = "WITHDRAWAL_REVERSAL"


class EscrowStatus(StrEnum):
    """
    LOCKED until nothing remains; DISPUTED refuses release and refund.
    """

    DISPUTED = "DISPUTED"
    LOCKED = "LOCKED"
    REFUNDED = "REFUNDED"
    RELEASED = "RELEASED"


class EventType(StrEnum):
    """
    The events there are.
    """

    WALLET_OPENED = "wallet.opened"
    ADDRESS_ASSIGNED = "address.assigned"
    DEPOSIT_DETECTED = "deposit.detected"
    DEPOSIT_CONFIRMED = "deposit.confirmed"
    DEPOSIT_REVERSED = "deposit.reversed"
    WITHDRAWAL_REQUESTED = "withdrawal.requested"
    WITHDRAWAL_PROCESSING = "withdrawal.processing"
    WITHDRAWAL_BROADCAST = "withdrawal.broadcast"
    WITHDRAWAL_CONFIRMED = "withdrawal.confirmed"
    WITHDRAWAL_UNCONFIRMED = "withdrawal.unconfirmed"
    WITHDRAWAL_FAILED = "withdrawal.failed"
    FUNDS_LOCKED = "funds.locked"
    FUNDS_UNLOCKED = "funds.unlocked"
    ORDER_PAID = "order.paid"
    ESCROW_CREATED = "escrow.created"
    ESCROW_RELEASED = "escrow.released"
    SALE_CREDITED = "sale.credited"
    ESCROW_REFUNDED = "escrow.refunded"
    ESCROW_DISPUTED = "escrow.disputed"
    ESCROW_RESOLVED = "escrow.resolved"
    WALLET_FROZEN = "wallet.frozen"
    WALLET_UNFROZEN = "wallet.unfrozen"
    NETWORK_FEE_RECORDED = "network_fee.recorded"
    CUSTODY_MOVED = "custody.moved"
    CAPITAL_FUNDED = "capital.funded"
    REVENUE_WITHDRAWN = "revenue.withdrawn"
    RULES_CHANGED = "rules.changed"
    ACCOUNT_ROTATED = "account.rotated"
    COMMAND_REJECTED = "command.rejected"
    COMMAND_REPLAYED = "command.replayed"


class FreezeResult(Model, frozen=True, kw_only=True):
    """`frozen` stays true while a shortfall stands."""

    frozen: bool
    reason: str | None


class FreezeWallet(Model, frozen=True, kw_only=True):
    """An operator forbids the wallet to lock, pay, convert, request and claim."""

    reason: Annotated[
        str, Meta(max_length=255, min_length=1, pattern="^[^\\u0000-\\u001f\\u007f-\\u009f]*$")
    ]


class Fund(Model, frozen=True, kw_only=True):
    """The owners put coins of their own into the hot wallet."""

    amount: Amount


class LockFunds(Model, frozen=True, kw_only=True):
    """Move money from available to the bids, under a reference."""

    amount: Amount
    reference_type: Annotated[
        str, Meta(max_length=128, min_length=1, pattern="^[^\\u0000-\\u001f\\u007f-\\u009f]*$")
    ]
    reference_id: Annotated[
        str, Meta(max_length=128, min_length=1, pattern="^[^\\u0000-\\u001f\\u007f-\\u009f]*$")
    ]


class LockResult(Model, frozen=True, kw_only=True):
    """`locked` is what stands under the reference afterwards."""

    reference_type: str
    reference_id: str
    amount: Amount
    locked: Amount


class MoveCustody(Model, frozen=True, kw_only=True):
    """Coins went between the hot wallet and cold storage."""

    amount: Amount
    source: Literal["chain", "cold"]
    target: Literal["chain", "cold"]


class NetworkFeeResult(Model, frozen=True, kw_only=True):
    """The miner's fee of one transaction; `posted` is false once it was taken back."""

    txid: str
    amount: Amount
    posted: bool


class OpenWallet(Model, frozen=True, kw_only=True):
    """Make the user's wallet if there is none."""


class Pending(Model, frozen=True, kw_only=True):
    """The command is on its topic and will be decided; look for it at ``Location``."""

    command_id: Annotated[str, Meta(description="the command's place in the log, as a UUID")]
    outcome: Literal["pending"] = "pending"


class ProblemDocument(Model, frozen=True, kw_only=True):
    """A problem (RFC 9457): ``code`` is for programs, ``detail`` tells a person what to do."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    command_id: str | None = None


RecordId: TypeAlias = Annotated[
    str, Meta(pattern="^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
]


class RefundEscrow(Model, frozen=True, kw_only=True):
    """Pay the buyer back; all that remains unless an amount is given."""

    escrow_id: RecordId
    amount: Amount | None = None


class Rejection(StrEnum):
    """
    Why a command was refused, in order of precedence.
    """

    EMPTY_RECORD = "empty_record"
    TOO_LARGE = "too_large"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    UNKNOWN_FIELD = "unknown_field"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    WRONG_VERSION = "wrong_version"
    UNKNOWN_TYPE = "unknown_type"
    NOT_PERMITTED_HERE = "not_permitted_here"
    BAD_USER_ID = "bad_user_id"
    KEY_MISMATCH = "key_mismatch"
    MISPLACED = "misplaced"
    BAD_ID = "bad_id"
    BAD_IDEMPOTENCY_KEY = "bad_idempotency_key"
    BAD_TEXT = "bad_text"
    CONTROL_CHARACTERS = "control_characters"
    BAD_NUMBER = "bad_number"
    BAD_CHOICE = "bad_choice"
    BAD_TIME = "bad_time"
    AMOUNT_NOT_TEXT = "amount_not_text"
    AMOUNT_MALFORMED = "amount_malformed"
    AMOUNT_NEGATIVE = "amount_negative"
    AMOUNT_TOO_PRECISE = "amount_too_precise"
    AMOUNT_TOO_LARGE = "amount_too_large"
    AMOUNT_ZERO = "amount_zero"
    WRONG_USER = "wrong_user"
    UNPROCESSABLE = "unprocessable"
    KEY_REUSED = "key_reused"
    ADDRESS_MALFORMED = "address_malformed"
    ADDRESS_WRONG_NETWORK = "address_wrong_network"
    ADDRESS_OWN = "address_own"
    ADDRESS_NOT_YOURS = "address_not_yours"
    DEPOSIT_MISMATCH = "deposit_mismatch"
    DEPOSIT_UNKNOWN = "deposit_unknown"
    DEPOSIT_CREDITED = "deposit_credited"
    DEPOSIT_NOT_CREDITED = "deposit_not_credited"
    DEPOSIT_BELOW_MINIMUM = "deposit_below_minimum"
    ESCROW_NOT_FOUND = "escrow_not_found"
    ESCROW_EXISTS = "escrow_exists"
    ESCROW_CLOSED = "escrow_closed"
    ESCROW_DISPUTED = "escrow_disputed"
    ESCROW_NOT_DISPUTED = "escrow_not_disputed"
    ESCROW_PARTS_MISMATCH = "escrow_parts_mismatch"
    ESCROW_INSUFFICIENT = "escrow_insufficient"
    SELF_DEALING = "self_dealing"
    HOUSE_SELLER = "house_seller"
    WITHDRAWAL_NOT_FOUND = "withdrawal_not_found"
    WITHDRAWAL_WRONG_STATUS = "withdrawal_wrong_status"
    WITHDRAWAL_TXID_MISMATCH = "withdrawal_txid_mismatch"
    BELOW_MINIMUM = "below_minimum"
    ABOVE_MAXIMUM = "above_maximum"
    LOCK_INSUFFICIENT = "lock_insufficient"
    FEE_POSTED = "fee_posted"
    FEE_NOT_POSTED = "fee_not_posted"
    FEE_MISMATCH = "fee_mismatch"
    WRONG_ORDINAL = "wrong_ordinal"
    SAME_ACCOUNT = "same_account"
    NOT_FROZEN = "not_frozen"
    RULES_INVALID = "rules_invalid"
    ACCOUNT_IN_FORCE = "account_in_force"
    WALLET_FROZEN = "wallet_frozen"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    BALANCE_OVERFLOW = "balance_overflow"


class ReleaseEscrow(Model, frozen=True, kw_only=True):
    """Pay the seller, gross of the fee; all that remains unless an amount is given."""

    escrow_id: RecordId
    amount: Amount | None = None


class RequestWithdrawal(Model, frozen=True, kw_only=True):
    """Hold amount and fee for a payment to an address on chain."""

    amount: Amount
    address: Annotated[
        str, Meta(max_length=100, min_length=1, pattern="^[^\\u0000-\\u001f\\u007f-\\u009f]*$")
    ]


class ResolveDispute(Model, frozen=True, kw_only=True):
    """Share what remains; `to_seller` is gross of the fee."""

    escrow_id: RecordId
    to_seller: Amount
    to_buyer: Amount


class RotateAccount(Model, frozen=True, kw_only=True):
    """Derive all new addresses from another account; those given before are watched for ever."""

    account_key: Annotated[
        str,
        Meta(
            description="an account's fingerprint, as `wallet keys` tells", pattern="^[0-9a-f]{16}$"
        ),
    ]


class RulesResult(Model, frozen=True, kw_only=True):
    """The version of the rules that holds from here on."""

    version: int


class SaleResult(Model, frozen=True, kw_only=True):
    """What the seller gets of an escrow: gross, less the fee, is net."""

    escrow_id: str
    order_id: str
    buyer_id: str
    gross: Amount
    fee: Amount
    net: Amount
    escrow_status: EscrowStatus


class SetRules(Model, frozen=True, kw_only=True):
    """Replace the fees, limits and confirmations; versions count up from the environment's 1."""

    escrow_fee_basis_points: Annotated[int, Meta(ge=0, le=10000)]
    withdrawal_fee: Amount
    withdrawal_minimum: Amount
    withdrawal_maximum: Amount
    deposit_minimum: Amount
    confirmations: Annotated[list[ConfirmationTier], Meta(max_length=16, min_length=1)]


class TransferResult(Model, frozen=True, kw_only=True):
    """Money moved between two accounts of the house."""

    amount: Amount
    source: str
    target: str


Txid: TypeAlias = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class UnconfirmWithdrawal(Model, frozen=True, kw_only=True):
    """A reorganisation took the payment out of the chain again."""

    withdrawal_id: RecordId
    txid: Txid


class UnfreezeWallet(Model, frozen=True, kw_only=True):
    """An operator lifts a freeze of theirs."""


class UnlockFunds(Model, frozen=True, kw_only=True):
    """Move money back from the bids to available."""

    amount: Amount
    reference_type: Annotated[
        str, Meta(max_length=128, min_length=1, pattern="^[^\\u0000-\\u001f\\u007f-\\u009f]*$")
    ]
    reference_id: Annotated[
        str, Meta(max_length=128, min_length=1, pattern="^[^\\u0000-\\u001f\\u007f-\\u009f]*$")
    ]


UserId: TypeAlias = Annotated[
    str, Meta(pattern="^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
]


class WalletResult(Model, frozen=True, kw_only=True):
    """`created` is false where the wallet was there already."""

    user_id: str
    created: bool


class WithdrawRevenue(Model, frozen=True, kw_only=True):
    """Fees earned leave the hot wallet."""

    amount: Amount


class WithdrawalStatus(StrEnum):
    """
    PENDING may be cancelled; PROCESSING is claimed by the payer; CONFIRMED is final but for a reorganisation, FAILED for good.
    """

    BROADCAST = "BROADCAST"
    CONFIRMED = "CONFIRMED"
    FAILED = "FAILED"
    PENDING = "PENDING"
    PROCESSING = "PROCESSING"


class CancelWithdrawal(Model, frozen=True, kw_only=True):
    """Give back a withdrawal that the payer has not claimed."""

    withdrawal_id: RecordId


class ClaimWithdrawal(Model, frozen=True, kw_only=True):
    """The payer takes the withdrawal in hand; from here on it cannot be cancelled."""

    withdrawal_id: RecordId


class CommandStatus(Model, frozen=True, kw_only=True):
    """A command and what became of it. ``result`` and ``balance`` are there once it was accepted, ``problem`` once it was refused. A ``replayed`` command moved nothing: they are those of ``first_command_id``."""

    command_id: Annotated[str, Meta(description="the command's place in the log, as a UUID")]
    outcome: Literal["accepted", "dead_letter", "key_reused", "pending", "rejected", "replayed"]
    type: str | None = None
    idempotency_key: str | None = None
    decided_at: str | None = None
    first_command_id: str | None = None
    result: Any | None = None
    balance: Any | None = None
    problem: ProblemDocument | None = None


class ConfirmWithdrawal(Model, frozen=True, kw_only=True):
    """The payment is deep enough in the chain."""

    withdrawal_id: RecordId
    txid: Txid


class ConvertToEscrow(Model, frozen=True, kw_only=True):
    """Pay an order into escrow out of a lock; what is left of the lock is unlocked."""

    seller_id: UserId
    order_id: Annotated[
        str, Meta(max_length=128, min_length=1, pattern="^[^\\u0000-\\u001f\\u007f-\\u009f]*$")
    ]
    amount: Amount
    reference_type: Annotated[
        str, Meta(max_length=128, min_length=1, pattern="^[^\\u0000-\\u001f\\u007f-\\u009f]*$")
    ]
    reference_id: Annotated[
        str, Meta(max_length=128, min_length=1, pattern="^[^\\u0000-\\u001f\\u007f-\\u009f]*$")
    ]


class DepositResult(Model, frozen=True, kw_only=True):
    """A deposit as recorded; `creditings` counts how often it was credited."""

    txid: str
    vout: int
    address: str
    amount: Amount
    status: DepositStatus
    creditings: int
    block_hash: str
    height: int


class DepositReversedResult(Model, frozen=True, kw_only=True):
    """Also what the reversal took: withdrawals given up, and what the user now owes."""

    txid: str
    vout: int
    address: str
    amount: Amount
    status: DepositStatus
    creditings: int
    block_hash: str
    height: int
    withdrawals_failed: list[str]
    shortfall_added: Amount


class DetectDeposit(Model, frozen=True, kw_only=True):
    """A payment to one of our addresses was seen in a block; nothing is credited yet."""

    txid: Txid
    vout: Annotated[int, Meta(ge=0, le=2147483647)]
    address: Annotated[
        str, Meta(max_length=100, min_length=1, pattern="^[^\\u0000-\\u001f\\u007f-\\u009f]*$")
    ]
    amount: Amount
    block_hash: Txid
    height: Annotated[int, Meta(ge=0, le=2147483647)]


class DisputeEscrow(Model, frozen=True, kw_only=True):
    """Stop release and refund until the dispute is resolved."""

    escrow_id: RecordId
    reason: Annotated[
        str, Meta(max_length=255, min_length=1, pattern="^[^\\u0000-\\u001f\\u007f-\\u009f]*$")
    ]


class Entry(Model, frozen=True, kw_only=True):
    """One side of a posting on one of the user's accounts; credits raise a balance."""

    id: str
    command_id: Annotated[str, Meta(description="the command's place in the log, as a UUID")]
    user_id: str
    account: Account
    entry_type: EntryType
    debit: Amount
    credit: Amount
    balance_after: Amount
    reference_type: str | None
    reference_id: str | None
    idempotency_key: str
    created_at: Annotated[str, Meta(description="RFC 3339, UTC, milliseconds")]


class EscrowResult(Model, frozen=True, kw_only=True):
    """An escrow; released + refunded + fees + remaining = amount."""

    id: str
    order_id: str
    buyer_id: str
    seller_id: str
    amount: Amount
    fee_amount: Amount
    released: Amount
    refunded: Amount
    fees: Amount
    remaining: Amount
    status: EscrowStatus
    created_at: Annotated[str, Meta(description="RFC 3339, UTC, milliseconds")]


class FailWithdrawal(Model, frozen=True, kw_only=True):
    """The payment can never confirm any more; the hold goes back."""

    withdrawal_id: RecordId
    reason: Annotated[
        str, Meta(max_length=255, min_length=1, pattern="^[^\\u0000-\\u001f\\u007f-\\u009f]*$")
    ]


class History(Model, frozen=True, kw_only=True):
    """A page of entries, newest first; ``next`` is the cursor of the page after, if any."""

    entries: list[Entry]
    next: str | None


class LockAnswer(Model, frozen=True, kw_only=True):
    """What stands locked, and the balance."""

    command_id: Annotated[str, Meta(description="the command's place in the log, as a UUID")]
    result: LockResult
    balance: Balance


class PayOrder(Model, frozen=True, kw_only=True):
    """Pay an order into escrow out of what is available."""

    seller_id: UserId
    order_id: Annotated[
        str, Meta(max_length=128, min_length=1, pattern="^[^\\u0000-\\u001f\\u007f-\\u009f]*$")
    ]
    amount: Amount


class ProcessDeposit(Model, frozen=True, kw_only=True):
    """The deposit has its confirmations: credit it, for the `ordinal`-th time."""

    txid: Txid
    vout: Annotated[int, Meta(ge=0, le=2147483647)]
    address: Annotated[
        str, Meta(max_length=100, min_length=1, pattern="^[^\\u0000-\\u001f\\u007f-\\u009f]*$")
    ]
    amount: Amount
    block_hash: Txid
    height: Annotated[int, Meta(ge=0, le=2147483647)]
    ordinal: Annotated[int, Meta(ge=1, le=2147483647)]


class RecordBroadcast(Model, frozen=True, kw_only=True):
    """The signed payment was sent to the network (or replaced by another version)."""

    withdrawal_id: RecordId
    txid: Txid


class RecordNetworkFee(Model, frozen=True, kw_only=True):
    """Post the miner's fee of one of our confirmed transactions, or take the posting back."""

    txid: Txid
    amount: Amount
    ordinal: Annotated[int, Meta(ge=1, le=2147483647)] = 1
    reverse: bool = False


class ReverseDeposit(Model, frozen=True, kw_only=True):
    """The chain took the deposit back after its `ordinal`-th crediting."""

    txid: Txid
    vout: Annotated[int, Meta(ge=0, le=2147483647)]
    ordinal: Annotated[int, Meta(ge=1, le=2147483647)]


class WithdrawalResult(Model, frozen=True, kw_only=True):
    """A withdrawal; the fee comes on top of the amount."""

    id: str
    user_id: str
    amount: Amount
    fee: Amount
    destination_address: str
    status: WithdrawalStatus
    txid: str | None
    reason: str | None
    requested_at: Annotated[str, Meta(description="RFC 3339, UTC, milliseconds")]


class EscrowAnswer(Model, frozen=True, kw_only=True):
    """The escrow, and the buyer's balance."""

    command_id: Annotated[str, Meta(description="the command's place in the log, as a UUID")]
    result: EscrowResult
    balance: Balance


class WithdrawalAnswer(Model, frozen=True, kw_only=True):
    """The withdrawal, and the balance."""

    command_id: Annotated[str, Meta(description="the command's place in the log, as a UUID")]
    result: WithdrawalResult
    balance: Balance
