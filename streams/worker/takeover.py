"""Takes partitions over: fences the former owner, checks that the log is the one we know, finds
what the outbox still holds, and says from where to read on.

Each check that fails stops that partition with an alarm; an operator decides.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from db.engine import Connection
from db.ledger import batches, partitions
from processors.apply import Claim, StagedSlice, unpack_frames
from processors.incoming import Record
from schemas.settings import Settings
from schemas.topics import CommandTopic, topic_name
from streams.kafka.admin import Admin, TopicFacts, TopicsAsked
from streams.kafka.config import CannotBeRead, KafkaUnavailable
from streams.kafka.consume import Assignment, CommandConsumer, Unfit
from streams.kafka.view import LogView
from streams.worker.continuity import Hole

log = logging.getLogger(__name__)

Place = tuple[CommandTopic, int]

#: Between two looks at the topics.
_WATCH_SECONDS: Final = 1.0
#: Slices of a partition read from the outbox together: a day of it need not fit into memory.
_PART: Final = 24


class Halt(NamedTuple):
    """A partition that is not applied until an operator has looked, and why."""

    topic: CommandTopic
    partition: int
    reason: str


class Unpublished(NamedTuple):
    """A partition whose outbox, from ``committed`` on, is to be published."""

    topic: CommandTopic
    partition: int
    committed: int


class Taken(NamedTuple):
    """The outcome of a take-over."""

    claims: dict[tuple[int, int], Claim]
    assignments: list[Assignment]
    unpublished: list[Unpublished]
    halts: list[Halt]


class Log(NamedTuple):
    """A partition's log as the broker has it: first kept offset, end, and its topic."""

    start: int
    end: int
    topic: TopicFacts


class LogChanged(Exception):
    """The log is not the one that was applied so far."""


class TakeOver:
    """Takes partitions over for one worker."""

    def __init__(
        self,
        settings: Settings,
        connection: Connection,
        *,
        owner: str,
        to_record: Callable[[Any], Record],
        unfit: Mapping[Place, Unfit],
    ) -> None:
        """``unfit`` has records that were met and must not be applied."""
        self._connection = connection
        self._owner = owner
        self._names = {code: topic_name(settings, code) for code in CommandTopic}
        self._admin = Admin(settings)
        self._view = LogView(settings)
        self._to_record = to_record
        self._unfit = unfit
        self._partitions = settings.partitions
        #: The topics at the last take-over, and the question whether they still are these.
        self._known: dict[str, TopicFacts] = {}
        self._asked: TopicsAsked | None = None
        self._asked_at = 0.0

    def close(self) -> None:
        """Let go of the broker."""
        self._view.close()

    def take(self, places: Sequence[Place], consumer: CommandConsumer) -> Taken:
        """Take over all of ``places``; nothing is applied or published yet.

        Raises one of ``OUTAGES`` where a server is away: ask again.
        """
        taken = Taken({}, [], [], [])
        if not places:
            self._known = {}
            return taken
        held = self._fence(places)
        # From here on no one else applies or publishes these; asking for the committed offsets
        # waits for a predecessor's open Kafka transaction.
        committed = consumer.committed(places)
        logs = self._logs(places)
        for place in places:
            row = held[place]
            try:
                self._check(place, row, committed[place], logs[place])
            except LogChanged as reason:
                self._halt(place, str(reason), taken)
                continue
            if committed[place] is None:
                # Committed before the very first batch, so that a missing offset always means one
                # that got lost.
                consumer.commit([Assignment(*place, 0)])
            published = committed[place] or 0
            if published < row.next_offset:
                if self._lacks(row, published):
                    self._halt(place, "the outbox lacks batches that were never published", taken)
                    continue
                taken.unpublished.append(Unpublished(*place, published))
            taken.claims[place] = Claim(row.epoch, row.generation)
            taken.assignments.append(Assignment(*place, row.next_offset))
        return taken

    def holds_record(self, hole: Hole) -> bool:
        """Whether the log has a committed record where none was delivered."""
        name = self._names[CommandTopic(hole.topic)]
        found = self._view.records(name, hole.partition, hole.first, hole.last)
        return next(found, None) is not None

    def staged(self, unpublished: Unpublished) -> Iterator[StagedSlice]:
        """What the outbox holds of a partition that was taken over, in order, read in parts."""
        topic, partition, first = unpublished
        while True:
            with self._connection.cursor(binary=True) as cursor:
                rows = batches.unpublished(cursor, topic, partition, first, _PART)
            for row in rows:
                first = row.last_offset + 1
                yield StagedSlice(
                    row.topic, row.partition, row.first_offset, first, unpack_frames(row.frames)
                )
            if len(rows) < _PART:
                return

    def log_is_another(self) -> bool:
        """Whether a topic is gone, or has another id or number of partitions by now; asks every
        second, and waits for no answer.

        The library notices nothing of a topic that is deleted and made again at once: it reads on
        in the new log, at the offset of the old one, and what stands before it is passed over. Of
        partitions that are added it hears after minutes; producers may know them by then.

        The database is asked as well. Raises one of ``OUTAGES`` where a server does not answer:
        who has nothing to apply or to publish would not notice that either.
        """
        if self._asked is None:
            if self._known and time.monotonic() - self._asked_at > _WATCH_SECONDS:
                self._asked_at = time.monotonic()
                self._asked = self._admin.ask_topics(list(self._known))
                self._connection.execute("SELECT")
            return False
        try:
            facts = self._asked.answer()
        except KafkaUnavailable:
            self._asked = None
            raise
        if facts is None:
            return False
        self._asked = None
        return facts != self._known

    def log_is_another_now(self) -> bool:
        """The same, asked and answered on the spot."""
        return self._admin.topics(list(self._known)) != self._known

    def _facts(self, places: Sequence[Place]) -> dict[str, TopicFacts]:
        """The topics of these partitions; raises ``KafkaUnavailable`` while one is not there."""
        names = sorted({self._names[code] for code, _ in places})
        facts = self._admin.topics(names)
        for name in names:
            if name not in facts:
                raise KafkaUnavailable(f"the topic {name} is gone")
        self._known = facts
        self._asked = None
        return facts

    def _fence(self, places: Sequence[Place]) -> dict[Place, partitions.Partition]:
        facts = self._facts(places)
        held: dict[Place, partitions.Partition] = {}
        for code, number in places:
            topic_id = facts[self._names[code]].topic_id
            held[code, number] = partitions.take_over_patiently(
                self._connection, code, number, topic_id=topic_id, owner=self._owner
            )
        return held

    def _logs(self, places: Sequence[Place]) -> dict[Place, Log]:
        facts = self._facts(places)
        found: dict[Place, Log] = {}
        for code, name in self._names.items():
            numbers = [number for topic, number in places if topic == code]
            if not numbers:
                continue
            starts = self._admin.starts(name, numbers)
            ends = self._admin.ends(name, numbers)
            for number in numbers:
                found[code, number] = Log(starts[number], ends[number], facts[name])
        return found

    def _check(
        self,
        place: Place,
        row: partitions.Partition,
        committed: int | None,
        log: Log,
    ) -> None:
        """Raise ``LogChanged`` unless the log goes on where the database stopped."""
        start, end, topic = log
        if row.topic_id != topic.topic_id:
            raise LogChanged(
                f"the topic was made anew: its id is {topic.topic_id}, not {row.topic_id}"
            )
        if topic.partitions != self._partitions:
            raise LogChanged(
                f"the topic has {topic.partitions} partitions, but WALLET_PARTITIONS says "
                f"{self._partitions}: commands would be taken for misplaced"
            )
        if end < row.next_offset:
            raise LogChanged(f"the log ends at {end}, but {row.next_offset} were applied")
        if start > row.next_offset:
            raise LogChanged(
                f"the log begins at {start}, after {row.next_offset}: commands are lost"
            )
        if committed is None and row.next_offset > 0:
            raise LogChanged("the group's committed offset is gone")
        if committed is not None and committed > row.next_offset:
            raise LogChanged(
                f"offset {committed} is published, but only {row.next_offset} are applied: "
                "the database is older than the topic"
            )
        unfit = self._unfit.get(place)
        if (
            unfit is not None
            and unfit.generation == row.generation
            and unfit.offset >= row.next_offset
        ):
            raise LogChanged(str(unfit))
        self._check_last(place, row, start)

    def _check_last(self, place: Place, row: partitions.Partition, start: int) -> None:
        if row.last_offset is None or row.last_offset < start:
            return
        try:
            message = self._view.record(self._names[place[0]], place[1], row.last_offset)
        except CannotBeRead as fault:
            # A worker that may unpack more has applied it.
            raise LogChanged(str(fault)) from fault
        if message is None or self._to_record(message).digest() != row.last_digest:
            raise LogChanged(f"the record at offset {row.last_offset} is another than was applied")

    def _lacks(self, row: partitions.Partition, committed: int) -> bool:
        with self._connection.cursor() as cursor:
            return batches.outbox_lacks(cursor, row.topic, row.partition, row.generation, committed)

    def _halt(self, place: Place, reason: str, taken: Taken) -> None:
        with self._connection.cursor() as cursor:
            partitions.halt(cursor, place[0], place[1], reason)
        taken.halts.append(Halt(place[0], place[1], reason))
