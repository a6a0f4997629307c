"""What a bench asks of the broker beside the wallet's own adapter; here alone it knows the library.

A gate is an open Kafka transaction: its records lie on the topics, and no worker may read one
before it is opened. So a run starts for all of them at one instant, with its topics full.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Generator, Iterable
from typing import Final

from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka import Producer as LibraryProducer

from schemas.settings import Settings
from schemas.topics import CommandTopic, topic_name
from streams.kafka.config import client_config, sound

#: (topic code, partition).
Place = tuple[int, int]

#: A gate may stay closed that long; a broker allows fifteen minutes at most.
_CLOSED_MS: Final = 600_000
_ANSWER_SECONDS: Final = 30.0


class Gate:
    """Records on their topics that nobody may read yet."""

    def __init__(self, settings: Settings) -> None:
        name = f"bench-{uuid.uuid4().hex[:12]}"
        own: dict[str, object] = {
            "client.id": name,
            "transactional.id": name,
            "transaction.timeout.ms": _CLOSED_MS,
            "partitioner": "murmur2_random",
            "linger.ms": 5,
        }
        self._producer = LibraryProducer(client_config(settings, **own))
        self._producer.init_transactions(_ANSWER_SECONDS)
        self._producer.begin_transaction()

    def fill(self, records: Iterable[tuple[str, bytes, bytes]]) -> None:
        """Put records (topic, key, value) behind the gate."""
        for topic, key, value in records:
            while True:
                try:
                    self._producer.produce(topic, value, key)
                    break
                except BufferError:
                    self._producer.poll(0.05)
        left = self._producer.flush(_ANSWER_SECONDS)
        if left:
            raise TimeoutError(f"{left} records were not taken by the broker")

    def open(self) -> float:
        """Let the records be read; the clock (monotonic seconds) just before."""
        opened = time.monotonic()
        self._producer.commit_transaction(_ANSWER_SECONDS)
        return opened


class Marks:
    """How far the command topics are filled, and how far the group has come."""

    def __init__(self, settings: Settings) -> None:
        self._places = {
            (int(code), partition): TopicPartition(topic_name(settings, code), partition)
            for code in CommandTopic
            for partition in range(settings.partitions)
        }
        self._codes = {topic_name(settings, code): int(code) for code in CommandTopic}
        # Uncommitted, so that it sees what is behind a gate, and never waits for a transaction.
        self._consumer = _reader(settings, settings.group, "read_uncommitted")

    def ends(self) -> dict[Place, int]:
        """The end of each partition's log, what is behind a gate included."""
        found = {}
        for place, partition in self._places.items():
            _, found[place] = self._consumer.get_watermark_offsets(
                partition, timeout=_ANSWER_SECONDS
            )
        return found

    def committed(self) -> dict[Place, int]:
        """The group's committed offsets: everything before them is applied and published."""
        answer = self._consumer.committed(list(self._places.values()), timeout=_ANSWER_SECONDS)
        return {(self._codes[p.topic], p.partition): max(p.offset, 0) for p in answer}

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()


def read_commands(
    settings: Settings, positions: dict[Place, int]
) -> Generator[Message | None, None, None]:
    """Committed records of the command topics, one at a time, for ever; None while none comes."""
    consumer = _reader(settings, f"bench-{uuid.uuid4().hex[:8]}", "read_committed")
    consumer.assign(
        [
            TopicPartition(topic_name(settings, CommandTopic(code)), partition, offset)
            for (code, partition), offset in positions.items()
        ]
    )
    try:
        while True:
            message = consumer.poll(0.1)
            yield None if message is None else sound(message)
    finally:
        consumer.close()


def _reader(settings: Settings, group: str, isolation: str) -> Consumer:
    own: dict[str, object] = {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": isolation,
        "fetch.wait.max.ms": 100,
    }
    return Consumer(client_config(settings, **own))
