"""Every event: a CloudEvent whose data is the outcome of one command for one wallet.

The data is the same document that the ``commands`` table keeps and the REST API answers:
``{"result": ..., "balance": ...}`` of an acceptance, or what ``CommandRejected`` and
``CommandReplayed`` show.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from schemas.amounts import AMOUNT_PATTERN
from schemas.ledger import DepositStatus, EscrowStatus, WithdrawalStatus
from schemas.words import Word

AmountText = Annotated[
    str, Meta(pattern=AMOUNT_PATTERN, description="DOGE as decimal text", examples=["12.50000000"])
]
TimeText = Annotated[str, Meta(description="RFC 3339, UTC, milliseconds")]


class EventType(Word):
    """The events there are, in the past tense."""

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


class Result(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What an accepted command brought about."""


class Balance(Result, frozen=True, kw_only=True):
    """A user's balance, as of one version of the wallet; ``locked`` is bids and escrow."""

    user_id: str
    available: AmountText
    locked: AmountText
    bids: AmountText
    escrow: AmountText
    pending: AmountText
    shortfall: AmountText
    frozen: bool
    version: int
    updated_at: TimeText


class WalletResult(Result, frozen=True, kw_only=True):
    """``created`` is false where the wallet was there already."""

    user_id: str
    created: bool


class AddressResult(Result, frozen=True, kw_only=True):
    """Where the user may pay in, from which amount, and the fewest confirmations it takes."""

    address: str
    network: str
    minimum: AmountText
    confirmations: int


class DepositResult(Result, frozen=True, kw_only=True):
    """A deposit as recorded; ``creditings`` counts how often it was credited."""

    txid: str
    vout: int
    address: str
    amount: AmountText
    status: DepositStatus
    creditings: int
    block_hash: str
    height: int


class DepositReversedResult(DepositResult, frozen=True, kw_only=True):
    """Also what the reversal took: withdrawals given up, and what the user now owes."""

    withdrawals_failed: tuple[str, ...]
    shortfall_added: AmountText


class LockResult(Result, frozen=True, kw_only=True):
    """``locked`` is what stands under the reference afterwards."""

    reference_type: str
    reference_id: str
    amount: AmountText
    locked: AmountText


class EscrowResult(Result, frozen=True, kw_only=True):
    """An escrow; released + refunded + fees + remaining = amount."""

    id: str
    order_id: str
    buyer_id: str
    seller_id: str
    amount: AmountText
    fee_amount: AmountText
    released: AmountText
    refunded: AmountText
    fees: AmountText
    remaining: AmountText
    status: EscrowStatus
    created_at: TimeText


class SaleResult(Result, frozen=True, kw_only=True):
    """What the seller gets of an escrow: gross, less the fee, is net."""

    escrow_id: str
    order_id: str
    buyer_id: str
    gross: AmountText
    fee: AmountText
    net: AmountText
    escrow_status: EscrowStatus


class WithdrawalResult(Result, frozen=True, kw_only=True):
    """A withdrawal; the fee comes on top of the amount."""

    id: str
    user_id: str
    amount: AmountText
    fee: AmountText
    destination_address: str
    status: WithdrawalStatus
    txid: str | None
    reason: str | None
    requested_at: TimeText


class FreezeResult(Result, frozen=True, kw_only=True):
    """``frozen`` stays true while a shortfall stands."""

    frozen: bool
    reason: str | None


class NetworkFeeResult(Result, frozen=True, kw_only=True):
    """The miner's fee of one transaction; ``posted`` is false once it was taken back."""

    txid: str
    amount: AmountText
    posted: bool


class TransferResult(Result, frozen=True, kw_only=True):
    """Money moved between two accounts of the house."""

    amount: AmountText
    source: str
    target: str


class RulesResult(Result, frozen=True, kw_only=True):
    """The version of the rules that holds from here on."""

    version: int


class AccountResult(RulesResult, frozen=True, kw_only=True):
    """The account that new addresses are derived from, by the rules of this version."""

    account_key: str
    #: Its deposit address of index 0, to be compared with what was noted when the key was made.
    first_address: str


RESULT_OF: Final[dict[EventType, type[Result]]] = {
    EventType.WALLET_OPENED: WalletResult,
    EventType.ADDRESS_ASSIGNED: AddressResult,
    EventType.DEPOSIT_DETECTED: DepositResult,
    EventType.DEPOSIT_CONFIRMED: DepositResult,
    EventType.DEPOSIT_REVERSED: DepositReversedResult,
    EventType.WITHDRAWAL_REQUESTED: WithdrawalResult,
    EventType.WITHDRAWAL_PROCESSING: WithdrawalResult,
    EventType.WITHDRAWAL_BROADCAST: WithdrawalResult,
    EventType.WITHDRAWAL_CONFIRMED: WithdrawalResult,
    EventType.WITHDRAWAL_UNCONFIRMED: WithdrawalResult,
    EventType.WITHDRAWAL_FAILED: WithdrawalResult,
    EventType.FUNDS_LOCKED: LockResult,
    EventType.FUNDS_UNLOCKED: LockResult,
    EventType.ORDER_PAID: EscrowResult,
    EventType.ESCROW_CREATED: EscrowResult,
    EventType.ESCROW_RELEASED: EscrowResult,
    EventType.SALE_CREDITED: SaleResult,
    EventType.ESCROW_REFUNDED: EscrowResult,
    EventType.ESCROW_DISPUTED: EscrowResult,
    EventType.ESCROW_RESOLVED: EscrowResult,
    EventType.WALLET_FROZEN: FreezeResult,
    EventType.WALLET_UNFROZEN: FreezeResult,
    EventType.NETWORK_FEE_RECORDED: NetworkFeeResult,
    EventType.CUSTODY_MOVED: TransferResult,
    EventType.CAPITAL_FUNDED: TransferResult,
    EventType.REVENUE_WITHDRAWN: TransferResult,
    EventType.RULES_CHANGED: RulesResult,
    EventType.ACCOUNT_ROTATED: AccountResult,
}


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """The document of an acceptance."""

    result: Result
    balance: Balance


class CommandRejected(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The document of a rejection: its code and the line that says what to do."""

    code: str
    message: str
    type: str
    idempotency_key: str


class CommandReplayed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The document of a replay: no money moved; the first record's outcome stands."""

    first_command_id: str
    outcome: Literal["accepted", "rejected"]
    code: str | None
    idempotency_key: str


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The envelope of an event (CloudEvents 1.0, JSON format).

    ``sequence`` counts the subject's events, gap-free, rejections included; ``causationid`` is the
    command. ``idempotencykey`` is shown to the command's own user alone.
    """

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str
    type: str
    subject: str
    time: TimeText
    datacontenttype: Literal["application/json"] = "application/json"
    sequence: int
    causationid: str
    idempotencykey: str | msgspec.UnsetType = msgspec.UNSET
    data: msgspec.Raw
