"""Escrows: paid into, released, refunded, disputed, and never more given out than came in."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given as all_of
from hypothesis import strategies as st

from schemas.amounts import KOINU_MAX, Koinu, Share
from schemas.commands import (
    ConvertToEscrow,
    DisputeEscrow,
    PayOrder,
    RefundEscrow,
    ReleaseEscrow,
    ResolveDispute,
)
from schemas.events import EscrowResult, EventType, SaleResult
from schemas.ledger import Account, EscrowStatus
from tests.support.books import ANN, BOB, RULES, Ledger, doge, entries_of, references_of


def pay(amount: float, order_id: str = "o1", seller: str = BOB) -> PayOrder:
    return PayOrder(amount=doge(amount), seller_id=seller, order_id=order_id)


def convert(amount: float, order_id: str = "o1") -> ConvertToEscrow:
    return ConvertToEscrow(
        amount=doge(amount),
        seller_id=BOB,
        order_id=order_id,
        reference_type="auction",
        reference_id="7",
    )


def share(amount: float) -> Share:
    return Share(doge(amount))


def test_paying_an_order_moves_money_from_available_to_escrow_and_freezes_the_fee() -> None:
    ledger = Ledger()
    ledger.fund(100)
    acceptance = ledger.accept(pay(40))
    assert entries_of(acceptance) == [("ESCROW_LOCK", "available", "escrow", doge(40))]
    assert ledger.balance() == (doge(60), 0, doge(40), 0)
    (notice,) = acceptance.notices
    assert (notice.user_id, notice.event) == (ANN, EventType.ORDER_PAID)
    escrow = ledger.books.escrow_of_order(ANN, "o1")
    assert escrow is not None
    assert notice.result == EscrowResult(
        id=escrow.id,
        order_id="o1",
        buyer_id=ANN,
        seller_id=BOB,
        amount="40.00000000",
        fee_amount="1.00000000",
        released="0.00000000",
        refunded="0.00000000",
        fees="0.00000000",
        remaining="40.00000000",
        status=EscrowStatus.LOCKED,
        created_at="2023-11-14T22:13:23.000Z",
    )


def test_new_rules_do_not_change_the_fee_of_an_escrow_that_stands() -> None:
    ledger = Ledger()
    ledger.fund(100)
    escrow_id = ledger.pay(40)
    ledger.books.rules = msgspec.structs.replace(RULES, escrow_fee_basis_points=10_000)
    ledger.accept(ReleaseEscrow(escrow_id=escrow_id))
    assert ledger.escrow(escrow_id).fees == doge(1)


def test_converting_moves_the_lock_to_escrow_and_its_rest_to_available() -> None:
    ledger = Ledger()
    ledger.fund(100)
    ledger.lock(50)
    acceptance = ledger.accept(convert(40))
    assert entries_of(acceptance) == [
        ("ESCROW_LOCK", "bids", "escrow", doge(40)),
        ("BID_UNLOCK", "bids", "available", doge(10)),
    ]
    assert ledger.balance() == (doge(60), 0, doge(40), 0)
    assert ledger.locked() == 0
    assert acceptance.notices[0].event is EventType.ESCROW_CREATED


def test_converting_the_whole_lock_leaves_nothing_to_unlock() -> None:
    ledger = Ledger()
    ledger.fund(100)
    ledger.lock(50)
    assert entries_of(ledger.accept(convert(50))) == [("ESCROW_LOCK", "bids", "escrow", doge(50))]


def test_a_release_pays_the_seller_gross_and_takes_the_fee_from_the_seller() -> None:
    ledger = Ledger()
    ledger.fund(100)
    escrow_id = ledger.pay(40)
    acceptance = ledger.accept(ReleaseEscrow(escrow_id=escrow_id))
    assert entries_of(acceptance) == [
        ("SALE_CREDIT", "escrow", "available", doge(40)),
        ("FEE_DEBIT", "available", "fees", doge(1)),
    ]
    assert ledger.balance(BOB) == (doge(39), 0, 0, 0)
    assert ledger.balance(ANN) == (doge(60), 0, 0, 0)
    assert ledger.escrow(escrow_id).status is EscrowStatus.RELEASED
    buyers, sellers = acceptance.notices
    assert (buyers.user_id, buyers.event) == (ANN, EventType.ESCROW_RELEASED)
    assert (sellers.user_id, sellers.event) == (BOB, EventType.SALE_CREDITED)
    assert sellers.result == SaleResult(
        escrow_id=escrow_id,
        order_id="o1",
        buyer_id=ANN,
        gross="40.00000000",
        fee="1.00000000",
        net="39.00000000",
        escrow_status=EscrowStatus.RELEASED,
    )


def test_all_that_an_escrow_moves_is_entered_under_its_id() -> None:
    ledger = Ledger()
    ledger.fund(100)
    paid = ledger.accept(pay(40))
    order = ledger.books.escrow_of_order(ANN, "o1")
    assert order is not None
    ledger.owe(90, BOB)
    ledger.lock(60)
    ledger.owe(90)
    moves = [
        paid,
        ledger.accept(ReleaseEscrow(escrow_id=order.id, amount=doge(10))),
        ledger.accept(RefundEscrow(escrow_id=order.id, amount=doge(10))),
    ]
    ledger.accept(DisputeEscrow(escrow_id=order.id, reason="late"))
    moves.append(
        ledger.accept(ResolveDispute(escrow_id=order.id, to_seller=share(10), to_buyer=share(10)))
    )
    assert [len(each.postings) for each in moves] == [1, 3, 2, 5]
    assert all(references_of(each) == {("escrow", order.id)} for each in moves)


def test_a_converted_lock_is_entered_under_the_escrow_and_its_rest_under_the_lock() -> None:
    ledger = Ledger()
    ledger.fund(100)
    ledger.lock(50)
    acceptance = ledger.accept(convert(40))
    order = ledger.books.escrow_of_order(ANN, "o1")
    assert order is not None
    assert references_of(acceptance) == {("escrow", order.id), ("auction", "7")}


@pytest.mark.parametrize("disputed", [False, True], ids=["released", "resolved"])
def test_a_seller_may_be_paid_up_to_all_that_koinu_hold(disputed: bool) -> None:
    ledger = Ledger()
    ledger.fund(40)
    escrow_id = ledger.pay(40)
    ledger.wallet(BOB).bids = KOINU_MAX - doge(40)
    if disputed:
        ledger.accept(DisputeEscrow(escrow_id=escrow_id, reason="late"))
        ledger.accept(ResolveDispute(escrow_id=escrow_id, to_seller=share(40), to_buyer=share(0)))
    else:
        ledger.accept(ReleaseEscrow(escrow_id=escrow_id))
    assert ledger.wallet(BOB).available == doge(39)


def test_an_order_without_fee_posts_no_fee() -> None:
    ledger = Ledger(msgspec.structs.replace(RULES, escrow_fee_basis_points=0))
    ledger.fund(100)
    acceptance = ledger.accept(ReleaseEscrow(escrow_id=ledger.pay(40)))
    assert entries_of(acceptance) == [("SALE_CREDIT", "escrow", "available", doge(40))]


def test_a_fee_of_everything_leaves_the_seller_nothing_and_counts_as_released() -> None:
    ledger = Ledger(msgspec.structs.replace(RULES, escrow_fee_basis_points=10_000))
    ledger.fund(100)
    escrow_id = ledger.pay(40)
    ledger.accept(ReleaseEscrow(escrow_id=escrow_id))
    assert ledger.balance(BOB) == (0, 0, 0, 0)
    assert ledger.escrow(escrow_id).status is EscrowStatus.RELEASED


def test_parts_are_shown_as_parts() -> None:
    ledger = Ledger()
    ledger.fund(100)
    escrow_id = ledger.pay(40)
    ledger.accept(ReleaseEscrow(escrow_id=escrow_id, amount=doge(10)))
    acceptance = ledger.accept(ReleaseEscrow(escrow_id=escrow_id, amount=doge(20)))
    buyers, sellers = (notice.result for notice in acceptance.notices)
    assert isinstance(buyers, EscrowResult)
    assert isinstance(sellers, SaleResult)
    assert (buyers.released, buyers.fees, buyers.remaining) == (
        "29.25000000",
        "0.75000000",
        "10.00000000",
    )
    assert (sellers.gross, sellers.fee, sellers.net) == ("20.00000000", "0.50000000", "19.50000000")
    assert buyers.status is EscrowStatus.LOCKED


def test_parts_without_a_fee_are_shown_as_parts_too() -> None:
    ledger = Ledger(msgspec.structs.replace(RULES, escrow_fee_basis_points=0))
    ledger.fund(100)
    escrow_id = ledger.pay(40)
    ledger.accept(ReleaseEscrow(escrow_id=escrow_id, amount=Koinu(1)))
    acceptance = ledger.accept(ReleaseEscrow(escrow_id=escrow_id, amount=doge(20)))
    buyers, sellers = (notice.result for notice in acceptance.notices)
    assert isinstance(buyers, EscrowResult)
    assert isinstance(sellers, SaleResult)
    assert (buyers.released, buyers.fees) == ("20.00000001", "0.00000000")
    assert (sellers.gross, sellers.fee, sellers.net) == ("20.00000000", "0.00000000", "20.00000000")


def test_a_seller_who_owes_repays_out_of_the_net_of_a_sale() -> None:
    ledger = Ledger()
    ledger.owe(100, BOB)
    ledger.fund(100)
    acceptance = ledger.accept(ReleaseEscrow(escrow_id=ledger.pay(40)))
    assert entries_of(acceptance)[2:] == [
        ("SHORTFALL_REPAYMENT", "available", "shortfall", doge(39))
    ]
    assert ledger.wallet(BOB).shortfall == doge(61)
    assert ledger.wallet(BOB).available == 0


def test_a_sale_that_goes_wholly_into_its_fee_repays_nothing() -> None:
    ledger = Ledger(msgspec.structs.replace(RULES, escrow_fee_basis_points=10_000))
    ledger.owe(100, BOB)
    ledger.fund(100)
    acceptance = ledger.accept(ReleaseEscrow(escrow_id=ledger.pay(40)))
    assert len(acceptance.postings) == 2


def test_a_refund_goes_back_to_available() -> None:
    ledger = Ledger()
    ledger.fund(100)
    escrow_id = ledger.pay(40)
    acceptance = ledger.accept(RefundEscrow(escrow_id=escrow_id))
    assert entries_of(acceptance) == [("REFUND", "escrow", "available", doge(40))]
    assert ledger.balance() == (doge(100), 0, 0, 0)
    assert ledger.escrow(escrow_id).status is EscrowStatus.REFUNDED
    (notice,) = acceptance.notices
    assert (notice.user_id, notice.event) == (ANN, EventType.ESCROW_REFUNDED)


def test_an_escrow_keeps_the_time_at_which_it_was_made() -> None:
    ledger = Ledger()
    ledger.fund(100)
    escrow_id = ledger.pay(40)
    made = ledger.time
    for data in (
        ReleaseEscrow(escrow_id=escrow_id, amount=doge(10)),
        DisputeEscrow(escrow_id=escrow_id, reason="late"),
    ):
        ledger.accept(data)
        escrow = ledger.escrow(escrow_id)
        assert (escrow.created_at, escrow.updated_at) == (made, ledger.time)


def test_a_part_refunded_and_the_rest_released_ends_as_released() -> None:
    ledger = Ledger()
    ledger.fund(100)
    escrow_id = ledger.pay(40)
    ledger.accept(RefundEscrow(escrow_id=escrow_id, amount=doge(10)))
    assert ledger.escrow(escrow_id).status is EscrowStatus.LOCKED
    ledger.accept(ReleaseEscrow(escrow_id=escrow_id))
    escrow = ledger.escrow(escrow_id)
    assert (escrow.released, escrow.refunded, escrow.fees, escrow.remaining) == (
        doge(29.25),
        doge(10),
        doge(0.75),
        0,
    )
    assert escrow.status is EscrowStatus.RELEASED


def test_a_refund_repays_what_the_buyer_owes_and_a_frozen_wallet_gets_it() -> None:
    ledger = Ledger()
    ledger.fund(100)
    escrow_id = ledger.pay(40)
    ledger.lock(60)
    ledger.owe(15)
    acceptance = ledger.accept(RefundEscrow(escrow_id=escrow_id))
    assert entries_of(acceptance) == [
        ("REFUND", "escrow", "available", doge(40)),
        ("SHORTFALL_REPAYMENT", "available", "shortfall", doge(15)),
    ]
    assert ledger.wallet().available == doge(25)


def test_escrows_that_stand_are_released_though_the_buyer_is_frozen() -> None:
    ledger = Ledger()
    ledger.fund(100)
    escrow_id = ledger.pay(40)
    ledger.freeze(ANN)
    ledger.freeze(BOB)
    ledger.accept(ReleaseEscrow(escrow_id=escrow_id))
    assert ledger.balance(BOB)[0] == doge(39)


def test_a_dispute_moves_nothing() -> None:
    ledger = Ledger()
    ledger.fund(100)
    escrow_id = ledger.pay(40)
    acceptance = ledger.accept(DisputeEscrow(escrow_id=escrow_id, reason="a stone in the box"))
    assert acceptance.postings == ()
    escrow = ledger.escrow(escrow_id)
    assert (escrow.status, escrow.dispute_reason) == (EscrowStatus.DISPUTED, "a stone in the box")
    assert acceptance.notices[0].event is EventType.ESCROW_DISPUTED


@pytest.mark.parametrize(
    ("to_seller", "to_buyer", "status", "entry_types"),
    [
        (40, 0, EscrowStatus.RELEASED, ["SALE_CREDIT", "FEE_DEBIT"]),
        (0, 40, EscrowStatus.REFUNDED, ["REFUND"]),
        (10, 30, EscrowStatus.RELEASED, ["SALE_CREDIT", "FEE_DEBIT", "REFUND"]),
    ],
    ids=["all_to_the_seller", "all_to_the_buyer", "shared"],
)
def test_a_dispute_is_resolved_by_shares(
    to_seller: float, to_buyer: float, status: EscrowStatus, entry_types: list[str]
) -> None:
    ledger = Ledger()
    ledger.fund(40)
    escrow_id = ledger.pay(40)
    ledger.accept(DisputeEscrow(escrow_id=escrow_id, reason="late"))
    acceptance = ledger.accept(
        ResolveDispute(escrow_id=escrow_id, to_seller=share(to_seller), to_buyer=share(to_buyer))
    )
    assert [entry_type for entry_type, *_ in entries_of(acceptance)] == entry_types
    assert ledger.escrow(escrow_id).status is status
    assert ledger.balance(ANN)[0] == doge(to_buyer)
    assert ledger.balance(BOB)[0] == doge(to_seller * 0.975)
    events = [notice.event for notice in acceptance.notices]
    assert events == [EventType.ESCROW_RESOLVED, EventType.SALE_CREDITED][: 1 + (to_seller > 0)]


@all_of(
    amount=st.integers(1, 10**18),
    basis_points=st.integers(0, 10_000),
    cuts=st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=8),
)
def test_parts_never_take_more_than_the_fee_and_add_up_to_the_whole(
    amount: int, basis_points: int, cuts: list[tuple[bool, float]]
) -> None:
    rules = msgspec.structs.replace(RULES, escrow_fee_basis_points=basis_points)
    ledger = Ledger(rules)
    ledger.wallet().available = amount
    ledger.accept(PayOrder(amount=Koinu(amount), seller_id=BOB, order_id="o1"))
    order = ledger.books.escrow_of_order(ANN, "o1")
    assert order is not None
    for refund, fraction in cuts:
        remaining = ledger.escrow(order.id).remaining
        if part := min(remaining, max(1, int(remaining * fraction))):
            kind = RefundEscrow if refund else ReleaseEscrow
            ledger.accept(kind(escrow_id=order.id, amount=Koinu(part)))
    if ledger.escrow(order.id).remaining:
        ledger.accept(ReleaseEscrow(escrow_id=order.id))
    escrow = ledger.escrow(order.id)
    gross = amount - escrow.refunded
    assert escrow.fees == escrow.fee_amount * gross // amount
    assert ledger.wallet(BOB).available == escrow.released == gross - escrow.fees
    assert -ledger.owed_to_house(Account.FEES) == escrow.fees
