"""Reads topics without a group: ends of the log, single records, whole partitions."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.settings import Settings
from streams.kafka.config import KafkaUnavailable, client_config, sound, words_of


class LogView:
    """Reads topics without a group: ends of the log, single records, whole partitions."""

    def __init__(self, settings: Settings) -> None:
        self._consumer = Consumer(
            client_config(
                settings,
                **{
                    "client.id": f"wallet-view-{uuid.uuid4().hex[:8]}",
                    "group.id": "wallet-view",
                    "enable.auto.commit": False,
                    "enable.auto.offset.store": False,
                    "auto.offset.reset": "error",
                    "isolation.level": "read_committed",
                    "enable.partition.eof": True,
                    "fetch.wait.max.ms": 50,
                    "queued.min.messages": 20_000,
                    "queued.max.messages.kbytes": 16_384,
                },
            )
        )

    def watermarks(self, topic: str, partition: int) -> tuple[int, int]:
        """First offset that is kept, and the end of the log."""
        try:
            low, high = self._consumer.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=10.0
            )
        except KafkaException as error:
            raise KafkaUnavailable(words_of(error)) from error
        return low, high

    def record(self, topic: str, partition: int, offset: int) -> Message | None:
        """The record at exactly this offset, or None if there is none."""
        for message in self.records(topic, partition, offset):
            return message if message.offset() == offset else None
        return None

    def records(
        self, topic: str, partition: int, first: int, last: int | None = None
    ) -> Iterator[Message]:
        """Committed records from ``first`` on, up to ``last`` or the present end of the log."""
        self._consumer.assign([TopicPartition(topic, partition, first)])
        try:
            while True:
                # For one, then what is there: asking for many waits for as many.
                first_message = self._consumer.poll(10.0)
                if first_message is None:
                    raise KafkaUnavailable(f"{topic}/{partition} is not readable at present")
                for message in (first_message, *self._consumer.consume(1000, 0)):
                    if _is_end(message):
                        return
                    offset = sound(message).offset()
                    if last is not None and offset is not None and offset > last:
                        return
                    yield message
                    if offset == last:
                        return
        finally:
            self._consumer.unassign()

    def follow(self, topic: str, positions: Mapping[int, int]) -> Iterator[Message | None]:
        """Committed records of many partitions for ever; None whenever nothing came for a while."""
        self._consumer.assign([TopicPartition(topic, p, offset) for p, offset in positions.items()])
        while True:
            first = self._consumer.poll(0.2)
            if first is None:
                yield None
                continue
            for message in (first, *self._consumer.consume(1000, 0)):
                if not _is_end(message):
                    yield sound(message)

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()


def _is_end(message: Message) -> bool:
    error = message.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF
