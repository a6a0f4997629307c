"""Withdrawals: held, claimed, sent, confirmed, or given back; never both paid and given back."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from schemas.amounts import KOINU_MAX
from schemas.commands import (
    CancelWithdrawal,
    ClaimWithdrawal,
    ConfirmWithdrawal,
    Data,
    FailWithdrawal,
    RecordBroadcast,
    RequestWithdrawal,
    UnconfirmWithdrawal,
)
from schemas.events import EventType, WithdrawalResult
from schemas.ledger import Account, WithdrawalStatus
from schemas.rejections import Rejection
from tests.processors.ledger.cases import Refused, given, holds, table
from tests.support.books import (
    ANN,
    BOB,
    ELSEWHERE,
    RULES,
    Ledger,
    address_of,
    doge,
    entries_of,
    references_of,
    txid_of,
)

TXID = txid_of(900)
OTHER_TXID = txid_of(901)
UNKNOWN = "00000000-0000-8000-8000-000000000000"


def request(amount: float = 20, address: str = ELSEWHERE) -> RequestWithdrawal:
    return RequestWithdrawal(amount=doge(amount), address=address)


def cancel(withdrawal_id: str) -> CancelWithdrawal:
    return CancelWithdrawal(withdrawal_id=withdrawal_id)


def claim(withdrawal_id: str) -> ClaimWithdrawal:
    return ClaimWithdrawal(withdrawal_id=withdrawal_id)


def broadcast(withdrawal_id: str, txid: str = TXID) -> RecordBroadcast:
    return RecordBroadcast(withdrawal_id=withdrawal_id, txid=txid)


def confirm(withdrawal_id: str, txid: str = TXID) -> ConfirmWithdrawal:
    return ConfirmWithdrawal(withdrawal_id=withdrawal_id, txid=txid)


def unconfirm(withdrawal_id: str, txid: str = TXID) -> UnconfirmWithdrawal:
    return UnconfirmWithdrawal(withdrawal_id=withdrawal_id, txid=txid)


def fail(withdrawal_id: str) -> FailWithdrawal:
    return FailWithdrawal(withdrawal_id=withdrawal_id, reason="conflicted")


#: Each command on a withdrawal, and the statuses in which it is accepted.
STEPS: dict[str, tuple[Callable[[str], Data], set[WithdrawalStatus]]] = {
    "cancel": (cancel, {WithdrawalStatus.PENDING}),
    "claim": (claim, {WithdrawalStatus.PENDING}),
    "broadcast": (broadcast, {WithdrawalStatus.PROCESSING, WithdrawalStatus.BROADCAST}),
    "confirm": (confirm, {WithdrawalStatus.BROADCAST}),
    "unconfirm": (unconfirm, {WithdrawalStatus.CONFIRMED}),
    "fail": (fail, {WithdrawalStatus.PROCESSING, WithdrawalStatus.BROADCAST}),
}


def cancelled(ledger: Ledger, amount: float) -> str:
    withdrawal_id = ledger.request(amount)
    ledger.accept(cancel(withdrawal_id))
    return withdrawal_id


#: How a withdrawal comes to each status.
WAYS: dict[WithdrawalStatus, Callable[[Ledger, float], str]] = {
    WithdrawalStatus.PENDING: Ledger.request,
    WithdrawalStatus.PROCESSING: Ledger.claim,
    WithdrawalStatus.BROADCAST: Ledger.broadcast,
    WithdrawalStatus.CONFIRMED: Ledger.confirm,
    WithdrawalStatus.FAILED: cancelled,
}


def test_a_request_holds_amount_and_fee_in_pending() -> None:
    ledger = Ledger()
    ledger.fund(100)
    acceptance = ledger.accept(request(20))
    assert entries_of(acceptance) == [("WITHDRAWAL", "available", "pending", doge(21))]
    assert ledger.balance() == (doge(79), 0, 0, doge(21))
    (notice,) = acceptance.notices
    assert (notice.user_id, notice.event) == (ANN, EventType.WITHDRAWAL_REQUESTED)
    assert isinstance(notice.result, WithdrawalResult)
    assert notice.result == WithdrawalResult(
        id=notice.result.id,
        user_id=ANN,
        amount="20.00000000",
        fee="1.00000000",
        destination_address=ELSEWHERE,
        status=WithdrawalStatus.PENDING,
        txid=None,
        reason=None,
        requested_at="2023-11-14T22:13:23.000Z",
    )


def test_all_that_is_available_can_be_withdrawn_with_its_fee() -> None:
    ledger = Ledger()
    ledger.fund(21)
    ledger.accept(request(20))
    assert ledger.balance() == (0, 0, 0, doge(21))


@pytest.mark.parametrize("amount", [10, 1000], ids=["the_minimum", "the_maximum"])
def test_the_limits_themselves_are_allowed(amount: float) -> None:
    ledger = Ledger()
    ledger.fund(2000)
    ledger.accept(request(amount))


def test_new_rules_do_not_change_the_fee_of_a_withdrawal_that_stands() -> None:
    ledger = Ledger()
    ledger.fund(100)
    withdrawal_id = ledger.broadcast(20)
    ledger.books.rules = msgspec.structs.replace(RULES, withdrawal_fee=doge(5))
    ledger.accept(confirm(withdrawal_id))
    assert -ledger.owed_to_house(Account.FEES) == doge(1)


def test_a_cancel_gives_all_of_it_back() -> None:
    ledger = Ledger()
    ledger.fund(100)
    withdrawal_id = ledger.request(20)
    acceptance = ledger.accept(cancel(withdrawal_id))
    assert entries_of(acceptance) == [("REFUND", "pending", "available", doge(21))]
    assert ledger.balance() == (doge(100), 0, 0, 0)
    withdrawal = ledger.withdrawal(withdrawal_id)
    assert (withdrawal.status, withdrawal.reason) == (WithdrawalStatus.FAILED, "cancelled")
    assert acceptance.notices[0].event is EventType.WITHDRAWAL_FAILED


def test_a_frozen_wallet_may_cancel() -> None:
    ledger = Ledger()
    ledger.fund(100)
    withdrawal_id = ledger.request(20)
    ledger.freeze()
    ledger.accept(cancel(withdrawal_id))
    assert ledger.balance() == (doge(100), 0, 0, 0)


def test_a_claim_moves_nothing() -> None:
    ledger = Ledger()
    ledger.fund(100)
    acceptance = ledger.accept(claim(ledger.request(20)))
    assert acceptance.postings == ()
    assert acceptance.notices[0].event is EventType.WITHDRAWAL_PROCESSING


def test_another_version_of_the_payment_replaces_the_one_before() -> None:
    ledger = Ledger()
    ledger.fund(100)
    withdrawal_id = ledger.broadcast(20)
    acceptance = ledger.accept(broadcast(withdrawal_id, OTHER_TXID))
    assert acceptance.postings == ()
    assert acceptance.notices[0].event is EventType.WITHDRAWAL_BROADCAST
    assert ledger.withdrawal(withdrawal_id).txid == OTHER_TXID


def test_a_confirmation_pays_the_amount_out_and_earns_the_fee() -> None:
    ledger = Ledger()
    ledger.fund(100)
    acceptance = ledger.accept(confirm(ledger.broadcast(20)))
    assert entries_of(acceptance) == [
        ("WITHDRAWAL", "pending", "chain", doge(20)),
        ("FEE_DEBIT", "pending", "fees", doge(1)),
    ]
    assert ledger.balance() == (doge(79), 0, 0, 0)
    assert ledger.owed_to_house(Account.CHAIN) == doge(80)
    assert acceptance.notices[0].event is EventType.WITHDRAWAL_CONFIRMED


def test_the_transaction_that_confirmed_is_the_one_recorded() -> None:
    ledger = Ledger()
    ledger.fund(100)
    withdrawal_id = ledger.broadcast(20, txid=TXID)
    ledger.accept(confirm(withdrawal_id, OTHER_TXID))
    assert ledger.withdrawal(withdrawal_id).txid == OTHER_TXID


def test_a_payment_out_of_the_chain_waits_for_it_again() -> None:
    ledger = Ledger()
    ledger.fund(100)
    withdrawal_id = ledger.confirm(20)
    acceptance = ledger.accept(unconfirm(withdrawal_id))
    assert entries_of(acceptance) == [
        ("WITHDRAWAL_REVERSAL", "chain", "pending", doge(20)),
        ("WITHDRAWAL_REVERSAL", "fees", "pending", doge(1)),
    ]
    assert ledger.balance() == (doge(79), 0, 0, doge(21))
    assert ledger.owed_to_house(Account.FEES) == 0
    assert ledger.withdrawal(withdrawal_id).status is WithdrawalStatus.BROADCAST
    assert acceptance.notices[0].event is EventType.WITHDRAWAL_UNCONFIRMED
    ledger.accept(confirm(withdrawal_id))
    assert ledger.balance() == (doge(79), 0, 0, 0)


def test_a_withdrawal_without_fee_posts_no_fee() -> None:
    ledger = Ledger(msgspec.structs.replace(RULES, withdrawal_fee=0))
    ledger.fund(100)
    withdrawal_id = ledger.broadcast(20)
    assert len(ledger.accept(confirm(withdrawal_id)).postings) == 1
    assert len(ledger.accept(unconfirm(withdrawal_id)).postings) == 1
    assert ledger.balance() == (doge(80), 0, 0, doge(20))


@pytest.mark.parametrize("status", [WithdrawalStatus.PROCESSING, WithdrawalStatus.BROADCAST])
def test_a_payment_that_can_never_confirm_is_given_back(status: WithdrawalStatus) -> None:
    ledger = Ledger()
    ledger.fund(100)
    withdrawal_id = WAYS[status](ledger, 20)
    acceptance = ledger.accept(fail(withdrawal_id))
    assert entries_of(acceptance) == [("REFUND", "pending", "available", doge(21))]
    assert ledger.balance() == (doge(100), 0, 0, 0)
    assert ledger.withdrawal(withdrawal_id).reason == "conflicted"
    assert acceptance.notices[0].event is EventType.WITHDRAWAL_FAILED


def test_what_is_given_back_repays_a_shortfall_first() -> None:
    ledger = Ledger()
    ledger.fund(21)
    withdrawal_id = ledger.claim(20)
    ledger.owe(15)
    acceptance = ledger.accept(fail(withdrawal_id))
    assert entries_of(acceptance)[1:] == [
        ("SHORTFALL_REPAYMENT", "available", "shortfall", doge(15))
    ]
    assert ledger.balance() == (doge(6), doge(15), 0, 0)


def test_all_that_a_withdrawal_moves_is_entered_under_its_id() -> None:
    ledger = Ledger()
    ledger.fund(100)
    requested = ledger.accept(request(20))
    withdrawal_id = requested.postings[0].reference_id
    assert withdrawal_id is not None
    ledger.accept(claim(withdrawal_id))
    ledger.accept(broadcast(withdrawal_id))
    moves = [
        requested,
        ledger.accept(confirm(withdrawal_id)),
        ledger.accept(unconfirm(withdrawal_id)),
    ]
    ledger.lock(79)
    ledger.owe(15)
    moves.append(ledger.accept(fail(withdrawal_id)))
    assert [len(each.postings) for each in moves] == [1, 2, 2, 2]
    assert all(references_of(each) == {("withdrawal", withdrawal_id)} for each in moves)
    assert ledger.withdrawal(withdrawal_id).amount == doge(20)


@pytest.mark.parametrize("command", STEPS)
@pytest.mark.parametrize("status", WithdrawalStatus)
def test_each_step_is_accepted_in_its_statuses_alone(
    command: str, status: WithdrawalStatus
) -> None:
    make, allowed = STEPS[command]
    ledger = Ledger()
    ledger.fund(100)
    data = make(WAYS[status](ledger, 20))
    if status in allowed:
        ledger.accept(data)
    else:
        assert ledger.refuse(data) is Rejection.WITHDRAWAL_WRONG_STATUS


@pytest.mark.parametrize("command", STEPS)
def test_no_step_is_taken_on_a_withdrawal_that_is_not_there(command: str) -> None:
    make, _ = STEPS[command]
    assert Ledger().refuse(make(UNKNOWN)) is Rejection.WITHDRAWAL_NOT_FOUND


@pytest.mark.parametrize("command", STEPS)
def test_no_step_is_taken_on_another_users_withdrawal(command: str) -> None:
    make, allowed = STEPS[command]
    ledger = Ledger()
    ledger.fund(100)
    withdrawal_id = WAYS[min(allowed)](ledger, 20)
    assert ledger.refuse(make(withdrawal_id), BOB) is Rejection.WITHDRAWAL_NOT_FOUND


def test_whichever_of_cancel_and_claim_comes_first_shuts_the_other_out() -> None:
    for first, second in ((cancel, claim), (claim, cancel)):
        ledger = Ledger()
        ledger.fund(100)
        withdrawal_id = ledger.request(20)
        ledger.accept(first(withdrawal_id))
        assert ledger.refuse(second(withdrawal_id)) is Rejection.WITHDRAWAL_WRONG_STATUS


def test_an_unconfirmation_names_the_transaction_that_confirmed() -> None:
    ledger = Ledger()
    ledger.fund(100)
    withdrawal_id = ledger.confirm(20)
    code = ledger.refuse(unconfirm(withdrawal_id, OTHER_TXID))
    assert code is Rejection.WITHDRAWAL_TXID_MISMATCH


def test_an_unconfirmation_cannot_overflow_the_balance() -> None:
    ledger = Ledger()
    ledger.fund(100)
    withdrawal_id = ledger.confirm(20)
    ledger.wallet().bids = KOINU_MAX - doge(79)
    assert ledger.refuse(unconfirm(withdrawal_id)) is Rejection.BALANCE_OVERFLOW


def test_a_payment_out_of_the_chain_may_fill_the_balance_to_all_that_koinu_hold() -> None:
    ledger = Ledger()
    ledger.fund(100)
    withdrawal_id = ledger.confirm(20)
    ledger.wallet().bids = KOINU_MAX - doge(79) - doge(21)
    ledger.accept(unconfirm(withdrawal_id))
    assert ledger.wallet().pending == doge(21)


@pytest.mark.parametrize("owes", [True, False], ids=["by_what_it_owes", "by_an_operator"])
def test_a_withdrawal_of_a_frozen_wallet_is_not_claimed(owes: bool) -> None:
    ledger = Ledger()
    ledger.fund(21)
    withdrawal_id = ledger.request(20)
    if owes:
        # No command leads here, for a reversal gives up what is unclaimed first.
        ledger.wallet().shortfall = 1
    else:
        ledger.freeze()
    assert ledger.refuse(claim(withdrawal_id)) is Rejection.WALLET_FROZEN


@table(
    Refused(
        "an address with a wrong letter",
        given(lambda ledger: ledger.fund(100), then=request(20, ELSEWHERE[:-1] + "1")),
        Rejection.ADDRESS_MALFORMED,
    ),
    Refused(
        "an address of the main network",
        given(lambda ledger: ledger.fund(100), then=request(20, address_of(5, "mainnet"))),
        Rejection.ADDRESS_WRONG_NETWORK,
    ),
    Refused(
        "the user's own deposit address",
        given(lambda ledger: ledger.fund(100), then=request(20, address_of(0))),
        Rejection.ADDRESS_OWN,
    ),
    Refused(
        "less than the minimum",
        given(lambda ledger: ledger.fund(100), then=request(9.99999999)),
        Rejection.BELOW_MINIMUM,
    ),
    Refused(
        "more than the maximum",
        given(lambda ledger: ledger.fund(2000), then=request(1000.00000001)),
        Rejection.ABOVE_MAXIMUM,
    ),
    Refused(
        "a frozen wallet",
        given(lambda ledger: ledger.fund(100), lambda ledger: ledger.freeze(), then=request()),
        Rejection.WALLET_FROZEN,
    ),
    Refused(
        "a wallet that owes",
        given(lambda ledger: ledger.owe(5), then=request()),
        Rejection.WALLET_FROZEN,
    ),
    Refused(
        "an amount whose fee is not there",
        given(lambda ledger: ledger.fund(20.99999999), then=request(20)),
        Rejection.INSUFFICIENT_FUNDS,
    ),
    Refused(
        "a wrong address in a frozen and empty wallet",
        given(lambda ledger: ledger.freeze(), then=request(1, "x")),
        Rejection.ADDRESS_MALFORMED,
    ),
    Refused(
        "too little in a frozen and empty wallet",
        given(lambda ledger: ledger.freeze(), then=request(1)),
        Rejection.BELOW_MINIMUM,
    ),
)
def test_a_request_is_refused_for(case: Refused) -> None:
    holds(case)
