"""What a rebuild does to its target beside applying batches: only ever to an empty database, or to
one that was restored and lacks the newest batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from db.engine import Connection, connect, look_up_by_index, require_schema
from db.ledger import partitions, rules
from db.ledger.batches import REBUILDER, Slice
from db.plain import use_plain_values
from schemas.records import Rules


@contextmanager
def target(url: str) -> Iterator[Connection]:
    """A connection to the database that is rebuilt; raises ``SchemaMismatchError``."""
    with connect(url, application_name="wallet-rebuild", autocommit=True) as connection:
        require_schema(connection)
        use_plain_values(connection)
        look_up_by_index(connection)
        # A crash of the machine costs the last batches, and the rebuild goes on before them.
        connection.execute("SET synchronous_commit = off")
        yield connection


def batch_count(connection: Connection) -> int:
    """How many batches the database has."""
    row = connection.execute("SELECT count(*) FROM batches").fetchone()
    assert row is not None
    return int(row[0])


def has_batch(connection: Connection, batch_id: int) -> bool:
    """Whether a batch is in."""
    row = connection.execute("SELECT FROM batches WHERE id = %s", (batch_id,)).fetchone()
    return row is not None


def slices_of(connection: Connection, batch_id: int) -> list[Slice]:
    """A batch's slices, in order."""
    rows = connection.execute(
        "SELECT topic, partition, generation, first_offset, last_offset, commands, entries,"
        " digest, chain FROM batch_slices WHERE batch_id = %s ORDER BY topic, partition",
        (batch_id,),
    )
    return [Slice(*row) for row in rows]


def first_rules_of(connection: Connection, told: Rules) -> Rules:
    """Version 1 of the rules; where there is none, it is what the log told."""
    rules.seed_rules(connection, told)
    with connection.cursor() as cursor:
        return rules.read_rules(cursor, 1)


def take_over(
    connection: Connection, topic: int, partition: int, *, topic_id: str
) -> partitions.Partition:
    """Make a partition's row, or take it from whoever had it."""
    with connection.transaction(), connection.cursor(binary=True) as cursor:
        return partitions.take_over(cursor, topic, partition, topic_id=topic_id, owner=REBUILDER)


def begin_generation(
    connection: Connection, topic: int, partition: int, generation: int, next_offset: int
) -> None:
    """Go on in a later generation, as an operator once let the workers do."""
    connection.execute(
        "UPDATE partitions SET generation = %s, next_offset = %s, last_offset = NULL,"
        " last_digest = NULL WHERE topic = %s AND partition = %s",
        (generation, next_offset, topic, partition),
    )


def drop_outbox(connection: Connection) -> None:
    """Forget what was published long ago."""
    connection.execute("DELETE FROM outbox")


def go_on_numbering(connection: Connection) -> None:
    """Let the next batch draw a number after all that are there."""
    connection.execute(
        """
        SELECT max(nextval('batch_numbers'))
          FROM generate_series(1, (SELECT coalesce(max(id), 0) FROM batches)
                                - coalesce(pg_sequence_last_value('batch_numbers'), 0))
        """
    )
