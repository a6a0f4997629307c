"""From the broker's messages to records that can be applied."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from processors.incoming import Record
from schemas.settings import Settings
from schemas.topics import CommandTopic, topic_name
from streams.kafka.config import partition_of


class Reader:
    """Turns messages of the command topics into records, and sees whether they are misplaced."""

    def __init__(self, settings: Settings) -> None:
        self._codes = {topic_name(settings, code): int(code) for code in CommandTopic}
        self._partitions = settings.partitions

    def records(self, messages: Iterable[Any]) -> list[Record]:
        """Records of messages, in their order."""
        return [self.record(message) for message in messages]

    def record(self, message: Any) -> Record:
        """One record; its time is the broker's."""
        key = message.key()
        partition = message.partition()
        return Record(
            self._codes[message.topic()],
            partition,
            message.offset(),
            message.timestamp()[1],
            key,
            message.value(),
            key is not None and partition_of(key, self._partitions) == partition,
        )
