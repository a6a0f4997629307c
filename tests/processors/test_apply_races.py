"""Two appliers at once on the same wallets: they wait for each other, in one order, and never lock
each other out."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice

import psycopg
import pytest

from processors.apply import Applied
from processors.incoming import Record
from schemas.amounts import Share
from schemas.commands import (
    AssignAddress,
    CancelWithdrawal,
    ClaimWithdrawal,
    ConfirmationTier,
    LockFunds,
    OpenWallet,
    PayOrder,
    ReleaseEscrow,
    RequestWithdrawal,
    SetRules,
)
from schemas.topics import CommandTopic
from streams.loadgen.plan import Layout, Script
from tests.conftest import Database
from tests.support.books import ANN, BOB, CAT, ELSEWHERE, doge
from tests.support.commands import MemoryLog, Wire, id_of
from tests.support.eventually import eventually
from tests.support.till import Till, seeded, till_on

pytestmark = pytest.mark.timeout(300)


class Pair:
    """Two tills on one database: one holds the services' topic, the other the rest."""

    def __init__(self, one: Till, other: Till, threads: ThreadPoolExecutor) -> None:
        self.one = one
        self.other = other
        self._threads = threads
        for till in (one, other):
            # Who is held up in the midst of a batch is not to be ended by the server meanwhile.
            till.connection.execute("SET idle_in_transaction_session_timeout = 0")

    def till_of(self, record: Record) -> Till:
        return self.one if record.topic == CommandTopic.SERVICES else self.other

    def apply(self, record: Record) -> None:
        self.till_of(record).apply(record)

    def start(self, till: Till, *records: Record) -> Future[Applied]:
        """Apply in a thread of its own."""
        return self._threads.submit(till.apply, *records)

    def meet(self, first: tuple[Till, Record], second: tuple[Till, Record]) -> None:
        """Let the second batch run into the locks of the first, then both go on."""
        release = threading.Event()
        till, record = first

        def hold(name: str) -> None:
            if name == "written":
                assert release.wait(60.0)

        till.on_step = hold
        held = self.start(till, record)
        eventually(lambda: self._holds(till), "the first batch has written")
        blocked = self.start(second[0], second[1])
        eventually(lambda: self._waits(second[0]), "the second batch waits for the first")
        release.set()
        held.result(60.0)
        blocked.result(60.0)
        till.on_step = lambda name: None

    def _holds(self, till: Till) -> bool:
        return bool(
            self.one.value(
                "SELECT count(*) FROM pg_locks WHERE pid = %s AND relation = 'outbox'::regclass",
                till.connection.info.backend_pid,
            )
        )

    def _waits(self, till: Till) -> bool:
        return bool(
            self.one.value(
                "SELECT cardinality(pg_blocking_pids(%s)) > 0", till.connection.info.backend_pid
            )
        )

    def audit(self) -> None:
        self.one.told += self.other.told
        self.one.audit()


@contextmanager
def pair_on(database: Database, log: MemoryLog) -> Iterator[Pair]:
    with (
        ThreadPoolExecutor(2) as threads,
        till_on(database, log) as one,
        till_on(database, log) as other,
    ):
        one.take_over(topics=[CommandTopic.SERVICES])
        other.take_over(topics=[CommandTopic.USERS, CommandTopic.TREASURY])
        pair = Pair(one, other, threads)
        yield pair
        pair.audit()


@pytest.fixture
def pair(database: Database) -> Iterator[Pair]:
    """Both tills, and in the end sound books."""
    with pair_on(seeded(database), MemoryLog()) as made:
        yield made


def lock(amount: float) -> LockFunds:
    return LockFunds(amount=doge(amount), reference_type="auction", reference_id="7")


@pytest.mark.parametrize("services_first", [True, False])
def test_a_wallet_that_neither_finds_is_made_once(pair: Pair, services_first: bool) -> None:
    pay, opened = pair.one.put(lock(1)), pair.one.put(OpenWallet())
    both = [(pair.one, pay), (pair.other, opened)]
    pair.meet(*(both if services_first else reversed(both)))
    assert pair.one.outcome(pay) == ("rejected", "insufficient_funds")
    assert pair.one.outcome(opened) == ("accepted", None)
    assert pair.one.rows("SELECT sequence, version FROM wallets WHERE user_id = %s", ANN) == [
        (2, 1)
    ]


@pytest.mark.parametrize("services_first", [True, False])
def test_of_two_topics_one_spends_what_the_other_finds_gone(
    pair: Pair, services_first: bool
) -> None:
    pair.other.fund(100)
    bid = pair.one.put(lock(95))
    withdraw = pair.one.put(RequestWithdrawal(amount=doge(90), address=ELSEWHERE))
    both = [(pair.one, bid), (pair.other, withdraw)]
    pair.meet(*(both if services_first else reversed(both)))
    winner, loser = (bid, withdraw) if services_first else (withdraw, bid)
    assert pair.one.outcome(winner) == ("accepted", None)
    assert pair.one.outcome(loser) == ("rejected", "insufficient_funds")


@pytest.mark.parametrize("cancel_first", [True, False])
def test_cancel_and_claim_that_meet_are_decided_one_after_the_other(
    database: Database, cancel_first: bool
) -> None:
    log = MemoryLog()
    with (
        ThreadPoolExecutor(2) as threads,
        till_on(seeded(database), log) as users,
        till_on(database, log) as treasury,
    ):
        users.take_over(topics=[CommandTopic.USERS])
        treasury.take_over(topics=[CommandTopic.TREASURY])
        pair = Pair(users, treasury, threads)
        users.apply(users.put(AssignAddress()))
        treasury.fund_assigned(100)
        request = users.do(RequestWithdrawal(amount=doge(10), address=ELSEWHERE))
        cancel = users.put(CancelWithdrawal(withdrawal_id=id_of(request)))
        claim = users.put(ClaimWithdrawal(withdrawal_id=id_of(request)))
        both = [(users, cancel), (treasury, claim)]
        pair.meet(*(both if cancel_first else reversed(both)))
        winner, loser = (cancel, claim) if cancel_first else (claim, cancel)
        assert users.outcome(winner) == ("accepted", None)
        assert users.outcome(loser) == ("rejected", "withdrawal_wrong_status")
        pair.audit()


def test_a_batch_that_changes_the_rules_waits_for_those_that_use_them(pair: Pair) -> None:
    change = pair.one.put(
        SetRules(
            escrow_fee_basis_points=1,
            withdrawal_fee=Share(0),
            withdrawal_minimum=doge(1),
            withdrawal_maximum=doge(2),
            deposit_minimum=Share(0),
            confirmations=(ConfirmationTier(exposure=Share(0), confirmations=1),),
        )
    )
    pair.meet((pair.one, pair.one.put(lock(1))), (pair.other, change))
    numbers = dict(pair.one.rows("SELECT id, rules_version FROM batches ORDER BY id"))
    assert list(numbers.values()) == [1, 1]
    pair.one.apply(pair.one.put(lock(1)))
    assert pair.one.value("SELECT max(rules_version) FROM batches") == 2


def test_a_seller_of_two_buyers_is_credited_by_both(database: Database) -> None:
    log = MemoryLog()
    with (
        ThreadPoolExecutor(2) as threads,
        till_on(seeded(database), log) as one,
        till_on(database, log) as other,
    ):
        by_partition = {log.partition_of(user.encode()): user for user in (ANN, BOB, CAT)}
        (first, buyer), (second, rival) = sorted(by_partition.items())[:2]
        (seller,) = {ANN, BOB, CAT} - {buyer, rival}
        one.take_over()
        for user in (buyer, rival):
            one.fund(100, user)
        escrows = {
            user: one.do(PayOrder(seller_id=seller, order_id="o", amount=doge(40)), user)
            for user in (buyer, rival)
        }
        other.take_over([second])
        pair = Pair(one, other, threads)
        sales = {
            user: one.put(ReleaseEscrow(escrow_id=id_of(paid)), user)
            for user, paid in escrows.items()
        }
        assert (sales[buyer].partition, sales[rival].partition) == (first, second)
        pair.meet((one, sales[buyer]), (other, sales[rival]))
        assert one.balance(seller) == (doge(78), 0, 0, 0)
        pair.audit()


@pytest.mark.parametrize("seed", [1, 2])
def test_two_appliers_never_lock_each_other_out(database: Database, seed: int) -> None:
    log = MemoryLog()
    with pair_on(seeded(database), log) as pair:
        script = Script(seed, 6, Layout(log.partitions))
        _give_addresses(pair.one, script)
        expected: dict[Record, str] = {}
        for stage in (script.funding(), islice(script.marketplace(), 600)):
            parts: dict[int, list[Record]] = {}
            for planned in stage:
                record = log.append(Wire(planned.topic, planned.key, planned.value))
                expected[record] = planned.expected
                parts.setdefault(id(pair.till_of(record)), []).append(record)
            running = [
                pair._threads.submit(_apply_in_pieces, till, parts.get(id(till), []), seed)
                for till in (pair.one, pair.other)
            ]
            for run in running:
                run.result(50.0)
        assert {r for r, e in expected.items() if pair.one.outcome(r)[0] != e} == set()


def _apply_in_pieces(till: Till, records: list[Record], seed: int) -> None:
    """Apply in small batches that mix the partitions, each partition in its order."""
    chance = random.Random(seed)
    while records:
        size = chance.randint(5, 40)
        batch, records = records[:size], records[size:]
        till.apply(*batch)


def _give_addresses(till: Till, script: Script) -> None:
    with psycopg.connect(till.connection.info.dsn, password="test") as connection:
        connection.cursor().executemany(
            "INSERT INTO deposit_addresses VALUES (%s, %s, 'made up', 0, %s, true, now())",
            [(p.address, p.user_id, p.number) for p in script.players],
        )
