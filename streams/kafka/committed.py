"""Where a consumer group is, asked from outside of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from schemas.settings import Settings
from streams.kafka.config import KafkaUnavailable, client_config, words_of

_TIMEOUT_SECONDS: Final = 10.0


class CommittedView:
    """Asks for a group's committed offsets by a consumer that never joins it.

    Not by the admin client: where the broker does not coordinate the group just now, as after its
    start, that client's own question ends the whole process (librdkafka issue 5040; with 2.16 it
    did so four times of four).
    """

    def __init__(self, settings: Settings, group: str) -> None:
        self._group = group
        own = {
            "client.id": f"wallet-committed-{uuid.uuid4().hex[:8]}",
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            # Else it would wait while the group commits in a transaction.
            "isolation.level": "read_uncommitted",
        }
        self._consumer = Consumer(client_config(settings, **own))

    def of(self, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int | None]:
        """The committed offsets of topics' partitions as they stand; None where there is none.

        Raises ``KafkaUnavailable``.
        """
        wanted = [TopicPartition(topic, number) for topic, number in places]
        if not wanted:
            return {}
        try:
            answer = self._consumer.committed(wanted, timeout=_TIMEOUT_SECONDS)
        except KafkaException as error:
            raise self._unknown(error) from error
        found: dict[tuple[str, int], int | None] = {}
        for position in answer:
            if position.error is not None:
                raise self._unknown(position.error)
            offset = position.offset
            found[position.topic, position.partition] = offset if offset >= 0 else None
        return found

    def _unknown(self, error: KafkaException | KafkaError) -> KafkaUnavailable:
        return KafkaUnavailable(f"committed offsets of {self._group}: {words_of(error)}")

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()
