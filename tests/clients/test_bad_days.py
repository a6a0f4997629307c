"""The client on bad days: a broker that dies in mid-stream, and a consumer that is killed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from wallet_client import Amount
from wallet_client.checkpoints import SqlCheckpoint
from wallet_client.events import Event
from wallet_client.kafka import CommandProducer, Sent
from wallet_client.kafka.config import BrokerUnavailable
from wallet_client.models import LockFunds

from schemas.topics import CommandTopic
from streams.local.broker import EmbeddedKafka
from streams.local.process import free_port
from tests.clients import killed
from tests.clients.written import Written
from tests.support.eventually import eventually
from tests.support.station import read_all

pytestmark = pytest.mark.timeout(300)

ROOT: Final = Path(__file__).parents[2]
PATIENCE_SECONDS: Final = 100.0
USERS: Final = 6
EACH: Final = 40


@pytest.fixture(scope="module")
def mortal(servers_home: Path) -> Iterator[EmbeddedKafka]:
    """A broker of this module's own, which may die."""
    home = servers_home / "mortal"
    broker = EmbeddedKafka(home, port=free_port())
    broker.start()
    yield broker
    broker.remove()


def kill(broker: EmbeddedKafka) -> None:
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGKILL)
    eventually(lambda: not broker.alive(), "the broker is dead")


class Seen:
    """Events by user, in the order in which they were handled; enough of them sets ``half``."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []
        self.half = threading.Event()

    def note(self, event: Event) -> None:
        self.events.append((event.subject, event.sequence))
        if len(self.events) == USERS * EACH // 4:
            self.half.set()

    def all_of(self, users: list[str]) -> bool:
        return set(self.events) == {(user, n) for user in users for n in range(1, EACH + 1)}


def through_outages(step: Callable[[], object], done: Callable[[], bool]) -> None:
    """Go on as an application does: what a broker that is away raises is tried again."""

    def tried() -> bool:
        try:
            step()
        except BrokerUnavailable as away:
            print("away:", away)
        return done()

    eventually(tried, "all events are handled", PATIENCE_SECONDS)


def one_by_one(written: Written, seen: Seen, users: list[str]) -> None:
    """At least once."""
    with written.consumer("plain") as consumer:

        def step() -> None:
            event = consumer.poll(0.2)
            if event is not None:
                seen.note(event)

        through_outages(step, lambda: seen.all_of(users))


def in_transactions(written: Written, seen: Seen, users: list[str], database: Path) -> None:
    """Exactly once, by a checkpoint; what is seen is what the database has."""
    with closing(sqlite3.connect(database)) as connection:
        checkpoint = SqlCheckpoint(connection, "shop")
        checkpoint.create_tables()
        connection.execute("CREATE TABLE counted (subject TEXT, sequence INTEGER)")

        def count(event: Event) -> None:
            row = (event.subject, event.sequence)
            connection.execute("INSERT INTO counted VALUES (?, ?)", row)

        def done() -> bool:
            rows = connection.execute("SELECT subject, sequence FROM counted ORDER BY rowid")
            seen.events = rows.fetchall()
            if len(seen.events) >= USERS * EACH // 4:
                seen.half.set()
            return seen.all_of(users)

        with written.consumer("exact", checkpoint=checkpoint) as consumer:
            through_outages(lambda: consumer.handle(count, timeout_seconds=0.2), done)


@pytest.mark.slow
def test_a_broker_that_dies_in_mid_stream_costs_no_event_and_exactly_once_counts_none_twice(
    mortal: EmbeddedKafka, tmp_path: Path
) -> None:
    written = Written(mortal.address)
    users = [str(uuid.uuid4()) for _ in range(USERS)]
    plain, exact = Seen(), Seen()
    with ThreadPoolExecutor(2) as threads:
        reading = [
            threads.submit(one_by_one, written, plain, users),
            threads.submit(in_transactions, written, exact, users, tmp_path / "shop.db"),
        ]
        for user in users:
            written.write(user, range(1, EACH // 2 + 1))
        for seen in (plain, exact):
            assert seen.half.wait(PATIENCE_SECONDS)
        kill(mortal)
        mortal.start()
        for user in users:
            written.write(user, range(EACH // 2 + 1, EACH + 1))
        for each in reading:
            each.result()
    assert max(Counter(exact.events).values()) == 1
    for user in users:
        order = [sequence for subject, sequence in exact.events if subject == user]
        assert order == sorted(order)


@pytest.mark.slow
def test_commands_sent_while_the_broker_is_dead_land_once_in_order_and_get_their_outcomes(
    mortal: EmbeddedKafka,
) -> None:
    written = Written(mortal.address)
    user = str(uuid.uuid4())
    bid = LockFunds(amount=Amount("1"), reference_type="auction", reference_id="7")
    with CommandProducer(mortal.address, "tests", topic_prefix=written.prefix) as producer:
        sent = [producer.send(user, bid, idempotency_key=f"bid-{n}") for n in range(20)]
        sent[-1].place()
        kill(mortal)
        sent += [producer.send(user, bid, idempotency_key=f"bid-{n}") for n in range(20, 40)]
        mortal.start()
        places = [each.place() for each in sent]
        (on_topic,) = read_all(written.settings, CommandTopic.SERVICES).values()
        keys = [json.loads(record.value() or b"")["idempotency_key"] for record in on_topic]
        assert keys == [f"bid-{n}" for n in range(40)]
        assert [place.offset for place in places] == [record.offset() for record in on_topic]
        tell(written, sent)
        assert [each.outcome().sequence for each in sent] == list(range(1, 41))


def tell(written: Written, sent: list[Sent]) -> None:
    """Publish an outcome of each, as the worker would."""
    producer = written.producer()
    for sequence, each in enumerate(sent, 1):
        own = {"causationid": each.command_id(), "idempotencykey": each.idempotency_key}
        written.put(producer, each.user_id, sequence, **own)
    assert producer.flush(PATIENCE_SECONDS) == 0


def test_a_consumer_killed_between_handling_and_commit_loses_nothing_and_counts_once(
    kafka_server: str, tmp_path: Path
) -> None:
    # Side by side, since each successor waits until the group has given up the dead one.
    with ThreadPoolExecutor(len(killed.PLACES)) as threads:
        found = dict(
            zip(
                killed.PLACES,
                threads.map(lambda where: _kill_at(kafka_server, where, tmp_path), killed.PLACES),
                strict=True,
            )
        )
    # The event that was in hand comes again, as it must where nobody else keeps the place.
    assert found["handled"] == [1, 2, 3, 3, 4, 5]
    assert found["written"] == found["committed"] == [1, 2, 3, 4, 5]


def _kill_at(broker: str, where: str, folder: Path) -> list[int]:
    """What was handled in all, by the one that is killed there and by its successor."""
    written = Written(broker)
    written.write(str(uuid.uuid4()), range(1, 6))
    database = folder / f"{where}.db"
    with closing(sqlite3.connect(database)) as connection:
        checkpoint = SqlCheckpoint(connection, "shop")
        checkpoint.create_tables()
        connection.execute("CREATE TABLE counted (sequence INTEGER)")
        connection.commit()
        done = subprocess.run(
            [sys.executable, "-m", killed.__name__, broker, written.prefix, where, str(folder)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT / "clients" / "python")},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        if where == "handled":
            return _go_on(written, folder / "handled")

        def count(event: Event) -> None:
            connection.execute("INSERT INTO counted VALUES (?)", (event.sequence,))
            if event.sequence == 5:
                consumer.stop()

        with written.consumer(where, checkpoint=checkpoint) as consumer:
            consumer.handle(count, timeout_seconds=PATIENCE_SECONDS)
        rows = connection.execute("SELECT sequence FROM counted ORDER BY rowid")
        return [sequence for (sequence,) in rows]


def _go_on(written: Written, file: Path) -> list[int]:
    handled = [int(line) for line in file.read_text().split()]
    with written.consumer("handled") as consumer:
        for event in consumer:
            handled.append(event.sequence)
            if event.sequence == 5:
                consumer.stop()
    return handled
