"""Reads many partitions forward with one client, each at its own pace: for what replays the log."""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.settings import Settings
from streams.kafka.config import KafkaUnavailable, client_config, words_of

#: A partition that is so far ahead of the others waits, so that memory stays bounded.
_AHEAD_MAX: Final = 5_000
_BURST: Final = 1_000
#: How long a record that the broker says it has may take.
_PATIENCE_SECONDS: Final = 20.0


class RecordsMissing(Exception):
    """The log does not hold records that were applied; a backup of the topic has to come back."""


class _Lane:
    """One partition: what was read ahead of it, and where reading goes on."""

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.read: deque[Message] = deque()
        self.next_offset = -1
        self.paused = False

    def position(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition, self.next_offset)


class LogReplay:
    """Takes stretches of partitions, in order of offset within each."""

    def __init__(self, settings: Settings) -> None:
        self._consumer = Consumer(
            client_config(
                settings,
                **{
                    "client.id": f"wallet-replay-{uuid.uuid4().hex[:8]}",
                    "group.id": "wallet-replay",
                    "enable.auto.commit": False,
                    "enable.auto.offset.store": False,
                    "auto.offset.reset": "error",
                    "isolation.level": "read_committed",
                    "enable.partition.eof": True,
                    "fetch.wait.max.ms": 50,
                    "queued.min.messages": 10_000,
                    "queued.max.messages.kbytes": 16_384,
                },
            )
        )
        self._lanes: dict[tuple[str, int], _Lane] = {}
        #: Offsets of the records that the last ``take`` met before what it was asked for.
        self.passed_over: list[int] = []

    def take(
        self, topic: str, partition: int, first: int, last: int, *, since: int | None = None
    ) -> list[Message]:
        """Committed records from ``first`` to ``last``, both of which must be there.

        Where nothing of the partition was read yet, it is read from ``since`` on, if it is kept:
        ``passed_over`` tells what lay before.
        Raises ``RecordsMissing`` if they are not, ``KafkaUnavailable`` if the broker is silent.
        """
        self.passed_over = []
        lane = self._lane(topic, partition, first, since)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not lane.read or (lane.read[-1].offset() or 0) < last:
            self._resume(lane)
            if self._read(lane) == 0:
                self._require_kept(lane, first, last)
                if time.monotonic() > deadline:
                    raise KafkaUnavailable(f"{topic}/{partition} is not readable at present")
        taken = []
        while lane.read and (lane.read[0].offset() or 0) <= last:
            message = lane.read.popleft()
            if (message.offset() or 0) >= first:
                taken.append(message)
            else:
                self.passed_over.append(message.offset() or 0)
        if not taken or (taken[0].offset(), taken[-1].offset()) != (first, last):
            raise RecordsMissing(
                f"{topic}/{partition} has no record at offset {first} or at {last}, "
                "where a batch began or ended."
            )
        if len(lane.read) < _AHEAD_MAX // 2:
            self._resume(lane)
        return taken

    def offsets_at(self, topic: str, partitions: Sequence[int], time_ms: int) -> dict[int, int]:
        """The first offset of each partition whose record is no older; the end if there is none."""
        asked = [TopicPartition(topic, number, time_ms) for number in partitions]
        try:
            found = self._consumer.offsets_for_times(asked, timeout=10.0)
            return {
                place.partition: place.offset
                if place.offset >= 0
                else self._watermarks(topic, place.partition)[1]
                for place in found
            }
        except KafkaException as error:
            raise KafkaUnavailable(words_of(error)) from error

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()

    def _lane(self, topic: str, partition: int, first: int, since: int | None = None) -> _Lane:
        lane = self._lanes.get((topic, partition))
        if lane is not None and first >= _begin_of(lane):
            return lane
        if lane is not None:
            # Back to an offset that was used again, after an operator adopted the partition.
            self._consumer.incremental_unassign([lane.position()])
            del self._lanes[topic, partition]
            since = None
        lane = _Lane(topic, partition)
        low = self._require_kept(lane, first, first)
        lane.next_offset = first if since is None else min(max(since, low), first)
        self._begin(lane)
        self._lanes[topic, partition] = lane
        return lane

    def _begin(self, lane: _Lane) -> None:
        """Read it from its place; the library keeps a partition paused through assignments."""
        self._consumer.incremental_assign([lane.position()])
        self._consumer.resume([lane.position()])
        lane.paused = False

    def _resume(self, lane: _Lane) -> None:
        if lane.paused:
            self._consumer.resume([lane.position()])
            lane.paused = False

    def _read(self, wanted: _Lane) -> int:
        """Take in what there is, for whichever partition; how many records."""
        try:
            # For one, then what is there: asking for many waits for as many.
            first = self._consumer.poll(0.1)
            messages = [] if first is None else [first, *self._consumer.consume(_BURST, 0)]
        except KafkaException as error:
            raise KafkaUnavailable(words_of(error)) from error
        count, fault = 0, None
        ended: set[_Lane] = set()
        for message in messages:
            told = message.error()
            lane = self._lanes.get((str(message.topic()), message.partition() or 0))
            if told is not None:
                if told.code() != KafkaError._PARTITION_EOF:
                    fault = fault or KafkaUnavailable(words_of(told))
                    ended.update([] if lane is None else [lane])
                continue
            offset = message.offset() or 0
            # A pause drops what was fetched ahead, and a resume may fetch it again.
            if lane is not None and lane not in ended and offset >= lane.next_offset:
                lane.read.append(message)
                lane.next_offset = offset + 1
                count += 1
        for broken in ended:
            # The library may go on behind what it could not read; we go on from what we have.
            self._consumer.incremental_unassign([broken.position()])
            self._begin(broken)
        if fault is not None:
            raise fault
        for other in self._lanes.values():
            if other is not wanted and not other.paused and len(other.read) > _AHEAD_MAX:
                self._consumer.pause([other.position()])
                other.paused = True
        return count

    def _require_kept(self, lane: _Lane, first: int, last: int) -> int:
        """The first offset that is kept; raises ``RecordsMissing`` where that is too late."""
        low, high = self._watermarks(lane.topic, lane.partition)
        if low > first or high <= last:
            raise RecordsMissing(
                f"{lane.topic}/{lane.partition} holds offsets {low} to {high - 1}, "
                f"not {first} to {last} any more."
            )
        return low

    def _watermarks(self, topic: str, partition: int) -> tuple[int, int]:
        try:
            low, high = self._consumer.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=10.0
            )
        except KafkaException as error:
            raise KafkaUnavailable(words_of(error)) from error
        return low, high


def _begin_of(lane: _Lane) -> int:
    """The first offset that the lane can still give."""
    if lane.read:
        return lane.read[0].offset() or 0
    return lane.next_offset
