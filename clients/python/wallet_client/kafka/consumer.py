"""The wallet's events: those that are committed, of the types that are wanted, none lost."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Literal, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from wallet_client.checkpoints import Checkpoint
from wallet_client.errors import WalletError
from wallet_client.events import Event, read_event
from wallet_client.kafka.config import EVENTS, client_config, sound, unavailable
from wallet_client.models import EventType
from wallet_client.ordering import Gap, InOrder

#: Where to read from: a time, offsets by partition, or an end of the topic.
Point = datetime | Mapping[int, int] | Literal["earliest", "latest"]

_ANSWER_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.5
#: Partitions are handed out inside the library's poll, which would wait on with none to read.
_GLANCE_SECONDS: Final = 0.1


class EventsGone(WalletError):
    """The topic has dropped events that were never read: it keeps a week.

    Nothing is passed over silently. Read what you lack over REST, then go on with
    ``replay({gone.partition: gone.first})``.
    """

    def __init__(self, topic: str, partition: int, first: int) -> None:
        super().__init__(f"{topic} partition {partition} begins at {first} now; events before it")
        self.partition = partition
        #: The first offset that is still there.
        self.first = first


class _Progress:
    """How far one partition is handled; all before ``resume`` is."""

    def __init__(self, position: int) -> None:
        self.position = position
        self._open: set[int] = set()

    def read(self, offset: int) -> None:
        self.position = offset + 1
        self._open.add(offset)

    def done(self, offset: int) -> None:
        self._open.discard(offset)

    @property
    def resume(self) -> int:
        return min(self._open, default=self.position)

    def resume_without(self, offset: int) -> int:
        """What ``resume`` will be once this one is done, too."""
        return min(self._open - {offset}, default=self.position)


class EventConsumer:
    """One member of a group on the wallet's events.

    *At least once*: iterate. An event counts as handled when the next one is asked for, and only
    then may its offset be committed.

    *Exactly once*: give a ``checkpoint``, and call ``handle``. The place is then the application's
    own, written in the transaction of what it makes of the event.

    ``in_order`` hands out each user's events by ``sequence``, drops doubles, and raises ``Gap``
    where an event is missing for longer than ``late_seconds``; iterate on to wait for it further,
    or ``skip`` it. Not for use by several threads, but for ``stop``.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        group: str,
        *,
        types: Collection[str] | None = None,
        start: Point = "earliest",
        in_order: bool = False,
        late_seconds: float = 60.0,
        last_sequence: Callable[[str], int | None] | None = None,
        checkpoint: Checkpoint | None = None,
        topic_prefix: str = "",
        config: Mapping[str, Any] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """``start`` is where a group begins that has no place yet; ``types`` None means all.

        ``last_sequence`` tells ``in_order`` where a user stands, from before a restart; a
        ``checkpoint`` knows it.
        """
        self._topic = topic_prefix + EVENTS
        if unknown := sorted(set(types or ()) - set(EventType)):
            raise ValueError(f"there are no events of the types {', '.join(unknown)}")
        self._types = None if types is None else frozenset(types)
        self._start = start
        self._replaying = False
        self._checkpoint = checkpoint
        self._order: InOrder | None = None
        if in_order:
            known = last_sequence or (checkpoint.last_sequence if checkpoint else None)
            self._order = InOrder(late_seconds, now, *([known] if known else []))
        self._progress: dict[int, _Progress] = {}
        self._ready: deque[Event] = deque()
        self._handed: Event | None = None
        #: Partitions that are ours, and whose place is still to be found.
        self._unplaced: list[TopicPartition] = []
        self._stopping = threading.Event()
        self._consumer = Consumer(
            client_config(
                bootstrap_servers,
                config,
                group_id=group,
                enable_auto_commit=True,
                auto_commit_interval_ms=1_000,
                # Stored once they are handled, never when they are merely read.
                enable_auto_offset_store=False,
                auto_offset_reset="error",
                partition_assignment_strategy="range",
                isolation_level="read_committed",
                fetch_wait_max_ms=100,
            )
        )
        self._consumer.subscribe(
            [self._topic],
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._revoked,
        )

    # Reading

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        """The next event; ends after ``stop``."""
        if self._checkpoint is not None:
            raise RuntimeError("with a checkpoint, call handle(): it opens the transaction")
        while not self._stopping.is_set():
            event = self.poll(_POLL_SECONDS)
            if event is not None:
                return event
        self._acknowledge()
        raise StopIteration

    def poll(self, timeout_seconds: float) -> Event | None:
        """The next event, None if there is none in time; the one before counts as handled.

        Raises ``Gap``, ``EventsGone``, ``NotAnEvent`` and ``BrokerUnavailable``; all but the last
        are told once, and polling on is safe.
        """
        self._acknowledge()
        event = self._next(timeout_seconds)
        while event is not None and not self._wanted(event):
            self._done(event)
            event = self._next(0.0)
        self._handed = event
        return event

    def _wanted(self, event: Event) -> bool:
        return self._types is None or event.type in self._types

    def _next(self, timeout_seconds: float) -> Event | None:
        if self._order is not None and not self._ready and (gap := self._order.late()):
            raise gap
        end = time.monotonic() + timeout_seconds
        while not self._ready:
            left = end - time.monotonic()
            message = self._consumer.poll(min(max(left, 0.0), _GLANCE_SECONDS))
            self._begin()
            if message is not None:
                self._take(message)
            elif left <= 0:
                return None
        return self._ready.popleft()

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is not None and error.code() == KafkaError._AUTO_OFFSET_RESET:
            number = message.partition() or 0
            raise EventsGone(self._topic, number, self._at(number, "earliest").offset)
        sound(message)
        partition, offset = message.partition() or 0, message.offset() or 0
        progress = self._progress.get(partition)
        if progress is None:
            return  # it was taken away meanwhile
        event = read_event(message.value(), partition, offset)
        progress.read(offset)
        if self._order is None:
            self._ready.append(event)
            return
        ready = self._order.take(event)
        if ready is None:
            self._done(event)
        else:
            self._ready.extend(ready)

    # Handling

    def handle(
        self, handler: Callable[[Event], None], *, timeout_seconds: float | None = None
    ) -> int:
        """Handle events exactly once, until ``stop`` or until none comes for so long; how many.

        ``handler`` writes what it makes of the event through the checkpoint's transaction. If it
        raises, the transaction is taken back, and the event comes again with the next call.
        """
        if self._checkpoint is None:
            raise RuntimeError("exactly once needs a checkpoint")
        count = 0
        idle_since = time.monotonic()
        while not self._stopping.is_set():
            self._acknowledge()
            event = self._next(_POLL_SECONDS if timeout_seconds is None else timeout_seconds)
            if event is None:
                if timeout_seconds is not None and time.monotonic() - idle_since >= timeout_seconds:
                    break
                continue
            # In order, the place of each user is kept, whether or not its type is wanted.
            if self._wanted(event) or self._order is not None:
                try:
                    count += self._handle(event, handler, self._checkpoint)
                except BaseException:
                    self._ready.appendleft(event)
                    raise
            self._handed = event
            idle_since = time.monotonic()
        return count

    def _handle(
        self, event: Event, handler: Callable[[Event], None], checkpoint: Checkpoint
    ) -> bool:
        with checkpoint.transaction():
            if checkpoint.seen(event.id):
                return False
            wanted = self._wanted(event)
            if wanted:
                handler(event)
            progress = self._progress.get(event.partition)
            resume = progress.resume_without(event.offset) if progress else event.offset
            checkpoint.save(event, resume)
        return wanted

    def skip(self, gap: Gap) -> None:
        """Go on behind a gap without what is missing."""
        if self._order is not None:
            self._ready.extend(self._order.skip(gap))

    def gaps(self) -> list[Gap]:
        """Every gap there is at the moment, late or not."""
        return [] if self._order is None else self._order.gaps()

    def _acknowledge(self) -> None:
        if self._handed is not None:
            handed, self._handed = self._handed, None
            self._done(handed)

    def _done(self, event: Event) -> None:
        progress = self._progress.get(event.partition)
        if progress is None:
            return  # it was taken away; the next member begins where we had stored
        before = progress.resume
        progress.done(event.offset)
        if progress.resume != before:
            place = TopicPartition(self._topic, event.partition, progress.resume)
            self._consumer.store_offsets(offsets=[place])

    # Places

    def replay(self, point: Point) -> None:
        """Read again from a point, whatever was handled; order and doubles begin anew.

        Offsets move their own partitions alone. With a checkpoint, what it has seen stays seen.
        """
        assigned = self._consumer.assignment()
        if not assigned:
            self._start, self._replaying = point, True
            return
        numbers = [
            place.partition
            for place in assigned
            if not isinstance(point, Mapping) or place.partition in point
        ]
        self._acknowledge()
        self._drop(numbers, anew=self._checkpoint is None)
        # All are assigned again: a partition whose events are gone has nothing to seek in.
        places = [self._at(number, point) for number in numbers]
        places += [
            TopicPartition(self._topic, number, progress.position)
            for number, progress in self._progress.items()
        ]
        for place in places:
            self._progress.setdefault(place.partition, _Progress(place.offset))
        self._consumer.assign(places)

    def _drop(self, numbers: Collection[int], *, anew: bool = False) -> None:
        """Forget what of these partitions is read and not handled."""
        for number in numbers:
            self._progress.pop(number, None)
            if self._order is not None:
                self._order.forget(number, anew=anew)
        self._ready = deque(event for event in self._ready if event.partition not in numbers)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Called inside ``poll``: nothing is read before each partition's place is found."""
        self._unplaced = list(partitions)
        consumer.assign([])

    def _begin(self) -> None:
        """Read each partition from where it was left; what fails here is done by the next poll."""
        if not self._unplaced:
            return
        places = self._places(self._unplaced)
        self._unplaced = []
        for place in places:
            self._progress[place.partition] = _Progress(place.offset)
        self._consumer.assign(places)

    def _places(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        numbers = [place.partition for place in partitions]
        found: dict[int, int] = {}
        if self._replaying:
            # Once: after the next rebalance it goes on from where it is then.
            return self._replayed(numbers)
        if self._checkpoint is not None:
            kept = {number: self._checkpoint.next_offset(number) for number in numbers}
            found = {number: offset for number, offset in kept.items() if offset is not None}
        else:
            try:
                committed = self._consumer.committed(partitions, timeout=_ANSWER_SECONDS)
            except KafkaException as error:
                raise unavailable(error) from error
            found = {place.partition: place.offset for place in committed if place.offset >= 0}
        return [
            TopicPartition(self._topic, number, found[number])
            if number in found
            else self._at(number, self._start)
            for number in numbers
        ]

    def _replayed(self, numbers: list[int]) -> list[TopicPartition]:
        places = [self._at(number, self._start) for number in numbers]
        self._replaying = False
        return places

    def _at(self, number: int, point: Point) -> TopicPartition:
        """The offset of a point in a partition, as a number: an end may move while we begin."""
        place = TopicPartition(self._topic, number)
        try:
            low, high = self._consumer.get_watermark_offsets(place, timeout=_ANSWER_SECONDS)
            offset = high
            if isinstance(point, Mapping):
                offset = point.get(number, low)
            elif point == "earliest":
                offset = low
            elif isinstance(point, datetime):
                asked = TopicPartition(self._topic, number, int(point.timestamp() * 1000))
                (answer,) = self._consumer.offsets_for_times([asked], timeout=_ANSWER_SECONDS)
                offset = answer.offset if answer.offset >= 0 else high
        except KafkaException as error:
            raise unavailable(error) from error
        return TopicPartition(self._topic, number, offset)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Others go on from what was stored; what waits here they read again."""
        self._unplaced = []
        self._drop([place.partition for place in partitions])

    def stop(self) -> None:
        """End the iteration, or ``handle``; from any thread, or from a handler."""
        self._stopping.set()

    def close(self) -> None:
        """Leave the group; what is handled is committed, what is in hand is not."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
