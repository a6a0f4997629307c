"""What the worker relies on of a real broker, through the one adapter: transactions, fences,
offsets, partitions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec
import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]

from schemas.settings import Settings, SettingsError
from schemas.topics import ALERTS, BATCHES, EVENTS, TOPICS, CommandTopic, topic_name
from streams.kafka import config
from streams.kafka.admin import Admin, create_topics
from streams.kafka.config import KafkaUnavailable, client_config, partition_of
from streams.kafka.consume import Assignment
from streams.kafka.produce import (
    Delivery,
    Outgoing,
    Producer,
    PublishRefused,
    TransactionalProducer,
)
from streams.kafka.view import LogView
from streams.local.process import LOOPBACK, free_port
from tests.support.eventually import eventually
from tests.support.member import Member
from tests.support.publishing import publish

pytestmark = pytest.mark.timeout(300)

SERVICES: Final = CommandTopic.SERVICES


class Crash(Exception):
    """The process dies here."""


def crash_at(name: str) -> Callable[[str], None]:
    def step(reached: str) -> None:
        if reached == name:
            raise Crash

    return step


def refuse(reached: str) -> None:
    """What the library raises where the broker wants the transaction aborted."""
    raise KafkaException(KafkaError(KafkaError._APPLICATION, "refused by the test"))


@pytest.fixture
def wallet(settings: Settings) -> Settings:
    """The test's own topics."""
    create_topics(settings)
    return settings


@pytest.fixture
def members(wallet: Settings) -> Iterator[Callable[[], Member]]:
    """Makes members, and lets them leave."""
    made: list[Member] = []

    def make() -> Member:
        made.append(Member(wallet))
        return made[-1]

    yield make
    for member in made:
        member.consumer.close()


@pytest.fixture
def view(wallet: Settings) -> Iterator[LogView]:
    """A reader of what is committed."""
    made = LogView(wallet)
    yield made
    made.close()


def values(view: LogView, settings: Settings, topic: str = EVENTS) -> list[bytes]:
    """All that a read-committed reader sees of a topic."""
    name = topic_name(settings, topic)
    return [
        message.value() or b""
        for partition in range(settings.partitions)
        for message in view.records(name, partition, 0)
    ]


def await_values(view: LogView, settings: Settings, wanted: list[bytes]) -> None:
    """A commit is answered before its markers stand in every partition."""
    eventually(lambda: len(values(view, settings)) >= len(wanted), "what was committed is readable")
    assert values(view, settings) == wanted


def event(settings: Settings, value: bytes) -> Outgoing:
    return Outgoing(topic_name(settings, EVENTS), b"key", value)


def offsets(settings: Settings, next_offset: int) -> list[tuple[str, int, int]]:
    return [(topic_name(settings, SERVICES), 0, next_offset)]


# ---------------------------------------------------------------------- partitions


@pytest.mark.parametrize(
    ("key", "murmur2"),
    # From the tests of Kafka's own Java client (UtilsTest.testMurmur2).
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_a_key_goes_where_javas_clients_send_it(key: bytes, murmur2: int) -> None:
    positive = murmur2 & 0x7FFFFFFF
    for partitions in (1, 4, 12, 97):
        assert partition_of(key, partitions) == positive % partitions


def test_both_producers_put_a_key_where_the_reader_expects_it(
    wallet: Settings, view: LogView
) -> None:
    keys = [b"user-%d" % number for number in range(40)]
    name = topic_name(wallet, EVENTS)
    plain = Producer(wallet)
    transactional = TransactionalProducer(wallet, f"{wallet.topic_prefix}keys")
    for key in keys:
        plain.send(name, key, b"plain")
    plain.close()
    publish(transactional, [Outgoing(name, key, b"in a transaction") for key in keys], [], None)
    eventually(lambda: len(values(view, wallet)) == 2 * len(keys), "what was committed is readable")
    found = {
        (message.key(), message.value()): message.partition()
        for partition in range(wallet.partitions)
        for message in view.records(name, partition, 0)
    }
    assert found == {
        (key, value): partition_of(key, wallet.partitions)
        for key in keys
        for value in (b"plain", b"in a transaction")
    }
    assert set(found.values()) == set(range(wallet.partitions))


# ---------------------------------------------------------------------- settings


@pytest.mark.parametrize("name", sorted(config._FIXED))
def test_what_the_promises_hang_on_cannot_be_set(name: str) -> None:
    unsafe = Settings(kafka={"bootstrap.servers": "b:1", name: "x"})
    with pytest.raises(SettingsError, match=name):
        client_config(unsafe)


@pytest.mark.parametrize(
    "given",
    [
        {"bootstrap.server": "b:1"},
        {"fetch.max.bytes": "much"},
        {"security.protocol": "ssl", "ssl.ca.location": "/none"},
        {"receive.message.max.bytes": "2000000"},
        {"max.poll.interval.ms": "5000"},
        {"socket.timeout.ms": "60000"},
        {"max.in.flight": "10"},
        {"max.poll.interval.ms": "20000", "session.timeout.ms": "30000"},
    ],
)
def test_what_the_library_does_not_take_is_a_fault_of_the_settings(given: dict[str, str]) -> None:
    name = list(given)[-1]
    with pytest.raises(SettingsError, match=f"WALLET_KAFKA_.*: .*{name}"):
        client_config(Settings(kafka={"bootstrap.servers": "b:1", **given}))


def test_everything_else_is_passed_on_and_stands_over_ours() -> None:
    given = {"bootstrap.servers": "b:1", "client.rack": "r", "session.timeout.ms": "30000"}
    made = client_config(Settings(kafka=given), **{"session.timeout.ms": 6_000, "linger.ms": 1})
    names = ("client.rack", "session.timeout.ms", "linger.ms")
    assert [made[name] for name in names] == ["r", "30000", 1]
    with pytest.raises(SettingsError, match="WALLET_KAFKA_BOOTSTRAP_SERVERS"):
        client_config(Settings())


# ---------------------------------------------------------------------- topics


def configuration(settings: Settings, topic: str) -> dict[str, str]:
    """A topic's settings as the broker has them."""
    resource = ConfigResource("topic", topic)
    client = AdminClient(client_config(settings))
    (future,) = client.describe_configs([resource]).values()
    return {name: entry.value for name, entry in future.result().items()}


def test_topics_are_made_once_as_they_are_declared(settings: Settings) -> None:
    admin = Admin(settings)
    assert create_topics(settings) == [settings.topic_prefix + topic.name for topic in TOPICS]
    assert create_topics(settings) == []
    facts = admin.topics([settings.topic_prefix + topic.name for topic in TOPICS])
    for topic in TOPICS:
        count = 1 if topic.name == ALERTS else settings.partitions
        assert facts[settings.topic_prefix + topic.name].partitions == count
    for topic in TOPICS:
        found = configuration(settings, settings.topic_prefix + topic.name)
        assert topic.config.items() <= found.items()


def test_another_number_of_partitions_is_refused(wallet: Settings) -> None:
    more = msgspec.structs.replace(wallet, partitions=wallet.partitions + 1)
    with pytest.raises(SettingsError, match="has 4 partitions, WALLET_PARTITIONS says 5"):
        create_topics(more)


def test_a_topic_that_is_made_anew_has_another_id(wallet: Settings) -> None:
    admin = Admin(wallet)
    name = topic_name(wallet, SERVICES)
    before = admin.topics([name])[name].topic_id
    admin.delete_topics([name])
    eventually(lambda: not admin.topics([name]), "the topic is gone")
    create_topics(wallet)
    assert admin.topics([name])[name].topic_id != before


def test_commands_are_stamped_by_the_broker_and_their_place_is_told(
    wallet: Settings, view: LogView
) -> None:
    told: list[Delivery] = []
    producer = Producer(wallet)
    name = topic_name(wallet, SERVICES)
    producer.send(name, b"key", b"one", told.append, partition=2)
    producer.send(name, b"key", b"two", told.append, partition=2)
    producer.flush()
    assert told == [Delivery(2, 0, None, False), Delivery(2, 1, None, False)]
    producer.close()
    message = view.record(name, 2, 1)
    assert message is not None and message.value() == b"two"
    log_append_time = 2
    assert message.timestamp()[0] == log_append_time
    assert view.record(name, 2, 2) is None


def test_a_record_that_no_broker_took_may_be_there_all_the_same() -> None:
    told: list[Delivery] = []
    nobody = Settings(kafka={"bootstrap.servers": f"{LOOPBACK}:{free_port()}"})
    producer = Producer(nobody, timeout_ms=300)
    producer.send("wallet.commands", b"key", b"one", told.append)
    eventually(lambda: told, "the record is given up")
    assert (told[0].error is not None, told[0].unknown) == (True, True)
    producer.close()


def test_a_broker_that_is_away_is_told_as_such() -> None:
    nobody = Settings(kafka={"bootstrap.servers": f"{LOOPBACK}:{free_port()}"})
    assert not Admin(nobody).reachable(timeout_seconds=0.5)


# ---------------------------------------------------------------------- transactions


def test_an_aborted_transaction_shows_to_no_reader_and_commits_no_offset(
    wallet: Settings, view: LogView, members: Callable[[], Member]
) -> None:
    member = members()
    member.join(3 * wallet.partitions)
    producer = TransactionalProducer(wallet, f"{wallet.topic_prefix}one")
    metadata = member.consumer.group_metadata()
    publish(producer, [event(wallet, b"first")], offsets(wallet, 5), metadata)
    with pytest.raises(PublishRefused, match="refused by the test") as refused:
        publish(
            producer, [event(wallet, b"second")], offsets(wallet, 9), metadata, before_commit=refuse
        )
    assert not refused.value.fenced
    publish(producer, [event(wallet, b"third")], offsets(wallet, 6), metadata)
    await_values(view, wallet, [b"first", b"third"])
    assert member.consumer.committed([(SERVICES, 0)]) == {(SERVICES, 0): 6}


@pytest.mark.parametrize("step", ["produced", "offsets-sent"])
def test_what_a_dead_worker_left_open_is_neither_seen_nor_counted(
    wallet: Settings, view: LogView, members: Callable[[], Member], step: str
) -> None:
    member = members()
    member.join(3 * wallet.partitions)
    metadata = member.consumer.group_metadata()
    dead = TransactionalProducer(wallet, f"{wallet.topic_prefix}dead")
    with pytest.raises(Crash):
        publish(
            dead,
            [event(wallet, b"lost")],
            offsets(wallet, 9),
            metadata,
            before_commit=crash_at(step),
        )
    # The same id fences it, which ends its transaction at once instead of after the time-out.
    living = TransactionalProducer(wallet, f"{wallet.topic_prefix}dead")
    assert member.consumer.committed([(SERVICES, 0)]) == {(SERVICES, 0): None}
    publish(living, [event(wallet, b"told")], offsets(wallet, 9), metadata)
    assert member.consumer.committed([(SERVICES, 0)]) == {(SERVICES, 0): 9}
    await_values(view, wallet, [b"told"])
    with pytest.raises(PublishRefused) as refused:
        publish(dead, [event(wallet, b"again")], offsets(wallet, 10), metadata)
    assert refused.value.fenced
    await_values(view, wallet, [b"told"])


def test_asking_for_the_committed_offsets_waits_for_an_open_transaction(
    wallet: Settings, members: Callable[[], Member]
) -> None:
    member = members()
    member.join(3 * wallet.partitions)
    producer = TransactionalProducer(wallet, f"{wallet.topic_prefix}open")
    sent, go_on = threading.Event(), threading.Event()

    def hold(step: str) -> None:
        if step == "offsets-sent":
            sent.set()
            assert go_on.wait(30.0)

    metadata = member.consumer.group_metadata()
    with ThreadPoolExecutor(2) as threads:
        publishing = threads.submit(
            publish,
            producer,
            [event(wallet, b"one")],
            offsets(wallet, 7),
            metadata,
            before_commit=hold,
        )
        assert sent.wait(30.0)
        # A short patience meets the transaction still open ...
        with pytest.raises(KafkaUnavailable, match="committed offsets"):
            member.consumer.committed([(SERVICES, 0)], patience_seconds=0.5)
        asking = threads.submit(member.consumer.committed, [(SERVICES, 0)])
        assert not asking.done()
        go_on.set()
        publishing.result(30.0)
        # ... and whoever goes on asking learns what became of it, not what was before.
        assert asking.result(30.0) == {(SERVICES, 0): 7}


def test_a_worker_that_lost_its_partitions_cannot_publish_with_what_it_knew(
    wallet: Settings, view: LogView, members: Callable[[], Member]
) -> None:
    first = members()
    first.join(3 * wallet.partitions)
    old = first.consumer.group_metadata()
    second = members()
    with ThreadPoolExecutor(1) as threads:
        joining = threads.submit(second.join, 3 * wallet.partitions // 2)
        first.join(3 * wallet.partitions // 2)
        joining.result(30.0)
    zombie = TransactionalProducer(wallet, f"{wallet.topic_prefix}zombie")
    with pytest.raises(PublishRefused, match=r"GENERATION|MEMBER") as refused:
        publish(zombie, [event(wallet, b"old")], offsets(wallet, 3), old)
    assert not refused.value.fenced, "the producer itself can be used again"
    publish(zombie, [event(wallet, b"new")], offsets(wallet, 3), first.consumer.group_metadata())
    await_values(view, wallet, [b"new"])


def test_nobody_can_commit_offsets_although_the_broker_would_let_him(
    wallet: Settings, view: LogView, members: Callable[[], Member]
) -> None:
    nobody = members()
    before = nobody.consumer.group_metadata()
    raw = nobody.consumer._consumer.consumer_group_metadata()
    member = members()
    nobody.consumer.close()
    member.join(3 * wallet.partitions)
    producer = TransactionalProducer(wallet, f"{wallet.topic_prefix}nobody")
    # Who was never a member, or was thrown out, has generation -1: no broker looks at that.
    publish(producer, [event(wallet, b"unchecked")], offsets(wallet, 1), raw)
    assert member.consumer.committed([(SERVICES, 0)]) == {(SERVICES, 0): 1}
    assert before is None
    with pytest.raises(PublishRefused, match="no member") as refused:
        publish(producer, [event(wallet, b"refused")], offsets(wallet, 2), before)
    assert not refused.value.fenced
    await_values(view, wallet, [b"unchecked"])


def test_the_very_first_offset_is_committed_without_a_transaction(
    wallet: Settings, members: Callable[[], Member]
) -> None:
    first = members()
    first.join(3 * wallet.partitions)
    first.consumer.commit([Assignment(SERVICES, 1, 0)])
    assert first.consumer.committed([(SERVICES, 1), (SERVICES, 2)]) == {
        (SERVICES, 1): 0,
        (SERVICES, 2): None,
    }


# ---------------------------------------------------------------------- the group, reading


def test_a_worker_gets_the_same_partition_numbers_of_all_three_topics(
    wallet: Settings, members: Callable[[], Member]
) -> None:
    first, second = members(), members()
    half = 3 * wallet.partitions // 2
    with ThreadPoolExecutor(1) as threads:
        joining = threads.submit(second.join, half)
        first.join(half)
        joining.result(30.0)
    for member in (first, second):
        numbers = {number for topic, number in member.held if topic is SERVICES}
        assert member.held == [(topic, n) for topic in CommandTopic for n in sorted(numbers)]
    assert {*first.held} | {*second.held} == {
        (topic, number) for topic in CommandTopic for number in range(wallet.partitions)
    }


def test_a_batch_is_one_record_that_is_waited_for_and_what_lies_behind_it(
    wallet: Settings, members: Callable[[], Member]
) -> None:
    member = members()
    member.join(3 * wallet.partitions)
    assert member.consumer.poll(0.0) is None
    producer = Producer(wallet)
    for number in range(50):
        producer.send(topic_name(wallet, SERVICES), b"key", b"%d" % number)
    producer.close()
    found: list[bytes] = []

    def all_read() -> bool:
        first = member.consumer.poll(0.5)
        if first is not None:
            found.extend(m.value() or b"" for m in (first, *member.consumer.drain(99)))
        return len(found) == 50

    eventually(all_read, "all records are read")
    assert found == [b"%d" % number for number in range(50)]
    # Back to the tenth, dropping what was fetched ahead.
    partition = partition_of(b"key", wallet.partitions)
    member.consumer.seek([Assignment(SERVICES, partition, 10)])
    again = eventually(lambda: member.consumer.poll(0.5), "the record is read again")
    assert again is not None and again.value() == b"10"


def test_a_pause_ends_with_the_assignment(wallet: Settings, members: Callable[[], Member]) -> None:
    member = members()
    member.join(3 * wallet.partitions)
    member.consumer.pause()
    rival = members()
    with ThreadPoolExecutor(1) as threads:
        joining = threads.submit(rival.join, 3 * wallet.partitions // 2)
        member.join(3 * wallet.partitions // 2)
        joining.result(30.0)
    producer = Producer(wallet)
    for topic, number in member.held:
        producer.send(topic_name(wallet, topic), b"key", b"value", partition=number)
    producer.close()
    found: set[tuple[str | None, int | None]] = set()

    def all_read() -> bool:
        message = member.consumer.poll(0.1)
        if message is not None:
            found.add((message.topic(), message.partition()))
        return len(found) == len(member.held)

    eventually(all_read, "every partition is read again")


def test_a_reader_goes_over_markers_and_aborted_records_to_the_end(
    wallet: Settings, view: LogView
) -> None:
    producer = TransactionalProducer(wallet, f"{wallet.topic_prefix}gaps")
    name = topic_name(wallet, BATCHES)
    for number in range(3):
        publish(producer, [Outgoing(name, b"k", b"%d" % number, 1)], [], None)
        with pytest.raises(PublishRefused):
            publish(producer, [Outgoing(name, b"k", b"lost", 1)], [], None, before_commit=refuse)
    found = [(m.offset() or 0, m.value()) for m in view.records(name, 1, 0)]
    assert [value for _, value in found] == [b"0", b"1", b"2"]
    assert Admin(wallet).ends(name, [1])[1] > found[-1][0]
    assert view.record(name, 1, found[0][0] + 1) is None
    assert [m.value() for m in view.records(name, 1, 0, last=found[1][0])] == [b"0", b"1"]
