"""The rows that decisions read, as plain values; times are milliseconds since 1970, money koinu."""

from __future__ import annotations

import msgspec

from schemas.ledger import DepositStatus, EscrowStatus, WithdrawalStatus


class Wallet(msgspec.Struct, kw_only=True, gc=False):
    """A user's balance. The one record that a batch changes in place, while it holds its lock."""

    user_id: str
    available: int = 0
    bids: int = 0
    escrow: int = 0
    pending: int = 0
    shortfall: int = 0
    frozen_by_operator: bool = False
    #: Counts the accepted commands that touched the wallet.
    version: int = 0
    #: Counts the wallet's events, rejections included.
    sequence: int = 0
    #: The wallet's time: the latest LogAppendTime of a record that touched it.
    time: int = 0
    #: 0 until the wallet's first accepted command.
    opened_at: int = 0

    @property
    def frozen(self) -> bool:
        """By an operator, or by what the user owes."""
        return self.frozen_by_operator or self.shortfall > 0


class Lock(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is locked for bids under one reference."""

    user_id: str
    reference_type: str
    reference_id: str
    amount: int

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.user_id, self.reference_type, self.reference_id)


class Escrow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An order's money; ``released`` is net of ``fees``."""

    id: str
    order_id: str
    buyer_id: str
    seller_id: str
    amount: int
    fee_amount: int
    released: int = 0
    refunded: int = 0
    fees: int = 0
    remaining: int
    status: EscrowStatus = EscrowStatus.LOCKED
    dispute_reason: str | None = None
    created_at: int
    updated_at: int

    @property
    def key(self) -> str:
        return self.id


class Withdrawal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A payment out; amount and fee are held in pending until it is confirmed or has failed."""

    id: str
    user_id: str
    amount: int
    fee: int
    destination_address: str
    status: WithdrawalStatus = WithdrawalStatus.PENDING
    reason: str | None = None
    txid: str | None = None
    requested_at: int
    updated_at: int

    @property
    def key(self) -> str:
        return self.id


class Deposit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A payment in, by its outpoint; ``creditings`` counts how often it was credited."""

    txid: str
    vout: int
    user_id: str
    address: str
    amount: int
    status: DepositStatus = DepositStatus.DETECTED
    creditings: int = 0
    block_hash: str
    height: int
    detected_at: int
    updated_at: int

    @property
    def key(self) -> tuple[str, int]:
        return (self.txid, self.vout)


class DepositAddress(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An address of a user; old ones are watched for ever."""

    address: str
    user_id: str
    account_key: str
    chain: int = 0
    derivation_index: int
    active: bool = True
    assigned_at: int

    @property
    def key(self) -> str:
        return self.address


class NetworkFee(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The miner's fee of one transaction of ours; ``postings`` counts how often it was posted."""

    txid: str
    amount: int
    postings: int
    posted: bool

    @property
    def key(self) -> str:
        return self.txid


class Tier(msgspec.Struct, frozen=True, gc=False):
    """From this exposure (koinu) on, a deposit needs that many confirmations."""

    exposure: int
    confirmations: int


class Rules(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Fees, limits and confirmations, frozen into the records that they shaped.

    ``account_key`` is the fingerprint of the account xpub from which addresses are derived: the
    xpub itself stays in the settings, since whoever has it sees every address.
    """

    version: int
    network: str
    account_key: str
    escrow_fee_basis_points: int
    withdrawal_fee: int
    withdrawal_minimum: int
    withdrawal_maximum: int
    deposit_minimum: int
    confirmations: tuple[Tier, ...]


Record = Lock | Escrow | Withdrawal | Deposit | DepositAddress | NetworkFee | Rules
