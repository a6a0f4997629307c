"""A group's member that reads one topic of events: committed records, each partition in order.

Unlike the workers' it may fall behind and be asked to go on from where the group was; what the
broker has dropped meanwhile is told, and never passed over silently.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.settings import Settings
from streams.kafka.config import KafkaUnavailable, client_config, sound

_SECONDS: Final = 10.0


class Gone(NamedTuple):
    """Records that the broker dropped before the group had read them: [first, next)."""

    partition: int
    first: int
    next: int


class Followed(NamedTuple):
    """A record as it was read; ``key`` and ``value`` are None where the producer gave none."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


class RecordsGone(Exception):
    """The topic's retention has passed the group's place."""

    def __init__(self, topic: str, gone: list[Gone]) -> None:
        self.gone = gone
        places = ", ".join(f"partition {g.partition}: {g.first} to {g.next - 1}" for g in gone)
        super().__init__(f"{topic} has dropped records that were never read: {places}")


class TopicMember:
    """One member of ``group`` on one topic; commits only what it is told to."""

    def __init__(
        self,
        settings: Settings,
        topic: str,
        group: str,
        *,
        on_revoked: Callable[[], None],
        skip_gone: bool = False,
    ) -> None:
        """``on_revoked`` is called inside ``poll`` while the partitions are still this member's."""
        self._topic = topic
        self._on_revoked = on_revoked
        self._skip_gone = skip_gone
        self._fault: Exception | None = None
        self.partitions: list[int] = []
        self._reached: dict[int, int] = {}
        self.joined = False
        self._consumer = Consumer(
            client_config(
                settings,
                **{
                    "client.id": f"{group}-{uuid.uuid4().hex[:8]}",
                    "group.id": group,
                    "group.protocol": "classic",
                    "partition.assignment.strategy": "range",
                    "enable.auto.commit": False,
                    "enable.auto.offset.store": False,
                    "enable.partition.eof": True,
                    "auto.offset.reset": "error",
                    "isolation.level": "read_committed",
                    "session.timeout.ms": 10_000,
                    "fetch.wait.max.ms": 100,
                    "queued.min.messages": 5_000,
                    "queued.max.messages.kbytes": 8_192,
                },
            )
        )
        self._consumer.subscribe(
            [topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    def poll(self, most: int, timeout_seconds: float) -> list[Followed]:
        """What came, ``most`` at most; raises ``RecordsGone`` and ``KafkaUnavailable``."""
        # For one, then what is there: asking for many waits for as many.
        first = self._consumer.poll(timeout_seconds)
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault
        if first is None:
            return []
        came = [first, *self._consumer.consume(most - 1, 0)]
        return [_followed(message) for message in came if not self._is_end(message)]

    def reached(self) -> dict[int, int]:
        """By partition, ends that were come to since this was asked last.

        All before has been read. Past the last record, that is: behind a transaction's last record
        stands its marker, which nobody is ever given.
        """
        reached, self._reached = self._reached, {}
        return reached

    def pause(self) -> None:
        """Fetch nothing more, and stay a member."""
        self._consumer.pause(self._consumer.assignment())

    def resume(self) -> None:
        """Go on fetching."""
        self._consumer.resume(self._consumer.assignment())

    def commit(self, next_offsets: Mapping[int, int]) -> None:
        """Commit where to go on; raises ``KafkaUnavailable``."""
        positions = [TopicPartition(self._topic, p, offset) for p, offset in next_offsets.items()]
        if not positions:
            return
        try:
            self._consumer.commit(offsets=positions, asynchronous=False)
        except KafkaException as error:
            raise KafkaUnavailable(f"offsets not committed: {error}") from error

    def ends(self) -> dict[int, int]:
        """By partition, the end of the log as last heard of: nothing is asked for it."""
        found = {}
        for number in self.partitions:
            place = TopicPartition(self._topic, number)
            _, high = self._consumer.get_watermark_offsets(place, cached=True)
            if high >= 0:
                found[number] = high
        return found

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.joined = True
        try:
            consumer.assign(self._from_where(consumer, partitions))
            self.partitions = [p.partition for p in partitions]
        except (KafkaException, RecordsGone) as error:
            # An exception in here would be lost: the next poll raises it, and nothing is read.
            self._fault = error if isinstance(error, RecordsGone) else KafkaUnavailable(str(error))
            consumer.assign([])

    def _from_where(
        self, consumer: Consumer, partitions: list[TopicPartition]
    ) -> list[TopicPartition]:
        positions, gone = [], []
        for place in consumer.committed(partitions, timeout=_SECONDS):
            low, _ = consumer.get_watermark_offsets(
                TopicPartition(place.topic, place.partition), timeout=_SECONDS
            )
            if 0 <= place.offset < low:
                gone.append(Gone(place.partition, place.offset, low))
            start = max(place.offset, low)
            positions.append(TopicPartition(place.topic, place.partition, start))
        if gone and not self._skip_gone:
            raise RecordsGone(self._topic, gone)
        return positions

    def _is_end(self, message: Message) -> bool:
        error = message.error()
        if error is None or error.code() != KafkaError._PARTITION_EOF:
            return False
        self._reached[message.partition() or 0] = message.offset() or 0
        return True

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._on_revoked()
        self.partitions = []
        self._reached = {}
        consumer.unassign()

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._on_revoked()
        self.partitions = []
        self._reached = {}


def _followed(message: Message) -> Followed:
    """Raises ``KafkaUnavailable`` where the message is an error."""
    sound(message)
    return Followed(message.partition() or 0, message.offset() or 0, message.key(), message.value())
