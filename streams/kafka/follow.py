"""A group's member that reads one topic of events: committed records, each partition in order.

Unlike the workers' it may fall behind and be asked to go on from where the group was. Nothing is
passed over: what the library gave and nobody was handed is read again, and records that the broker
has dropped before they were read are told.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.settings import Settings
from streams.kafka.config import KafkaUnavailable, client_config, words_of

log = logging.getLogger(__name__)

_SECONDS: Final = 10.0
#: A place that could not be found is looked for again after so long.
_AGAIN_SECONDS: Final = 1.0


class Gone(NamedTuple):
    """Records that the broker dropped before they were read: [first, next).

    Where ``next`` is less, the log ends there now, before the place that had been come to.
    """

    partition: int
    first: int
    next: int

    def __str__(self) -> str:
        if self.next < self.first:
            return f"partition {self.partition}: all from {self.next} to {self.first - 1}, and more"
        return f"partition {self.partition}: {self.first} to {self.next - 1}"


class Followed(NamedTuple):
    """A record as it was read; ``key`` and ``value`` are None where the producer gave none.

    Its partition was handed over up to ``since``, and holds no other record from there on.
    """

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    since: int


class RecordsGone(Exception):
    """The topic's retention has passed the place of the group, or of a member that reads."""

    def __init__(self, topic: str, gone: Sequence[Gone]) -> None:
        self.gone = gone
        places = ", ".join(map(str, gone))
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
        #: Whether the library may have given records that nobody was handed yet.
        self._in_hand = False
        #: The offset behind the last record that was handed over, of each partition that is read.
        self._next: dict[int, int] = {}
        #: Partitions that are ours and not read: from where to, None where the group knows.
        self._open: dict[int, int | None] = {}
        self._open_fault: Exception | None = None
        self._open_due = 0.0
        self._placed: dict[int, int] = {}
        self._reached: dict[int, int] = {}
        self._rebalances = 0
        self.joined = False
        self.paused = False
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

    # ------------------------------------------------------------------ reading

    def poll(self, most: int, timeout_seconds: float) -> list[Followed]:
        """What came, ``most`` at most; raises ``RecordsGone`` and ``KafkaUnavailable``.

        What came beside an error is handed over first: the next call raises it.
        """
        if self._fault is not None:
            kept, self._fault = self._fault, None
            raise kept
        if self._in_hand:
            # An exception on the way lost what the library gave, which gives it once.
            self._reopen([n for n in self._next if n not in self._open], "records were dropped")
        fault = self._place()
        rebalances = self._rebalances
        self._in_hand = True
        # For one, then what is there: asking for many waits for as many.
        first = self._consumer.poll(timeout_seconds)
        came = [] if first is None else [first, *self._consumer.consume(most - 1, 0)]
        if rebalances != self._rebalances:
            # They are somebody else's, or are read again: nothing is read before it has a place.
            came = [message for message in came if (message.partition() or 0) < 0]
        records, told = self._sort(came)
        self._in_hand = False
        fault = fault or told
        if records:
            self._fault = fault
        elif fault is not None:
            raise fault
        return records

    def _sort(self, came: Iterable[Message]) -> tuple[list[Followed], Exception | None]:
        """Records to hand over, and the first error among them.

        A partition ends at its first error: the library may go on behind what it could not read.
        """
        records, fault = [], None
        following = dict(self._next)
        ended: set[int] = set()
        reached: dict[int, int] = {}
        for message in came:
            number, offset = _place_of(message)
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                ended.add(number)
                if error.code() != KafkaError._AUTO_OFFSET_RESET:
                    fault = fault or KafkaUnavailable(words_of(error))
            elif number in ended or number not in following:
                continue
            elif error is not None:
                reached[number] = offset
            elif offset >= following[number]:
                since, following[number] = following[number], offset + 1
                records.append(Followed(number, offset, message.key(), message.value(), since))
        self._next = following
        self._reached.update(reached)
        self._reopen(ended & following.keys(), "it told of an error")
        return records, fault

    def placed(self) -> dict[int, int]:
        """By partition, from where it is read, of those that were given a place since the last
        call; all before is committed, or gone and told."""
        placed, self._placed = self._placed, {}
        return placed

    def reached(self) -> dict[int, int]:
        """By partition, ends that were come to since this was asked last.

        All before has been read. Past the last record, that is: behind a transaction's last record
        stands its marker, which nobody is ever given.
        """
        reached, self._reached = self._reached, {}
        return reached

    def pause(self) -> None:
        """Fetch nothing more, and stay a member."""
        self.paused = True
        self._consumer.pause(self._consumer.assignment())

    def resume(self) -> None:
        """Go on fetching."""
        self.paused = False
        self._consumer.resume(self._consumer.assignment())

    def commit(self, next_offsets: Mapping[int, int]) -> None:
        """Commit where to go on; raises ``KafkaUnavailable``."""
        positions = self._positions(next_offsets)
        if not positions:
            return
        try:
            self._consumer.commit(offsets=positions, asynchronous=False)
        except KafkaException as error:
            raise KafkaUnavailable(f"offsets not committed: {words_of(error)}") from error

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    # ------------------------------------------------------------------ places

    def _reopen(self, numbers: Collection[int], why: str) -> None:
        """Find these partitions' places again: from what was handed over last."""
        for number in numbers:
            log.warning("reading again", extra={"partition": number, "cause": why})
            self._open[number] = self._next[number]
            self._open_due = 0.0

    def _place(self) -> Exception | None:
        """Read the open partitions from their places; what keeps it from that, until it is done."""
        if not self._open:
            return None
        if time.monotonic() < self._open_due:
            return self._open_fault
        self._open_due = time.monotonic() + _AGAIN_SECONDS
        self._open_fault = None
        try:
            found = self._find()
            self._next.update(found)
            positions = self._positions(self._next)
            self._consumer.assign(positions)
            # The library keeps a partition paused through any number of assignments.
            (self._consumer.pause if self.paused else self._consumer.resume)(positions)
            self._placed.update(found)
            self._open = {}
        except KafkaException as error:
            told = words_of(error)
            self._open_fault = KafkaUnavailable(f"where to read from is not known: {told}")
        except (KafkaUnavailable, RecordsGone) as fault:
            self._open_fault = fault
        return self._open_fault

    def _find(self) -> dict[int, int]:
        """From where to read each open partition; raises ``RecordsGone``."""
        known = {number: at for number, at in self._open.items() if at is not None}
        asked = [TopicPartition(self._topic, n) for n, at in self._open.items() if at is None]
        for place in self._consumer.committed(asked, timeout=_SECONDS) if asked else ():
            if place.error is not None:
                raise KafkaException(place.error)
            known[place.partition] = place.offset
        found, gone = dict(known), []
        for number, at in known.items():
            low, high = self._bounds(number)
            if at > high:
                # Another topic of the same name, or its tail was lost: all of it may be new.
                gone.append(Gone(number, at, high))
                found[number] = low
            elif at < low:
                found[number] = low
                if at >= 0:
                    gone.append(Gone(number, at, low))
        self._refuse(gone)
        # At once, though nothing is acknowledged: from now on it is told what the topic drops.
        begun = {n: at for n, at in found.items() if self._open[n] is None and at != known[n]}
        self.commit(begun)
        return found

    def _bounds(self, number: int) -> tuple[int, int]:
        place = TopicPartition(self._topic, number)
        bounds = self._consumer.get_watermark_offsets(place, timeout=_SECONDS)
        if bounds is None:
            raise KafkaUnavailable(f"where {self._topic}/{number} begins is not told")
        return bounds

    def _refuse(self, gone: Sequence[Gone]) -> None:
        """Raises ``RecordsGone``, unless told to go on; never back while it reads."""
        if not gone:
            return
        told = RecordsGone(self._topic, gone)
        back = any(each.next < each.first and each.partition in self._next for each in gone)
        if back or not self._skip_gone:
            raise told
        log.error("going on without them, as told", extra={"cause": str(told)})

    def _positions(self, offsets: Mapping[int, int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, number, at) for number, at in offsets.items()]

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Called inside ``poll``, where an exception would be lost: places are found outside."""
        self._forget()
        self.joined = True
        self._open = dict.fromkeys(place.partition for place in partitions)
        consumer.assign([])

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._on_revoked()
        self._forget()
        consumer.unassign()

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._on_revoked()
        self._forget()

    def _forget(self) -> None:
        self._rebalances += 1
        self._next, self._open = {}, {}
        self._placed, self._reached = {}, {}
        self._open_due = 0.0
        self.paused = False


def _place_of(message: Message) -> tuple[int, int]:
    """Partition and offset; -1 for what is about neither."""
    number, offset = message.partition(), message.offset()
    return -1 if number is None else number, -1 if offset is None else offset
