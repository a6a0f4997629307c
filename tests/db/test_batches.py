"""Batches, their slices and the outbox, as the worker writes them and a take-over reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from db import batches
from db.batches import Frames, Slice
from tests.conftest import Database
from tests.support.till import seeded, worker_connection

Cursor = psycopg.Cursor[tuple[Any, ...]]


@pytest.fixture
def cursor(database: Database) -> Iterator[Cursor]:
    """A binary cursor of the worker, each statement its own transaction."""
    with (
        worker_connection(seeded(database)) as connection,
        connection.cursor(binary=True) as opened,
    ):
        yield opened


def frames(partition: int, first: int, last: int, batch: int = 1) -> Frames:
    return Frames(batch, 0, partition, first, last, b"frames of %d" % first)


def test_numbers_rise_one_by_one(cursor: Cursor) -> None:
    numbers = [batches.next_batch_number(cursor) for _ in range(5)]
    assert numbers == list(range(numbers[0], numbers[0] + 5))


def test_a_batch_keeps_its_slices_with_their_sums(cursor: Cursor) -> None:
    slices = [
        Slice(0, 3, 1, 10, 19, 9, 18, b"d" * 32, b"c" * 32),
        Slice(2, 3, 4, 0, 0, 1, 2, b"e" * 32, b"f" * 32),
    ]
    with cursor.connection.transaction():
        batches.write_batch(cursor, 7, rules_version=1, logic_version=1, owner="me", slices=slices)
    cursor.execute("SELECT commands, entries, owner FROM batches WHERE id = 7")
    assert cursor.fetchall() == [(10, 20, "me")]
    cursor.execute(
        "SELECT topic, partition, generation, first_offset, last_offset, commands, entries,"
        " digest, chain FROM batch_slices WHERE batch_id = 7 ORDER BY topic"
    )
    assert [Slice(*row) for row in cursor.fetchall()] == slices


def test_a_take_over_finds_what_lies_from_the_committed_offset_on(cursor: Cursor) -> None:
    batches.write_outbox(cursor, [frames(1, 0, 4), frames(2, 0, 4), frames(1, 5, 9, batch=2)])
    assert batches.unpublished(cursor, 0, 1, 5) == [frames(1, 5, 9, batch=2)]
    assert batches.unpublished(cursor, 0, 1, 0) == [frames(1, 0, 4), frames(1, 5, 9, batch=2)]
    assert batches.unpublished(cursor, 0, 1, 10) == []
    assert batches.unpublished(cursor, 1, 1, 0) == []


def test_the_outbox_loses_what_is_published_and_old_alone(cursor: Cursor) -> None:
    batches.write_outbox(cursor, [frames(1, 0, 4), frames(1, 5, 9), frames(2, 0, 4)])
    assert batches.prune_outbox(cursor, [(0, 1, 5)], 3600.0) == 0
    assert batches.prune_outbox(cursor, [(0, 1, 5)], 0.0) == 1
    assert batches.prune_outbox(cursor, [], 0.0) == 0
    assert batches.unpublished(cursor, 0, 1, 0) == [frames(1, 5, 9)]
    assert batches.unpublished(cursor, 0, 2, 0) == [frames(2, 0, 4)]


def test_a_digest_depends_on_every_byte_and_the_chain_on_every_digest() -> None:
    one, other = batches.digest_of([b"a", b"bc"]), batches.digest_of([b"ab", b"d"])
    assert len(one) == len(other) == 32
    assert one != other
    first = batches.chained(batches.CHAIN_START, one)
    assert batches.chained(first, other) != batches.chained(
        batches.chained(batches.CHAIN_START, other), one
    )
