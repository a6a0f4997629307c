"""Wallets and their addresses: opened, frozen, unfrozen, and given where to pay in."""

from __future__ import annotations

from schemas.commands import AssignAddress, FreezeWallet, OpenWallet, UnfreezeWallet
from schemas.events import AddressResult, EventType, FreezeResult, WalletResult
from schemas.rejections import Rejection
from tests.support.books import ANN, BOB, RULES, Ledger, address_of


def test_a_wallet_is_opened_once_and_asked_for_often() -> None:
    ledger = Ledger()
    results = [ledger.accept(OpenWallet()).notices[0].result for _ in range(2)]
    assert results == [
        WalletResult(user_id=ANN, created=True),
        WalletResult(user_id=ANN, created=False),
    ]


def test_a_wallet_that_another_command_made_is_there_already() -> None:
    ledger = Ledger()
    ledger.fund(1)
    assert ledger.accept(OpenWallet()).notices[0].result == WalletResult(user_id=ANN, created=False)


def test_an_operators_freeze_is_lifted_by_an_operator() -> None:
    ledger = Ledger()
    frozen = ledger.accept(FreezeWallet(reason="stolen card"))
    assert frozen.notices[0].event is EventType.WALLET_FROZEN
    assert frozen.notices[0].result == FreezeResult(frozen=True, reason="stolen card")
    assert ledger.wallet().frozen
    lifted = ledger.accept(UnfreezeWallet())
    assert lifted.notices[0].event is EventType.WALLET_UNFROZEN
    assert lifted.notices[0].result == FreezeResult(frozen=False, reason=None)
    assert not ledger.wallet().frozen


def test_a_frozen_wallet_can_be_frozen_for_another_reason() -> None:
    ledger = Ledger()
    ledger.freeze()
    result = ledger.accept(FreezeWallet(reason="stolen card")).notices[0].result
    assert result == FreezeResult(frozen=True, reason="stolen card")


def test_a_wallet_that_owes_stays_frozen_when_the_operator_lifts_the_freeze() -> None:
    ledger = Ledger()
    ledger.owe(3)
    ledger.freeze()
    result = ledger.accept(UnfreezeWallet()).notices[0].result
    assert result == FreezeResult(frozen=True, reason="shortfall")
    assert ledger.wallet().frozen
    ledger.fund(3)
    assert not ledger.wallet().frozen


def test_a_freeze_by_shortfall_cannot_be_lifted_by_an_operator() -> None:
    ledger = Ledger()
    ledger.owe(3)
    assert ledger.refuse(UnfreezeWallet()) is Rejection.NOT_FROZEN


def test_what_is_not_frozen_cannot_be_unfrozen() -> None:
    assert Ledger().refuse(UnfreezeWallet()) is Rejection.NOT_FROZEN


def test_an_address_is_shown_with_its_network_minimum_and_confirmations() -> None:
    ledger = Ledger()
    acceptance = ledger.accept(AssignAddress())
    (notice,) = acceptance.notices
    assert (notice.user_id, notice.event) == (ANN, EventType.ADDRESS_ASSIGNED)
    assert notice.result == AddressResult(
        address=address_of(0), network="regtest", minimum="1.00000000", confirmations=20
    )
    assert acceptance.postings == ()


def test_the_active_address_is_shown_again() -> None:
    ledger = Ledger()
    first = ledger.accept(AssignAddress())
    again = ledger.accept(AssignAddress())
    assert again.notices == first.notices
    assert again.records == ()


def test_addresses_are_dense_in_the_order_of_the_commands() -> None:
    ledger = Ledger()
    for user in (ANN, BOB, ANN):
        ledger.accept(AssignAddress(), user)
    ledger.accept(AssignAddress(rotate=True), BOB)
    ledger.accept(AssignAddress(rotate=True), ANN)
    assert ledger.address(ANN) == address_of(3)
    assert ledger.address(BOB) == address_of(2)


def test_a_rotated_address_stays_the_users_and_is_shown_no_more() -> None:
    ledger = Ledger()
    ledger.accept(AssignAddress())
    retired, assigned = ledger.accept(AssignAddress(rotate=True)).records
    old = ledger.books.address(ANN, address_of(0))
    new = ledger.books.active_address(ANN)
    assert old is not None
    assert new is not None
    assert (old, new) == (retired, assigned)
    assert not old.active
    assert (new.address, new.derivation_index, new.chain) == (address_of(1), 1, 0)
    assert new.account_key == RULES.account_key


def test_a_first_address_may_be_asked_for_as_a_rotation() -> None:
    ledger = Ledger()
    (assigned,) = ledger.accept(AssignAddress(rotate=True)).records
    assert assigned == ledger.books.active_address(ANN)


def test_a_frozen_wallet_gets_an_address() -> None:
    ledger = Ledger()
    ledger.freeze()
    ledger.accept(AssignAddress())
