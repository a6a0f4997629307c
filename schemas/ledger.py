"""The ledger's own words: accounts, entry types and the statuses of its nouns."""

from __future__ import annotations

from typing import Final

from schemas.words import Word

#: Keys the house's commands and carries the house's entries.
HOUSE: Final = "00000000-0000-8000-8000-00000000d09e"


class Account(Word):
    """Where money stands. A user's accounts are liabilities, raised by a credit."""

    AVAILABLE = "available"
    BIDS = "bids"
    ESCROW = "escrow"
    PENDING = "pending"
    # The house's.
    CHAIN = "chain"
    COLD = "cold"
    FEES = "fees"
    NETWORK_FEES = "network_fees"
    SHORTFALL = "shortfall"
    CAPITAL = "capital"
    SUSPENSE = "suspense"


USER_ACCOUNTS: Final = (Account.AVAILABLE, Account.BIDS, Account.ESCROW, Account.PENDING)
HOUSE_ACCOUNTS: Final = tuple(account for account in Account if account not in USER_ACCOUNTS)


class EntryType(Word):
    """What an entry was made for."""

    DEPOSIT = "DEPOSIT"
    DEPOSIT_REVERSAL = "DEPOSIT_REVERSAL"
    BID_LOCK = "BID_LOCK"
    BID_UNLOCK = "BID_UNLOCK"
    ESCROW_LOCK = "ESCROW_LOCK"
    SALE_CREDIT = "SALE_CREDIT"
    FEE_DEBIT = "FEE_DEBIT"
    REFUND = "REFUND"
    WITHDRAWAL = "WITHDRAWAL"
    WITHDRAWAL_REVERSAL = "WITHDRAWAL_REVERSAL"
    SHORTFALL_REPAYMENT = "SHORTFALL_REPAYMENT"
    NETWORK_FEE = "NETWORK_FEE"
    CUSTODY = "CUSTODY"
    CAPITAL = "CAPITAL"
    REVENUE = "REVENUE"


class CommandOutcome(Word):
    """What became of a record that could be read as a command."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    REPLAYED = "replayed"
    KEY_REUSED = "key_reused"


#: What became of one that could not.
DEAD_LETTER: Final = "dead_letter"


class WithdrawalStatus(Word):
    """PENDING may be cancelled; PROCESSING is claimed by the payer; CONFIRMED is final but for
    a reorganisation, FAILED for good."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    BROADCAST = "BROADCAST"
    CONFIRMED = "CONFIRMED"
    FAILED = "FAILED"


class EscrowStatus(Word):
    """LOCKED until nothing remains; DISPUTED refuses release and refund."""

    LOCKED = "LOCKED"
    RELEASED = "RELEASED"
    REFUNDED = "REFUNDED"
    DISPUTED = "DISPUTED"


class DepositStatus(Word):
    """Seen in a block; credited; taken back after a reorganisation."""

    DETECTED = "detected"
    CREDITED = "credited"
    REVERSED = "reversed"
