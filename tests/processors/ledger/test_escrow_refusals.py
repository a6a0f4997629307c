"""What cannot be done with an escrow, and the code that says why."""

from __future__ import annotations

from collections.abc import Callable

from schemas.amounts import KOINU_MAX, Share
from schemas.commands import (
    ConvertToEscrow,
    Data,
    DisputeEscrow,
    PayOrder,
    RefundEscrow,
    ReleaseEscrow,
    ResolveDispute,
)
from schemas.ledger import HOUSE
from schemas.rejections import Rejection
from tests.processors.ledger.cases import Refused, given, holds, table
from tests.support.books import ANN, BOB, CAT, Ledger, doge

UNKNOWN = "00000000-0000-8000-8000-000000000000"


def pay(amount: float = 1, order_id: str = "o1", seller: str = BOB) -> PayOrder:
    return PayOrder(amount=doge(amount), seller_id=seller, order_id=order_id)


def convert(amount: float = 1, order_id: str = "o1", seller: str = BOB) -> ConvertToEscrow:
    return ConvertToEscrow(
        amount=doge(amount),
        seller_id=seller,
        order_id=order_id,
        reference_type="auction",
        reference_id="7",
    )


def of_escrow(
    then: Callable[[str], Data], *between: Callable[[Ledger, str], object]
) -> Callable[[Ledger], Data]:
    """A command on Ann's escrow of 40 DOGE for Bob, after some steps on it."""

    def prepare(ledger: Ledger) -> Data:
        ledger.fund(100)
        escrow_id = ledger.pay(40)
        for step in between:
            step(ledger, escrow_id)
        return then(escrow_id)

    return prepare


def release(escrow_id: str) -> ReleaseEscrow:
    return ReleaseEscrow(escrow_id=escrow_id)


def refund(escrow_id: str) -> RefundEscrow:
    return RefundEscrow(escrow_id=escrow_id)


def dispute(escrow_id: str) -> DisputeEscrow:
    return DisputeEscrow(escrow_id=escrow_id, reason="late")


def resolve(to_seller: float, to_buyer: float) -> Callable[[str], ResolveDispute]:
    return lambda escrow_id: ResolveDispute(
        escrow_id=escrow_id, to_seller=Share(doge(to_seller)), to_buyer=Share(doge(to_buyer))
    )


ON_ESCROWS: dict[str, Callable[[str], Data]] = {
    "release": release,
    "refund": refund,
    "dispute": dispute,
    "resolution": resolve(20, 20),
}


def released(ledger: Ledger, escrow_id: str) -> None:
    ledger.accept(release(escrow_id))


def refunded(ledger: Ledger, escrow_id: str) -> None:
    ledger.accept(refund(escrow_id))


def disputed(ledger: Ledger, escrow_id: str) -> None:
    ledger.accept(dispute(escrow_id))


def seller_is_full(ledger: Ledger, escrow_id: str) -> None:
    ledger.wallet(BOB).bids = KOINU_MAX


@table(
    Refused(
        "an order is paid once",
        given(lambda ledger: ledger.fund(10), lambda ledger: ledger.pay(1), then=pay(1)),
        Rejection.ESCROW_EXISTS,
    ),
    Refused(
        "an order that was refunded is not paid again",
        of_escrow(lambda _: pay(1), refunded),
        Rejection.ESCROW_EXISTS,
    ),
    Refused(
        "a paid order is not converted as well",
        of_escrow(lambda _: convert(1)),
        Rejection.ESCROW_EXISTS,
    ),
    Refused(
        "nobody buys from themselves",
        given(lambda ledger: ledger.fund(10), then=pay(seller=ANN)),
        Rejection.SELF_DEALING,
    ),
    Refused(
        "nobody converts a bid on their own goods",
        given(
            lambda ledger: ledger.fund(10), lambda ledger: ledger.lock(5), then=convert(seller=ANN)
        ),
        Rejection.SELF_DEALING,
    ),
    Refused(
        "the house sells nothing",
        given(lambda ledger: ledger.fund(10), then=pay(seller=HOUSE)),
        Rejection.HOUSE_SELLER,
    ),
    Refused(
        "a frozen wallet may not pay",
        given(lambda ledger: ledger.fund(10), lambda ledger: ledger.freeze(), then=pay(1)),
        Rejection.WALLET_FROZEN,
    ),
    Refused(
        "a wallet that owes may not pay",
        given(lambda ledger: ledger.owe(10), then=pay(1)),
        Rejection.WALLET_FROZEN,
    ),
    Refused(
        "more than is available cannot be paid",
        given(lambda ledger: ledger.fund(10), then=pay(10.00000001)),
        Rejection.INSUFFICIENT_FUNDS,
    ),
    Refused(
        "what is locked cannot be paid from available",
        given(lambda ledger: ledger.fund(10), lambda ledger: ledger.lock(5), then=pay(6)),
        Rejection.INSUFFICIENT_FUNDS,
    ),
    Refused(
        "no lock can be converted that is not there",
        given(lambda ledger: ledger.fund(10), then=convert(1)),
        Rejection.LOCK_INSUFFICIENT,
    ),
    Refused(
        "more than is locked cannot be converted",
        given(lambda ledger: ledger.fund(10), lambda ledger: ledger.lock(5), then=convert(6)),
        Rejection.LOCK_INSUFFICIENT,
    ),
    Refused(
        "a frozen wallet may not convert",
        given(
            lambda ledger: ledger.fund(10),
            lambda ledger: ledger.lock(5),
            lambda ledger: ledger.freeze(),
            then=convert(5),
        ),
        Rejection.WALLET_FROZEN,
    ),
    Refused(
        "a frozen wallet is told of its missing lock first",
        given(lambda ledger: ledger.freeze(), then=convert(5)),
        Rejection.LOCK_INSUFFICIENT,
    ),
)
def test_an_order_is_refused(case: Refused) -> None:
    holds(case)


@table(
    *(
        Refused(
            f"{name} of an escrow that is not there",
            given(then=make(UNKNOWN)),
            Rejection.ESCROW_NOT_FOUND,
        )
        for name, make in ON_ESCROWS.items()
    ),
    *(
        Refused(f"{name} by the seller", of_escrow(make), Rejection.ESCROW_NOT_FOUND, BOB)
        for name, make in ON_ESCROWS.items()
    ),
    Refused("release by a stranger", of_escrow(release), Rejection.ESCROW_NOT_FOUND, CAT),
    *(
        Refused(f"{name} of an escrow {how}", of_escrow(make, step), Rejection.ESCROW_CLOSED)
        for name, make in ON_ESCROWS.items()
        for how, step in {"that is released": released, "that is refunded": refunded}.items()
    ),
    *(
        Refused(
            f"{name} while a dispute stands", of_escrow(make, disputed), Rejection.ESCROW_DISPUTED
        )
        for name, make in {"release": release, "refund": refund, "dispute": dispute}.items()
    ),
    Refused(
        "resolution without a dispute", of_escrow(resolve(20, 20)), Rejection.ESCROW_NOT_DISPUTED
    ),
    Refused(
        "resolution that leaves something over",
        of_escrow(resolve(20, 19.99999999), disputed),
        Rejection.ESCROW_PARTS_MISMATCH,
    ),
    Refused(
        "resolution that gives more than there is",
        of_escrow(resolve(20, 20.00000001), disputed),
        Rejection.ESCROW_PARTS_MISMATCH,
    ),
    Refused(
        "resolution that overflows the seller's balance",
        of_escrow(resolve(40, 0), disputed, seller_is_full),
        Rejection.BALANCE_OVERFLOW,
    ),
    Refused(
        "release of more than remains",
        of_escrow(lambda id_: ReleaseEscrow(escrow_id=id_, amount=doge(40.00000001))),
        Rejection.ESCROW_INSUFFICIENT,
    ),
    Refused(
        "refund of more than remains",
        of_escrow(lambda id_: RefundEscrow(escrow_id=id_, amount=doge(40.00000001))),
        Rejection.ESCROW_INSUFFICIENT,
    ),
    Refused(
        "release that overflows the seller's balance",
        of_escrow(release, seller_is_full),
        Rejection.BALANCE_OVERFLOW,
    ),
)
def test_refused_is_the(case: Refused) -> None:
    holds(case)


def test_a_full_seller_does_not_stop_a_resolution_in_the_buyers_favour() -> None:
    ledger = Ledger()
    command = of_escrow(resolve(0, 40), disputed, seller_is_full)(ledger)
    ledger.accept(command)
    assert ledger.balance(ANN)[0] == doge(100)
