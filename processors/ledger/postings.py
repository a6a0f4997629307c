"""The ledger's movements: who can be a side of one, and how they change balances into entries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from processors.ledger.invariants import BalanceOutOfRange, ShortfallOutrun
from processors.ledger.model import Posting, Side
from schemas.amounts import KOINU_MAX
from schemas.ledger import HOUSE, Account, EntryType
from schemas.records import Wallet

#: One row of ``entries`` to be: user_id, account, entry type, debit, credit, balance after (None
#: for the house), reference type, reference id. A bare tuple, for two are made a posting.
EntryRow = tuple[str, Account, EntryType, int, int, int | None, str | None, str | None]

# Looking a member up on its enum costs more than all else that a posting does.
AVAILABLE: Final = Account.AVAILABLE
BIDS: Final = Account.BIDS
ESCROW: Final = Account.ESCROW
PENDING: Final = Account.PENDING
_SHORTFALL: Final = Account.SHORTFALL

CHAIN: Final = Side(HOUSE, Account.CHAIN)
COLD: Final = Side(HOUSE, Account.COLD)
FEES: Final = Side(HOUSE, Account.FEES)
NETWORK_FEES: Final = Side(HOUSE, Account.NETWORK_FEES)
SHORTFALL: Final = Side(HOUSE, Account.SHORTFALL)
CAPITAL: Final = Side(HOUSE, Account.CAPITAL)

_REPAYMENT: Final = EntryType.SHORTFALL_REPAYMENT


def repayment(wallet: Wallet, credited: int, reference_type: str, reference_id: str) -> Posting:
    """What a user who owes gives back of money just credited; call it only while they owe."""
    return Posting(
        Side(wallet.user_id, AVAILABLE),
        SHORTFALL,
        min(wallet.shortfall, credited),
        _REPAYMENT,
        reference_type,
        reference_id,
    )


def holdings(wallet: Wallet) -> int:
    """All that is owed to a user. While it fits int64, no move between their accounts overflows."""
    return wallet.available + wallet.bids + wallet.escrow + wallet.pending


def post(
    user_id: str, postings: tuple[Posting, ...], wallet_of: Callable[[str], Wallet]
) -> list[EntryRow]:
    """Apply a decision's postings to the wallets in place; answer its entries, in order.

    ``user_id`` is the command's own user, who owes what is posted from ``shortfall``. Two rows a
    posting, the debit first. All or nothing: raises ``InvariantBroken`` before a wallet changes.
    """
    sheets: dict[str, list[int]] = {}
    rows: list[EntryRow] = []
    for posting in postings:
        amount = posting.amount
        entry_type = posting.entry_type
        reference_type = posting.reference_type
        reference_id = posting.reference_id
        debit = posting.debit
        credit = posting.credit

        owner = debit.user_id
        account = debit.account
        balance = None
        if owner != HOUSE or account is _SHORTFALL:
            debtor = owner if owner != HOUSE else user_id
            sheet = sheets.get(debtor) or _open(sheets, wallet_of(debtor))
            if owner != HOUSE:
                balance = sheet[_SLOTS[account]] - amount
                if balance < 0:
                    raise BalanceOutOfRange(f"{account} of {owner}: {balance}")
                sheet[_SLOTS[account]] = balance
            else:
                sheet[_OWED] += amount
        rows.append((owner, account, entry_type, amount, 0, balance, reference_type, reference_id))

        owner = credit.user_id
        account = credit.account
        balance = None
        if owner != HOUSE:
            sheet = sheets.get(owner) or _open(sheets, wallet_of(owner))
            slot = _SLOTS[account]
            balance = sheet[slot] + amount
            sheet[slot] = balance
        elif account is _SHORTFALL:
            # Who gives it back is who owed it.
            sheets[debit.user_id][_OWED] -= amount
        rows.append((owner, account, entry_type, 0, amount, balance, reference_type, reference_id))
    for owner, sheet in sheets.items():
        _check(owner, sheet)
    for owner, sheet in sheets.items():
        wallet = wallet_of(owner)
        wallet.available, wallet.bids, wallet.escrow, wallet.pending, wallet.shortfall = sheet
    return rows


_SLOTS: Final = {AVAILABLE: 0, BIDS: 1, ESCROW: 2, PENDING: 3}
_OWED: Final = 4


def _open(sheets: dict[str, list[int]], wallet: Wallet) -> list[int]:
    """A copy of the balances to reckon on, so that a fault leaves the wallet as it was."""
    sheet = [wallet.available, wallet.bids, wallet.escrow, wallet.pending, wallet.shortfall]
    sheets[wallet.user_id] = sheet
    return sheet


def _check(owner: str, sheet: list[int]) -> None:
    available, bids, escrow, pending, owed = sheet
    if available + bids + escrow + pending > KOINU_MAX or not 0 <= owed <= KOINU_MAX:
        raise BalanceOutOfRange(f"{owner}: {sheet}")
    if owed and available:
        raise ShortfallOutrun(f"{owner}: {available} available, {owed} owed")
