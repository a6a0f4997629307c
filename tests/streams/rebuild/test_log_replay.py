"""Many partitions are read at their own pace, in bounded memory; what is gone is said at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, Message

from schemas.settings import Settings
from schemas.topics import CommandTopic, topic_name
from streams.kafka import replay as module
from streams.kafka.admin import create_topics
from streams.kafka.config import KafkaUnavailable
from streams.kafka.produce import Producer
from streams.kafka.replay import LogReplay, RecordsMissing
from tests.support.eventually import eventually

RECORDS = 600


@pytest.fixture
def topic(settings: Settings) -> str:
    """A topic with as many records in each of its partitions."""
    create_topics(settings)
    name = topic_name(settings, CommandTopic.SERVICES)
    with closing(Producer(settings)) as producer:
        for number in range(RECORDS):
            for partition in range(settings.partitions):
                producer.send(name, b"k", b"%d/%d" % (partition, number), partition=partition)
    return name


@pytest.fixture
def replay(settings: Settings) -> Iterator[LogReplay]:
    """A reader."""
    with closing(LogReplay(settings)) as made:
        yield made


def values(replay: LogReplay, topic: str, partition: int, first: int, last: int) -> list[bytes]:
    return [m.value() or b"" for m in replay.take(topic, partition, first, last)]


def test_a_partition_that_is_far_ahead_waits_and_nothing_of_it_is_lost(
    replay: LogReplay, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AHEAD_MAX", 40)
    monkeypatch.setattr(module, "_BURST", 20)
    assert values(replay, topic, 0, 0, 4) == [b"0/%d" % n for n in range(5)]
    # While the other three are read to their end, the first is held back.
    for partition in (1, 2, 3):
        for first in range(0, RECORDS, 100):
            read = values(replay, topic, partition, first, first + 99)
            assert read == [b"%d/%d" % (partition, n) for n in range(first, first + 100)]
        assert all(len(lane.read) < 200 for lane in replay._lanes.values())
    assert values(replay, topic, 0, 5, RECORDS - 1) == [b"0/%d" % n for n in range(5, RECORDS)]


def test_reading_goes_back_where_offsets_come_again_and_over_what_is_left_out(
    replay: LogReplay, topic: str
) -> None:
    assert values(replay, topic, 0, 100, 101) == [b"0/100", b"0/101"]
    assert values(replay, topic, 0, 3, 3) == [b"0/3"]
    assert values(replay, topic, 0, 500, 501) == [b"0/500", b"0/501"]


def test_a_partition_that_was_held_back_is_read_when_reading_goes_back(
    replay: LogReplay, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AHEAD_MAX", 40)
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 10.0)
    assert values(replay, topic, 0, 100, 100) == [b"0/100"]
    assert values(replay, topic, 1, 0, RECORDS - 1)[-1] == b"1/%d" % (RECORDS - 1)
    eventually(lambda: _held_back(replay, topic), "the first partition is held back")
    assert values(replay, topic, 0, 0, RECORDS - 1)[0] == b"0/0"


def _held_back(replay: LogReplay, topic: str) -> bool:
    replay._read(replay._lanes[topic, 1])
    return replay._lanes[topic, 0].paused


class ErrorFirst:
    """The reader's own client, which tells an error amid a batch: before the records beside it."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._held: list[Message] = []
        self.told = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def poll(self, seconds: float) -> Message | None:
        """Nothing, until there is an error and records of the other partition."""
        self._held += self._consumer.consume(RECORDS, seconds)
        self._held.sort(key=lambda message: not _is_fault(message))
        faults = sum(_is_fault(message) for message in self._held)
        if not self.told and not 0 < faults < len(self._held):
            return None
        self.told = True
        return self._held.pop(0) if self._held else None

    def consume(self, count: int, seconds: float) -> list[Message]:
        """What came with it."""
        held, self._held = self._held, []
        return held or list(self._consumer.consume(count, seconds))


def _is_fault(message: Message) -> bool:
    error = message.error()
    return error is not None and error.code() != KafkaError._PARTITION_EOF


def test_an_error_of_one_partition_costs_no_record_of_another(
    replay: LogReplay, topic: str
) -> None:
    for number in (0, 1):
        replay._lane(topic, number, 0)
    broken = replay._lanes[topic, 1]
    # As if the topic's retention had passed the place between the look and the first record.
    replay._consumer.incremental_unassign([broken.position()])
    broken.next_offset = RECORDS + 5
    replay._consumer.incremental_assign([broken.position()])
    client = ErrorFirst(replay._consumer)
    replay._consumer = cast("Consumer", client)
    told: list[str] = []

    def read() -> list[bytes]:
        try:
            return values(replay, topic, 0, 0, RECORDS - 1)
        except KafkaUnavailable as error:
            told.append(str(error))
            return []

    assert len(eventually(read, "the other is read")) == RECORDS
    assert client.told
    eventually(lambda: read_on(replay, told), "it is told")


def read_on(replay: LogReplay, told: list[str]) -> list[str]:
    try:
        replay._read(next(iter(replay._lanes.values())))
    except KafkaUnavailable as error:
        told.append(str(error))
    return told


def test_records_that_are_not_there_are_missed_at_once(replay: LogReplay, topic: str) -> None:
    with pytest.raises(RecordsMissing, match=f"holds offsets 0 to {RECORDS - 1}"):
        replay.take(topic, 0, RECORDS, RECORDS)
    with pytest.raises(RecordsMissing, match="any more"):
        replay.take(topic, 0, RECORDS - 1, RECORDS + 5)
    assert values(replay, topic, 0, 0, 0) == [b"0/0"]


def test_offsets_are_found_by_time(replay: LogReplay, topic: str) -> None:
    assert replay.offsets_at(topic, [0, 1], 0) == {0: 0, 1: 0}
    assert replay.offsets_at(topic, [0], 2**52) == {0: RECORDS}
