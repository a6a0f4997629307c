"""What must hold of every decision, checked each time, so that a fault stops before the books.

Debits equal credits by construction: a posting is one amount with two sides. docs/architecture.md
lists which of these rules the database holds a second time.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Final, NamedTuple

from processors.ledger.model import Acceptance, Books, Posting, Refusal, Request
from schemas.ledger import (
    HOUSE,
    USER_ACCOUNTS,
    Account,
    DepositStatus,
    EntryType,
    EscrowStatus,
    WithdrawalStatus,
)
from schemas.records import Deposit, Escrow, Lock, Withdrawal
from schemas.rejections import FIRST_BUSINESS, precedence


class InvariantBroken(Exception):
    """A decision breaks a rule of the ledger; nothing of it was applied."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"{self.__doc__} ({detail})")


class PostingNotPositive(InvariantBroken):
    """A posting moves nothing, or less than nothing."""


class MovementUnknown(InvariantBroken):
    """No entry type moves money between these accounts."""


class AccountOfAnother(InvariantBroken):
    """An account is posted under an owner who cannot hold it, or money changes hands unsold."""


class BalanceOutOfRange(InvariantBroken):
    """A balance would go under zero, or over what 63 bits of koinu hold."""


class ShortfallOutrun(InvariantBroken):
    """Money would be available to a user who owes a shortfall."""


class RecordIncoherent(InvariantBroken):
    """A record contradicts itself."""


class RecordAgainstPostings(InvariantBroken):
    """Locks, escrows or withdrawals would hold another sum than the balances they explain."""


class TransitionIllegal(InvariantBroken):
    """A record's status would change in a way that its noun does not know."""


class NoticeMisplaced(InvariantBroken):
    """The first notice is the command's own user's, and each wallet that changes has one."""


class RefusalMisplaced(InvariantBroken):
    """A code of the record was given for a command that was understood."""


#: All ways that money can move: the entry type, the account debited, the account credited.
MOVEMENTS: Final = frozenset(
    {
        (EntryType.DEPOSIT, Account.CHAIN, Account.AVAILABLE),
        (EntryType.DEPOSIT_REVERSAL, Account.AVAILABLE, Account.CHAIN),
        (EntryType.DEPOSIT_REVERSAL, Account.SHORTFALL, Account.CHAIN),
        (EntryType.SHORTFALL_REPAYMENT, Account.AVAILABLE, Account.SHORTFALL),
        (EntryType.BID_LOCK, Account.AVAILABLE, Account.BIDS),
        (EntryType.BID_UNLOCK, Account.BIDS, Account.AVAILABLE),
        (EntryType.ESCROW_LOCK, Account.AVAILABLE, Account.ESCROW),
        (EntryType.ESCROW_LOCK, Account.BIDS, Account.ESCROW),
        (EntryType.SALE_CREDIT, Account.ESCROW, Account.AVAILABLE),
        (EntryType.FEE_DEBIT, Account.AVAILABLE, Account.FEES),
        (EntryType.FEE_DEBIT, Account.PENDING, Account.FEES),
        (EntryType.REFUND, Account.ESCROW, Account.AVAILABLE),
        (EntryType.REFUND, Account.PENDING, Account.AVAILABLE),
        (EntryType.WITHDRAWAL, Account.AVAILABLE, Account.PENDING),
        (EntryType.WITHDRAWAL, Account.PENDING, Account.CHAIN),
        (EntryType.WITHDRAWAL_REVERSAL, Account.CHAIN, Account.PENDING),
        (EntryType.WITHDRAWAL_REVERSAL, Account.FEES, Account.PENDING),
        (EntryType.NETWORK_FEE, Account.NETWORK_FEES, Account.CHAIN),
        (EntryType.NETWORK_FEE, Account.CHAIN, Account.NETWORK_FEES),
        (EntryType.CUSTODY, Account.CHAIN, Account.COLD),
        (EntryType.CUSTODY, Account.COLD, Account.CHAIN),
        (EntryType.CAPITAL, Account.CHAIN, Account.CAPITAL),
        (EntryType.REVENUE, Account.FEES, Account.CHAIN),
    }
)

_OPEN: Final = frozenset(
    {WithdrawalStatus.PENDING, WithdrawalStatus.PROCESSING, WithdrawalStatus.BROADCAST}
)

#: From a status (None: not there yet) to those that may follow it.
WITHDRAWAL_STEPS: Final[dict[WithdrawalStatus | None, frozenset[WithdrawalStatus]]] = {
    None: frozenset({WithdrawalStatus.PENDING}),
    WithdrawalStatus.PENDING: frozenset({WithdrawalStatus.PROCESSING, WithdrawalStatus.FAILED}),
    WithdrawalStatus.PROCESSING: frozenset({WithdrawalStatus.BROADCAST, WithdrawalStatus.FAILED}),
    WithdrawalStatus.BROADCAST: frozenset(
        {WithdrawalStatus.BROADCAST, WithdrawalStatus.CONFIRMED, WithdrawalStatus.FAILED}
    ),
    WithdrawalStatus.CONFIRMED: frozenset({WithdrawalStatus.BROADCAST}),
    WithdrawalStatus.FAILED: frozenset(),
}
DEPOSIT_STEPS: Final[dict[DepositStatus | None, frozenset[DepositStatus]]] = {
    None: frozenset({DepositStatus.DETECTED, DepositStatus.CREDITED}),
    DepositStatus.DETECTED: frozenset({DepositStatus.DETECTED, DepositStatus.CREDITED}),
    DepositStatus.CREDITED: frozenset({DepositStatus.REVERSED}),
    DepositStatus.REVERSED: frozenset({DepositStatus.REVERSED, DepositStatus.CREDITED}),
}
ESCROW_STEPS: Final[dict[EscrowStatus | None, frozenset[EscrowStatus]]] = {
    None: frozenset({EscrowStatus.LOCKED}),
    EscrowStatus.LOCKED: frozenset(EscrowStatus),
    EscrowStatus.DISPUTED: frozenset({EscrowStatus.RELEASED, EscrowStatus.REFUNDED}),
    EscrowStatus.RELEASED: frozenset(),
    EscrowStatus.REFUNDED: frozenset(),
}
_NOBODY: Final[frozenset[str]] = frozenset()
_CLOSED: Final = frozenset({EscrowStatus.RELEASED, EscrowStatus.REFUNDED})
_NEED_TXID: Final = frozenset({WithdrawalStatus.BROADCAST, WithdrawalStatus.CONFIRMED})
#: Up to here codes speak of the record or its key, and no decision gives them.
_LAST_OF_RECORD: Final = precedence(FIRST_BUSINESS)


class _Effect(NamedTuple):
    """What a movement does, worked out once, for the hot path."""

    #: Is the debtor the house, is the creditor, are they the same?
    owners: tuple[bool, bool, bool]
    #: What it adds to bids, escrow and pending per koinu; None if nothing.
    held: tuple[int, int, int] | None


def _effect_of(entry_type: EntryType, debit: Account, credit: Account) -> _Effect:
    houses = debit not in USER_ACCOUNTS, credit not in USER_ACCOUNTS
    same = houses[0] == houses[1] and entry_type is not EntryType.SALE_CREDIT
    bids, escrow, pending = (
        (credit is account) - (debit is account)
        for account in (Account.BIDS, Account.ESCROW, Account.PENDING)
    )
    held = (bids, escrow, pending) if bids or escrow or pending else None
    return _Effect((*houses, same), held)


_EFFECTS: Final = {movement: _effect_of(*movement) for movement in MOVEMENTS}


def check(request: Request, decision: Acceptance | Refusal, books: Books) -> None:
    """Raise ``InvariantBroken`` unless the decision keeps every rule; ``books`` are as before."""
    if isinstance(decision, Refusal):
        if precedence(decision.code) <= _LAST_OF_RECORD:
            raise RefusalMisplaced(decision.code.value)
        return
    user_id = request.user_id
    notices = decision.notices
    if not notices or notices[0].user_id != user_id:
        raise NoticeMisplaced("the first is for another user")
    others = {notice.user_id for notice in notices[1:]} if len(notices) > 1 else _NOBODY
    if len(others) != len(notices) - 1 or user_id in others:
        raise NoticeMisplaced("a wallet has two")
    bids, escrow, pending = _held_by_postings(decision.postings, user_id, others)
    for record in decision.records:
        if isinstance(record, Lock):
            bids -= _held_by_lock(record, books)
        elif isinstance(record, Escrow):
            escrow -= _held_by_escrow(record, books)
        elif isinstance(record, Withdrawal):
            pending -= _held_by_withdrawal(record, books)
        elif isinstance(record, Deposit):
            _check_deposit(record, books)
    if bids or escrow or pending:
        raise RecordAgainstPostings(f"bids {bids}, escrow {escrow}, pending {pending}")


def _held_by_postings(
    postings: tuple[Posting, ...], user_id: str, others: Set[str]
) -> tuple[int, int, int]:
    """What they add to bids, escrow and pending; checks that each is sound by itself."""
    bids = escrow = pending = 0
    for posting in postings:
        amount = posting.amount
        if amount <= 0:
            raise PostingNotPositive(f"{posting.entry_type}: {amount}")
        debit = posting.debit
        credit = posting.credit
        effect = _EFFECTS.get((posting.entry_type, debit.account, credit.account))
        if effect is None:
            raise MovementUnknown(f"{posting.entry_type}: {debit.account} to {credit.account}")
        owners, held = effect
        debtor = debit.user_id
        creditor = credit.user_id
        if (debtor == HOUSE, creditor == HOUSE, debtor == creditor) != owners:
            raise AccountOfAnother(f"{posting.entry_type}: {debtor} to {creditor}")
        for owner in (debtor, creditor):
            if owner != user_id and owner != HOUSE and owner not in others:
                raise NoticeMisplaced(f"none for {owner}")
        if held is not None:
            bids += amount * held[0]
            escrow += amount * held[1]
            pending += amount * held[2]
    return bids, escrow, pending


def _held_by_lock(lock: Lock, books: Books) -> int:
    if lock.amount < 0:
        raise RecordIncoherent(f"lock {lock.reference_id}: {lock.amount}")
    before = books.lock(lock.user_id, lock.reference_type, lock.reference_id)
    return lock.amount if before is None else lock.amount - before.amount


def _held_by_escrow(escrow: Escrow, books: Books) -> int:
    released, refunded, fees, remaining = (
        escrow.released,
        escrow.refunded,
        escrow.fees,
        escrow.remaining,
    )
    if (
        released + refunded + fees + remaining != escrow.amount
        or (released | refunded | fees | remaining) < 0  # as is any of them
        or not fees <= escrow.fee_amount <= escrow.amount
        or (remaining == 0) != (escrow.status in _CLOSED)
        or escrow.buyer_id == escrow.seller_id
    ):
        raise RecordIncoherent(f"escrow {escrow.id}")
    before = books.escrow(escrow.id)
    if escrow.status not in ESCROW_STEPS[None if before is None else before.status]:
        raise TransitionIllegal(f"escrow {escrow.id} to {escrow.status}")
    return remaining if before is None else remaining - before.remaining


def _held_by_withdrawal(withdrawal: Withdrawal, books: Books) -> int:
    status = withdrawal.status
    if (withdrawal.reason is not None) != (status is WithdrawalStatus.FAILED) or (
        withdrawal.txid is None and status in _NEED_TXID
    ):
        raise RecordIncoherent(f"withdrawal {withdrawal.id}")
    before = books.withdrawal(withdrawal.id)
    if status not in WITHDRAWAL_STEPS[None if before is None else before.status]:
        raise TransitionIllegal(f"withdrawal {withdrawal.id} to {status}")
    held = withdrawal.amount + withdrawal.fee
    now = held if status in _OPEN else 0
    return now - (held if before is not None and before.status in _OPEN else 0)


def _check_deposit(deposit: Deposit, books: Books) -> None:
    if (deposit.status is DepositStatus.DETECTED) != (deposit.creditings == 0):
        raise RecordIncoherent(f"deposit {deposit.txid}:{deposit.vout}")
    before = books.deposit(deposit.txid, deposit.vout)
    if deposit.status not in DEPOSIT_STEPS[None if before is None else before.status]:
        raise TransitionIllegal(f"deposit {deposit.txid}:{deposit.vout} to {deposit.status}")
    counted = 0 if before is None else before.creditings
    newly = deposit.status is DepositStatus.CREDITED
    if deposit.creditings != counted + newly:
        raise RecordIncoherent(f"deposit {deposit.txid}:{deposit.vout} credited uncounted")
