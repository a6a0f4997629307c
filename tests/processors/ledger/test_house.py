"""The house's own money: miner's fees, custody, capital, revenue, and the rules."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import pytest

from processors.ledger.model import Acceptance, Refusal
from processors.ledger.rules import applied, asked_for
from schemas.amounts import KOINU_MAX, Koinu, Share
from schemas.commands import (
    ConfirmationTier,
    Data,
    Fund,
    MoveCustody,
    RecordNetworkFee,
    RotateAccount,
    SetRules,
    WithdrawRevenue,
)
from schemas.events import (
    AccountResult,
    EventType,
    NetworkFeeResult,
    RulesResult,
    TransferResult,
)
from schemas.ledger import HOUSE, Account
from schemas.records import Rules, Tier
from schemas.rejections import Rejection
from tests.processors.ledger.cases import Refused, given, holds, table
from tests.support.books import ANN, RULES, Ledger, derived, doge, entries_of, txid_of

TXID = txid_of(5)
#: An account to rotate to.
OTHER = "00000000000000aa"


def fee(amount: float = 0.5, ordinal: int = 1, *, reverse: bool = False) -> RecordNetworkFee:
    return RecordNetworkFee(txid=TXID, amount=doge(amount), ordinal=ordinal, reverse=reverse)


def move(source: Literal["chain", "cold"], target: Literal["chain", "cold"]) -> MoveCustody:
    return MoveCustody(amount=doge(7), source=source, target=target)


def posted(ledger: Ledger) -> None:
    ledger.accept(fee(), HOUSE)


def taken_back(ledger: Ledger) -> None:
    ledger.accept(fee(), HOUSE)
    ledger.accept(fee(reverse=True), HOUSE)


@pytest.mark.parametrize(
    ("data", "entry", "event", "source", "target"),
    [
        (
            move("chain", "cold"),
            ("CUSTODY", "cold", "chain", doge(7)),
            EventType.CUSTODY_MOVED,
            "chain",
            "cold",
        ),
        (
            move("cold", "chain"),
            ("CUSTODY", "chain", "cold", doge(7)),
            EventType.CUSTODY_MOVED,
            "cold",
            "chain",
        ),
        (
            Fund(amount=doge(7)),
            ("CAPITAL", "chain", "capital", doge(7)),
            EventType.CAPITAL_FUNDED,
            "capital",
            "chain",
        ),
        (
            WithdrawRevenue(amount=doge(7)),
            ("REVENUE", "fees", "chain", doge(7)),
            EventType.REVENUE_WITHDRAWN,
            "chain",
            "fees",
        ),
    ],
    ids=["into_cold_storage", "out_of_cold_storage", "capital", "revenue"],
)
def test_a_transfer_debits_its_target_and_credits_its_source(
    data: Data,
    entry: tuple[str, str, str, int],
    event: EventType,
    source: str,
    target: str,
) -> None:
    ledger = Ledger()
    acceptance = ledger.accept(data, HOUSE)
    assert entries_of(acceptance) == [entry]
    (notice,) = acceptance.notices
    assert (notice.user_id, notice.event) == (HOUSE, event)
    assert notice.result == TransferResult(amount="7.00000000", source=source, target=target)
    assert [row[5] for row in ledger.entries] == [None, None]


def test_a_network_fee_is_posted_taken_back_and_posted_again() -> None:
    ledger = Ledger()
    acceptance = ledger.accept(fee(), HOUSE)
    assert entries_of(acceptance) == [("NETWORK_FEE", "network_fees", "chain", doge(0.5))]
    assert acceptance.notices[0].result == NetworkFeeResult(
        txid=TXID, amount="0.50000000", posted=True
    )
    acceptance = ledger.accept(fee(reverse=True), HOUSE)
    assert entries_of(acceptance) == [("NETWORK_FEE", "chain", "network_fees", doge(0.5))]
    assert acceptance.notices[0].result == NetworkFeeResult(
        txid=TXID, amount="0.50000000", posted=False
    )
    ledger.accept(fee(ordinal=2), HOUSE)
    assert ledger.owed_to_house(Account.NETWORK_FEES) == doge(0.5)
    assert ledger.refuse(fee(ordinal=1, reverse=True), HOUSE) is Rejection.WRONG_ORDINAL
    ledger.accept(fee(ordinal=2, reverse=True), HOUSE)
    assert ledger.owed_to_house(Account.CHAIN) == 0


@table(
    Refused("a fee twice", given(posted, then=fee()), Rejection.FEE_POSTED, HOUSE),
    Refused(
        "a fee twice by the next ordinal",
        given(posted, then=fee(ordinal=2)),
        Rejection.FEE_POSTED,
        HOUSE,
    ),
    Refused(
        "taking back what was never posted",
        given(then=fee(reverse=True)),
        Rejection.FEE_NOT_POSTED,
        HOUSE,
    ),
    Refused(
        "taking back twice",
        given(taken_back, then=fee(reverse=True)),
        Rejection.FEE_NOT_POSTED,
        HOUSE,
    ),
    Refused(
        "taking back another amount",
        given(posted, then=fee(0.6, reverse=True)),
        Rejection.FEE_MISMATCH,
        HOUSE,
    ),
    Refused(
        "posting another amount again",
        given(taken_back, then=fee(0.6, ordinal=2)),
        Rejection.FEE_MISMATCH,
        HOUSE,
    ),
    Refused(
        "a first posting with the second's ordinal",
        given(then=fee(ordinal=2)),
        Rejection.WRONG_ORDINAL,
        HOUSE,
    ),
    Refused(
        "posting again with the first's ordinal",
        given(taken_back, then=fee()),
        Rejection.WRONG_ORDINAL,
        HOUSE,
    ),
    Refused(
        "a move that goes nowhere",
        given(then=move("cold", "cold")),
        Rejection.SAME_ACCOUNT,
        HOUSE,
    ),
)
def test_refused_is(case: Refused) -> None:
    holds(case)


def tiers(*pairs: tuple[float, int]) -> tuple[ConfirmationTier, ...]:
    return tuple(
        ConfirmationTier(exposure=Share(doge(exposure)), confirmations=confirmations)
        for exposure, confirmations in pairs
    )


def rules(**changes: Any) -> SetRules:
    sound: dict[str, Any] = {
        "escrow_fee_basis_points": 300,
        "withdrawal_fee": Share(doge(2)),
        "withdrawal_minimum": doge(5),
        "withdrawal_maximum": doge(50),
        "deposit_minimum": Share(0),
        "confirmations": tiers((0, 6), (1000, 6), (5000, 12)),
    }
    return SetRules(**{**sound, **changes})


def test_rules_are_replaced_whole_but_for_network_and_account() -> None:
    ledger = Ledger()
    acceptance = ledger.accept(rules(), HOUSE)
    assert acceptance.records == (
        Rules(
            version=2,
            network=RULES.network,
            account_key=RULES.account_key,
            escrow_fee_basis_points=300,
            withdrawal_fee=doge(2),
            withdrawal_minimum=doge(5),
            withdrawal_maximum=doge(50),
            deposit_minimum=0,
            confirmations=(Tier(0, 6), Tier(doge(1000), 6), Tier(doge(5000), 12)),
        ),
    )
    assert acceptance.notices[0].event is EventType.RULES_CHANGED
    assert acceptance.notices[0].result == RulesResult(version=2)
    assert ledger.books.rules.version == 2
    assert ledger.accept(rules(), HOUSE).notices[0].result == RulesResult(version=3)


def test_to_ask_for_the_rules_as_they_are_changes_nothing() -> None:
    assert applied(RULES, asked_for(RULES)) == RULES


def test_a_rotation_changes_nothing_but_the_account_and_tells_its_first_address() -> None:
    ledger = Ledger()
    acceptance = ledger.accept(RotateAccount(account_key=OTHER), HOUSE)
    assert acceptance.records == (msgspec.structs.replace(RULES, version=2, account_key=OTHER),)
    assert acceptance.notices[0].event is EventType.ACCOUNT_ROTATED
    assert acceptance.notices[0].result == AccountResult(
        version=2, account_key=OTHER, first_address=derived(OTHER, 0)
    )


def test_a_rotation_to_the_account_in_force_is_refused() -> None:
    data = RotateAccount(account_key=RULES.account_key)
    assert Ledger().refuse(data, HOUSE) is Rejection.ACCOUNT_IN_FORCE


def test_an_account_counts_its_addresses_from_its_first_and_goes_on_if_it_comes_back() -> None:
    ledger = Ledger()
    first = ledger.address(ANN)
    ledger.accept(RotateAccount(account_key=OTHER), HOUSE)
    second = ledger.address(ANN)
    ledger.accept(RotateAccount(account_key=RULES.account_key), HOUSE)
    third = ledger.address(ANN)
    assert [first, second, third] == [
        derived(RULES.account_key, 0),
        derived(OTHER, 0),
        derived(RULES.account_key, 1),
    ]


def test_an_address_of_a_former_account_is_still_the_users_own() -> None:
    ledger = Ledger()
    former = ledger.address(ANN)
    ledger.accept(RotateAccount(account_key=OTHER), HOUSE)
    assert ledger.address(ANN) != former
    known = ledger.books.address(ANN, former)
    assert known is not None
    assert (known.active, known.account_key) == (False, RULES.account_key)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"withdrawal_minimum": doge(51)}, "minimum of a withdrawal is over its maximum"),
        (
            {"withdrawal_maximum": Koinu(KOINU_MAX), "withdrawal_fee": Share(1)},
            "over 63 bits",
        ),
        ({"confirmations": ()}, "start at an exposure of 0"),
        ({"confirmations": tiers((1, 6))}, "start at an exposure of 0"),
        ({"confirmations": tiers((0, 6), (0, 7))}, "exposures must rise"),
        ({"confirmations": tiers((0, 6), (10, 7), (5, 8))}, "exposures must rise"),
        ({"confirmations": tiers((0, 6), (10, 5))}, "confirmations must not fall"),
    ],
)
def test_rules_that_contradict_themselves_are_refused(changes: dict[str, Any], told: str) -> None:
    ledger = Ledger()
    before = ledger.state()
    decision = ledger.do(rules(**changes), HOUSE)
    assert isinstance(decision, Refusal)
    assert decision.code is Rejection.RULES_INVALID
    assert told in decision.detail
    assert ledger.state() == before


def test_a_withdrawal_may_be_allowed_up_to_all_that_koinu_hold() -> None:
    changes = {"withdrawal_maximum": Koinu(KOINU_MAX), "withdrawal_fee": Share(0)}
    assert isinstance(Ledger().do(rules(**changes), HOUSE), Acceptance)
