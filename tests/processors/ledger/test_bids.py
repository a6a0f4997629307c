"""Locks: money set aside under a reference, and given back."""

from __future__ import annotations

from processors.ledger.model import Acceptance
from schemas.commands import LockFunds, UnlockFunds
from schemas.events import EventType, LockResult
from schemas.rejections import Rejection
from tests.processors.ledger.cases import Refused, given, holds, table
from tests.support.books import ANN, BOB, Ledger, doge, entries_of


def lock(amount: float, reference_id: str = "7") -> LockFunds:
    return LockFunds(amount=doge(amount), reference_type="auction", reference_id=reference_id)


def unlock(amount: float, reference_id: str = "7") -> UnlockFunds:
    return UnlockFunds(amount=doge(amount), reference_type="auction", reference_id=reference_id)


def shown(acceptance: Acceptance) -> tuple[str, EventType, str, str]:
    (notice,) = acceptance.notices
    assert isinstance(notice.result, LockResult)
    return notice.user_id, notice.event, notice.result.amount, notice.result.locked


def test_a_lock_moves_money_from_available_to_bids() -> None:
    ledger = Ledger()
    ledger.fund(10)
    acceptance = ledger.accept(lock(4))
    assert entries_of(acceptance) == [("BID_LOCK", "available", "bids", doge(4))]
    assert ledger.balance() == (doge(6), doge(4), 0, 0)
    assert shown(acceptance) == (ANN, EventType.FUNDS_LOCKED, "4.00000000", "4.00000000")


def test_all_that_is_available_can_be_locked() -> None:
    ledger = Ledger()
    ledger.fund(10)
    ledger.accept(lock(10))
    assert ledger.balance() == (0, doge(10), 0, 0)


def test_locks_under_one_reference_add_up() -> None:
    ledger = Ledger()
    ledger.fund(10)
    ledger.accept(lock(4))
    assert shown(ledger.accept(lock(1)))[2:] == ("1.00000000", "5.00000000")
    ledger.accept(lock(2, "8"))
    assert (ledger.locked("7"), ledger.locked("8")) == (doge(5), doge(2))


def test_the_same_reference_of_another_user_is_another_lock() -> None:
    ledger = Ledger()
    ledger.fund(10)
    ledger.fund(10, BOB)
    ledger.accept(lock(4))
    ledger.accept(lock(3), BOB)
    assert (ledger.locked(user=ANN), ledger.locked(user=BOB)) == (doge(4), doge(3))


def test_an_unlock_moves_money_back() -> None:
    ledger = Ledger()
    ledger.fund(10)
    ledger.lock(4)
    acceptance = ledger.accept(unlock(3))
    assert entries_of(acceptance) == [("BID_UNLOCK", "bids", "available", doge(3))]
    assert ledger.balance() == (doge(9), doge(1), 0, 0)
    assert shown(acceptance) == (ANN, EventType.FUNDS_UNLOCKED, "3.00000000", "1.00000000")


def test_a_frozen_wallet_may_unlock() -> None:
    ledger = Ledger()
    ledger.fund(10)
    ledger.lock(4)
    ledger.freeze()
    ledger.accept(unlock(4))
    assert ledger.balance() == (doge(10), 0, 0, 0)


def test_what_is_unlocked_repays_a_shortfall_first() -> None:
    ledger = Ledger()
    ledger.fund(5)
    ledger.lock(5)
    ledger.owe(3)
    acceptance = ledger.accept(unlock(5))
    assert entries_of(acceptance) == [
        ("BID_UNLOCK", "bids", "available", doge(5)),
        ("SHORTFALL_REPAYMENT", "available", "shortfall", doge(3)),
    ]
    assert ledger.wallet().shortfall == 0
    assert ledger.wallet().available == doge(2)
    assert not ledger.wallet().frozen


@table(
    Refused(
        "more than is available cannot be locked",
        given(lambda ledger: ledger.fund(10), then=lock(10.00000001)),
        Rejection.INSUFFICIENT_FUNDS,
    ),
    Refused(
        "an empty wallet cannot lock",
        given(then=lock(1)),
        Rejection.INSUFFICIENT_FUNDS,
    ),
    Refused(
        "what is locked cannot be locked again",
        given(lambda ledger: ledger.fund(10), lambda ledger: ledger.lock(6), then=lock(5)),
        Rejection.INSUFFICIENT_FUNDS,
    ),
    Refused(
        "a wallet that an operator froze may not lock",
        given(lambda ledger: ledger.fund(10), lambda ledger: ledger.freeze(), then=lock(1)),
        Rejection.WALLET_FROZEN,
    ),
    Refused(
        "a wallet that owes may not lock",
        given(lambda ledger: ledger.owe(3), then=lock(1)),
        Rejection.WALLET_FROZEN,
    ),
    Refused(
        "a frozen wallet is told so before its lack of money",
        given(lambda ledger: ledger.freeze(), then=lock(1)),
        Rejection.WALLET_FROZEN,
    ),
    Refused(
        "nothing can be unlocked where nothing was locked",
        given(lambda ledger: ledger.fund(10), then=unlock(1)),
        Rejection.LOCK_INSUFFICIENT,
    ),
    Refused(
        "more than is locked cannot be unlocked",
        given(
            lambda ledger: ledger.fund(10), lambda ledger: ledger.lock(4), then=unlock(4.00000001)
        ),
        Rejection.LOCK_INSUFFICIENT,
    ),
    Refused(
        "a lock under another reference does not help",
        given(
            lambda ledger: ledger.fund(10),
            lambda ledger: ledger.lock(4, "8"),
            then=unlock(1, "7"),
        ),
        Rejection.LOCK_INSUFFICIENT,
    ),
    Refused(
        "another user's lock cannot be unlocked",
        given(lambda ledger: ledger.fund(10), lambda ledger: ledger.lock(4), then=unlock(1)),
        Rejection.LOCK_INSUFFICIENT,
        BOB,
    ),
)
def test_refused(case: Refused) -> None:
    holds(case)
