"""Every command: its data, and the topic that may carry it."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from schemas.amounts import Koinu, Share
from schemas.topics import CommandTopic
from schemas.words import Word

UUID_PATTERN: Final = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"

UserId = Annotated[str, Meta(pattern=UUID_PATTERN, description="a canonical UUID")]
RecordId = Annotated[str, Meta(pattern=UUID_PATTERN, description="an id that this wallet gave")]
Txid = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$", description="64 hexadecimal digits")]
Reference = Annotated[str, Meta(min_length=1, max_length=128)]
OrderId = Annotated[str, Meta(min_length=1, max_length=128)]
Reason = Annotated[str, Meta(min_length=1, max_length=255)]
#: Longer than any Base58 address, short enough to log; the decision checks the rest.
AddressText = Annotated[str, Meta(min_length=1, max_length=100)]
OutputIndex = Annotated[int, Meta(ge=0, le=2**31 - 1)]
AccountKey = Annotated[
    str,
    Meta(pattern=r"^[0-9a-f]{16}$", description="an account's fingerprint, as `wallet keys` tells"),
]
Height = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Ordinal = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class Data(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What a command carries beside its envelope."""


class OpenWallet(Data, frozen=True, kw_only=True):
    """Make the user's wallet if there is none."""


class AssignAddress(Data, frozen=True, kw_only=True):
    """Give the user a deposit address: the active one, or with ``rotate`` a new one."""

    rotate: bool = False


class DetectDeposit(Data, frozen=True, kw_only=True):
    """A payment to one of our addresses was seen in a block; nothing is credited yet."""

    txid: Txid
    vout: OutputIndex
    address: AddressText
    amount: Koinu
    block_hash: Txid
    height: Height


class ProcessDeposit(DetectDeposit, frozen=True, kw_only=True):
    """The deposit has its confirmations: credit it, for the ``ordinal``-th time."""

    ordinal: Ordinal


class ReverseDeposit(Data, frozen=True, kw_only=True):
    """The chain took the deposit back after its ``ordinal``-th crediting."""

    txid: Txid
    vout: OutputIndex
    ordinal: Ordinal


class LockFunds(Data, frozen=True, kw_only=True):
    """Move money from available to the bids, under a reference."""

    amount: Koinu
    reference_type: Reference
    reference_id: Reference


class UnlockFunds(LockFunds, frozen=True, kw_only=True):
    """Move money back from the bids to available."""


class PayOrder(Data, frozen=True, kw_only=True):
    """Pay an order into escrow out of what is available."""

    seller_id: UserId
    order_id: OrderId
    amount: Koinu


class ConvertToEscrow(PayOrder, frozen=True, kw_only=True):
    """Pay an order into escrow out of a lock; what is left of the lock is unlocked."""

    reference_type: Reference
    reference_id: Reference


class ReleaseEscrow(Data, frozen=True, kw_only=True):
    """Pay the seller, gross of the fee; all that remains unless an amount is given."""

    escrow_id: RecordId
    amount: Koinu | None = None


class RefundEscrow(Data, frozen=True, kw_only=True):
    """Pay the buyer back; all that remains unless an amount is given."""

    escrow_id: RecordId
    amount: Koinu | None = None


class DisputeEscrow(Data, frozen=True, kw_only=True):
    """Stop release and refund until the dispute is resolved."""

    escrow_id: RecordId
    reason: Reason


class ResolveDispute(Data, frozen=True, kw_only=True):
    """Share what remains; ``to_seller`` is gross of the fee."""

    escrow_id: RecordId
    to_seller: Share
    to_buyer: Share


class RequestWithdrawal(Data, frozen=True, kw_only=True):
    """Hold amount and fee for a payment to an address on chain."""

    amount: Koinu
    address: AddressText


class CancelWithdrawal(Data, frozen=True, kw_only=True):
    """Give back a withdrawal that the payer has not claimed."""

    withdrawal_id: RecordId


class ClaimWithdrawal(Data, frozen=True, kw_only=True):
    """The payer takes the withdrawal in hand; from here on it cannot be cancelled."""

    withdrawal_id: RecordId


class RecordBroadcast(Data, frozen=True, kw_only=True):
    """The signed payment was sent to the network (or replaced by another version)."""

    withdrawal_id: RecordId
    txid: Txid


class ConfirmWithdrawal(Data, frozen=True, kw_only=True):
    """The payment is deep enough in the chain."""

    withdrawal_id: RecordId
    txid: Txid


class UnconfirmWithdrawal(Data, frozen=True, kw_only=True):
    """A reorganisation took the payment out of the chain again."""

    withdrawal_id: RecordId
    txid: Txid


class FailWithdrawal(Data, frozen=True, kw_only=True):
    """The payment can never confirm any more; the hold goes back."""

    withdrawal_id: RecordId
    reason: Reason


class RecordNetworkFee(Data, frozen=True, kw_only=True):
    """Post the miner's fee of one of our confirmed transactions, or take the posting back."""

    txid: Txid
    amount: Koinu
    ordinal: Ordinal = 1
    reverse: bool = False


class MoveCustody(Data, frozen=True, kw_only=True):
    """Coins went between the hot wallet and cold storage."""

    amount: Koinu
    source: Literal["chain", "cold"]
    target: Literal["chain", "cold"]


class Fund(Data, frozen=True, kw_only=True):
    """The owners put coins of their own into the hot wallet."""

    amount: Koinu


class WithdrawRevenue(Data, frozen=True, kw_only=True):
    """Fees earned leave the hot wallet."""

    amount: Koinu


class FreezeWallet(Data, frozen=True, kw_only=True):
    """An operator forbids the wallet to lock, pay, convert, request and claim."""

    reason: Reason


class UnfreezeWallet(Data, frozen=True, kw_only=True):
    """An operator lifts a freeze of theirs."""


class ConfirmationTier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From this exposure on, a deposit needs that many confirmations."""

    exposure: Share
    confirmations: Annotated[int, Meta(ge=1, le=1000)]


class SetRules(Data, frozen=True, kw_only=True):
    """Replace the fees, limits and confirmations; versions count up from the environment's 1."""

    escrow_fee_basis_points: Annotated[int, Meta(ge=0, le=10_000)]
    withdrawal_fee: Share
    withdrawal_minimum: Koinu
    withdrawal_maximum: Koinu
    deposit_minimum: Share
    confirmations: Annotated[tuple[ConfirmationTier, ...], Meta(min_length=1, max_length=16)]


class RotateAccount(Data, frozen=True, kw_only=True):
    """Derive all new addresses from another account; those given before are watched for ever."""

    account_key: AccountKey


class CommandType(Word):
    """The commands there are."""

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


DATA_OF: Final[dict[CommandType, type[Data]]] = {
    CommandType.OPEN_WALLET: OpenWallet,
    CommandType.ASSIGN_ADDRESS: AssignAddress,
    CommandType.DETECT_DEPOSIT: DetectDeposit,
    CommandType.PROCESS_DEPOSIT: ProcessDeposit,
    CommandType.REVERSE_DEPOSIT: ReverseDeposit,
    CommandType.LOCK_FUNDS: LockFunds,
    CommandType.UNLOCK_FUNDS: UnlockFunds,
    CommandType.PAY_ORDER: PayOrder,
    CommandType.CONVERT_TO_ESCROW: ConvertToEscrow,
    CommandType.RELEASE_ESCROW: ReleaseEscrow,
    CommandType.REFUND_ESCROW: RefundEscrow,
    CommandType.DISPUTE_ESCROW: DisputeEscrow,
    CommandType.RESOLVE_DISPUTE: ResolveDispute,
    CommandType.REQUEST_WITHDRAWAL: RequestWithdrawal,
    CommandType.CANCEL_WITHDRAWAL: CancelWithdrawal,
    CommandType.CLAIM_WITHDRAWAL: ClaimWithdrawal,
    CommandType.RECORD_BROADCAST: RecordBroadcast,
    CommandType.CONFIRM_WITHDRAWAL: ConfirmWithdrawal,
    CommandType.UNCONFIRM_WITHDRAWAL: UnconfirmWithdrawal,
    CommandType.FAIL_WITHDRAWAL: FailWithdrawal,
    CommandType.RECORD_NETWORK_FEE: RecordNetworkFee,
    CommandType.MOVE_CUSTODY: MoveCustody,
    CommandType.FUND: Fund,
    CommandType.WITHDRAW_REVENUE: WithdrawRevenue,
    CommandType.FREEZE_WALLET: FreezeWallet,
    CommandType.UNFREEZE_WALLET: UnfreezeWallet,
    CommandType.SET_RULES: SetRules,
    CommandType.ROTATE_ACCOUNT: RotateAccount,
}

_USERS: Final = frozenset(
    {
        CommandType.OPEN_WALLET,
        CommandType.ASSIGN_ADDRESS,
        CommandType.REQUEST_WITHDRAWAL,
        CommandType.CANCEL_WITHDRAWAL,
    }
)
_SERVICES: Final = frozenset(
    {
        CommandType.LOCK_FUNDS,
        CommandType.UNLOCK_FUNDS,
        CommandType.PAY_ORDER,
        CommandType.CONVERT_TO_ESCROW,
        CommandType.RELEASE_ESCROW,
        CommandType.REFUND_ESCROW,
        CommandType.DISPUTE_ESCROW,
        CommandType.RESOLVE_DISPUTE,
    }
)

#: The one topic by which a type may come, so that Kafka's ACLs decide who can create money.
TOPIC_OF: Final = {
    kind: CommandTopic.USERS
    if kind in _USERS
    else CommandTopic.SERVICES
    if kind in _SERVICES
    else CommandTopic.TREASURY
    for kind in CommandType
}

#: Commands that concern no user; they are keyed by the house.
HOUSE_COMMANDS: Final = frozenset(
    {
        CommandType.RECORD_NETWORK_FEE,
        CommandType.MOVE_CUSTODY,
        CommandType.FUND,
        CommandType.WITHDRAW_REVENUE,
        CommandType.SET_RULES,
        CommandType.ROTATE_ACCOUNT,
    }
)

VERSION: Final = 1
