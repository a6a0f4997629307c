"""Deposits: seen, credited once, taken back in full whatever the user did meanwhile."""

from __future__ import annotations

import msgspec
import pytest

from schemas.amounts import KOINU_MAX, Koinu
from schemas.commands import AssignAddress, DetectDeposit, ProcessDeposit, ReverseDeposit
from schemas.events import DepositResult, DepositReversedResult, EventType
from schemas.ledger import Account, DepositStatus, WithdrawalStatus
from schemas.rejections import Rejection
from tests.processors.ledger.cases import Refused, given, holds, table
from tests.support.books import (
    ANN,
    BLOCK,
    BOB,
    RULES,
    Ledger,
    address_of,
    doge,
    entries_of,
    references_of,
    txid_of,
)

TXID = txid_of(77)
OTHER_BLOCK = "c" * 64


def detect(
    address: str = address_of(0), amount: int = doge(5), block: str = BLOCK
) -> DetectDeposit:
    return DetectDeposit(
        txid=TXID, vout=1, address=address, amount=Koinu(amount), block_hash=block, height=200
    )


def process(
    address: str = address_of(0), amount: int = doge(5), ordinal: int = 1, block: str = BLOCK
) -> ProcessDeposit:
    return ProcessDeposit(
        txid=TXID,
        vout=1,
        address=address,
        amount=Koinu(amount),
        block_hash=block,
        height=200,
        ordinal=ordinal,
    )


def reverse(ordinal: int = 1) -> ReverseDeposit:
    return ReverseDeposit(txid=TXID, vout=1, ordinal=ordinal)


def ready() -> Ledger:
    """A ledger where Ann has address 0 and Bob address 1."""
    ledger = Ledger()
    ledger.address(ANN)
    ledger.address(BOB)
    return ledger


def test_a_deposit_seen_is_recorded_and_not_credited() -> None:
    ledger = ready()
    acceptance = ledger.accept(detect())
    assert acceptance.postings == ()
    assert ledger.balance() == (0, 0, 0, 0)
    (notice,) = acceptance.notices
    assert notice.event is EventType.DEPOSIT_DETECTED
    assert notice.result == DepositResult(
        txid=TXID,
        vout=1,
        address=address_of(0),
        amount="5.00000000",
        status=DepositStatus.DETECTED,
        creditings=0,
        block_hash=BLOCK,
        height=200,
    )


def test_a_deposit_seen_in_another_block_moves_there() -> None:
    ledger = ready()
    ledger.accept(detect())
    first_seen = ledger.deposit(TXID, 1).detected_at
    ledger.accept(detect(block=OTHER_BLOCK))
    deposit = ledger.deposit(TXID, 1)
    assert (deposit.block_hash, deposit.detected_at) == (OTHER_BLOCK, first_seen)


def test_a_small_deposit_is_recorded_all_the_same() -> None:
    ledger = ready()
    ledger.accept(detect(amount=1))
    assert ledger.deposit(TXID, 1).status is DepositStatus.DETECTED


@pytest.mark.parametrize("seen", [True, False], ids=["seen_before", "never_seen_before"])
def test_a_confirmed_deposit_is_credited(seen: bool) -> None:
    ledger = ready()
    if seen:
        ledger.accept(detect())
    acceptance = ledger.accept(process())
    assert entries_of(acceptance) == [("DEPOSIT", "chain", "available", doge(5))]
    assert ledger.balance() == (doge(5), 0, 0, 0)
    assert ledger.owed_to_house(Account.CHAIN) == doge(5)
    deposit = ledger.deposit(TXID, 1)
    assert (deposit.status, deposit.creditings) == (DepositStatus.CREDITED, 1)
    assert acceptance.notices[0].event is EventType.DEPOSIT_CONFIRMED


def test_a_deposit_on_an_address_shown_no_more_is_credited() -> None:
    ledger = ready()
    ledger.accept(AssignAddress(rotate=True))
    ledger.accept(process(address_of(0)))
    assert ledger.balance() == (doge(5), 0, 0, 0)


def test_a_frozen_wallet_is_credited() -> None:
    ledger = ready()
    ledger.freeze()
    ledger.accept(process())
    assert ledger.balance() == (doge(5), 0, 0, 0)


@pytest.mark.parametrize(
    ("owed", "available", "still_owed"),
    [(3, 2, 0), (5, 0, 0), (8, 0, 3)],
    ids=["less_than_the_deposit", "as_much", "more"],
)
def test_a_deposit_repays_a_shortfall_first(
    owed: float, available: float, still_owed: float
) -> None:
    ledger = ready()
    ledger.owe(owed)
    acceptance = ledger.accept(process())
    assert entries_of(acceptance)[1:] == [
        ("SHORTFALL_REPAYMENT", "available", "shortfall", doge(min(owed, 5)))
    ]
    assert ledger.wallet().available == doge(available)
    assert ledger.wallet().shortfall == doge(still_owed)
    assert ledger.wallet().frozen == (still_owed > 0)
    assert ledger.owed_to_house(Account.SHORTFALL) == doge(still_owed)


def test_a_reversal_takes_what_is_available() -> None:
    ledger = ready()
    ledger.fund(2)
    ledger.accept(process())
    acceptance = ledger.accept(reverse())
    assert entries_of(acceptance) == [("DEPOSIT_REVERSAL", "available", "chain", doge(5))]
    assert ledger.balance() == (doge(2), 0, 0, 0)
    assert ledger.deposit(TXID, 1).status is DepositStatus.REVERSED
    assert ledger.owed_to_house(Account.CHAIN) == doge(2)
    assert not ledger.wallet().frozen


def test_a_reversal_of_money_spent_leaves_a_shortfall_and_freezes_the_wallet() -> None:
    ledger = ready()
    ledger.accept(process())
    ledger.lock(3)
    acceptance = ledger.accept(reverse())
    assert entries_of(acceptance) == [
        ("DEPOSIT_REVERSAL", "available", "chain", doge(2)),
        ("DEPOSIT_REVERSAL", "shortfall", "chain", doge(3)),
    ]
    assert ledger.wallet().shortfall == doge(3)
    assert ledger.wallet().frozen
    assert ledger.balance() == (0, doge(3), 0, 0)
    assert ledger.owed_to_house(Account.CHAIN) == 0
    assert ledger.owed_to_house(Account.SHORTFALL) == doge(3)
    result = acceptance.notices[0].result
    assert isinstance(result, DepositReversedResult)
    assert (result.shortfall_added, result.withdrawals_failed) == ("3.00000000", ())


def test_a_reversal_fails_as_many_unclaimed_withdrawals_as_it_takes_the_oldest_first() -> None:
    ledger = ready()
    ledger.fund(60)
    ledger.accept(process(amount=doge(20)))
    claimed = ledger.claim(20)
    first = ledger.request(20)
    second = ledger.request(20)
    # 80 DOGE less three times 21 leave 17 available; 20 are to be taken.
    acceptance = ledger.accept(reverse())
    assert entries_of(acceptance) == [
        ("REFUND", "pending", "available", doge(21)),
        ("DEPOSIT_REVERSAL", "available", "chain", doge(20)),
    ]
    failed = ledger.withdrawal(first)
    assert (failed.status, failed.reason) == (WithdrawalStatus.FAILED, "reversed_deposit")
    assert ledger.withdrawal(second).status is WithdrawalStatus.PENDING
    assert ledger.withdrawal(claimed).status is WithdrawalStatus.PROCESSING
    assert ledger.balance() == (doge(18), 0, 0, doge(42))
    result = acceptance.notices[0].result
    assert isinstance(result, DepositReversedResult)
    assert result.withdrawals_failed == (first,)
    assert len(acceptance.notices) == 1


def test_a_reversal_that_one_withdrawal_covers_to_the_koinu_fails_no_other() -> None:
    ledger = ready()
    ledger.fund(21)
    ledger.accept(process(amount=doge(21)))
    first, second = ledger.request(20), ledger.request(20)
    assert ledger.wallet().available == 0
    ledger.accept(reverse())
    assert ledger.withdrawal(first).status is WithdrawalStatus.FAILED
    assert ledger.withdrawal(second).status is WithdrawalStatus.PENDING


def test_of_withdrawals_asked_for_at_once_a_reversal_fails_the_one_of_the_lower_id() -> None:
    ledger = ready()
    ledger.fund(21)
    ledger.accept(process(amount=doge(21)))
    first, second = (ledger.withdrawal(ledger.request(20)) for _ in range(2))
    # As the database may answer them: in any order.
    again = Ledger()
    again.books.wallets, again.time = ledger.books.wallets, ledger.time
    again.books.load([ledger.deposit(TXID, 1)])
    same_time = msgspec.structs.replace(second, requested_at=first.requested_at)
    again.books.load([same_time, first])
    again.accept(reverse())
    assert again.withdrawal(first.id).status is WithdrawalStatus.FAILED
    assert again.withdrawal(second.id).status is WithdrawalStatus.PENDING


def test_a_reversal_counts_what_is_owed_already_before_what_it_gives_back() -> None:
    ledger = ready()
    ledger.fund(42)
    ledger.accept(process(amount=doge(5)))
    first, second = ledger.request(20), ledger.request(20)
    ledger.lock(5)
    # No command leads here, for a reversal gives up what is unclaimed before anything is owed.
    ledger.wallet().shortfall = doge(18)
    acceptance = ledger.accept(reverse())
    assert entries_of(acceptance) == [
        ("REFUND", "pending", "available", doge(21)),
        ("REFUND", "pending", "available", doge(21)),
        ("SHORTFALL_REPAYMENT", "available", "shortfall", doge(18)),
        ("DEPOSIT_REVERSAL", "available", "chain", doge(5)),
    ]
    assert ledger.balance() == (doge(19), doge(5), 0, 0)
    assert ledger.withdrawal(first).reason == ledger.withdrawal(second).reason


def test_a_reversal_fails_no_withdrawal_while_enough_is_available() -> None:
    ledger = ready()
    ledger.fund(60)
    ledger.accept(process())
    withdrawal = ledger.request(20)
    ledger.accept(reverse())
    assert ledger.withdrawal(withdrawal).status is WithdrawalStatus.PENDING


def test_a_reversal_leaves_claimed_withdrawals_alone() -> None:
    ledger = ready()
    ledger.accept(process(amount=doge(21)))
    withdrawal = ledger.claim(20)
    ledger.accept(reverse())
    assert ledger.withdrawal(withdrawal).status is WithdrawalStatus.PROCESSING
    assert ledger.wallet().shortfall == doge(21)


def test_what_a_deposit_moves_is_entered_under_its_outpoint() -> None:
    ledger = ready()
    ledger.owe(4)
    assert references_of(ledger.accept(process(amount=doge(30)))) == {("deposit", f"{TXID}:1")}
    withdrawal = ledger.request(20)
    ledger.lock(5)
    acceptance = ledger.accept(reverse())
    assert references_of(acceptance) == {("deposit", f"{TXID}:1"), ("withdrawal", withdrawal)}
    assert acceptance.postings[0].reference_type == "withdrawal"


def test_a_balance_and_what_is_owed_may_come_to_all_that_koinu_hold() -> None:
    ledger = ready()
    ledger.wallet().escrow = KOINU_MAX - doge(5)
    ledger.accept(process())
    ledger.lock(5)
    ledger.wallet().shortfall = KOINU_MAX - doge(5)
    ledger.accept(reverse())
    assert ledger.wallet().shortfall == KOINU_MAX


def test_shortfalls_add_up() -> None:
    ledger = ready()
    ledger.owe(4)
    ledger.accept(process(amount=doge(10)))
    assert ledger.wallet().available == doge(6)
    ledger.lock(6, "later")
    ledger.accept(reverse())
    assert ledger.wallet().shortfall == doge(10)


def test_a_deposit_mined_again_is_credited_again_once() -> None:
    ledger = ready()
    ledger.accept(process())
    ledger.accept(reverse())
    ledger.accept(detect(block=OTHER_BLOCK))
    assert ledger.deposit(TXID, 1).status is DepositStatus.REVERSED
    assert ledger.refuse(process(ordinal=1)) is Rejection.WRONG_ORDINAL
    ledger.accept(process(ordinal=2, block=OTHER_BLOCK))
    assert ledger.balance() == (doge(5), 0, 0, 0)
    assert ledger.deposit(TXID, 1).creditings == 2
    assert ledger.refuse(process(ordinal=3)) is Rejection.DEPOSIT_CREDITED
    assert ledger.refuse(reverse(1)) is Rejection.WRONG_ORDINAL
    ledger.accept(reverse(2))
    assert ledger.balance() == (0, 0, 0, 0)


def test_a_higher_minimum_does_not_bar_what_was_credited_before() -> None:
    ledger = ready()
    ledger.accept(process())
    ledger.accept(reverse())
    ledger.books.rules = msgspec.structs.replace(RULES, deposit_minimum=doge(100))
    ledger.accept(process(ordinal=2))
    assert ledger.balance() == (doge(5), 0, 0, 0)


def _own_address(ledger: Ledger) -> None:
    ledger.address(ANN)
    ledger.address(BOB)


def _credited(ledger: Ledger) -> None:
    _own_address(ledger)
    ledger.accept(process())


def _full(ledger: Ledger) -> None:
    _own_address(ledger)
    ledger.wallet().escrow = KOINU_MAX


def _owes_all_there_is(ledger: Ledger) -> None:
    _credited(ledger)
    ledger.lock(5)
    ledger.wallet().shortfall = KOINU_MAX - doge(5) + 1


@table(
    Refused(
        "a deposit seen on an address of nobody",
        given(_own_address, then=detect(address_of(9))),
        Rejection.ADDRESS_NOT_YOURS,
    ),
    Refused(
        "a deposit credited to another than the address's user",
        given(_own_address, then=process(address_of(1))),
        Rejection.ADDRESS_NOT_YOURS,
    ),
    Refused(
        "a deposit seen again with another amount",
        given(_own_address, lambda ledger: ledger.accept(detect()), then=detect(amount=doge(6))),
        Rejection.DEPOSIT_MISMATCH,
    ),
    Refused(
        "a deposit credited with another amount than seen",
        given(_own_address, lambda ledger: ledger.accept(detect()), then=process(amount=doge(6))),
        Rejection.DEPOSIT_MISMATCH,
    ),
    Refused(
        "an outpoint of another user",
        given(_own_address, lambda ledger: ledger.accept(detect()), then=detect(address_of(1))),
        Rejection.DEPOSIT_MISMATCH,
        BOB,
    ),
    Refused(
        "a credited deposit seen again", given(_credited, then=detect()), Rejection.DEPOSIT_CREDITED
    ),
    Refused(
        "a credited deposit credited again",
        given(_credited, then=process()),
        Rejection.DEPOSIT_CREDITED,
    ),
    Refused(
        "a credited deposit credited again with the next ordinal",
        given(_credited, then=process(ordinal=2)),
        Rejection.DEPOSIT_CREDITED,
    ),
    Refused(
        "a deposit under the minimum",
        given(_own_address, then=process(amount=doge(1) - 1)),
        Rejection.DEPOSIT_BELOW_MINIMUM,
    ),
    Refused(
        "a first crediting with the second's ordinal",
        given(_own_address, then=process(ordinal=2)),
        Rejection.WRONG_ORDINAL,
    ),
    Refused(
        "a deposit that overflows the balance",
        given(_full, then=process()),
        Rejection.BALANCE_OVERFLOW,
    ),
    Refused("a reversal of nothing", given(then=reverse()), Rejection.DEPOSIT_UNKNOWN),
    Refused(
        "a reversal of another user's deposit",
        given(_credited, then=reverse()),
        Rejection.DEPOSIT_UNKNOWN,
        BOB,
    ),
    Refused(
        "a reversal of a deposit only seen",
        given(_own_address, lambda ledger: ledger.accept(detect()), then=reverse()),
        Rejection.DEPOSIT_NOT_CREDITED,
    ),
    Refused(
        "a second reversal",
        given(_credited, lambda ledger: ledger.accept(reverse()), then=reverse()),
        Rejection.DEPOSIT_NOT_CREDITED,
    ),
    Refused(
        "a reversal of the next crediting",
        given(_credited, then=reverse(2)),
        Rejection.WRONG_ORDINAL,
    ),
    Refused(
        "a reversal that overflows what is owed",
        given(_owes_all_there_is, then=reverse()),
        Rejection.BALANCE_OVERFLOW,
    ),
)
def test_refused_is(case: Refused) -> None:
    holds(case)
