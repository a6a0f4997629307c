"""Taking over: what a worker checks of the log and the group before it applies anything, and that
each difference stops that partition, alone, with an alarm."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, islice

import msgspec
import psycopg
import pytest
from click.testing import CliRunner
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from api.cli import group
from schemas.commands import OpenWallet
from schemas.ids import Place
from schemas.settings import Settings
from schemas.topics import CommandTopic, topic_name
from streams.kafka.admin import Admin, create_topics
from streams.kafka.config import client_config, partition_of
from streams.kafka.groups import Group
from streams.operator.adopt import adopt, look, plan
from streams.worker.worker import Worker
from tests.support.books import USERS
from tests.support.commands import Wire, wire
from tests.support.eventually import eventually
from tests.support.running import environment_of
from tests.support.station import (
    Proof,
    alarms_of,
    outcomes_of,
    partition_for,
    prepared,
    send,
    worker_for,
)

pytestmark = pytest.mark.timeout(300)

TOPIC = CommandTopic.USERS


@contextmanager
def working(settings: Settings) -> Iterator[Worker]:
    """A worker in a thread."""
    worker = worker_for(settings)
    thread = threading.Thread(target=worker.run, name="worker")
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(30.0)
        assert not thread.is_alive()


class Wallet:
    """A wallet whose users have opened their wallets a few times; nobody works at present."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.partition = partition_for(settings, USERS[0])
        self.places = send(settings, self.load())
        with working(settings):
            eventually(self.done, "all is applied")

    def load(self) -> list[Wire]:
        return [wire(OpenWallet(), user) for user in USERS for _ in range(5)]

    def done(self) -> bool:
        return self.decided(self.places)

    def decided(self, places: list[Place]) -> bool:
        return "none" not in {outcome for outcome, _ in outcomes_of(self.settings, places)}

    def sql(self, change: str) -> None:
        """Change the row of the first user's partition behind the wallet's back."""
        with psycopg.connect(self.settings.database_url) as meddler:
            done = meddler.execute(
                f"{change} WHERE topic = %s AND partition = %s", (int(TOPIC), self.partition)
            )
            assert done.rowcount > 0

    def halted(self) -> dict[tuple[int, int], str]:
        """The partitions that are halted, and why."""
        with psycopg.connect(self.settings.api_database_url) as connection:
            rows = connection.execute(
                "SELECT topic, partition, halted FROM partitions WHERE halted IS NOT NULL"
            ).fetchall()
        return {(topic, partition): reason for topic, partition, reason in rows}

    def await_no_members(self) -> None:
        group = Group(self.settings)
        eventually(lambda: group.members() == 0, "the worker has left the group")


@pytest.fixture
def wallet(settings: Settings) -> Wallet:
    # Small batches, so that a partition has several slices.
    return Wallet(prepared(msgspec.structs.replace(settings, batch_max=3)))


def tail_lost(wallet: Wallet) -> None:
    wallet.sql("UPDATE partitions SET next_offset = next_offset + 100")


def tail_replaced(wallet: Wallet) -> None:
    wallet.sql("UPDATE partitions SET last_digest = '\\x00'")


def last_record_gone(wallet: Wallet) -> None:
    # As if markers alone stood where the last applied record was.
    wallet.sql("UPDATE partitions SET last_offset = last_offset + 2, next_offset = next_offset + 3")
    send(wallet.settings, [wire(OpenWallet(), USERS[0]) for _ in range(3)])
    wallet.sql("UPDATE partitions SET last_digest = '\\x01'")


def records_expired(wallet: Wallet) -> None:
    admin = AdminClient(client_config(wallet.settings))
    place = TopicPartition(topic_name(wallet.settings, TOPIC), wallet.partition, -1)
    for future in admin.delete_records([place]).values():
        future.result()
    wallet.sql("UPDATE partitions SET next_offset = 1, last_offset = 0")


def offsets_expired(wallet: Wallet) -> None:
    wallet.await_no_members()
    admin = AdminClient(client_config(wallet.settings))
    for future in admin.delete_consumer_groups([wallet.settings.group]).values():
        future.result()


def database_restored(wallet: Wallet) -> None:
    wallet.sql("UPDATE partitions SET next_offset = 1, last_offset = 0")


def outbox_lost(wallet: Wallet) -> None:
    wallet.await_no_members()
    Group(wallet.settings).commit({(TOPIC, wallet.partition): 0})
    wallet.sql("DELETE FROM outbox")


def _outbox_row_lost(wallet: Wallet, number: int) -> None:
    wallet.await_no_members()
    Group(wallet.settings).commit({(TOPIC, wallet.partition): 0})
    with psycopg.connect(wallet.settings.database_url) as meddler:
        rows = meddler.execute(
            "SELECT first_offset FROM outbox WHERE topic = %s AND partition = %s ORDER BY 1",
            (int(TOPIC), wallet.partition),
        ).fetchall()
        assert len(rows) > 2
        meddler.execute(
            "DELETE FROM outbox WHERE topic = %s AND partition = %s AND first_offset = %s",
            (int(TOPIC), wallet.partition, *rows[number]),
        )


def outbox_lost_its_start(wallet: Wallet) -> None:
    _outbox_row_lost(wallet, 0)


def outbox_lost_its_middle(wallet: Wallet) -> None:
    _outbox_row_lost(wallet, 1)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (tail_lost, "the log ends at"),
        (tail_replaced, "is another than was applied"),
        (last_record_gone, "is another than was applied"),
        (records_expired, "the log begins at"),
        (offsets_expired, "the group's committed offset is gone"),
        (database_restored, "the database is older than the topic"),
        (outbox_lost, "the outbox lacks batches"),
        (outbox_lost_its_start, "the outbox lacks batches"),
        (outbox_lost_its_middle, "the outbox lacks batches"),
    ],
)
def test_a_log_that_is_not_the_one_that_was_applied_stops_its_partition_with_an_alarm(
    wallet: Wallet, damage: Callable[[Wallet], None], reason: str
) -> None:
    damage(wallet)
    later = send(wallet.settings, wallet.load())
    place = (int(TOPIC), wallet.partition)
    with working(wallet.settings) as worker:
        eventually(lambda: "halted" in (worker.fault() or ""), "readiness says so")
        # The other users are served; with the offsets gone, there is nothing that can be trusted.
        served = [p for p in later if (p.topic, p.partition) not in wallet.halted()]
        eventually(lambda: wallet.decided(served), "the others are served")
    assert reason in wallet.halted()[place]
    assert outcomes_of(wallet.settings, [p for p in later if p not in served]) == [
        ("none", None)
    ] * (len(later) - len(served))
    alarms = {alarm["subject"]: alarm for alarm in alarms_of(wallet.settings)}
    assert set(alarms) == {f"{CommandTopic(t).name.lower()}/{n}" for t, n in wallet.halted()}
    alarm = alarms[f"users/{wallet.partition}"]
    assert alarm["kind"] == "partition-halted"
    assert reason in alarm["detail"]


def test_a_partition_that_was_put_right_goes_on_and_nothing_was_lost(wallet: Wallet) -> None:
    tail_replaced(wallet)
    wallet.places += send(wallet.settings, wallet.load())
    with working(wallet.settings):
        eventually(lambda: bool(wallet.halted()), "the partition is halted")
    wallet.sql("UPDATE partitions SET last_offset = NULL, last_digest = NULL, chain = chain")
    with working(wallet.settings) as worker:
        eventually(wallet.done, "all is applied")
        assert worker.fault() is None
        last = max(p.offset for p in wallet.places if p.partition == wallet.partition)
        eventually(lambda: committed(wallet) == last + 1, "all is published")
    assert wallet.halted() == {}
    Proof(wallet.settings).hold()


def committed(wallet: Wallet) -> int | None:
    place = (TOPIC, wallet.partition)
    return Group(wallet.settings).committed([place])[place]


def test_the_same_halt_is_told_once_however_often_the_worker_takes_over(wallet: Wallet) -> None:
    tail_lost(wallet)
    worker = worker_for(wallet.settings)

    def take_over() -> bool:
        worker._run_guarded()
        return bool(worker._claims)

    for _ in range(3):
        eventually(take_over, "the partitions are taken over")
        assert len(worker._halted) == 1
        worker._rejoin("a test")
    worker.close()
    assert len(alarms_of(wallet.settings)) == 1


def test_a_topic_made_anew_stops_all_its_partitions_and_the_worker_goes_on_with_the_rest(
    wallet: Wallet,
) -> None:
    admin = Admin(wallet.settings)
    name = topic_name(wallet.settings, TOPIC)
    admin.delete_topics([name])
    eventually(lambda: not admin.topics([name]), "the topic is gone")
    create_topics(wallet.settings)
    again = send(wallet.settings, wallet.load())
    with working(wallet.settings) as worker:
        eventually(lambda: len(worker._halted) == wallet.settings.partitions, "all are halted")
        assert worker.fault() is not None
    assert {reason[:26] for reason in wallet.halted().values()} == {"the topic was made anew: i"}
    assert {place for place, _ in wallet.halted().items()} == {
        (int(TOPIC), number) for number in range(wallet.settings.partitions)
    }
    # Their places were taken before: what stands there now has no outcome of its own.
    with psycopg.connect(wallet.settings.api_database_url) as connection:
        row = connection.execute("SELECT count(*) FROM commands").fetchone()
    assert row == (len(wallet.places),)
    assert len(again) == len(wallet.places)


def test_where_nothing_was_ever_applied_the_group_begins_at_nought(settings: Settings) -> None:
    whole = prepared(settings)
    with working(whole) as worker:
        eventually(lambda: worker.fault() is None, "the worker is ready")
    places = [(topic, number) for topic in CommandTopic for number in range(whole.partitions)]
    assert Group(whole).committed(places) == dict.fromkeys(places, 0)


def test_workers_that_start_together_on_a_new_wallet_share_it(settings: Settings) -> None:
    whole = prepared(settings)
    places = send(whole, [wire(OpenWallet(), user) for user in USERS for _ in range(20)])
    with working(whole) as one, working(whole) as two, working(whole) as three:
        eventually(
            lambda: "none" not in {o for o, _ in outcomes_of(whole, places)}, "all is applied"
        )
        eventually(
            lambda: sorted(len(worker._claims) for worker in (one, two, three)) == [3, 3, 6],
            "the partitions are shared",
        )
    Proof(whole).hold()


def test_a_topic_that_is_made_anew_under_a_running_worker_stops_it_too(wallet: Wallet) -> None:
    admin = Admin(wallet.settings)
    name = topic_name(wallet.settings, TOPIC)
    with working(wallet.settings) as worker:
        eventually(lambda: worker.fault() is None, "the worker is ready")
        admin.delete_topics([name])
        eventually(lambda: not admin.topics([name]), "the topic is gone")
        create_topics(wallet.settings)
        # More than there were before, so that every offset that was applied exists again.
        send(wallet.settings, wallet.load() + wallet.load())
        # Mostly a fetch fails; where none does, the topics' ids are looked at every second.
        eventually(lambda: len(wallet.halted()) == wallet.settings.partitions, "all are halted")
    assert {reason[:26] for reason in wallet.halted().values()} == {"the topic was made anew: i"}


def test_a_topic_that_is_gone_is_waited_for(wallet: Wallet) -> None:
    admin = Admin(wallet.settings)
    name = topic_name(wallet.settings, TOPIC)
    with working(wallet.settings) as worker:
        eventually(lambda: worker.fault() is None, "the worker is ready")
        admin.delete_topics([name])
        # It may also be that the group has noticed first, and assigns what is left.
        eventually(
            lambda: (
                f"the topic {name} is gone" in (worker.fault() or "")
                or len(worker._claims) == 2 * wallet.settings.partitions
            ),
            "the worker says so, or goes on with the rest",
        )
        create_topics(wallet.settings)
        eventually(lambda: len(wallet.halted()) == wallet.settings.partitions, "it is back")


def test_a_wrong_number_of_partitions_in_the_settings_halts_all_and_buries_nothing(
    wallet: Wallet,
) -> None:
    wrong = msgspec.structs.replace(wallet.settings, partitions=wallet.settings.partitions // 2)
    wallet.places += send(wallet.settings, wallet.load())
    with working(wrong) as worker:
        eventually(lambda: len(wallet.halted()) == 3 * wallet.settings.partitions, "all are halted")
        # The alarms sound before the loop has come round.
        eventually(lambda: "halted" in (worker.fault() or ""), "the worker says so")
    assert set(wallet.halted().values()) == {
        f"the topic has {wallet.settings.partitions} partitions, but WALLET_PARTITIONS says "
        f"{wrong.partitions}: commands would be taken for misplaced"
    }
    with working(wallet.settings):
        eventually(wallet.done, "all is applied")
    assert "dead" not in {outcome for outcome, _ in outcomes_of(wallet.settings, wallet.places)}


def add_partition(wallet: Wallet) -> None:
    admin = AdminClient(client_config(wallet.settings))
    name = topic_name(wallet.settings, TOPIC)
    count = wallet.settings.partitions + 1
    for future in admin.create_partitions([NewPartitions(name, count)]).values():
        future.result()
    known = Admin(wallet.settings)
    eventually(lambda: known.topics([name])[name].partitions == count, "the partition is there")


def test_partitions_that_are_added_under_a_running_worker_halt_the_topic_by_themselves(
    wallet: Wallet,
) -> None:
    with working(wallet.settings) as worker:
        eventually(lambda: worker.fault() is None, "the worker is ready")
        add_partition(wallet)
        eventually(lambda: len(wallet.halted()) >= wallet.settings.partitions, "they are halted")
    assert {topic for topic, _ in wallet.halted()} == {TOPIC}
    assert all("the topic has 5 partitions" in reason for reason in wallet.halted().values())


def test_no_command_becomes_a_dead_letter_for_a_partition_that_the_worker_does_not_know_of(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The worker does not look by itself; it must find out by the first record that looks misplaced.
    monkeypatch.setattr("streams.worker.takeover._WATCH_SECONDS", 3600.0)
    before = wallet.settings.partitions
    keys = (str(uuid.UUID(int=number)) for number in count(1))
    moved = [
        key
        for key in islice(keys, 200)
        if partition_of(key.encode(), before) != partition_of(key.encode(), before + 1) < before
    ]
    with working(wallet.settings) as worker:
        eventually(lambda: worker.fault() is None, "the worker is ready")
        add_partition(wallet)
        later = send(wallet.settings, [wire(OpenWallet(), user) for user in moved])
        eventually(lambda: len(wallet.halted()) >= before, "the topic is halted")
    assert all("the topic has 5 partitions" in reason for reason in wallet.halted().values())
    assert set(outcomes_of(wallet.settings, later)) == {("none", None)}


def time_set_by(wallet: Wallet, who: str) -> None:
    set_on_topic(wallet, "message.timestamp.type", who)


def set_on_topic(wallet: Wallet, name: str, value: str) -> None:
    resource = ConfigResource(
        ResourceType.TOPIC,
        topic_name(wallet.settings, TOPIC),
        incremental_configs=[ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)],
    )
    admin = AdminClient(client_config(wallet.settings))
    for future in admin.incremental_alter_configs([resource]).values():
        future.result()


def test_a_topic_that_keeps_packed_what_was_packed_is_told(wallet: Wallet) -> None:
    set_on_topic(wallet, "compression.type", "producer")
    environment = environment_of(wallet.settings) | {"COLUMNS": "300"}
    shown = CliRunner().invoke(group, ["topics"], env=environment)
    assert shown.exit_code == 1
    assert shown.output.count("has batches as they were packed: set compression.type=uncomp") == 1


def halted_alone(wallet: Wallet, settings: Settings, places: list[Place]) -> str:
    """Work until the first user's partition is halted, and all others are served; why it is."""
    halted = (int(TOPIC), wallet.partition)
    with working(settings):
        eventually(lambda: halted in wallet.halted(), "the partition is halted")
        others = [place for place in places if place.partition != wallet.partition]
        eventually(lambda: wallet.decided(others), "the others are served")
    assert set(wallet.halted()) == {halted}
    assert [alarm["kind"] for alarm in alarms_of(settings)] == ["partition-halted"]
    return wallet.halted()[halted]


def send_timed(wallet: Wallet) -> None:
    """Send a record that bears its producer's time."""
    producer = Producer(client_config(wallet.settings))
    value = wire(OpenWallet(), USERS[0])
    told: list[object] = []
    producer.produce(
        topic_name(wallet.settings, TOPIC),
        value.value,
        value.key,
        wallet.partition,
        timestamp=1_500_000_000_000,
        on_delivery=lambda error, message: told.append(error),
    )
    assert producer.flush(30.0) == 0
    assert told == [None]


def test_what_stands_before_a_record_that_halts_its_partition_is_applied(
    wallet: Wallet,
) -> None:
    # All of it is read together.
    settings = msgspec.structs.replace(wallet.settings, batch_max=1_000)
    places = send(settings, wallet.load())
    time_set_by(wallet, "CreateTime")
    send_timed(wallet)
    halted_alone(wallet, settings, places)
    assert wallet.decided(places)


def test_a_record_whose_time_is_its_producers_halts_its_partition_until_it_is_stepped_over(
    wallet: Wallet,
) -> None:
    time_set_by(wallet, "CreateTime")
    environment = environment_of(wallet.settings) | {"COLUMNS": "300"}
    shown = CliRunner().invoke(group, ["topics"], env=environment)
    assert shown.exit_code == 1
    assert shown.output.count("has producers' times: set message.timestamp.type=LogAppendTime") == 1
    assert "ok, LogAppendTime" in shown.output
    send_timed(wallet)
    time_set_by(wallet, "LogAppendTime")
    places = send(wallet.settings, wallet.load())
    reason = halted_alone(wallet, wallet.settings, places)
    assert "is its producer's, not the broker's" in reason
    wallet.await_no_members()
    with psycopg.connect(wallet.settings.worker_database_url, autocommit=True) as connection:
        (found,) = look(wallet.settings, connection, TOPIC, [wallet.partition])
        over = plan(found, recreated=False, at=found.row.next_offset + 1)
        adopt(wallet.settings, connection, over, patience_seconds=30.0)
    with working(wallet.settings):
        eventually(
            lambda: wallet.decided(places),
            "all that came after it is applied",
        )
    assert wallet.halted() == {}
