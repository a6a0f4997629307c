"""Batches by number, their slices with digest and chain, and the outbox of what is to publish."""

from __future__ import annotations

from collections.abc import Collection
from hashlib import blake2b
from typing import Any, NamedTuple

import psycopg

from db.plain import array

Cursor = psycopg.Cursor[tuple[Any, ...]]

#: The chain of a partition before its first batch.
CHAIN_START = bytes(32)


class Slice(NamedTuple):
    """What a batch took from one partition."""

    topic: int
    partition: int
    generation: int
    first_offset: int
    last_offset: int
    commands: int
    entries: int
    digest: bytes
    chain: bytes


class Frames(NamedTuple):
    """Unpublished records of one slice, packed by the publisher."""

    batch_id: int
    topic: int
    partition: int
    first_offset: int
    last_offset: int
    frames: bytes


def digest_of(rows: Collection[bytes]) -> bytes:
    """Digest over packed rows: those of ``entries``, then those of ``commands``."""
    return blake2b(b"".join(rows), digest_size=32).digest()


def chained(previous: bytes, digest: bytes) -> bytes:
    """The partition's chain after a slice with this digest."""
    return blake2b(previous + digest, digest_size=32).digest()


def next_batch_number(cursor: Cursor) -> int:
    """Drawn after all locks are held, so that numbers tell the order of commits."""
    cursor.execute("SELECT nextval('batch_numbers')")
    row = cursor.fetchone()
    assert row is not None
    return int(row[0])


def write_batch(
    cursor: Cursor,
    batch_id: int,
    *,
    rules_version: int,
    logic_version: int,
    owner: str,
    slices: Collection[Slice],
) -> None:
    """The batch's row and one for each slice."""
    cursor.execute(
        "INSERT INTO batches (id, rules_version, logic_version, commands, entries, owner)"
        " VALUES (%s, %s, %s, %s, %s, %s)",
        (
            batch_id,
            rules_version,
            logic_version,
            sum(s.commands for s in slices),
            sum(s.entries for s in slices),
            owner,
        ),
    )
    cursor.execute(
        """
        INSERT INTO batch_slices (batch_id, topic, partition, generation, first_offset,
                                  last_offset, commands, entries, digest, chain)
        SELECT %s, * FROM unnest(%s::smallint[], %s::int[], %s::int[], %s::bigint[], %s::bigint[],
                                 %s::int[], %s::int[], %s::bytea[], %s::bytea[])
        """,
        (
            batch_id,
            array(s.topic for s in slices),
            array(s.partition for s in slices),
            array(s.generation for s in slices),
            array(s.first_offset for s in slices),
            array(s.last_offset for s in slices),
            array(s.commands for s in slices),
            array(s.entries for s in slices),
            [s.digest for s in slices],
            [s.chain for s in slices],
        ),
    )


def write_outbox(cursor: Cursor, frames: Collection[Frames]) -> None:
    """What the batch has to publish, a row a slice."""
    with cursor.copy(
        "COPY outbox (batch_id, topic, partition, first_offset, last_offset, frames)"
        " FROM STDIN (FORMAT binary)"
    ) as copy:
        copy.set_types(["int8", "int2", "int4", "int8", "int8", "bytea"])
        for row in frames:
            copy.write_row(row)


def unpublished(cursor: Cursor, topic: int, partition: int, from_offset: int) -> list[Frames]:
    """What a partition's outbox holds from an offset on, in order."""
    cursor.execute(
        """
        SELECT batch_id, topic, partition, first_offset, last_offset, frames FROM outbox
         WHERE topic = %s AND partition = %s AND last_offset >= %s
         ORDER BY first_offset
        """,
        (topic, partition, from_offset),
    )
    return [Frames(*row) for row in cursor.fetchall()]


def prune_outbox(
    cursor: Cursor, ends: Collection[tuple[int, int, int]], keep_seconds: float
) -> int:
    """Drop rows published long ago; ``ends`` has (topic, partition, committed offset)."""
    if not ends:
        return 0
    topics, numbers, offsets = zip(*ends, strict=True)
    cursor.execute(
        """
        DELETE FROM outbox o
         USING unnest(%s::smallint[], %s::int[], %s::bigint[]) AS v(topic, partition, committed)
         WHERE o.topic = v.topic AND o.partition = v.partition AND o.last_offset < v.committed
           AND o.created_at < now() - make_interval(secs => %s)
        """,
        (array(topics), array(numbers), array(offsets), keep_seconds),
    )
    return cursor.rowcount
