"""What comes back while a market is played: deliveries, events and dead letters, in one queue."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from schemas.events import CloudEvent
from schemas.publications import DeadLetterNotice
from schemas.settings import Settings
from schemas.topics import DEAD_LETTERS, EVENTS, topic_name
from streams.kafka.admin import Admin
from streams.kafka.config import KafkaUnavailable
from streams.kafka.produce import Delivery
from streams.kafka.view import LogView
from streams.loadgen.referee import Delivered, Item, Sent

_LEADER_SECONDS: Final = 10.0


class Inbox:
    """Follows both topics from their present end, each in a thread, for the given subjects alone.

    It never holds more than what is under way: the sender stops at a limit.
    """

    def __init__(self, settings: Settings, subjects: Collection[str]) -> None:
        self._queue: queue.SimpleQueue[Item | Exception] = queue.SimpleQueue()
        self._subjects: Final = frozenset(subjects)
        self._closing = threading.Event()
        admin = Admin(settings)
        self._threads = []
        for logical in (EVENTS, DEAD_LETTERS):
            topic = topic_name(settings, logical)
            ends = _ends_of(admin, topic, settings.partitions)
            reader = threading.Thread(
                target=self._read,
                args=(settings, topic, ends, logical == EVENTS),
                name=f"loadgen-{logical}",
                daemon=True,
            )
            reader.start()
            self._threads.append(reader)

    def delivered(self, sent: Sent, delivery: Delivery) -> None:
        """For the producer's thread: what became of a record."""
        if delivery.error is not None:
            reason = f"a record may not have been taken: {delivery.error}"
            self._queue.put(KafkaUnavailable(reason))
        else:
            self._queue.put(Delivered(sent, delivery.partition, delivery.offset))

    def take(self, timeout_seconds: float) -> Item | None:
        """The next item, or None where none comes in time; raises what a reader met."""
        try:
            item = self._queue.get(timeout_seconds > 0, timeout_seconds or None)
        except queue.Empty:
            return None
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        """Stop following."""
        self._closing.set()
        for reader in self._threads:
            reader.join(timeout=5.0)

    def _read(self, settings: Settings, topic: str, ends: Mapping[int, int], events: bool) -> None:
        decoder: msgspec.json.Decoder[Item] = msgspec.json.Decoder(
            CloudEvent if events else DeadLetterNotice
        )
        view = LogView(settings)
        try:
            for message in view.follow(topic, ends):
                if self._closing.is_set():
                    return
                if message is None:
                    continue
                key, value = message.key() or b"", message.value() or b""
                if not events or key.decode(errors="replace") in self._subjects:
                    self._queue.put(decoder.decode(value))
        except (KafkaUnavailable, msgspec.MsgspecError) as error:
            # Raised where the game is played: a reader that ends silently looks like a worker
            # that does nothing.
            self._queue.put(error)
        finally:
            view.close()


def _ends_of(admin: Admin, topic: str, partitions: int) -> dict[int, int]:
    """The topic's ends; just after it was made, its partitions may have no leader yet."""
    deadline = time.monotonic() + _LEADER_SECONDS
    pause = threading.Event()
    while True:
        try:
            return admin.ends(topic, range(partitions))
        except KafkaUnavailable:
            if time.monotonic() > deadline:
                raise
            pause.wait(0.2)
