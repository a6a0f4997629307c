"""Batches, their slices and the outbox, as the worker writes them and a take-over reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import psycopg
import pytest

from db.engine import Connection
from db.ledger import batches, partitions
from db.ledger.batches import Frames, Sealed, Slice
from db.ledger.partitions import Fenced
from db.together import together
from tests.conftest import Database
from tests.support.till import seeded, worker_connection


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    """A connection of the worker's."""
    with worker_connection(seeded(database)) as opened:
        yield opened


def frames(partition: int, first: int, last: int, batch: int = 1) -> Frames:
    return Frames(batch, 0, partition, first, last, b"frames of %d" % first)


def sealed(partition: int, first: int, last: int, topic: int = 0) -> Sealed:
    part = Slice(topic, partition, 1, first, last, 5, 10, b"d" * 32, b"c" * 32)
    return Sealed(part, b"digest", b"frames of %d" % first)


def seal(connection: Connection, batch_id: int, *slices: Sealed) -> None:
    """Seal a batch of its own transaction, of partitions that somebody has taken over."""
    with connection.transaction(), connection.cursor() as cursor:
        for one in slices:
            place = (one.slice.topic, one.slice.partition)
            partitions.take_over(cursor, *place, topic_id="T", owner="me")
        with together(connection) as server:
            batches.seal(
                server, batch_id, rules_version=1, logic_version=1, owner="me", sealed=slices
            )


def test_numbers_rise_one_by_one(connection: Connection) -> None:
    with together(connection) as server:
        drawn = [batches.next_batch_number(server) for _ in range(5)]
        numbers = [number() for number in drawn]
    assert numbers == list(range(numbers[0], numbers[0] + 5))


def test_a_batch_keeps_its_slices_with_their_sums(connection: Connection) -> None:
    slices = [sealed(3, 10, 19), sealed(3, 0, 0, topic=2)]
    seal(connection, 7, *slices)
    with connection.cursor(binary=True) as cursor:
        cursor.execute("SELECT commands, entries, owner FROM batches WHERE id = 7")
        assert cursor.fetchall() == [(10, 20, "me")]
        cursor.execute(
            "SELECT topic, partition, generation, first_offset, last_offset, commands, entries,"
            " digest, chain FROM batch_slices WHERE batch_id = 7 ORDER BY topic"
        )
        assert [Slice(*row) for row in cursor.fetchall()] == [one.slice for one in slices]


def test_a_sealed_batch_has_moved_its_partitions_on(connection: Connection) -> None:
    seal(connection, 7, sealed(3, 10, 19), sealed(4, 0, 0))
    with connection.cursor(binary=True) as cursor:
        moved = partitions.partitions(cursor)
    assert [(row.partition, row.next_offset, row.last_offset) for row in moved] == [
        (3, 20, 19),
        (4, 1, 0),
    ]
    assert {(row.last_digest, row.chain) for row in moved} == {(b"digest", b"c" * 32)}


def test_a_batch_of_a_partition_that_nobody_has_taken_over_is_refused(
    connection: Connection,
) -> None:
    with (
        pytest.raises(Fenced, match="1 partitions to advance, 0 there"),
        connection.transaction(),
        together(connection) as server,
    ):
        batches.seal(
            server, 7, rules_version=1, logic_version=1, owner="me", sealed=[sealed(3, 0, 9)]
        )
    assert connection.execute("SELECT count(*) FROM batches").fetchone() == (0,)


def test_the_offsets_passed_are_told_once_the_batch_is_committed(
    database: Database, connection: Connection
) -> None:
    with psycopg.connect(database.api_url, autocommit=True) as listener:
        listener.execute("LISTEN wallet_passed")
        with connection.transaction():
            seal(connection, 7, sealed(1, 0, 9), sealed(2, 0, 6))
            assert list(listener.notifies(timeout=0.1)) == []
        told = list(listener.notifies(timeout=60.0, stop_after=1))
        assert [one.payload for one in told] == ["0:1:10,0:2:7"]


def test_a_batch_over_very_many_partitions_is_told_in_parts(
    database: Database, connection: Connection
) -> None:
    last = 2**55 - 1
    with psycopg.connect(database.api_url, autocommit=True) as listener:
        listener.execute("LISTEN wallet_passed")
        seal(connection, 7, *(sealed(number, last, last) for number in range(600)))
        told = list(listener.notifies(timeout=60.0, stop_after=3))
    passed = [place for one in told for place in one.payload.split(",")]
    assert passed == [f"0:{number}:{2**55}" for number in range(600)]


def test_a_take_over_finds_what_lies_from_the_committed_offset_on(connection: Connection) -> None:
    seal(connection, 1, sealed(1, 0, 4), sealed(2, 0, 4))
    seal(connection, 2, sealed(1, 5, 9))
    with connection.cursor(binary=True) as cursor:
        assert batches.unpublished(cursor, 0, 1, 5, 9) == [frames(1, 5, 9, batch=2)]
        assert batches.unpublished(cursor, 0, 1, 0, 9) == [
            frames(1, 0, 4),
            frames(1, 5, 9, batch=2),
        ]
        assert batches.unpublished(cursor, 0, 1, 10, 9) == []
        assert batches.unpublished(cursor, 1, 1, 0, 9) == []


#: Slices of partition 1 with a hole where no record was; the group has published up to 10.
_SLICES: Final = ((0, 4), (5, 9), (10, 14), (17, 19), (20, 29))


@pytest.mark.parametrize(
    ("lost", "lacks"),
    [
        ([], False),
        ([0], False),
        ([5], False),
        ([0, 5], False),
        ([10], True),
        ([5, 10], True),
        ([0, 5, 10], True),
        ([17], True),
        ([20], True),
        ([0, 5, 10, 17, 20], True),
    ],
)
def test_a_slice_that_was_never_published_is_missed_in_the_outbox_wherever_it_was(
    connection: Connection, lost: list[int], lacks: bool
) -> None:
    for number, (first, last) in enumerate(_SLICES, 1):
        seal(connection, 2 * number, sealed(1, first, last))
        seal(connection, 2 * number + 1, sealed(2, first, last))
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM outbox WHERE partition = 1 AND first_offset = ANY(%s::bigint[])",
            (f"{{{','.join(map(str, lost))}}}",),
        )
        assert batches.outbox_lacks(cursor, 0, 1, 1, 10) is lacks
        assert not batches.outbox_lacks(cursor, 0, 2, 1, 10)
        assert not batches.outbox_lacks(cursor, 0, 1, 1, 30)
        # Published half of a slice: nobody knows which of its records are out.
        assert batches.outbox_lacks(cursor, 0, 1, 1, 12)
        # Of an earlier generation nothing is published any more.
        assert not batches.outbox_lacks(cursor, 0, 1, 2, 10)


def test_what_is_unpublished_is_read_in_parts(connection: Connection) -> None:
    for number, (first, last) in enumerate(_SLICES, 1):
        seal(connection, number, sealed(1, first, last))
    with connection.cursor(binary=True) as cursor:
        part = batches.unpublished(cursor, 0, 1, 5, 2)
    assert [(row.first_offset, row.last_offset) for row in part] == [(5, 9), (10, 14)]


def test_what_was_set_apart_lately_is_counted_whoever_it_was_but_a_rebuild(
    connection: Connection,
) -> None:
    letters = [
        ("one", "unprocessable"),
        ("two", "unprocessable"),
        ("one", "not_json"),
        (batches.REBUILDER, "unprocessable"),
    ]
    for batch, (owner, code) in enumerate(letters, 1):
        connection.execute(
            "INSERT INTO batches (id, rules_version, logic_version, commands, entries, owner)"
            " VALUES (%s, 1, 1, 0, 0, %s)",
            (batch, owner),
        )
        connection.execute(
            'INSERT INTO dead_letters (id, topic, generation, partition, "offset", code, detail,'
            " record_time, batch_id)"
            " VALUES (gen_random_uuid(), 0, 1, 0, 0, %s, '', to_timestamp(0), %s)",
            (code, batch),
        )
    with connection.cursor() as cursor:
        assert batches.set_apart_since(cursor, 3600.0) == 2
        assert batches.set_apart_since(cursor, 0.0) == 0


def test_the_outbox_loses_what_is_published_and_old_alone(connection: Connection) -> None:
    seal(connection, 1, sealed(1, 0, 4), sealed(2, 0, 4))
    seal(connection, 2, sealed(1, 5, 9))
    with connection.cursor(binary=True) as cursor:
        assert batches.prune_outbox(cursor, [(0, 1, 5)], 3600.0) == 0
        assert batches.prune_outbox(cursor, [(0, 1, 5)], 0.0) == 1
        assert batches.prune_outbox(cursor, [], 0.0) == 0
        assert batches.unpublished(cursor, 0, 1, 0, 9) == [frames(1, 5, 9, batch=2)]
        assert batches.unpublished(cursor, 0, 2, 0, 9) == [frames(2, 0, 4)]


def test_a_digest_depends_on_every_byte_and_the_chain_on_every_digest() -> None:
    one, other = batches.digest_of([b"a", b"bc"]), batches.digest_of([b"ab", b"d"])
    assert len(one) == len(other) == 32
    assert one != other
    first = batches.chained(batches.CHAIN_START, one)
    assert batches.chained(first, other) != batches.chained(
        batches.chained(batches.CHAIN_START, other), one
    )


def test_what_is_too_much_to_drop_at_once_is_left_for_the_next_time(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "PRUNED_MAX", 2)
    for number, (first, last) in enumerate(_SLICES, 1):
        seal(connection, number, sealed(1, first, last))
    ends = [(0, 1, _SLICES[-1][1] + 1)]
    with connection.cursor(binary=True) as cursor:
        dropped = [batches.prune_outbox(cursor, ends, 0.0) for _ in range(len(_SLICES) // 2 + 1)]
        assert batches.unpublished(cursor, 0, 1, 0, 99) == []
    assert (dropped[0], sum(dropped)) == (2, len(_SLICES))


def test_an_outbox_of_which_nothing_is_old_is_not_read_for_what_could_be_dropped(
    database: Database, connection: Connection
) -> None:
    with psycopg.connect(database.superuser_url, autocommit=True) as superuser:
        superuser.execute(
            "INSERT INTO outbox (batch_id, topic, partition, first_offset, last_offset, frames)"
            " SELECT n, 0, n % 4, n, n, 'frames' FROM generate_series(1, 20000) n"
        )
        superuser.execute("ANALYZE outbox")
    with connection.transaction(), connection.cursor() as cursor:
        ends = [(0, partition, 30_000) for partition in range(4)]
        assert batches.prune_outbox(cursor, ends, 3600.0) == 0
        cursor.execute(
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables"
            " WHERE relname = 'outbox'"
        )
        (read,) = cursor.fetchone() or (None,)
    assert read is not None
    assert read <= 8
