"""Takes the records of slices off the log, and sees the records that no slice holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from confluent_kafka import Message

from schemas.settings import Settings
from schemas.topics import CommandTopic, topic_name
from streams.kafka.replay import LogReplay


class Slice(Protocol):
    """What a batch took from one partition, by its manifest or by the database."""

    @property
    def topic(self) -> int: ...
    @property
    def partition(self) -> int: ...
    @property
    def generation(self) -> int: ...
    @property
    def first_offset(self) -> int: ...
    @property
    def last_offset(self) -> int: ...


class PassedOver(NamedTuple):
    """Records that stand between two slices, or after the last one: commands without an outcome."""

    records: int
    first_offset: int

    @classmethod
    def at(cls, offsets: Sequence[int]) -> PassedOver | None:
        """What stands at these offsets; None if nothing does."""
        return cls(len(offsets), offsets[0]) if offsets else None

    def __str__(self) -> str:
        return (
            f"{self.records} records, the first at offset {self.first_offset}, were never decided"
        )


class Slices:
    """Takes slices, those of a partition in their order; one that is not needed is left out."""

    def __init__(self, settings: Settings) -> None:
        self._names = {int(code): topic_name(settings, code) for code in CommandTopic}
        self._replay = LogReplay(settings)
        self._after: dict[tuple[int, int, int], int] = {}
        #: What the last ``take`` met between its slice and the one before.
        self.passed_over: PassedOver | None = None

    def take(self, part: Slice) -> list[Message]:
        """The slice's records; raises ``RecordsMissing`` and ``KafkaUnavailable``."""
        since = self.after(part.topic, part.partition, part.generation)
        if since is None:
            since = part.first_offset
        self.leave_out(part)
        records = self._replay.take(
            self._names[part.topic],
            part.partition,
            part.first_offset,
            part.last_offset,
            since=since,
        )
        self.passed_over = PassedOver.at([o for o in self._replay.passed_over if o >= since])
        return records

    def leave_out(self, part: Slice) -> None:
        """Go on after a slice."""
        self.passed_over = None
        self._after[part.topic, part.partition, part.generation] = part.last_offset + 1

    def after(self, topic: int, partition: int, generation: int) -> int | None:
        """Where a generation of a partition goes on after its last slice.

        Before its first, the first generation begins at 0 and a later one where an operator said,
        which the log does not tell: None.
        """
        begin = 0 if generation == 1 else None
        return self._after.get((topic, partition, generation), begin)

    def close(self) -> None:
        """Let go of the broker."""
        self._replay.close()
