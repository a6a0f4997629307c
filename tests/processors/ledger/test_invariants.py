"""Each invariant is broken once by a made-up decision, and named by what is raised."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import pytest

from processors.ledger.invariants import (
    DEPOSIT_STEPS,
    ESCROW_STEPS,
    MOVEMENTS,
    WITHDRAWAL_STEPS,
    AccountOfAnother,
    InvariantBroken,
    MovementUnknown,
    NoticeMisplaced,
    PostingNotPositive,
    RecordAgainstPostings,
    RecordIncoherent,
    RefusalMisplaced,
    TransitionIllegal,
    check,
)
from processors.ledger.model import Acceptance, Notice, Posting, Refusal, Request, Side
from processors.ledger.postings import CHAIN, COLD, FEES
from schemas.commands import OpenWallet
from schemas.events import EventType, WalletResult
from schemas.ledger import (
    HOUSE,
    USER_ACCOUNTS,
    Account,
    DepositStatus,
    EntryType,
    EscrowStatus,
    WithdrawalStatus,
)
from schemas.records import Deposit, Escrow, Lock, Record, Withdrawal
from schemas.rejections import Rejection
from tests.support.books import ANN, BLOCK, BOB, ELSEWHERE, Ledger, txid_of

REQUEST = Request("id", ANN, OpenWallet(), 1)


def notice(user: str = ANN) -> Notice:
    return Notice(user, EventType.WALLET_OPENED, WalletResult(user_id=user, created=True))


def side(account: Account, user: str = ANN) -> Side:
    return Side(user, account)


def posting(debit: Side, credit: Side, entry_type: EntryType, amount: int = 5) -> Posting:
    return Posting(debit, credit, amount, entry_type, None, None)


AVAILABLE, BIDS, ESCROW, PENDING = (side(account) for account in USER_ACCOUNTS)
LOCK_5 = posting(AVAILABLE, BIDS, EntryType.BID_LOCK)

LOCK = Lock(user_id=ANN, reference_type="auction", reference_id="7", amount=5)
ESCROW_5 = Escrow(
    id="e",
    order_id="o",
    buyer_id=ANN,
    seller_id=BOB,
    amount=5,
    fee_amount=1,
    remaining=5,
    created_at=1,
    updated_at=1,
)
WITHDRAWAL_5 = Withdrawal(
    id="w",
    user_id=ANN,
    amount=4,
    fee=1,
    destination_address=ELSEWHERE,
    requested_at=1,
    updated_at=1,
)
DEPOSIT = Deposit(
    txid=txid_of(1),
    vout=0,
    user_id=ANN,
    address=ELSEWHERE,
    amount=5,
    block_hash=BLOCK,
    height=1,
    detected_at=1,
    updated_at=1,
)


class Broken(NamedTuple):
    sentence: str
    by: type[InvariantBroken]
    postings: tuple[Posting, ...] = ()
    records: tuple[Record, ...] = ()
    notices: tuple[Notice, ...] = (notice(),)
    known: tuple[Record, ...] = ()


def changed(record: Record, **changes: Any) -> Record:
    return msgspec.structs.replace(record, **changes)


CASES = (
    Broken(
        "a posting of nothing",
        PostingNotPositive,
        (posting(AVAILABLE, BIDS, EntryType.BID_LOCK, 0),),
    ),
    Broken(
        "a posting of less than nothing",
        PostingNotPositive,
        (posting(AVAILABLE, BIDS, EntryType.BID_LOCK, -5),),
    ),
    Broken(
        "money that goes where no entry type leads",
        MovementUnknown,
        (posting(BIDS, CHAIN, EntryType.WITHDRAWAL),),
    ),
    Broken(
        "money that goes backwards",
        MovementUnknown,
        (posting(BIDS, AVAILABLE, EntryType.BID_LOCK),),
    ),
    Broken(
        "a users account of the house",
        AccountOfAnother,
        (posting(CHAIN, Side(HOUSE, Account.AVAILABLE), EntryType.DEPOSIT),),
    ),
    Broken(
        "a house account of a user",
        AccountOfAnother,
        (posting(side(Account.CHAIN), COLD, EntryType.CUSTODY),),
    ),
    Broken(
        "money that changes hands without a sale",
        AccountOfAnother,
        (posting(ESCROW, side(Account.AVAILABLE, BOB), EntryType.REFUND),),
        notices=(notice(), notice(BOB)),
    ),
    Broken(
        "a sale to oneself", AccountOfAnother, (posting(ESCROW, AVAILABLE, EntryType.SALE_CREDIT),)
    ),
    Broken("no notice", NoticeMisplaced, notices=()),
    Broken("a first notice for another", NoticeMisplaced, notices=(notice(BOB), notice())),
    Broken("two notices for one wallet", NoticeMisplaced, notices=(notice(), notice())),
    Broken("an outcome told to another user alone", NoticeMisplaced, notices=(notice(BOB),)),
    Broken(
        "a wallet that changes without notice",
        NoticeMisplaced,
        (posting(CHAIN, side(Account.AVAILABLE, BOB), EntryType.DEPOSIT),),
    ),
    Broken(
        "a wallet that pays without notice",
        NoticeMisplaced,
        (posting(side(Account.AVAILABLE, BOB), FEES, EntryType.FEE_DEBIT),),
    ),
    Broken("bids without a lock", RecordAgainstPostings, (LOCK_5,)),
    Broken("a lock without bids", RecordAgainstPostings, (), (LOCK,)),
    Broken(
        "a lock of more than the bids", RecordAgainstPostings, (LOCK_5,), (changed(LOCK, amount=6),)
    ),
    Broken(
        "a lock that forgets what was there",
        RecordAgainstPostings,
        (LOCK_5,),
        (LOCK,),
        known=(changed(LOCK, amount=1),),
    ),
    Broken("an escrow without money", RecordAgainstPostings, (), (ESCROW_5,)),
    Broken(
        "a withdrawal that holds its amount alone",
        RecordAgainstPostings,
        (posting(AVAILABLE, PENDING, EntryType.WITHDRAWAL, 4),),
        (WITHDRAWAL_5,),
    ),
    Broken(
        "money in another account than its record says",
        RecordAgainstPostings,
        (posting(AVAILABLE, PENDING, EntryType.WITHDRAWAL),),
        (ESCROW_5,),
    ),
    Broken("a lock under zero", RecordIncoherent, (), (changed(LOCK, amount=-1),)),
    Broken("parts under the whole", RecordIncoherent, (), (changed(ESCROW_5, remaining=4),)),
    Broken("a part under zero", RecordIncoherent, (), (changed(ESCROW_5, remaining=6, fees=-1),)),
    Broken(
        "more fees than the fee",
        RecordIncoherent,
        (),
        (changed(ESCROW_5, remaining=3, fees=2),),
    ),
    Broken("a fee over the amount", RecordIncoherent, (), (changed(ESCROW_5, fee_amount=6),)),
    Broken(
        "an empty escrow that stays open",
        RecordIncoherent,
        (),
        (changed(ESCROW_5, remaining=0, refunded=5),),
    ),
    Broken(
        "a closed escrow with money",
        RecordIncoherent,
        (),
        (changed(ESCROW_5, status=EscrowStatus.RELEASED),),
    ),
    Broken("a buyer who sells", RecordIncoherent, (), (changed(ESCROW_5, seller_id=ANN),)),
    Broken(
        "a failure without reason",
        RecordIncoherent,
        (),
        (changed(WITHDRAWAL_5, status=WithdrawalStatus.FAILED),),
    ),
    Broken(
        "a reason without failure",
        RecordIncoherent,
        (),
        (changed(WITHDRAWAL_5, reason="why"),),
    ),
    Broken(
        "a broadcast of no transaction",
        RecordIncoherent,
        (),
        (changed(WITHDRAWAL_5, status=WithdrawalStatus.BROADCAST),),
    ),
    Broken(
        "a deposit seen that counts a crediting",
        RecordIncoherent,
        (),
        (changed(DEPOSIT, creditings=1),),
    ),
    Broken(
        "a crediting that is not counted",
        RecordIncoherent,
        (),
        (changed(DEPOSIT, status=DepositStatus.CREDITED, creditings=1),),
        known=(changed(DEPOSIT, status=DepositStatus.REVERSED, creditings=1),),
    ),
    Broken(
        "an escrow born disputed",
        TransitionIllegal,
        (),
        (changed(ESCROW_5, status=EscrowStatus.DISPUTED),),
    ),
    Broken(
        "a withdrawal claimed before it is requested",
        TransitionIllegal,
        (),
        (changed(WITHDRAWAL_5, status=WithdrawalStatus.PROCESSING),),
    ),
    Broken(
        "a withdrawal paid after it failed",
        TransitionIllegal,
        (),
        (changed(WITHDRAWAL_5, status=WithdrawalStatus.PROCESSING),),
        known=(changed(WITHDRAWAL_5, status=WithdrawalStatus.FAILED, reason="cancelled"),),
    ),
    Broken(
        "a deposit reversed that was only seen",
        TransitionIllegal,
        (),
        (changed(DEPOSIT, status=DepositStatus.REVERSED, creditings=1),),
        known=(DEPOSIT,),
    ),
    Broken(
        "a deposit credited twice",
        TransitionIllegal,
        (),
        (changed(DEPOSIT, status=DepositStatus.CREDITED, creditings=2),),
        known=(changed(DEPOSIT, status=DepositStatus.CREDITED, creditings=1),),
    ),
)


@pytest.mark.parametrize("case", [pytest.param(c, id=c.sentence.replace(" ", "_")) for c in CASES])
def test_a_decision_is_stopped_by(case: Broken) -> None:
    ledger = Ledger()
    ledger.books.load(case.known)
    with pytest.raises(case.by) as raised:
        check(REQUEST, Acceptance(case.notices, case.postings, case.records), ledger.books)
    assert type(raised.value) is case.by
    assert str(raised.value).startswith(str(case.by.__doc__))


def test_sound_decisions_pass() -> None:
    books = Ledger().books
    check(REQUEST, Acceptance((notice(),)), books)
    check(REQUEST, Acceptance((notice(),), (LOCK_5,), (LOCK,)), books)
    check(REQUEST, Refusal(Rejection.INSUFFICIENT_FUNDS), books)


@pytest.mark.parametrize("code", [Rejection.BAD_ID, Rejection.KEY_REUSED])
def test_a_command_that_was_understood_is_not_refused_as_a_record(code: Rejection) -> None:
    with pytest.raises(RefusalMisplaced):
        check(REQUEST, Refusal(code), Ledger().books)


def test_every_entry_type_has_its_movements() -> None:
    assert {entry_type for entry_type, _, _ in MOVEMENTS} == set(EntryType)


def test_every_status_has_its_steps() -> None:
    assert set(WITHDRAWAL_STEPS) == {None, *WithdrawalStatus}
    assert set(DEPOSIT_STEPS) == {None, *DepositStatus}
    assert set(ESCROW_STEPS) == {None, *EscrowStatus}
