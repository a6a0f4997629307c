"""How large a batch of commands may be unpacked, the broker says; a worker could not refuse it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, Producer

from schemas.settings import Settings
from schemas.topics import CommandTopic, topic_name
from streams.kafka.admin import create_topics
from streams.kafka.config import client_config
from streams.kafka.view import LogView

SERVICES = CommandTopic.SERVICES


def delivered(settings: Settings, codec: str, values: Sequence[bytes]) -> list[KafkaError | None]:
    """What the broker says of each of the records, which come to it as one batch of that codec."""
    told: list[KafkaError | None] = []
    producer = Producer(
        client_config(
            settings,
            **{
                "compression.type": codec,
                "linger.ms": 60_000,
                "batch.size": 100_000_000,
                "message.max.bytes": 100_000_000,
            },
        )
    )
    for value in values:
        producer.produce(
            topic_name(settings, SERVICES),
            value,
            b"key",
            0,
            on_delivery=lambda error, message: told.append(error),
        )
    assert producer.flush(30.0) == 0
    return told


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_a_packed_batch_of_commands_is_taken_if_it_is_small_enough_unpacked(
    settings: Settings, codec: str
) -> None:
    create_topics(settings)
    small = [b"%d" % number for number in range(100)]
    assert delivered(settings, codec, small) == [None] * 100
    # Packed, it is a tenth of what a batch may be; and one of its records would be small enough.
    too_many = delivered(settings, codec, [b" " * 16_000] * 150)
    assert {error and error.code() for error in too_many} == {KafkaError.MSG_SIZE_TOO_LARGE}
    assert delivered(settings, codec, [b"last"]) == [None]
    with closing(LogView(settings)) as view:
        read = list(view.records(topic_name(settings, SERVICES), 0, 0))
    assert [message.value() for message in read] == [*small, b"last"]
    assert {message.timestamp()[0] for message in read} == {TIMESTAMP_LOG_APPEND_TIME}
