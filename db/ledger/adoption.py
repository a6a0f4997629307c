"""An operator's ways out of a halted partition, and the outbox rows that are looked at for it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from db.engine import Connection


class Row(NamedTuple):
    """A partition as the database knows it."""

    topic: int
    partition: int
    topic_id: str | None
    generation: int
    epoch: int
    next_offset: int
    last_offset: int | None
    owner: str | None
    halted: str | None


class Changed(NamedTuple):
    """What a partition's row is to become; the last record is not known any more."""

    topic_id: str
    generation: int
    next_offset: int


class Moved(Exception):
    """The partition has changed since it was looked at: look again."""


_COLUMNS = "topic, partition, topic_id, generation, epoch, next_offset, last_offset, owner, halted"


def rows(connection: Connection) -> list[Row]:
    """Every partition that was ever taken over."""
    found = connection.execute(f"SELECT {_COLUMNS} FROM partitions ORDER BY topic, partition")
    return [Row(*row) for row in found]


def adopt(connection: Connection, before: Row, after: Changed, *, note: str) -> int:
    """Let the workers go on as ``after`` says; returns how many outbox rows were dropped.

    The epoch rises, so that a worker which still holds the partition writes nothing more of it.
    Outbox rows of an earlier generation go: their offsets come again. Raises ``Moved`` if the row
    is not as it was looked at.
    """
    with connection.transaction():
        connection.execute("SET LOCAL lock_timeout = '5s'")
        found = connection.execute(
            f"SELECT {_COLUMNS} FROM partitions WHERE topic = %s AND partition = %s"
            " FOR NO KEY UPDATE",
            (before.topic, before.partition),
        ).fetchone()
        now = None if found is None else Row(*found)
        if now is None or _position(now) != _position(before):
            raise Moved(f"{Moved.__doc__} It was {before}, and is {now}.")
        connection.execute(
            "UPDATE partitions SET topic_id = %s, generation = %s, next_offset = %s,"
            " last_offset = NULL, last_digest = NULL, epoch = epoch + 1, halted = %s,"
            " updated_at = now() WHERE topic = %s AND partition = %s",
            (*after, note, before.topic, before.partition),
        )
        if after.generation == before.generation:
            return 0
        return connection.execute(
            "DELETE FROM outbox WHERE topic = %s AND partition = %s",
            (before.topic, before.partition),
        ).rowcount


def _position(partition: Row) -> tuple[object, ...]:
    return partition[2:4] + partition[5:7]


class OutboxRow(NamedTuple):
    """What one slice published, or has to; ``frames`` are packed."""

    batch_id: int
    topic: int
    partition: int
    first_offset: int
    last_offset: int
    created_at: datetime
    frames: bytes


def oldest_outbox_row(connection: Connection) -> datetime | None:
    """When the first row that is kept was written."""
    found = connection.execute("SELECT min(created_at) FROM outbox").fetchone()
    return None if found is None else found[0]


def outbox_rows(connection: Connection, topic: int, partition: int) -> Iterator[OutboxRow]:
    """A partition's kept rows by offset, streamed."""
    with connection.transaction(), connection.cursor(name="outbox_rows") as cursor:
        cursor.itersize = 100
        cursor.execute(
            "SELECT batch_id, topic, partition, first_offset, last_offset, created_at, frames"
            " FROM outbox WHERE topic = %s AND partition = %s ORDER BY first_offset",
            (topic, partition),
        )
        for found in cursor:
            yield OutboxRow(*found)


def outbox_row(
    connection: Connection, topic: int, partition: int, first_offset: int
) -> OutboxRow | None:
    """One row."""
    found = connection.execute(
        "SELECT batch_id, topic, partition, first_offset, last_offset, created_at, frames"
        " FROM outbox WHERE (topic, partition, first_offset) = (%s, %s, %s)",
        (topic, partition, first_offset),
    ).fetchone()
    return None if found is None else OutboxRow(*found)


def unpacked_slices(connection: Connection, row: Row, offset: int) -> list[int]:
    """Batches whose slice from ``offset`` on is in no outbox row: what they would publish is
    nowhere."""
    found = connection.execute(
        """
        SELECT s.batch_id FROM batch_slices s
         WHERE s.topic = %s AND s.partition = %s AND s.generation = %s AND s.last_offset >= %s
           AND NOT EXISTS (SELECT FROM outbox o WHERE o.topic = s.topic
                              AND o.partition = s.partition AND o.first_offset = s.first_offset)
         ORDER BY s.batch_id
        """,
        (row.topic, row.partition, row.generation, offset),
    )
    return [batch_id for (batch_id,) in found]
