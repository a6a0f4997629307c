"""Finds what the outbox has published and the topics do not hold, and publishes it again.

A broker acknowledges before it has fsynced: one that loses power may lose its tail, and with it
events whose offsets are committed. The outbox keeps a batch for a while after that.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from datetime import timedelta
from itertools import groupby, islice
from typing import Final, NamedTuple

import msgspec

from db.engine import Connection
from db.ledger import adoption
from db.ledger.adoption import OutboxRow
from processors.apply import unpack_frames
from processors.telling import DEAD_LETTER_FRAME, EVENT_FRAME, MANIFEST_FRAME, Frame
from schemas.settings import Settings
from schemas.topics import BATCHES, DEAD_LETTERS, EVENTS, CommandTopic, topic_name
from streams.kafka.admin import Admin
from streams.kafka.groups import Group
from streams.kafka.produce import Outgoing, TransactionalProducer
from streams.kafka.replay import LogReplay
from streams.kafka.view import LogView

Progress = Callable[[str, int, int], None]

#: Clocks of database and brokers may differ by so much.
_CLOCKS: Final = timedelta(minutes=5)
#: Records in one Kafka transaction.
_PUBLISH_MAX: Final = 1_000
_TELL_EVERY: Final = 5_000

_TABLE: Final = """
CREATE TABLE expected (
    kind INTEGER, name TEXT, batch_id INTEGER, topic INTEGER, part INTEGER, first_offset INTEGER,
    place INTEGER, PRIMARY KEY (kind, name)
) WITHOUT ROWID
"""


class _Identified(msgspec.Struct):
    """An event or a dead letter, as far as it has to be known again."""

    id: str


class _Slice(msgspec.Struct):
    """A manifest, as far as it has to be known again."""

    batch_id: int
    topic: int
    partition: int


_identified: Final = msgspec.json.Decoder(_Identified).decode
_slice: Final = msgspec.json.Decoder(_Slice).decode
_TOPIC_OF: Final = {EVENT_FRAME: EVENTS, DEAD_LETTER_FRAME: DEAD_LETTERS, MANIFEST_FRAME: BATCHES}


class Missing(NamedTuple):
    """What one kept row of the outbox published and the topics lack."""

    row: OutboxRow
    frames: list[Frame]


class Looked(NamedTuple):
    """How much was looked at: rows, records in them, and how many of those are missing, by topic.

    ``waiting`` rows were left out, since a worker will publish them.
    """

    rows: int
    records: int
    missing: dict[str, int]
    waiting: int


class Repair:
    """Holds the outbox against the topics; ``look``, then ``missing`` or ``publish``."""

    def __init__(
        self,
        settings: Settings,
        connection: Connection,
        *,
        progress: Progress = lambda stage, done, total: None,
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._progress = progress
        self._topics = {kind: topic_name(settings, name) for kind, name in _TOPIC_OF.items()}
        self._file = sqlite3.connect("", isolation_level=None)
        self._file.execute("PRAGMA journal_mode = OFF")
        self._file.execute(_TABLE)

    def close(self) -> None:
        """Forget what was found."""
        self._file.close()

    def look(
        self, only: Collection[tuple[int, int]] | None = None, *, all_rows: bool = False
    ) -> Looked:
        """Compare; ``only`` names (topic, partition), ``all_rows`` takes those too that wait.

        What is not published yet is a worker's to publish, unless its partition is halted.
        """
        self._file.execute("DELETE FROM expected")
        oldest = adoption.oldest_outbox_row(self._connection)
        if oldest is None:
            return Looked(0, 0, {}, 0)
        rows, records, waiting = self._expect(only, all_rows)
        # Read after the outbox: what was published until then lies before these ends.
        for kind in _TOPIC_OF:
            self._strike_off(kind, int((oldest - _CLOCKS).timestamp() * 1000))
        found = self._file.execute("SELECT kind, count(*) FROM expected GROUP BY kind")
        missing = {self._topics[kind]: int(count) for kind, count in found}
        return Looked(rows, records, missing, waiting)

    def missing_of(self, topic: int, partition: int) -> int:
        """How many records of a partition's outbox are missing, by the last look."""
        ((count,),) = self._file.execute(
            "SELECT count(*) FROM expected WHERE topic = ? AND part = ?", (topic, partition)
        )
        return int(count)

    def missing(self) -> Iterator[Missing]:
        """What is missing, batch by batch."""
        found = self._file.execute(
            "SELECT topic, part, first_offset, place FROM expected"
            " ORDER BY batch_id, topic, part, place"
        )
        for key, group in groupby(found, key=lambda row: row[:3]):
            row = adoption.outbox_row(self._connection, *key)
            if row is not None:
                frames = unpack_frames(row.frames)
                yield Missing(row, [frames[place] for *_, place in group])

    def publish(self) -> Counter[str]:
        """Publish what is missing, in transactions; how many records by topic."""
        published: Counter[str] = Counter()
        # Begins as the workers' ids do, for whom the broker's ACLs allow them.
        name = f"{self._settings.topic_prefix}{self._settings.group}-repair-{uuid.uuid4().hex[:12]}"
        producer = TransactionalProducer(self._settings, name)
        records = self._outgoing()
        try:
            while batch := list(islice(records, _PUBLISH_MAX)):
                producer.begin(batch)
                producer.commit()
                published.update(record.topic for record in batch)
                self._progress("publishing", published.total(), 0)
        finally:
            producer.close()
        return published

    # ------------------------------------------------------------------ what should be there

    def _expect(
        self, only: Collection[tuple[int, int]] | None, all_rows: bool
    ) -> tuple[int, int, int]:
        standings = [
            row
            for row in adoption.rows(self._connection)
            if only is None or (row.topic, row.partition) in only
        ]
        committed = Group(self._settings).committed(
            [(CommandTopic(row.topic), row.partition) for row in standings]
        )
        rows = records = waiting = 0
        for standing in standings:
            end = committed[CommandTopic(standing.topic), standing.partition] or 0
            for row in adoption.outbox_rows(self._connection, standing.topic, standing.partition):
                if row.last_offset >= end and not all_rows and standing.halted is None:
                    waiting += 1
                    continue
                rows += 1
                records += self._expect_row(row)
                if rows % 100 == 0:
                    self._progress("outbox", rows, 0)
        return rows, records, waiting

    def _expect_row(self, row: OutboxRow) -> int:
        frames = unpack_frames(row.frames)
        self._file.executemany(
            "INSERT OR IGNORE INTO expected VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    frame.kind,
                    _name_of(frame.kind, frame.value),
                    row.batch_id,
                    row.topic,
                    row.partition,
                    row.first_offset,
                    place,
                )
                for place, frame in enumerate(frames)
            ],
        )
        return len(frames)

    # ------------------------------------------------------------------ what is there

    def _strike_off(self, kind: int, since_ms: int) -> None:
        topic = self._topics[kind]
        admin = Admin(self._settings)
        numbers = range(self._settings.partitions)
        ends = admin.ends(topic, numbers)
        starts = admin.starts(topic, numbers)
        replay = LogReplay(self._settings)
        try:
            begins = replay.offsets_at(topic, numbers, since_ms)
        finally:
            replay.close()
        total = sum(max(ends[n] - begins[n], 0) for n in numbers)
        view = LogView(self._settings)
        done = 0
        try:
            for number in numbers:
                begin = max(begins[number], starts[number])
                if begin >= ends[number]:
                    continue
                for message in view.records(topic, number, begin, ends[number] - 1):
                    self._file.execute(
                        "DELETE FROM expected WHERE kind = ? AND name = ?",
                        (kind, _name_of(kind, message.value() or b"")),
                    )
                    done += 1
                    if done % _TELL_EVERY == 0:
                        self._progress(topic, done, total)
        finally:
            view.close()

    def _outgoing(self) -> Iterator[Outgoing]:
        for missing in self.missing():
            for frame in missing.frames:
                # As the publisher sends it: a manifest beside the commands that it is about.
                where = missing.row.partition if frame.kind == MANIFEST_FRAME else -1
                yield Outgoing(self._topics[frame.kind], frame.key, frame.value, where)


def _name_of(kind: int, value: bytes) -> str:
    """What no two records of a kind share."""
    if kind == MANIFEST_FRAME:
        part = _slice(value)
        return f"{part.batch_id}/{part.topic}/{part.partition}"
    return _identified(value).id
