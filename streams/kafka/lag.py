"""How far a consumer group is behind: seen from outside, without joining it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from schemas.settings import Settings
from streams.kafka.admin import Admin
from streams.kafka.config import KafkaUnavailable, client_config
from streams.kafka.view import LogView

_TIMEOUT_SECONDS: Final = 10.0


class Backlog(NamedTuple):
    """What waits: ``records`` counts offsets, markers of transactions too, so it is the most that
    it can be; 0 is exact. ``oldest_ms`` is the time of the oldest record that waits."""

    records: int = 0
    oldest_ms: int | None = None

    def __add__(self, other: object) -> Backlog:
        """Both together."""
        if not isinstance(other, Backlog):
            return NotImplemented
        times = [each.oldest_ms for each in (self, other) if each.oldest_ms is not None]
        return Backlog(self.records + other.records, min(times, default=None))


class LagView:
    """Compares where groups are with the ends of topics; every call may raise
    ``KafkaUnavailable``."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._groups: dict[str, Consumer] = {}
        self._admin = Admin(settings)
        self._log = LogView(settings)

    def close(self) -> None:
        """Let go of the broker."""
        self._log.close()
        for asker in self._groups.values():
            asker.close()

    def of_group(self, group: str, topics: Sequence[str]) -> Backlog:
        """What a group has not committed; where it has committed nothing, all there is."""
        facts = self._admin.topics(topics)
        places = [
            TopicPartition(topic, number)
            for topic, fact in facts.items()
            for number in range(fact.partitions)
        ]
        committed: dict[str, dict[int, int]] = {topic: {} for topic in facts}
        for position in self._committed(group, places):
            if position.offset >= 0:
                committed[position.topic][position.partition] = position.offset
        waiting = Backlog()
        for topic, fact in facts.items():
            waiting += self.behind(topic, range(fact.partitions), committed[topic])
        return waiting

    def _committed(self, group: str, places: list[TopicPartition]) -> list[TopicPartition]:
        """Asked by a consumer that never joins.

        The admin client's own question ends the whole process where the broker says that it does
        not coordinate the group just now (seen in librdkafka 2.16: it has no group to look up).
        """
        asker = self._groups.get(group)
        if asker is None:
            own = {
                "client.id": f"wallet-lag-{uuid.uuid4().hex[:8]}",
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                # Else it would wait while the group commits in a transaction.
                "isolation.level": "read_uncommitted",
            }
            asker = self._groups[group] = Consumer(client_config(self._settings, **own))
        try:
            return list(asker.committed(places, timeout=_TIMEOUT_SECONDS))
        except KafkaException as error:
            raise KafkaUnavailable(f"committed offsets of {group}: {error}") from error

    def behind(
        self, topic: str, partitions: Sequence[int], positions: Mapping[int, int]
    ) -> Backlog:
        """What stands in a topic from the positions on; a partition without one from its start."""
        ends = self._admin.ends(topic, partitions)
        starts = self._admin.starts(topic, partitions)
        waiting = Backlog()
        for number in partitions:
            position = max(positions.get(number, 0), starts[number])
            if position < ends[number]:
                waiting += self._from(topic, number, position, ends[number])
        return waiting

    def _from(self, topic: str, partition: int, position: int, end: int) -> Backlog:
        """Nothing waits where the rest is markers and what was aborted."""
        for message in self._log.records(topic, partition, position):
            if (message.offset() or 0) >= end:
                break
            return Backlog(end - position, message.timestamp()[1])
        return Backlog()
