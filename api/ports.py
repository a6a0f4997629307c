"""What the API needs of the broker, so that tests can stand in for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from schemas.settings import Settings
from schemas.topics import CommandTopic, topic_name
from streams.kafka.admin import Admin
from streams.kafka.config import partition_of
from streams.kafka.produce import Delivery, Producer

#: After that time the library gives a record up: shortly before we would stop waiting.
GIVE_UP_MILLISECONDS: Final = 8_000
REACH_SECONDS: Final = 2.0

#: Called once, on any thread.
OnDelivery = Callable[[Delivery], None]


class CommandSender(Protocol):
    """Puts commands on their topics, with the partitioner that all producers share."""

    def send(self, topic: CommandTopic, key: str, value: bytes, on_delivery: OnDelivery) -> None:
        """Hand over a record; tells what became of it."""

    def partition_of(self, key: str) -> int:
        """The partition of a key, the same on each command topic."""

    async def reachable(self) -> bool:
        """True if a broker answers within a second or two."""

    async def close(self) -> None:
        """Wait for what is under way, then let go."""


class KafkaSender:
    """The sender of production: an idempotent producer, each record sent as it comes."""

    def __init__(self, settings: Settings) -> None:
        self._partitions = settings.partitions
        self._names = {topic: topic_name(settings, topic) for topic in CommandTopic}
        self._producer = Producer(settings, timeout_ms=GIVE_UP_MILLISECONDS)
        self._admin = Admin(settings)

    def send(self, topic: CommandTopic, key: str, value: bytes, on_delivery: OnDelivery) -> None:
        """Queue the record; the report comes on the producer's own thread."""
        self._producer.send(self._names[topic], key.encode(), value, on_delivery)

    def partition_of(self, key: str) -> int:
        """As every Kafka client in Java computes it."""
        return partition_of(key.encode(), self._partitions)

    async def reachable(self) -> bool:
        """Ask the broker for its topics, off the event loop."""
        return await asyncio.to_thread(self._admin.reachable, REACH_SECONDS)

    async def close(self) -> None:
        """Flush, then stop the producer's thread."""
        await asyncio.to_thread(self._producer.close, REACH_SECONDS)
