"""What a batch asks of the database beforehand is all that its decisions then look at.

Decisions run on books that know only what was gathered: whoever looks at more would see nothing of
what is stored, and decide on it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import pytest

from processors.books import BatchBooks
from processors.gathering import Wanted, wanted_by
from processors.incoming import read_batch
from processors.ledger.decide import decide
from processors.ledger.model import Request
from schemas.commands import (
    DATA_OF,
    CommandType,
    OpenWallet,
    PayOrder,
    ReleaseEscrow,
    ReverseDeposit,
    SetRules,
)
from schemas.envelope import Command
from schemas.ledger import HOUSE
from schemas.records import Deposit, DepositAddress, Escrow, Lock, NetworkFee, Wallet, Withdrawal
from schemas.samples import BUYER, COMMANDS, SELLER, WRECKS, command_value, user_of
from schemas.topics import CommandTopic
from streams.loadgen.plan import Layout, Script
from tests.support.books import ANN, BOB, COUNTERS, RULES, Ledger, derived, doge
from tests.support.commands import MemoryLog, Wire, id_of, wire


class StrictBooks(BatchBooks):
    """Books that refuse to be asked for what was not gathered."""

    def __init__(self, wanted: Wanted, source: BatchBooks, own_id: str) -> None:
        users = wanted.users | wanted.sellers_in_batch
        super().__init__(rules=RULES, wallets=source.wallets, next_indices=COUNTERS, derive=derived)
        self._wanted = wanted
        self._source = source
        #: What the command itself makes has its id, and cannot be there before.
        self._own_id = own_id
        self._may_lock = users | {
            escrow.seller_id for id_ in wanted.paying if (escrow := source.escrow(id_))
        }
        self._pending = {
            each.id for user in wanted.pending_of for each in source.pending_withdrawals(user)
        }

    def wallet(self, user_id: str) -> Wallet:
        assert user_id in self._may_lock, user_id
        return super().wallet(user_id)

    def lock(self, user_id: str, reference_type: str, reference_id: str) -> Lock | None:
        assert (user_id, reference_type, reference_id) in self._wanted.locks
        return self._source.lock(user_id, reference_type, reference_id)

    def escrow(self, escrow_id: str) -> Escrow | None:
        assert escrow_id in self._wanted.escrows | {self._own_id}
        return self._source.escrow(escrow_id)

    def escrow_of_order(self, buyer_id: str, order_id: str) -> Escrow | None:
        assert (buyer_id, order_id) in self._wanted.orders
        return self._source.escrow_of_order(buyer_id, order_id)

    def withdrawal(self, withdrawal_id: str) -> Withdrawal | None:
        assert withdrawal_id in self._wanted.withdrawals | self._pending | {self._own_id}
        return self._source.withdrawal(withdrawal_id)

    def pending_withdrawals(self, user_id: str) -> list[Withdrawal]:
        assert user_id in self._wanted.pending_of
        return self._source.pending_withdrawals(user_id)

    def deposit(self, txid: str, vout: int) -> Deposit | None:
        assert (txid, vout) in self._wanted.outpoints
        return self._source.deposit(txid, vout)

    def address(self, user_id: str, address: str) -> DepositAddress | None:
        assert (user_id, address) in self._wanted.addresses
        return self._source.address(user_id, address)

    def active_address(self, user_id: str) -> DepositAddress | None:
        assert user_id in self._wanted.active_of
        return self._source.active_address(user_id)

    def next_address(self) -> tuple[int, str]:
        assert self._wanted.assigns_address
        return super().next_address()

    def network_fee(self, txid: str) -> NetworkFee | None:
        assert txid in self._wanted.fee_txids
        return self._source.network_fee(txid)


def decided_strictly(record_of: Wire, source: BatchBooks) -> Wanted:
    """Decide one command on what was gathered for it alone."""
    (slice_,) = read_batch([MemoryLog().append(record_of)])
    wanted = wanted_by([slice_], {slice_.place: 1})
    (item,) = slice_.items
    record, command = item.record, item.command
    assert isinstance(command, Command), command
    books = StrictBooks(wanted, source, id_of(record))
    decide(Request(id_of(record), command.user_id, command.data, record.time), books)
    assert wanted.keys == {(command.user_id, record.topic, command.idempotency_key)}
    return wanted


@pytest.mark.parametrize("kind", list(CommandType))
def test_on_empty_books_each_command_looks_at_nothing_that_was_not_gathered(
    kind: CommandType,
) -> None:
    source = BatchBooks(
        rules=RULES, wallets={user: Wallet(user_id=user) for user in (BUYER, SELLER, HOUSE)}
    )
    topic = next(t for t in CommandTopic if t == _topic_of(kind))
    decided_strictly(Wire(topic, user_of(kind).encode(), command_value(kind)), source)


def _topic_of(kind: CommandType) -> CommandTopic:
    return wire(COMMANDS[kind], BUYER).topic


def _with_a_lock(ledger: Ledger) -> None:
    ledger.fund(500)
    ledger.lock(50)


#: Ledgers on which a command is accepted, so that its whole decision runs.
_GIVEN: dict[str, Callable[[Ledger], object]] = {
    "funded": lambda ledger: ledger.fund(500),
    "with a lock": _with_a_lock,
    "owing": lambda ledger: ledger.owe(50),
    "with a withdrawal": lambda ledger: (ledger.fund(500), ledger.request(20)),
}


@pytest.mark.parametrize("given", list(_GIVEN))
@pytest.mark.parametrize("kind", list(DATA_OF))
def test_on_filled_books_too(kind: CommandType, given: str) -> None:
    ledger = Ledger()
    _GIVEN[given](ledger)
    ledger.books.wallets |= {user: Wallet(user_id=user) for user in (BUYER, SELLER)}
    decided_strictly(wire(COMMANDS[kind], ANN), ledger.books)


def test_a_sale_locks_its_seller_who_is_known_from_the_escrow() -> None:
    ledger = Ledger()
    ledger.fund(500)
    escrow_id = ledger.pay(100)
    wanted = decided_strictly(wire(ReleaseEscrow(escrow_id=escrow_id)), ledger.books)
    assert wanted.paying == wanted.escrows == {escrow_id}
    assert wanted.users == {ANN}


def test_a_sale_out_of_an_escrow_that_its_own_batch_makes_locks_the_seller_too() -> None:
    log = MemoryLog()
    paid = log.append(wire(PayOrder(seller_id=BOB, order_id="o", amount=doge(1))))
    sold = log.append(wire(ReleaseEscrow(escrow_id=id_of(paid, generation=3))))
    unsold = log.append(wire(PayOrder(seller_id=HOUSE, order_id="p", amount=doge(1))))
    slices = read_batch([sold, unsold, paid])
    wanted = wanted_by(slices, {slices[0].place: 3})
    assert wanted.sellers_in_batch == {BOB}
    assert wanted.users == {ANN}


def test_a_reversal_looks_for_the_withdrawals_that_it_may_fail() -> None:
    ledger = Ledger()
    txid = ledger.fund(21)
    ledger.request(20)
    wanted = decided_strictly(wire(ReverseDeposit(txid=txid, vout=0, ordinal=1)), ledger.books)
    assert wanted.pending_of == {ANN}


def test_a_whole_market_looks_at_what_was_gathered_alone() -> None:
    script = Script(5, 4, Layout(1))
    source = BatchBooks(
        rules=RULES,
        wallets={player.user_id: Wallet(user_id=player.user_id) for player in script.players},
    )
    for planned in (*script.funding(), *islice(script.marketplace(), 300)):
        decided_strictly(Wire(planned.topic, planned.key, planned.value), source)


def test_dead_letters_want_nothing() -> None:
    log = MemoryLog()
    records = [
        log.append(Wire(w.topic, w.key or b"", w.value or b""))._replace(placed=w.placed)
        for w in list(WRECKS.values())[:-1]
    ]
    slices = read_batch(records)
    assert wanted_by(slices, {slice_.place: 1 for slice_ in slices}) == Wanted()


def test_only_a_change_of_the_rules_wants_to_change_them() -> None:
    log = MemoryLog()
    for data, changes in (
        (OpenWallet(), False),
        (COMMANDS[CommandType.SET_RULES], True),
        (COMMANDS[CommandType.ROTATE_ACCOUNT], True),
    ):
        (slice_,) = read_batch([log.append(wire(data))])
        assert wanted_by([slice_], {slice_.place: 1}).changes_rules is changes
    assert isinstance(COMMANDS[CommandType.SET_RULES], SetRules)
