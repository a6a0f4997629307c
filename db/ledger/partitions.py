"""How far each partition of the command topics has been applied, and who may go on.

A partition's row is the fence: its ``epoch`` rises with every take-over, and a batch commits only
under the epoch that its worker was given.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import errors

from db.engine import Cursor
from db.plain import array
from db.together import Answer, Together

log = logging.getLogger(__name__)


class Partition(NamedTuple):
    """A partition as the database knows it; ``last_digest`` is of the last applied record."""

    topic: int
    partition: int
    topic_id: str | None
    generation: int
    epoch: int
    next_offset: int
    last_offset: int | None
    last_digest: bytes | None
    chain: bytes
    halted: str | None


class Fenced(Exception):
    """Another worker has taken the partition over; this one may write nothing more of it."""


_COLUMNS = (
    "topic, partition, topic_id, generation, epoch, next_offset, last_offset, last_digest, chain,"
    " halted"
)
_BACKEND_START = "(SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid())"
#: A former owner that lets go neither by itself nor by a time-out is ended after this long.
PATIENCE_MS = 3_000


def partitions(cursor: Cursor) -> list[Partition]:
    """Every partition that was ever taken over."""
    cursor.execute(f"SELECT {_COLUMNS} FROM partitions ORDER BY topic, partition")
    return [Partition(*row) for row in cursor.fetchall()]


def take_over_patiently(
    connection: psycopg.Connection[tuple[Any, ...]],
    topic: int,
    partition: int,
    *,
    topic_id: str,
    owner: str,
) -> Partition:
    """``take_over`` in a transaction of its own, also from an owner that does not let go.

    Waits for the former owner's running batch, and ends its backend if that takes too long: one
    that froze inside a COPY holds its locks past every time-out of the server.
    """
    while True:
        try:
            with connection.transaction(), connection.cursor(binary=True) as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = {PATIENCE_MS}")
                return take_over(cursor, topic, partition, topic_id=topic_id, owner=owner)
        except errors.LockNotAvailable:
            with connection.cursor() as cursor:
                ended = terminate_owner(cursor, topic, partition)
            log.warning(
                "a former owner held its partition past every time-out",
                extra={"topic": topic, "partition": partition, "ended": ended},
            )


def take_over(
    cursor: Cursor, topic: int, partition: int, *, topic_id: str, owner: str
) -> Partition:
    """Raise the epoch, so that the former owner's next batch fails; make the row if it is new."""
    cursor.execute(
        f"""
        INSERT INTO partitions AS p
               (topic, partition, topic_id, epoch, owner, backend_pid, backend_start)
        VALUES (%s, %s, %s, 1, %s, pg_backend_pid(), {_BACKEND_START})
            ON CONFLICT (topic, partition) DO UPDATE
           SET epoch = p.epoch + 1, owner = excluded.owner, backend_pid = excluded.backend_pid,
               backend_start = excluded.backend_start, halted = NULL, updated_at = now(),
               topic_id = coalesce(p.topic_id, excluded.topic_id)
        RETURNING {_COLUMNS}
        """,
        (topic, partition, topic_id, owner),
    )
    row = cursor.fetchone()
    assert row is not None
    return Partition(*row)


def terminate_owner(cursor: Cursor, topic: int, partition: int) -> bool:
    """End the backend of a partition's owner, if it still is the same; True if it was there."""
    cursor.execute(
        """
        SELECT pg_terminate_backend(a.pid, 5000)
          FROM partitions p
          JOIN pg_stat_activity a ON a.pid = p.backend_pid AND a.backend_start = p.backend_start
         WHERE p.topic = %s AND p.partition = %s AND a.pid <> pg_backend_pid()
        """,
        (topic, partition),
    )
    return cursor.fetchone() is not None


def halt(cursor: Cursor, topic: int, partition: int, reason: str) -> None:
    """Note why a partition is not applied, for operators and ``wallet doctor``."""
    cursor.execute(
        "UPDATE partitions SET halted = %s, updated_at = now() WHERE topic = %s AND partition = %s",
        (reason, topic, partition),
    )


def claim(
    server: Together, wanted: Sequence[tuple[int, int, int, int]]
) -> Answer[dict[tuple[int, int], Partition]]:
    """Lock the partitions of a batch, in order, until it ends; by topic and number.

    ``wanted`` has (topic, partition, epoch, first offset), sorted. The answer raises ``Fenced``
    unless every one is still ours and has not been applied past the first offset.
    """
    topics, numbers, _, _ = zip(*wanted, strict=True)
    found = server.ask(
        f"""
        SELECT {_COLUMNS} FROM partitions
         WHERE (topic, partition) IN (SELECT * FROM unnest(%s::smallint[], %s::int[]))
         ORDER BY topic, partition FOR NO KEY UPDATE
        """,
        (array(topics), array(numbers)),
    )
    return lambda: _held(found, wanted)


def _held(
    found: Cursor, wanted: Sequence[tuple[int, int, int, int]]
) -> dict[tuple[int, int], Partition]:
    held = {(row[0], row[1]): Partition(*row) for row in found.fetchall()}
    for topic, partition, epoch, first_offset in wanted:
        row = held.get((topic, partition))
        if row is None or row.epoch != epoch or row.next_offset > first_offset:
            raise Fenced(f"topic {topic}, partition {partition}: {row}, not epoch {epoch}")
    return held
