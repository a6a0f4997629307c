"""A member that follows a topic on a real broker: nothing is passed over, nothing stands still."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Final

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas.settings import Settings
from schemas.topics import EVENTS, topic_name
from streams.kafka.admin import create_topics
from streams.kafka.config import KafkaUnavailable, client_config
from streams.kafka.follow import Followed, RecordsGone, TopicMember
from streams.kafka.produce import Producer
from tests.support.eventually import eventually

pytestmark = pytest.mark.timeout(300)

PATIENCE_SECONDS: Final = 100.0


@pytest.fixture
def topic(settings: Settings) -> str:
    """The test's own topic of events."""
    create_topics(settings)
    return topic_name(settings, EVENTS)


class Reader:
    """What members were handed and told, by partition and in order."""

    def __init__(self, *members: TopicMember) -> None:
        self.members = list(members)
        self.offsets: dict[int, list[int]] = defaultdict(list)
        self.told: list[Exception] = []

    def round(self) -> None:
        for member in self.members:
            try:
                self._take(member.poll(500, 0.05))
            except (KafkaUnavailable, RecordsGone) as told:
                self.told.append(told)

    def _take(self, records: Sequence[Followed]) -> None:
        for record in records:
            self.offsets[record.partition].append(record.offset)

    def until(self, check: Callable[[], bool], what: str) -> None:
        def tried() -> bool:
            self.round()
            return check()

        eventually(tried, what, PATIENCE_SECONDS)

    def until_read(self, partition: int, count: int) -> None:
        self.until(lambda: len(self.offsets[partition]) >= count, f"{count} are read")
        assert self.offsets[partition] == list(range(count))


@contextmanager
def member_of(settings: Settings, topic: str, **more: bool) -> Iterator[TopicMember]:
    group = f"{settings.topic_prefix}follow"
    with closing(TopicMember(settings, topic, group, on_revoked=lambda: None, **more)) as member:
        yield member


def put(settings: Settings, topic: str, partition: int, count: int) -> None:
    with closing(Producer(settings, linger_ms=5)) as producer:
        for _ in range(count):
            producer.send(topic, b"user", b"{}", partition=partition)


def drop(settings: Settings, topic: str, partition: int, before: int) -> None:
    """As the topic's retention would."""
    client = AdminClient(client_config(settings))
    (future,) = client.delete_records([TopicPartition(topic, partition, before)]).values()
    future.result(30.0)


def commit(settings: Settings, topic: str, offset: int) -> None:
    own = {"group.id": f"{settings.topic_prefix}follow"}
    consumer = Consumer(client_config(settings, **own))
    consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
    consumer.close()


def test_an_error_of_one_partition_costs_no_record_of_another(
    settings: Settings, topic: str
) -> None:
    put(settings, topic, 0, 5)
    put(settings, topic, 1, 5)
    with member_of(settings, topic) as member:
        reader = Reader(member)
        reader.until_read(0, 5)
        reader.until_read(1, 5)
        member.pause()
        put(settings, topic, 0, 400)
        put(settings, topic, 1, 10)
        drop(settings, topic, 1, 12)
        member.resume()
        reader.until_read(0, 405)
        reader.until(lambda: bool(reader.told), "what is gone is told")
        assert isinstance(reader.told[0], RecordsGone)
        assert "partition 1: 5 to 11" in str(reader.told[0])
        assert len(reader.offsets[1]) == 5


def test_records_gone_under_a_running_member_are_skipped_where_it_is_told_to(
    settings: Settings, topic: str
) -> None:
    put(settings, topic, 0, 5)
    with member_of(settings, topic, skip_gone=True) as member:
        reader = Reader(member)
        reader.until_read(0, 5)
        member.pause()
        put(settings, topic, 0, 10)
        drop(settings, topic, 0, 12)
        member.resume()
        reader.until(lambda: len(reader.offsets[0]) == 8, "the rest is read")
    assert reader.offsets[0] == [0, 1, 2, 3, 4, 12, 13, 14]


def test_records_that_were_taken_from_the_library_and_not_handed_over_are_read_again(
    settings: Settings, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(settings, topic, 0, 50)
    with member_of(settings, topic) as member:
        reader = Reader(member)
        with monkeypatch.context() as patch:
            asked: list[int] = []

            def sort(came: list[object]) -> tuple[list[Followed], None]:
                asked.append(len(came))
                if came:
                    raise KafkaUnavailable("as if something failed on the way")
                return [], None

            patch.setattr(member, "_sort", sort)
            reader.until(lambda: bool(reader.told), "it failed with records in hand")
        put(settings, topic, 0, 50)
        reader.until_read(0, 100)


def test_a_member_that_is_paused_reads_again_after_a_rebalance(
    settings: Settings, topic: str
) -> None:
    put(settings, topic, 0, 5)
    with ExitStack() as members:
        first = members.enter_context(member_of(settings, topic))
        reader = Reader(first)
        reader.until_read(0, 5)
        first.commit({0: 5})
        first.pause()
        put(settings, topic, 0, 5)
        with member_of(settings, topic) as second:
            both = Reader(first, second)
            both.until(lambda: second.joined, "the second is given its part")
        reader.until_read(0, 10)


def test_a_place_that_cannot_be_found_is_looked_for_again(
    settings: Settings, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(settings, topic, 0, 5)
    with member_of(settings, topic) as member:
        found = member._bounds
        failed: list[int] = []

        def bounds(number: int) -> tuple[int, int]:
            if not failed:
                failed.append(number)
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no leader yet"))
            return found(number)

        monkeypatch.setattr(member, "_bounds", bounds)
        reader = Reader(member)
        reader.until_read(0, 5)
        assert "no leader yet" in str(reader.told[0])


def test_a_log_that_ends_before_the_groups_place_is_told_and_read_from_its_begin_if_asked(
    settings: Settings, topic: str
) -> None:
    put(settings, topic, 0, 5)
    commit(settings, topic, 5000)
    with member_of(settings, topic) as member:
        reader = Reader(member)
        reader.until(lambda: bool(reader.told), "it is told")
        assert "all from 5 to 4999, and more" in str(reader.told[0])
    with member_of(settings, topic, skip_gone=True) as member:
        Reader(member).until_read(0, 5)


def test_what_the_topic_drops_before_a_group_has_committed_anything_is_told(
    settings: Settings, topic: str
) -> None:
    put(settings, topic, 0, 5)
    with member_of(settings, topic) as member:
        Reader(member).until_read(0, 5)
    drop(settings, topic, 0, 3)
    with member_of(settings, topic) as member:
        reader = Reader(member)
        reader.until(lambda: bool(reader.told), "it is told")
        assert "partition 0: 0 to 2" in str(reader.told[0])
