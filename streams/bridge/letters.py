"""Events that EventBridge can never take: to a topic of their own, to be looked at and replayed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import msgspec

from schemas.settings import Settings
from schemas.topics import EVENT_DEAD_LETTERS, topic_name
from streams.kafka.admin import Admin
from streams.kafka.produce import Delivery, Producer
from streams.kafka.view import LogView


class EventLetter(msgspec.Struct, frozen=True, kw_only=True):
    """Why it was not taken, its place on ``wallet.events``, and its value as it stood there."""

    reason: str
    partition: int
    offset: int
    value: bytes | None


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A letter, and its own place on the dead letters' topic."""

    partition: int
    offset: int
    letter: EventLetter


class Letters:
    """Writes letters."""

    def __init__(self, settings: Settings) -> None:
        self._topic = topic_name(settings, EVENT_DEAD_LETTERS)
        self._producer = Producer(settings)

    def write(self, user: str, letter: EventLetter, told: Callable[[Delivery], None]) -> None:
        """Put one on the topic; ``told`` is called from another thread."""
        self._producer.send(self._topic, user.encode(), msgspec.json.encode(letter), told)

    def close(self) -> None:
        """Let go of the broker."""
        self._producer.close()


def kept(settings: Settings) -> Iterator[Kept]:
    """All letters that the topic still has, partition by partition; raises ``KafkaUnavailable``."""
    topic = topic_name(settings, EVENT_DEAD_LETTERS)
    admin = Admin(settings)
    with closing(LogView(settings)) as view:
        for number in range(settings.partitions if admin.topics([topic]) else 0):
            low, high = view.watermarks(topic, number)
            for message in view.records(topic, number, low) if high > low else ():
                letter = msgspec.json.decode(message.value() or b"", type=EventLetter)
                yield Kept(partition=number, offset=message.offset() or 0, letter=letter)
