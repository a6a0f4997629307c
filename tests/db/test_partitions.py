"""The fence: who may write of a partition, from which offset, and how a frozen owner is ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors

from db.ledger import partitions
from db.ledger.partitions import Fenced
from db.together import together
from tests.conftest import Database
from tests.support.till import worker_connection

Connection = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture
def mine(database: Database) -> Iterator[Connection]:
    """A worker's connection."""
    with worker_connection(database) as connection:
        yield connection


@pytest.fixture
def theirs(database: Database) -> Iterator[Connection]:
    """Another worker's connection."""
    connection = worker_connection(database)
    yield connection
    connection.close()


def take(connection: Connection, *numbers: int, owner: str = "me") -> list[partitions.Partition]:
    with connection.cursor(binary=True) as cursor:
        return [
            partitions.take_over(cursor, 0, number, topic_id="T", owner=owner) for number in numbers
        ]


def advance(connection: Connection, partition: int, next_offset: int) -> None:
    """What a batch that ends before that offset leaves."""
    connection.execute(
        "UPDATE partitions SET next_offset = %s, last_offset = %s, last_digest = 'digest',"
        " chain = %s WHERE partition = %s",
        (next_offset, next_offset - 1, b"c" * 32, partition),
    )


def claim(connection: Connection, *wanted: tuple[int, int, int]) -> list[int]:
    """Claim (partition, epoch, first offset) of topic 0; the numbers of what is held."""
    with together(connection) as server:
        held = partitions.claim(server, [(0, *one) for one in wanted])
        return [number for _, number in held()]


def test_each_take_over_raises_the_epoch_and_keeps_the_rest(mine: Connection) -> None:
    (first,) = take(mine, 3)
    assert (first.epoch, first.next_offset, first.generation) == (1, 0, 1)
    assert (first.topic_id, first.chain, first.last_offset) == ("T", bytes(32), None)
    advance(mine, 3, 10)
    with mine.cursor(binary=True) as cursor:
        partitions.halt(cursor, 0, 3, "the log is another")
        second = partitions.take_over(cursor, 0, 3, topic_id="another", owner="you")
        assert second == first._replace(
            epoch=2, next_offset=10, last_offset=9, last_digest=b"digest", chain=b"c" * 32
        )
        assert partitions.partitions(cursor) == [second]


def test_a_batch_is_refused_under_an_old_epoch(mine: Connection, theirs: Connection) -> None:
    take(mine, 0, 1)
    assert claim(mine, (0, 1, 0), (1, 1, 0)) == [0, 1]
    take(theirs, 1)
    with pytest.raises(Fenced, match="partition 1"):
        claim(mine, (0, 1, 0), (1, 1, 0))
    assert claim(theirs, (1, 2, 0))


def test_a_batch_is_refused_that_was_applied_before_and_gaps_are_none(mine: Connection) -> None:
    take(mine, 0)
    advance(mine, 0, 10)
    with pytest.raises(Fenced):
        claim(mine, (0, 1, 9))
    assert claim(mine, (0, 1, 10))
    # The markers of a producer's transactions take offsets, too.
    assert claim(mine, (0, 1, 12))


def test_a_partition_that_nobody_has_taken_over_is_nobodys(mine: Connection) -> None:
    with pytest.raises(Fenced, match="None"):
        claim(mine, (0, 0, 0))


def test_a_take_over_waits_for_the_batch_that_is_under_way(
    mine: Connection, theirs: Connection
) -> None:
    take(mine, 0)
    with mine.transaction():
        claim(mine, (0, 1, 0))
        theirs.execute("SET lock_timeout = 100")
        with pytest.raises(errors.LockNotAvailable):
            take(theirs, 0)
    assert take(theirs, 0)[0].epoch == 2


def test_an_owner_that_holds_on_is_ended_and_nobody_else(
    mine: Connection, theirs: Connection
) -> None:
    take(mine, 0)
    take(theirs, 1, owner="you")
    with theirs.cursor() as cursor:
        assert not partitions.terminate_owner(cursor, 0, 1), "itself"
        assert not partitions.terminate_owner(cursor, 0, 2), "no owner"
        theirs.execute("UPDATE partitions SET backend_start = now() WHERE partition = 0")
        assert not partitions.terminate_owner(cursor, 0, 0), "the pid belongs to another by now"
    assert mine.execute("SELECT 1").fetchone() == (1,)
    take(mine, 0)
    with theirs.cursor() as cursor:
        assert partitions.terminate_owner(cursor, 0, 0)
    with pytest.raises(psycopg.OperationalError):
        mine.execute("SELECT 1")


def test_a_worker_frozen_inside_a_copy_holds_on_until_it_is_ended(
    mine: Connection, theirs: Connection
) -> None:
    take(mine, 0)
    taken: list[partitions.Partition] = []
    frozen = mine.cursor(binary=True)
    with pytest.raises(psycopg.OperationalError), mine.transaction():
        claim(mine, (0, 1, 0))
        # Set now, so that nothing but what is frozen can take too long.
        mine.execute("SET LOCAL statement_timeout = 1000")
        mine.execute("SET LOCAL idle_in_transaction_session_timeout = 1000")
        with frozen.copy("COPY outbox FROM STDIN (FORMAT binary)") as copy:
            copy.write(b"PGCOPY\n\xff\r\n\0")
            theirs.execute("SET lock_timeout = 2500")
            with pytest.raises(errors.LockNotAvailable):
                take(theirs, 0)
            with theirs.cursor() as cursor:
                assert partitions.terminate_owner(cursor, 0, 0)
            theirs.execute("SET lock_timeout = 0")
            taken += take(theirs, 0)
    assert [row.epoch for row in taken] == [2]
