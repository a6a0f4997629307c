"""Events put on a topic of the test's own, in any order and with any gap."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from wallet_client.events import Event
from wallet_client.kafka import EventConsumer

from schemas.settings import Settings
from schemas.topics import EVENTS, topic_name
from streams.kafka.admin import create_topics
from tests.support.eventually import eventually

#: Fails rather than hangs.
PATIENCE_SECONDS: Final = 60.0
REPLAYED: Final = "command.replayed"


def id_of(subject: str, sequence: int) -> str:
    """The id that an event of these tests has."""
    return str(uuid.uuid5(uuid.UUID(subject), str(sequence)))


class Written:
    """A topic of events, and what a test does to it."""

    def __init__(self, broker: str, partitions: int = 2) -> None:
        self.broker = broker
        self.prefix = f"t{uuid.uuid4().hex[:12]}."
        self.settings = Settings(
            topic_prefix=self.prefix, partitions=partitions, kafka={"bootstrap.servers": broker}
        )
        create_topics(self.settings)
        self.topic = topic_name(self.settings, EVENTS)

    def producer(self, **config: Any) -> Producer:
        """As the worker's."""
        return Producer(
            {"bootstrap.servers": self.broker, "partitioner": "murmur2_random", **config}
        )

    def write(self, subject: str, sequences: Iterable[int], kind: str = REPLAYED) -> None:
        """Publish a user's events."""
        producer = self.producer()
        for sequence in sequences:
            self.put(producer, subject, sequence, kind)
        assert producer.flush(PATIENCE_SECONDS) == 0

    def put(
        self,
        producer: Producer,
        subject: str,
        sequence: int,
        kind: str = REPLAYED,
        **more: object,
    ) -> None:
        """Queue one event; ``more`` is what is told otherwise."""
        event = {
            "specversion": "1.0",
            "id": id_of(subject, sequence),
            "source": "wallet",
            "type": REPLAYED,
            "subject": subject,
            "time": datetime.now(UTC).isoformat(),
            "sequence": sequence,
            "causationid": "00000100-0300-8000-8000-0000f0000000",
            "data": {
                "first_command_id": "00000100-0300-8000-8000-0000f0000000",
                "outcome": "accepted",
                "code": None,
                "idempotency_key": "a",
            },
        }
        if kind != REPLAYED:
            event |= {"type": kind, "data": {}}
        event |= more
        producer.produce(self.topic, json.dumps(event).encode(), subject.encode())

    def drop_before(self, place: TopicPartition) -> None:
        """As the topic's retention does."""
        admin = AdminClient({"bootstrap.servers": self.broker})
        for future in admin.delete_records([place]).values():
            future.result(PATIENCE_SECONDS)

    def consumer(self, group: str = "shop", **options: Any) -> EventConsumer:
        """A member of a group."""
        return EventConsumer(self.broker, group, topic_prefix=self.prefix, **options)


def read(consumer: EventConsumer, count: int) -> list[Event]:
    """The next events, so many; all but the last are handled then."""
    found: list[Event] = []

    def look() -> bool:
        event = consumer.poll(0.2)
        if event is not None:
            found.append(event)
        return len(found) >= count

    eventually(look, f"{count} events come", PATIENCE_SECONDS)
    return found


def sequences(events: Iterable[Event]) -> list[int]:
    """Their numbers."""
    return [event.sequence for event in events]
