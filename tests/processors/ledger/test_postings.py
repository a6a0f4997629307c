"""Posting: wallets change wholly or not at all, and every change leaves two entries."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from processors.ledger.invariants import BalanceOutOfRange, InvariantBroken, ShortfallOutrun
from processors.ledger.model import Posting, Side
from processors.ledger.postings import CHAIN, FEES, SHORTFALL, holdings, post
from schemas.amounts import KOINU_MAX
from schemas.ledger import HOUSE, Account, EntryType
from schemas.records import Wallet
from tests.support.books import ANN, BOB

AVAILABLE = Account.AVAILABLE


def wallets(**ann: Any) -> dict[str, Wallet]:
    return {ANN: Wallet(user_id=ANN, **ann), BOB: Wallet(user_id=BOB)}


def move(debit: Side, credit: Side, amount: int, entry_type: EntryType) -> Posting:
    return Posting(debit, credit, amount, entry_type, "test", "1")


def test_each_posting_leaves_a_debit_and_a_credit_with_the_balance_after() -> None:
    books = wallets(escrow=100)
    rows = post(
        ANN,
        (
            move(Side(ANN, Account.ESCROW), Side(BOB, AVAILABLE), 40, EntryType.SALE_CREDIT),
            move(Side(BOB, AVAILABLE), FEES, 1, EntryType.FEE_DEBIT),
        ),
        books.__getitem__,
    )
    assert rows == [
        (ANN, "escrow", "SALE_CREDIT", 40, 0, 60, "test", "1"),
        (BOB, "available", "SALE_CREDIT", 0, 40, 40, "test", "1"),
        (BOB, "available", "FEE_DEBIT", 1, 0, 39, "test", "1"),
        (HOUSE, "fees", "FEE_DEBIT", 0, 1, None, "test", "1"),
    ]
    assert (books[ANN].escrow, books[BOB].available) == (60, 39)


def test_what_is_posted_from_shortfall_is_owed_by_the_commands_user() -> None:
    books = wallets()
    post(ANN, (move(SHORTFALL, CHAIN, 5, EntryType.DEPOSIT_REVERSAL),), books.__getitem__)
    assert (books[ANN].shortfall, books[BOB].shortfall) == (5, 0)


def test_what_is_posted_to_shortfall_is_repaid_by_the_one_debited() -> None:
    books = wallets()
    books[BOB].shortfall = 8
    repaid = move(Side(BOB, AVAILABLE), SHORTFALL, 5, EntryType.SHORTFALL_REPAYMENT)
    credited = move(CHAIN, Side(BOB, AVAILABLE), 5, EntryType.DEPOSIT)
    post(ANN, (credited, repaid), books.__getitem__)
    assert (books[BOB].shortfall, books[BOB].available) == (3, 0)


@pytest.mark.parametrize(
    ("ann", "postings", "broken"),
    [
        (
            {"available": 4},
            [move(Side(ANN, AVAILABLE), Side(ANN, Account.BIDS), 5, EntryType.BID_LOCK)],
            BalanceOutOfRange,
        ),
        (
            {"bids": KOINU_MAX - 4},
            [move(CHAIN, Side(ANN, AVAILABLE), 5, EntryType.DEPOSIT)],
            BalanceOutOfRange,
        ),
        (
            {"shortfall": KOINU_MAX},
            [move(SHORTFALL, CHAIN, 1, EntryType.DEPOSIT_REVERSAL)],
            BalanceOutOfRange,
        ),
        (
            {"available": 5, "shortfall": 4},
            [move(Side(ANN, AVAILABLE), SHORTFALL, 5, EntryType.SHORTFALL_REPAYMENT)],
            BalanceOutOfRange,
        ),
        (
            {"shortfall": 9},
            [move(CHAIN, Side(ANN, AVAILABLE), 5, EntryType.DEPOSIT)],
            ShortfallOutrun,
        ),
    ],
    ids=[
        "a_balance_under_zero",
        "balances_over_63_bits",
        "a_shortfall_over_63_bits",
        "more_repaid_than_owed",
        "available_before_repaid",
    ],
)
def test_a_wallet_is_left_alone_by(
    ann: dict[str, int], postings: list[Posting], broken: type[InvariantBroken]
) -> None:
    books = wallets(**ann)
    good = move(CHAIN, Side(BOB, AVAILABLE), 1, EntryType.DEPOSIT)
    before = {user: msgspec.structs.astuple(wallet) for user, wallet in books.items()}
    with pytest.raises(broken):
        post(ANN, (good, *postings), books.__getitem__)
    assert {user: msgspec.structs.astuple(wallet) for user, wallet in books.items()} == before


def test_a_wallet_that_is_not_there_changes_no_other() -> None:
    books = {ANN: Wallet(user_id=ANN, escrow=5)}
    with pytest.raises(KeyError):
        post(
            ANN,
            (move(Side(ANN, Account.ESCROW), Side(BOB, AVAILABLE), 5, EntryType.SALE_CREDIT),),
            books.__getitem__,
        )
    assert books[ANN].escrow == 5


def test_holdings_are_all_that_is_owed_to_a_user() -> None:
    assert holdings(Wallet(user_id=ANN, available=1, bids=2, escrow=4, pending=8)) == 15
