"""How far a consumer group is behind: seen from outside, without joining it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from schemas.settings import Settings
from streams.kafka.admin import Admin
from streams.kafka.committed import CommittedView
from streams.kafka.config import CannotBeRead
from streams.kafka.view import LogView


class Backlog(NamedTuple):
    """What waits: ``records`` counts offsets, markers of transactions too, so it is the most that
    it can be; 0 is exact. ``oldest_ms`` is the time of the oldest record that waits, None where
    none does, or where it cannot be read."""

    records: int = 0
    oldest_ms: int | None = None

    def seconds(self, now_ms: int) -> float | None:
        """How long the oldest has waited: 0 if nothing waits, None if that is unknown."""
        if self.oldest_ms is None:
            return None if self.records else 0.0
        return max(now_ms - self.oldest_ms, 0) / 1000

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
        self._groups: dict[str, CommittedView] = {}
        self._admin = Admin(settings)
        self._log = LogView(settings)

    def close(self) -> None:
        """Let go of the broker."""
        self._log.close()
        for view in self._groups.values():
            view.close()

    def of_group(self, group: str, topics: Sequence[str]) -> Backlog:
        """What a group has not committed; where it has committed nothing, all there is."""
        facts = self._admin.topics(topics)
        places = [
            (topic, number) for topic, fact in facts.items() for number in range(fact.partitions)
        ]
        committed: dict[str, dict[int, int]] = {topic: {} for topic in facts}
        for (topic, number), offset in self._of(group).of(places).items():
            if offset is not None:
                committed[topic][number] = offset
        waiting = Backlog()
        for topic, fact in facts.items():
            waiting += self.behind(topic, range(fact.partitions), committed[topic])
        return waiting

    def _of(self, group: str) -> CommittedView:
        if group not in self._groups:
            self._groups[group] = CommittedView(self._settings, group)
        return self._groups[group]

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
        try:
            for message in self._log.records(topic, partition, position):
                if (message.offset() or 0) >= end:
                    break
                return Backlog(end - position, message.timestamp()[1])
        except CannotBeRead:
            # Since when is unknown, but it waits.
            return Backlog(end - position)
        return Backlog()
