"""From the broker's messages to records that can be applied."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from processors.incoming import Record
from schemas.settings import Settings
from schemas.topics import CommandTopic, topic_name
from streams.kafka.config import partition_of
from streams.kafka.consume import TIMED_BY_BROKER, Unfit


class Untimed(Unfit):
    """A record's time is its producer's, not the broker's: a producer would set the wallet's time.

    Its topic lacks ``message.timestamp.type=LogAppendTime``, or lacked it when it was written.
    """

    def __init__(self, topic: CommandTopic, partition: int, offset: int) -> None:
        super().__init__(
            topic,
            partition,
            offset,
            f"the time of the record at offset {offset} is its producer's, not the broker's: "
            "the topic needs message.timestamp.type=LogAppendTime",
        )


class Reader:
    """Turns messages of the command topics into records, and sees whether they are misplaced."""

    def __init__(self, settings: Settings) -> None:
        self._codes = {topic_name(settings, code): int(code) for code in CommandTopic}
        self._partitions = settings.partitions

    def records(self, messages: Iterable[Any]) -> list[Record]:
        """Records to be applied, in their order; raises ``Untimed``."""
        return [self._timed(message) for message in messages]

    def up_to_unfit(self, messages: Iterable[Any]) -> tuple[list[Record], Unfit | None]:
        """Records to be applied, in their order, up to one that must not be, and that one."""
        records: list[Record] = []
        try:
            for message in messages:
                records.append(self._timed(message))
        except Unfit as unfit:
            return records, unfit
        return records, None

    def record(self, message: Any) -> Record:
        """One record; its time is the broker's, if it was ever applied."""
        return self._at(message, message.timestamp()[1])

    def _timed(self, message: Any) -> Record:
        kind, time = message.timestamp()
        record = self._at(message, time)
        if kind != TIMED_BY_BROKER:
            raise Untimed(CommandTopic(record.topic), record.partition, record.offset)
        return record

    def _at(self, message: Any, time: int) -> Record:
        key = message.key()
        partition = message.partition()
        return Record(
            self._codes[message.topic()],
            partition,
            message.offset(),
            time,
            key,
            message.value(),
            key is not None and partition_of(key, self._partitions) == partition,
        )
