"""``run_once`` on a real broker and database: a crash at each step, and every doubt ends in a
take-over after which each command has one outcome and each event is seen once."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import msgspec
import psycopg
import pytest
from confluent_kafka import KafkaException
from psycopg import errors, sql

from schemas.commands import AssignAddress, OpenWallet
from schemas.ids import Place
from schemas.settings import Settings
from streams import metrics
from streams.worker.worker import TooManyUnprocessable, Worker
from tests.conftest import Database
from tests.support.books import ANN, BOB, CAT
from tests.support.commands import wire
from tests.support.eventually import eventually
from tests.support.mixed import load
from tests.support.station import Proof, alarms_of, outcomes_of, prepared, send, worker_for

pytestmark = pytest.mark.timeout(300)

STEPS = ("claimed", "decided", "written", "committed", "produced", "offsets-sent", "published")


class Crash(BaseException):
    """The process dies here: no ``except Exception`` may hold it up."""


class Fuse:
    """Lets a worker die at the n-th time it comes to a step; a dead one comes to no other."""

    def __init__(self, step: str, after: int = 0) -> None:
        self._step = step
        self._left = after
        self.burnt = False

    def __call__(self, name: str) -> None:
        if self.burnt:
            raise Crash
        if name == self._step:
            self.burnt = self._left == 0
            self._left -= 1
            if self.burnt:
                raise Crash


def bury(worker: Worker) -> None:
    """What is left of a dead worker: the group forgets it, the broker ends its transaction.

    Both would happen by time-outs; a process that is killed for real is in tests/crash.
    """
    committer = worker._publisher._committer
    with suppress(Crash):
        worker._publisher.close()
    if committer is not None:
        with suppress(KafkaException):
            committer.producer._producer.abort_transaction(10.0)
    with suppress(Crash):
        worker._consumer.close()
    worker._alarms.close()
    if worker._connection is not None:
        worker._connection.close()


@pytest.fixture
def wallet(settings: Settings) -> Settings:
    """Topics, rules and an account of the test's own."""
    return prepared(settings)


@pytest.fixture
def hire(wallet: Settings) -> Iterator[Callable[..., Worker]]:
    """Makes workers, and lets those that are alive in the end leave."""
    made: list[Worker] = []

    def make(step: Callable[[str], None] = lambda name: None) -> Worker:
        made.append(worker_for(wallet, step))
        return made[-1]

    yield make
    for worker in made:
        if worker._connection is not None and not worker._connection.closed:
            worker.close()


def _run_on(worker: Worker) -> bool:
    worker.run_once(0.1)
    return False


def _run_until(worker: Worker, settings: Settings, places: list[Place]) -> bool:
    worker.run_once(0.1)
    return all(outcome != "none" for outcome, _ in outcomes_of(settings, places))


def _guarded(worker: Worker) -> bool:
    worker._run_guarded()
    return True


def work_off(worker: Worker, settings: Settings, places: list[Place]) -> None:
    """Run until every record has an outcome, then publish what is applied."""

    def done() -> bool:
        worker._run_guarded()
        return all(outcome != "none" for outcome, _ in outcomes_of(settings, places))

    eventually(done, "every record has an outcome", 60.0)
    worker.close()


def test_a_batch_is_applied_published_and_counted_once(
    wallet: Settings, hire: Callable[..., Worker]
) -> None:
    places = send(wallet, load())
    worker = hire()
    assert worker.fault() == "starting"
    applied = 0

    def all_read() -> bool:
        nonlocal applied
        applied += worker.run_once(0.1)
        return applied == len(places)

    eventually(all_read, "all records are applied")
    worker.close()
    Proof(wallet).hold()
    assert {outcome for outcome, _ in outcomes_of(wallet, places)} == {
        "accepted",
        "rejected",
        "replayed",
        "key_reused",
        "dead",
    }


@pytest.mark.parametrize("step", STEPS)
def test_after_a_crash_at_any_step_the_next_worker_goes_on_where_it_was(
    wallet: Settings, hire: Callable[..., Worker], step: str
) -> None:
    places = send(wallet, load(seed=1))
    first = hire(Fuse(step))
    with pytest.raises(Crash):
        eventually(lambda: first.run_once(0.1) < 0, "the worker dies", 30.0)
    bury(first)
    # While nobody works, everything is asked again, and more.
    places += send(wallet, load(seed=1)) + send(wallet, load(seed=2))
    work_off(hire(), wallet, places)
    Proof(wallet).hold()


@pytest.mark.parametrize("seed", [1, 2])
def test_crash_after_crash_at_steps_drawn_by_chance(
    wallet: Settings, hire: Callable[..., Worker], seed: int
) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    places: list[Place] = []
    for number in range(4):
        places += send(wallet, load(seed=seed + number % 2, size=20))
        dying = hire(Fuse(chance.choice(STEPS), after=chance.randrange(2)))
        with suppress(Crash):
            eventually(partial(_run_until, dying, wallet, places), "it dies or has done all")
        bury(dying)
    work_off(hire(), wallet, places)
    Proof(wallet).hold()


def test_a_worker_that_is_fenced_joins_again_and_goes_on(
    wallet: Settings, hire: Callable[..., Worker]
) -> None:
    places = send(wallet, load(seed=1))
    worker = hire()
    eventually(lambda: worker.run_once(0.1), "a batch is applied")
    with psycopg.connect(wallet.worker_database_url) as rival:
        rival.execute("UPDATE partitions SET epoch = epoch + 1")
    places += send(wallet, load(seed=2))
    work_off(worker, wallet, places)
    Proof(wallet).hold()


def join(worker: Worker) -> None:
    """Poll until the group has given the worker its partitions."""

    def joined() -> bool:
        worker.run_once(0.1)
        return bool(worker._claims)

    eventually(joined, "the worker has its partitions")


def test_the_outbox_keeps_what_was_published_only_for_the_time_that_is_set(
    wallet: Settings, hire: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.worker.worker._PRUNE_SECONDS", 0.0)
    brief = msgspec.structs.replace(wallet, outbox_keep_seconds=0.001)
    send(wallet, load(seed=1))
    worker = worker_for(brief)

    def pruned() -> bool:
        worker._run_guarded()
        with psycopg.connect(wallet.database_url) as connection:
            counts = connection.execute(
                "SELECT (SELECT count(*) FROM outbox), (SELECT count(*) FROM batches)"
            ).fetchone()
        assert counts is not None
        return bool(counts[0] == 0 and counts[1] > 0)

    eventually(pruned, "nothing is kept of what is published")
    worker.close()
    Proof(wallet).hold()


def test_a_worker_that_is_no_member_applies_nothing_and_joins_again(
    wallet: Settings, hire: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = hire()
    join(worker)
    places = send(wallet, load(seed=1))
    monkeypatch.setattr(worker._consumer, "group_metadata", lambda: None)
    eventually(lambda: _guarded(worker) and worker._held == [], "it joins again")
    work_off(worker, wallet, places)
    Proof(wallet).hold()


def applied_by_all() -> tuple[float | None, float | None]:
    """Partitions that this process says it applies, and all that there are."""
    told = metrics.registry.get_sample_value
    return told("wallet_worker_partitions"), told("wallet_worker_partitions_all")


def refuse() -> None:
    raise psycopg.OperationalError("it is away")


def test_a_worker_says_that_it_applies_no_partition_while_a_server_is_away(
    wallet: Settings, hire: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = hire()
    join(worker)
    all_of_them = 3.0 * wallet.partitions
    assert applied_by_all() == (all_of_them, all_of_them)
    monkeypatch.setattr(worker, "_wait_polling", lambda seconds: None)
    assert worker._connection is not None
    worker._connection.close()
    with monkeypatch.context() as away:
        away.setattr(worker, "_connect", refuse)
        worker._run_guarded()
        assert applied_by_all() == (0.0, all_of_them)
    eventually(
        lambda: _guarded(worker) and applied_by_all() == (all_of_them, all_of_them),
        "it has taken them over again",
    )


@pytest.mark.parametrize("known", ["an older generation", "nothing"])
def test_a_refused_publication_is_made_good_from_the_outbox(
    wallet: Settings,
    hire: Callable[..., Worker],
    monkeypatch: pytest.MonkeyPatch,
    known: str,
) -> None:
    worker = hire()
    eventually(lambda: _guarded(worker) and worker._held, "it has joined")
    old = worker._consumer.group_metadata() if known == "an older generation" else None
    worker._rejoin("a test")
    eventually(lambda: _guarded(worker) and worker._held, "it has joined again")
    monkeypatch.setattr(worker._consumer, "group_metadata", lambda: old)
    places = send(wallet, load(seed=1))
    joined = worker._consumer
    eventually(lambda: _guarded(worker) and worker._consumer is not joined, "it joins once more")
    places += send(wallet, load(seed=2))
    work_off(worker, wallet, places)
    Proof(wallet).hold()


@pytest.mark.parametrize(
    "rivalry", [errors.UniqueViolation, errors.DeadlockDetected, errors.SerializationFailure]
)
def test_a_batch_that_a_rival_rolls_back_is_tried_again(
    wallet: Settings, hire: Callable[..., Worker], rivalry: type[Exception]
) -> None:
    places = send(wallet, load())
    left = 2

    def clash(name: str) -> None:
        nonlocal left
        if name == "written" and left:
            left -= 1
            raise rivalry

    work_off(hire(clash), wallet, places)
    assert left == 0
    assert ("dead", "unprocessable") not in outcomes_of(wallet, places)
    Proof(wallet).hold()


def stand_by(database: Database, *, read_only: bool) -> None:
    """What sessions find after a failover: first the server that was, then the one that is."""
    with psycopg.connect(database.superuser_url, autocommit=True) as superuser:
        superuser.execute("SET default_transaction_read_only = off")
        superuser.execute(
            sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = {}").format(
                sql.Identifier(database.name), sql.Literal(read_only)
            )
        )
        superuser.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'wallet-worker'"
        )


def test_a_database_that_takes_no_writes_since_a_failover_is_waited_for(
    wallet: Settings, hire: Callable[..., Worker], database: Database
) -> None:
    worker = hire()
    eventually(lambda: _guarded(worker) and worker._held, "it has joined")
    stand_by(database, read_only=True)
    places = send(wallet, load())
    eventually(lambda: _guarded(worker) and "read-only" in (worker.fault() or ""), "it waits")
    assert str(worker.fault()).startswith("database cannot: ")
    stand_by(database, read_only=False)
    work_off(worker, wallet, places)
    assert ("dead", "unprocessable") not in outcomes_of(wallet, places)
    Proof(wallet).hold()


def test_the_one_command_that_the_database_refuses_is_set_apart_with_an_alarm(
    wallet: Settings, hire: Callable[..., Worker]
) -> None:
    # An index that was given away behind the wallet's back: the next address breaks a constraint.
    with psycopg.connect(wallet.database_url) as meddler:
        meddler.execute(
            "INSERT INTO deposit_addresses SELECT 'taken', %s, data ->> 'account_key', 0, 0, true,"
            " now() FROM rules",
            (CAT,),
        )
    good = [wire(OpenWallet(), user) for user in (ANN, BOB, CAT) for _ in range(4)]
    records = [*good[:5], wire(AssignAddress(), ANN), *good[5:]]
    places = send(wallet, records)
    worker = hire()
    work_off(worker, wallet, places)
    outcomes = outcomes_of(wallet, places)
    assert outcomes.pop(5) == ("dead", "unprocessable")
    assert {outcome for outcome, _ in outcomes} == {"accepted"}
    Proof(wallet).hold()
    (alarm,) = alarms_of(wallet)
    assert alarm["kind"] == "unprocessable"
    assert alarm["subject"] == f"1/{places[5].partition}/{places[5].offset}"


def test_a_command_that_makes_the_program_fail_is_set_apart_too(
    wallet: Settings, hire: Callable[..., Worker]
) -> None:
    records = [wire(OpenWallet(), user) for user in (ANN, BOB, CAT) for _ in range(4)]
    records.insert(7, wire(AssignAddress(), BOB))
    places = send(wallet, records)
    worker = hire()
    worker._derive = None
    worker._connect()
    work_off(worker, wallet, places)
    assert outcomes_of(wallet, places)[7] == ("dead", "unprocessable")
    assert [alarm["kind"] for alarm in alarms_of(wallet)] == ["unprocessable"]
    Proof(wallet).hold()


def _blind(worker: Worker) -> Worker:
    """A worker of a broken release: it cannot derive an address."""
    worker._derive = None
    worker._connect()
    return worker


def test_a_worker_that_would_set_everything_apart_stops_instead_however_often_it_is_started(
    wallet: Settings, hire: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    send(wallet, [wire(AssignAddress(), user) for user in (ANN, BOB, CAT) for _ in range(10)])
    for _ in range(2):
        worker = _blind(hire())
        with pytest.raises(TooManyUnprocessable, match="topic, partition, offset"):
            eventually(partial(_run_on, worker), "the worker stops")
        bury(worker)
        eventually(lambda: len(alarms_of(wallet)) >= 20, "operators are told")
        assert len(alarms_of(wallet)) == 20
    # When none of them is of the last hour, it goes on.
    monkeypatch.setattr("streams.worker.worker._UNPROCESSABLE_SECONDS", 0.0)
    worker = _blind(hire())
    eventually(lambda: _guarded(worker) and len(alarms_of(wallet)) == 30, "all are set apart", 60.0)
