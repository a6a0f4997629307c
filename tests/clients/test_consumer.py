"""The event consumer on a real broker: at least once, exactly once, in order, and again."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from wallet_client import Amount
from wallet_client.checkpoints import SqlCheckpoint
from wallet_client.events import Event, NotAnEvent, Unknown
from wallet_client.kafka import EventConsumer, EventsGone
from wallet_client.models import LockFunds, LockResult
from wallet_client.ordering import Gap

from tests.clients.station import Station
from tests.clients.written import PATIENCE_SECONDS, Written, id_of, read, sequences


@pytest.fixture
def written(kafka_server: str) -> Written:
    return Written(kafka_server)


@pytest.fixture
def user() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """The database of an application."""
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        yield Shop(connection)


class Shop:
    """An application that counts each event in its own database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.checkpoint = SqlCheckpoint(connection, "shop")
        self.checkpoint.create_tables()
        connection.execute("CREATE TABLE IF NOT EXISTS counted (sequence INTEGER)")
        self.fails_at: int | None = None

    def count(self, event: Event) -> None:
        """Write, and then perhaps fail."""
        self.connection.execute("INSERT INTO counted VALUES (?)", (event.sequence,))
        if event.sequence == self.fails_at:
            raise OSError("the shop is on fire")

    def counted(self) -> list[int]:
        """What is committed, in the order in which it was."""
        rows = self.connection.execute("SELECT sequence FROM counted ORDER BY rowid")
        return [row[0] for row in rows]


def test_chosen_types_of_a_real_wallet_come_typed(station: Station) -> None:
    user = station.user("100")
    with station.producer() as producer:
        data = LockFunds(amount=Amount("3"), reference_type="auction", reference_id="7")
        producer.send(user, data, idempotency_key="bid").outcome()
    with EventConsumer(
        station.broker,
        f"shop-{user}",
        types={"funds.locked"},
        topic_prefix=station.settings.topic_prefix,
    ) as consumer:
        (event,) = read(consumer, 1)
        assert consumer.poll(0.0) is None
    assert event.subject == user
    assert isinstance(event.result, LockResult)
    assert event.result.amount == 3
    assert event.idempotencykey == "bid"


def test_what_was_not_handled_comes_again_after_a_restart(written: Written, user: str) -> None:
    written.write(user, range(1, 6))
    with written.consumer() as consumer:
        assert sequences(read(consumer, 3)) == [1, 2, 3]
    with written.consumer() as consumer:
        assert sequences(read(consumer, 3)) == [3, 4, 5]


def test_iterating_to_the_end_handles_all(written: Written, user: str) -> None:
    written.write(user, range(1, 4))
    with written.consumer() as consumer:
        for event in consumer:
            if event.sequence == 3:
                consumer.stop()
    written.write(user, [4])
    with written.consumer() as consumer:
        assert sequences(read(consumer, 1)) == [4]


def test_what_was_taken_back_is_never_seen(written: Written, user: str) -> None:
    producer = written.producer(**{"transactional.id": written.prefix})
    producer.init_transactions()
    for sequence, ends in ((1, producer.abort_transaction), (2, producer.commit_transaction)):
        producer.begin_transaction()
        written.put(producer, user, sequence)
        producer.flush()  # it stands on the topic before it is taken back
        ends()
    with written.consumer() as consumer:
        assert sequences(read(consumer, 1)) == [2]


def test_exactly_once_survives_a_failing_handler_and_a_restart(
    written: Written, user: str, shop: Shop
) -> None:
    written.write(user, range(1, 6))
    shop.fails_at = 3
    with (
        written.consumer(checkpoint=shop.checkpoint) as consumer,
        pytest.raises(OSError, match="on fire"),
    ):
        consumer.handle(shop.count, timeout_seconds=PATIENCE_SECONDS)
    assert shop.counted() == [1, 2]
    shop.fails_at = None
    with written.consumer(checkpoint=shop.checkpoint) as consumer:
        assert _handled(consumer, shop, until=5) == 3
    assert shop.counted() == [1, 2, 3, 4, 5]


def test_a_failed_event_is_handled_by_the_next_call(
    written: Written, user: str, shop: Shop
) -> None:
    written.write(user, range(1, 4))
    shop.fails_at = 2
    with written.consumer(checkpoint=shop.checkpoint) as consumer:
        with pytest.raises(OSError, match="on fire"):
            consumer.handle(shop.count, timeout_seconds=PATIENCE_SECONDS)
        shop.fails_at = None
        assert _handled(consumer, shop, until=3) == 2
    assert shop.counted() == [1, 2, 3]


def test_the_place_is_the_applications_own_not_the_groups(
    written: Written, user: str, shop: Shop
) -> None:
    """Its database was restored from a backup: the events come again, and count again."""
    written.write(user, range(1, 4))
    with written.consumer(checkpoint=shop.checkpoint) as consumer:
        _handled(consumer, shop, until=3)
    for table in ("counted", "wallet_handled", "wallet_places"):
        shop.connection.execute(f"DELETE FROM {table}")
    shop.connection.commit()
    with written.consumer(checkpoint=shop.checkpoint) as consumer:
        _handled(consumer, shop, until=3)
    assert shop.counted() == [1, 2, 3]


def test_a_database_that_is_away_at_the_beginning_loses_nothing(
    written: Written, user: str, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(partition: int) -> int | None:
        raise OSError("the database is away")

    written.write(user, range(1, 4))
    with written.consumer(checkpoint=shop.checkpoint) as consumer:
        with monkeypatch.context() as patched:
            patched.setattr(shop.checkpoint, "next_offset", away)
            for _ in range(2):
                with pytest.raises(OSError, match="away"):
                    consumer.handle(shop.count, timeout_seconds=PATIENCE_SECONDS)
        assert _handled(consumer, shop, until=3) == 3
    assert shop.counted() == [1, 2, 3]


def test_an_event_that_is_published_again_counts_once(
    written: Written, user: str, shop: Shop
) -> None:
    written.write(user, [1, 2, 1, 2, 3])
    with written.consumer(checkpoint=shop.checkpoint) as consumer:
        assert _handled(consumer, shop, until=3) == 3
    assert shop.counted() == [1, 2, 3]


def test_in_order_and_exactly_once_across_a_restart_with_an_event_in_hand(
    written: Written, user: str, shop: Shop
) -> None:
    written.write(user, [1, 2, 4])
    with written.consumer(checkpoint=shop.checkpoint, in_order=True) as consumer:
        _handled(consumer, shop, until=2)
    assert shop.counted() == [1, 2]
    written.write(user, [5, 3, 6])
    with written.consumer(checkpoint=shop.checkpoint, in_order=True) as consumer:
        _handled(consumer, shop, until=6)
    assert shop.counted() == [1, 2, 3, 4, 5, 6]


def test_in_order_a_type_that_is_not_wanted_leaves_no_gap(
    written: Written, user: str, shop: Shop
) -> None:
    options: dict[str, Any] = {"types": {"command.replayed"}, "in_order": True}
    written.write(user, [1])
    written.write(user, [2], kind="of.tomorrow")
    written.write(user, [3])
    with written.consumer(checkpoint=shop.checkpoint, **options) as consumer:
        _handled(consumer, shop, until=3)
    written.write(user, [4], kind="of.tomorrow")
    written.write(user, [5])
    with written.consumer(checkpoint=shop.checkpoint, **options) as consumer:
        _handled(consumer, shop, until=5)
        assert consumer.gaps() == []
    assert shop.counted() == [1, 3, 5]


def test_a_gap_is_raised_and_may_be_waited_for_or_skipped(written: Written, user: str) -> None:
    written.write(user, [1, 2, 4])
    with written.consumer(
        in_order=True, late_seconds=0.0, last_sequence=lambda subject: 0
    ) as consumer:
        assert sequences(read(consumer, 2)) == [1, 2]
        with pytest.raises(Gap) as gap:
            read(consumer, 1)
        assert (gap.value.subject, gap.value.first, gap.value.last) == (user, 3, 3)
        written.write(user, [3])
        assert sequences(read(consumer, 2)) == [3, 4]
        written.write(user, [6])
        with pytest.raises(Gap) as gap:
            read(consumer, 1)
        consumer.skip(gap.value)
        assert sequences(read(consumer, 1)) == [6]


def test_it_reads_again_from_an_offset_and_from_a_time(written: Written, user: str) -> None:
    written.write(user, range(1, 4))
    with written.consumer(in_order=True) as consumer:
        first = read(consumer, 3)
        consumer.replay({first[1].partition: first[1].offset})
        assert sequences(read(consumer, 2)) == [2, 3]
        now = datetime.now(UTC)
        consumer.replay("earliest")
        assert sequences(read(consumer, 3)) == [1, 2, 3]
        written.write(user, [4])
        consumer.replay(now)
        assert sequences(read(consumer, 1)) == [4]


def test_a_new_group_begins_where_it_is_told(written: Written, user: str) -> None:
    written.write(user, range(1, 4))
    (place,) = {(e.partition, e.offset) for e in _all(written, 3) if e.sequence == 3}
    with written.consumer("late", start=dict([place])) as consumer:
        assert sequences(read(consumer, 1)) == [3]


def test_events_that_the_topic_dropped_are_told_not_passed_over(
    written: Written, user: str
) -> None:
    written.write(user, range(1, 6))
    with written.consumer() as consumer:
        second = read(consumer, 2)[1]
    written.drop_before(TopicPartition(written.topic, second.partition, second.offset + 2))
    with written.consumer() as consumer:
        with pytest.raises(EventsGone) as gone:
            read(consumer, 1)
        assert gone.value.first == second.offset + 2
        consumer.replay({gone.value.partition: gone.value.first})
        assert sequences(read(consumer, 2)) == [4, 5]


def test_types_of_tomorrow_are_borne_and_garbage_is_told(written: Written, user: str) -> None:
    written.write(user, [1], kind="of.tomorrow")
    producer = written.producer()
    producer.produce(written.topic, b"garbage", user.encode())
    producer.flush()
    written.write(user, [2])
    with written.consumer() as consumer:
        (event,) = read(consumer, 1)
        assert event.data == Unknown({})
        with pytest.raises(NotAnEvent, match="partition"):
            read(consumer, 1)
        assert sequences(read(consumer, 1)) == [2]


def test_two_members_share_the_partitions_and_count_each_event_once(
    written: Written, tmp_path: Path
) -> None:
    users = [str(uuid.uuid4()) for _ in range(12)]
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        shop = Shop(connection)
        with (
            written.consumer(checkpoint=shop.checkpoint) as one,
            written.consumer(checkpoint=shop.checkpoint) as two,
        ):
            for user in users:
                written.write(user, [1, 2])
            handled = 0
            while handled < 24:
                handled += one.handle(shop.count, timeout_seconds=0.3)
                handled += two.handle(shop.count, timeout_seconds=0.3)
        assert shop.counted().count(1) == shop.counted().count(2) == 12


def test_an_id_is_kept_with_its_place(written: Written, user: str, shop: Shop) -> None:
    written.write(user, [1])
    with written.consumer(checkpoint=shop.checkpoint) as consumer:
        _handled(consumer, shop, until=1)
    assert shop.checkpoint.seen(id_of(user, 1))
    assert not shop.checkpoint.seen(id_of(user, 2))
    assert shop.checkpoint.last_sequence(user) == 1


def test_a_type_that_is_misspelt_is_refused(written: Written) -> None:
    with pytest.raises(ValueError, match=r"fund\.locked"):
        written.consumer(types={"fund.locked", "deposit.confirmed"})


def test_iteration_and_a_checkpoint_do_not_mix(written: Written, shop: Shop) -> None:
    with written.consumer(checkpoint=shop.checkpoint) as consumer, pytest.raises(RuntimeError):
        next(consumer)
    with written.consumer() as consumer, pytest.raises(RuntimeError, match="checkpoint"):
        consumer.handle(shop.count)


def _all(written: Written, count: int) -> list[Event]:
    with written.consumer("look") as consumer:
        return read(consumer, count)


def _handled(consumer: EventConsumer, shop: Shop, until: int) -> int:
    """Handle until the event with this sequence is; how many were."""

    def count(event: Event) -> None:
        shop.count(event)
        if event.sequence == until:
            consumer.stop()

    return consumer.handle(count, timeout_seconds=PATIENCE_SECONDS)
