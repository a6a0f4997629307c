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
from schemas.commands import (
    DATA_OF,
    CommandType,
    OpenWallet,
    PayOrder,
    ReleaseEscrow,
    ReverseDeposit,
    SetRules,
)
from schemas.ledger import HOUSE
from schemas.records import Wallet
from schemas.samples import BUYER, COMMANDS, SELLER, WRECKS, command_value, user_of
from schemas.topics import CommandTopic
from streams.loadgen.plan import Layout, Script
from tests.support.books import ANN, BOB, COUNTERS, RULES, Ledger, derived, doge
from tests.support.commands import MemoryLog, Wire, id_of, wire
from tests.support.strict import StrictBooks, gathered


def decided_strictly(record_of: Wire, source: BatchBooks) -> Wanted:
    """Decide one command on what was gathered for it alone."""
    request, wanted = gathered(record_of)
    decide(request, StrictBooks(wanted, source, request.id))
    ((user_id, topic, _),) = wanted.keys
    assert (user_id, topic) == (request.user_id, record_of.topic)
    return wanted


@pytest.mark.parametrize("kind", list(CommandType))
def test_on_empty_books_each_command_looks_at_nothing_that_was_not_gathered(
    kind: CommandType,
) -> None:
    source = BatchBooks(
        rules=RULES,
        wallets={user: Wallet(user_id=user) for user in (BUYER, SELLER, HOUSE)},
        next_indices=COUNTERS,
        derive=derived,
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
        next_indices=COUNTERS,
        derive=derived,
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
