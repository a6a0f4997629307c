"""Batches by number, their slices with digest and chain, and the outbox of what is to publish."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from hashlib import blake2b
from typing import NamedTuple

from db.engine import Cursor
from db.ledger.partitions import Fenced
from db.plain import array, octets
from db.together import Answer, Together, one_of

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


class Sealed(NamedTuple):
    """A slice, the digest of its last record, and what it has to publish, packed."""

    slice: Slice
    last_digest: bytes
    frames: bytes


class Frames(NamedTuple):
    """Records of one slice that a take-over may have to publish."""

    batch_id: int
    topic: int
    partition: int
    first_offset: int
    last_offset: int
    frames: bytes


#: Whose batches a rebuild writes: they were decided by others, at other times.
REBUILDER = "wallet rebuild"

#: Rows of the outbox that are dropped of a partition at once.
PRUNED_MAX = 1_000

#: A notification holds 8,000 bytes; a partition takes at most 30.
_PASSED_MAX = 250


def digest_of(rows: Collection[bytes]) -> bytes:
    """Digest over packed rows: those of ``entries``, then those of ``commands``."""
    return blake2b(b"".join(rows), digest_size=32).digest()


def chained(previous: bytes, digest: bytes) -> bytes:
    """The partition's chain after a slice with this digest."""
    return blake2b(previous + digest, digest_size=32).digest()


def next_batch_number(server: Together) -> Answer[int]:
    """Drawn after all locks are held, so that numbers tell the order of commits."""
    found = server.ask("SELECT nextval('batch_numbers')")
    return lambda: int(one_of(found))


def seal(
    server: Together,
    batch_id: int,
    *,
    rules_version: int,
    logic_version: int,
    owner: str,
    sealed: Sequence[Sealed],
) -> None:
    """The batch's row and one for each slice, its outbox, and how far its partitions are applied.

    The last is told to the API by a notification, which goes out when the batch is committed.
    ``Fenced`` if a partition's row is gone.
    """
    slices = [one.slice for one in sealed]
    server.ask(
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
    _write_slices(server, batch_id, slices)
    _stage(server, batch_id, sealed)
    server.change(
        """
        UPDATE partitions p
           SET next_offset = v.last_offset + 1, last_offset = v.last_offset,
               last_digest = v.last_digest, chain = v.chain, updated_at = now()
          FROM unnest(%s::smallint[], %s::int[], %s::bigint[], %s::bytea[], %s::bytea[])
            AS v(topic, partition, last_offset, last_digest, chain)
         WHERE p.topic = v.topic AND p.partition = v.partition
        """,
        (
            array(s.topic for s in slices),
            array(s.partition for s in slices),
            array(s.last_offset for s in slices),
            octets(one.last_digest for one in sealed),
            octets(s.chain for s in slices),
        ),
        rows=len(slices),
        otherwise=lambda there: Fenced(f"{len(slices)} partitions to advance, {there} there"),
    )
    _tell_passed(server, slices)


def _write_slices(server: Together, batch_id: int, slices: Sequence[Slice]) -> None:
    server.ask(
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
            octets(s.digest for s in slices),
            octets(s.chain for s in slices),
        ),
    )


def _stage(server: Together, batch_id: int, sealed: Sequence[Sealed]) -> None:
    """A slice at a time: together they are megabytes, which an array would copy five times."""
    for row, _, frames in sealed:
        server.ask(
            "INSERT INTO outbox (batch_id, topic, partition, first_offset, last_offset, frames)"
            " VALUES (%s, %s, %s, %s, %s, %b)",
            (batch_id, row.topic, row.partition, row.first_offset, row.last_offset, frames),
        )


def _tell_passed(server: Together, slices: Sequence[Slice]) -> None:
    places = [f"{s.topic}:{s.partition}:{s.last_offset + 1}" for s in slices]
    for start in range(0, len(places), _PASSED_MAX):
        passed = ",".join(places[start : start + _PASSED_MAX])
        server.ask("SELECT pg_notify('wallet_passed', %s)", (passed,))


def outbox_lacks(
    cursor: Cursor, topic: int, partition: int, generation: int, committed: int
) -> bool:
    """Whether a slice that was never published, from the committed offset on, is in no outbox row.

    Reads the slices since the last published one alone, by the numbers of their batches.
    """
    cursor.execute(
        """
        WITH published AS MATERIALIZED (
            SELECT coalesce(
                (SELECT o.batch_id FROM outbox o
                  WHERE o.topic = %(topic)s AND o.partition = %(partition)s
                    AND o.first_offset < %(committed)s AND o.last_offset < %(committed)s
                  ORDER BY o.first_offset DESC LIMIT 1),
                (SELECT s.batch_id FROM batch_slices s
                  WHERE s.topic = %(topic)s AND s.partition = %(partition)s
                    AND s.generation = %(generation)s AND s.last_offset < %(committed)s
                  ORDER BY s.batch_id DESC LIMIT 1),
                -1) AS batch_id
        )
        SELECT EXISTS (
            SELECT FROM batch_slices s
             WHERE s.batch_id > (SELECT batch_id FROM published)
               AND s.topic = %(topic)s AND s.partition = %(partition)s
               AND s.generation = %(generation)s AND s.last_offset >= %(committed)s
               AND (s.first_offset < %(committed)s OR NOT EXISTS (
                   SELECT FROM outbox o
                    WHERE o.topic = s.topic AND o.partition = s.partition
                      AND o.first_offset = s.first_offset AND o.last_offset = s.last_offset)))
        """,
        {
            "topic": topic,
            "partition": partition,
            "generation": generation,
            "committed": committed,
        },
    )
    return bool(one_of(cursor))


def unpublished(
    cursor: Cursor, topic: int, partition: int, from_offset: int, most: int
) -> list[Frames]:
    """What a partition's outbox holds from an offset on, in order, up to so many rows."""
    cursor.execute(
        """
        SELECT batch_id, topic, partition, first_offset, last_offset, frames FROM outbox
         WHERE topic = %s AND partition = %s AND first_offset >= %s
         ORDER BY first_offset LIMIT %s
        """,
        (topic, partition, from_offset, most),
    )
    return [Frames(*row) for row in cursor.fetchall()]


def set_apart_since(cursor: Cursor, seconds: float) -> int:
    """How many commands all workers together have set apart as unprocessable in the last seconds.

    By the database's clock, so that it holds however often a worker is started meanwhile.
    """
    cursor.execute(
        """
        SELECT count(*) FROM dead_letters l JOIN batches b ON b.id = l.batch_id
         WHERE l.code = 'unprocessable' AND b.owner <> %s
           AND b.created_at > now() - make_interval(secs => %s)
        """,
        (REBUILDER, seconds),
    )
    return int(one_of(cursor))


def prune_outbox(
    cursor: Cursor, ends: Collection[tuple[int, int, int]], keep_seconds: float
) -> int:
    """Drop rows published long ago; after ``PRUNED_MAX`` of a partition there may be more.

    ``ends`` has (topic, partition, committed offset). A day of small batches is millions of rows,
    and whoever prunes applies nothing meanwhile: so it looks at a partition's oldest rows alone,
    which are those with the lowest offsets, and not at these while the first is too young.
    """
    if not ends:
        return 0
    topics, numbers, offsets = zip(*ends, strict=True)
    cursor.execute(
        """
        WITH due AS MATERIALIZED (
            SELECT v.*, now() - make_interval(secs => %s) AS since
              FROM unnest(%s::smallint[], %s::int[], %s::bigint[])
                AS v(topic, partition, committed)
             CROSS JOIN LATERAL (
                SELECT created_at FROM outbox o
                 WHERE o.topic = v.topic AND o.partition = v.partition
                 ORDER BY o.first_offset LIMIT 1) AS first
             WHERE first.created_at < now() - make_interval(secs => %s)
        ), old AS MATERIALIZED (
            SELECT oldest.* FROM due CROSS JOIN LATERAL (
                SELECT topic, partition, first_offset, last_offset, created_at FROM outbox o
                 WHERE o.topic = due.topic AND o.partition = due.partition
                 ORDER BY o.first_offset LIMIT %s) AS oldest
             WHERE oldest.last_offset < due.committed AND oldest.created_at < due.since
        )
        DELETE FROM outbox o USING old
         WHERE o.topic = old.topic AND o.partition = old.partition
           AND o.first_offset = old.first_offset
        """,
        (keep_seconds, array(topics), array(numbers), array(offsets), keep_seconds, PRUNED_MAX),
    )
    return cursor.rowcount
