"""The worker's membership in the consumer group of the command topics."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaException,
    Message,
    TopicPartition,
)

from schemas.settings import Settings
from schemas.topics import CommandTopic, topic_name
from streams.kafka.config import CannotBeRead, KafkaUnavailable, client_config, sound, words_of

#: The type of a message's time where the broker has set it.
TIMED_BY_BROKER: Final = TIMESTAMP_LOG_APPEND_TIME


class Unfit(Exception):
    """A record that must not be applied, nor passed over: its partition waits for an operator.

    Its text says why.
    """

    def __init__(self, topic: CommandTopic, partition: int, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.place = (topic, partition)
        self.offset = offset
        #: The partition's, in which it was met; of another one the log is another.
        self.generation: int | None = None


class Unreadable(Unfit):
    """A batch that the library cannot unpack, and would fetch again for ever."""


class Assignment(NamedTuple):
    """A partition of a command topic and where to go on reading it."""

    topic: CommandTopic
    partition: int
    offset: int


#: Given the partitions that the group assigned, say from where each is read; one left out is
#: not read at all.
OnAssigned = Callable[[list[tuple[CommandTopic, int]]], list[Assignment]]
OnRevoked = Callable[[], None]


class CommandConsumer:
    """The worker's member of the consumer group, over all three command topics.

    Classic protocol with the eager ``range`` assignor: a worker gets the same partition numbers of
    all three topics, and every rebalance ends in a new assignment of all that it holds.
    """

    def __init__(
        self, settings: Settings, *, on_assigned: OnAssigned, on_revoked: OnRevoked
    ) -> None:
        self._settings = settings
        self._codes = {topic_name(settings, code): code for code in CommandTopic}
        self._names = {code: name for name, code in self._codes.items()}
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._consumer = Consumer(
            client_config(
                settings,
                **{
                    "client.id": f"wallet-worker-{uuid.uuid4().hex[:8]}",
                    "group.id": settings.group,
                    "group.protocol": "classic",
                    "partition.assignment.strategy": "range",
                    "enable.auto.commit": False,
                    "enable.auto.offset.store": False,
                    "auto.offset.reset": "error",
                    "isolation.level": "read_committed",
                    # A dead worker's partitions are free after this, the least a broker allows.
                    "session.timeout.ms": 6_000,
                    "heartbeat.interval.ms": 1_000,
                    "fetch.wait.max.ms": 100,
                    "fetch.error.backoff.ms": 100,
                    # Memory stays flat however far behind the worker is.
                    "queued.min.messages": 20_000,
                    "queued.max.messages.kbytes": 16_384,
                },
            )
        )
        self._consumer.subscribe(
            list(self._codes), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    @property
    def codes(self) -> Mapping[str, CommandTopic]:
        """Topic code by the topic's name on the broker."""
        return self._codes

    def group_metadata(self) -> object | None:
        """The group's present generation, to be taken before the first poll of a batch.

        None for whoever is no member, or no longer: a broker takes a transaction's offsets of
        nobody, generation -1, without looking at who owns the partitions.
        """
        metadata: object = self._consumer.consumer_group_metadata()
        # In this order: who lost its membership joins again in a later poll, not in between.
        return metadata if self._consumer.memberid() else None

    def poll(self, timeout_seconds: float) -> Message | None:
        """One record or none; rebalances are served inside.

        Raises ``KafkaUnavailable``, and ``Unreadable`` for what will never be had.
        """
        message = self._consumer.poll(timeout_seconds)
        return None if message is None else self._sound(message)

    def drain(self, most: int) -> Iterator[Message]:
        """What is there already, without waiting.

        Raises what ``poll`` does, and where it comes to it: what was there before is given out.
        """
        return map(self._sound, self._consumer.consume(most, 0))

    def batch(self, most: int, wait_seconds: float) -> Iterator[Message]:
        """One record, waited for, then what is there: no waiting for a fuller batch."""
        first = self.poll(wait_seconds)
        if first is not None:
            yield first
            yield from self.drain(most - 1)

    def _sound(self, message: Message) -> Message:
        try:
            return sound(message)
        except CannotBeRead as fault:
            code = self._codes[message.topic() or ""]
            raise Unreadable(code, message.partition() or 0, fault.offset, str(fault)) from fault

    def seek(self, assignments: Iterable[Assignment]) -> None:
        """Read on from the given places, dropping what was fetched ahead."""
        self._read_on(self._consumer, assignments)

    def pause(self) -> None:
        """Fetch nothing until the next ``seek`` or assignment, but stay a member: polling goes on
        while a server is away."""
        self._consumer.pause(self._consumer.assignment())

    def committed(
        self, partitions: Sequence[tuple[CommandTopic, int]], *, patience_seconds: float = 30.0
    ) -> dict[tuple[CommandTopic, int], int | None]:
        """The group's committed offsets; None where there is none.

        The call times out while a predecessor's Kafka transaction is open. Asking again is the
        barrier: what it answers then cannot change behind our back.
        """
        wanted = [TopicPartition(self._names[code], number) for code, number in partitions]
        deadline = time.monotonic() + patience_seconds
        while True:
            try:
                answer = self._consumer.committed(wanted, timeout=2.0)
                break
            except KafkaException as error:
                if time.monotonic() > deadline:
                    raise KafkaUnavailable(f"committed offsets: {words_of(error)}") from error
        found: dict[tuple[CommandTopic, int], int | None] = {}
        for position in answer:
            if position.error is not None:
                raise KafkaUnavailable(f"committed offsets: {words_of(position.error)}")
            place = (self._codes[position.topic], position.partition)
            found[place] = position.offset if position.offset >= 0 else None
        return found

    def commit(self, assignments: Iterable[Assignment]) -> None:
        """Commit offsets outside of a transaction: only ever 0, before the very first batch.

        Raises ``KafkaUnavailable``, also where the group has moved on meanwhile.
        """
        try:
            self._consumer.commit(offsets=self._positions(assignments), asynchronous=False)
        except KafkaException as error:
            raise KafkaUnavailable(f"the first offsets: {words_of(error)}") from error

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _positions(self, assignments: Iterable[Assignment]) -> list[TopicPartition]:
        return [TopicPartition(self._names[a.topic], a.partition, a.offset) for a in assignments]

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        places = sorted((self._codes[p.topic], p.partition) for p in partitions)
        self._read_on(consumer, self._on_assigned(places))

    def _read_on(self, consumer: Consumer, assignments: Iterable[Assignment]) -> None:
        positions = self._positions(assignments)
        consumer.assign(positions)
        # The library keeps a partition paused through any number of assignments.
        consumer.resume(positions)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._on_revoked()
        consumer.unassign()

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._on_revoked()
