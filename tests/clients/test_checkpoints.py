"""The checkpoint in an application's database: the same over SQLite and over PostgreSQL."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from wallet_client.checkpoints import SqlCheckpoint
from wallet_client.events import Event, Unknown

from tests.conftest import Database

NOW = datetime(2026, 1, 31, tzinfo=UTC)
ANN, BOB = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
Member = Callable[[], SqlCheckpoint]


def event(sequence: int, subject: str = ANN, age_days: int = 0) -> Event:
    """An event of so many days ago."""
    ident = str(uuid.uuid5(uuid.UUID(subject), str(sequence)))
    time = NOW - timedelta(days=age_days)
    return Event(ident, "x", subject, time, sequence, "c", None, Unknown({}), 3, 40 + sequence)


@pytest.fixture(params=["sqlite", "postgresql"])
def member(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Member]:
    """Makes members of one consumer, each with a connection of its own."""
    opened: list[Any] = []
    if request.param == "postgresql":
        database: Database = request.getfixturevalue("database")

    def make() -> SqlCheckpoint:
        if request.param == "sqlite":
            opened.append(sqlite3.connect(tmp_path / "shop.db"))
            return SqlCheckpoint(opened[-1], "shop")
        opened.append(psycopg.connect(database.owner_url))
        return SqlCheckpoint(opened[-1], "shop", marker="%s")

    make().create_tables()
    yield make
    for connection in opened:
        connection.close()


def keep(checkpoint: SqlCheckpoint, one: Event) -> None:
    with checkpoint.transaction():
        checkpoint.save(one, one.offset + 1)


def test_it_knows_what_was_handled_and_where_to_go_on(member: Member) -> None:
    keep(member(), event(1))
    keep(member(), event(2))
    other = member()
    assert other.next_offset(3) == 43
    assert other.next_offset(4) is None
    assert other.last_sequence(ANN) == 2
    assert other.last_sequence(BOB) is None
    assert other.seen(event(2).id)
    assert not other.seen(event(3).id)


def test_what_is_taken_back_was_not_handled(member: Member) -> None:
    checkpoint = member()
    with pytest.raises(OSError, match="fire"), checkpoint.transaction():
        checkpoint.save(event(1), 42)
        raise OSError("fire")
    assert checkpoint.next_offset(3) is None
    assert not checkpoint.seen(event(1).id)


def test_of_two_members_with_one_event_the_slower_gives_way(member: Member) -> None:
    quick, slow = member(), member()
    keep(quick, event(1))
    with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError)):
        keep(slow, event(1))
    keep(slow, event(2))
    assert quick.last_sequence(ANN) == 2


def test_no_transaction_is_left_open_while_it_waits(member: Member) -> None:
    checkpoint = member()
    checkpoint.last_sequence(ANN)
    checkpoint.next_offset(3)
    # Either driver would refuse, or wait for ever, were the first still reading.
    member().create_tables()
    keep(member(), event(1))
    assert checkpoint.last_sequence(ANN) == 1


def test_pruning_keeps_the_young_and_the_last_of_each_user(member: Member) -> None:
    checkpoint = member()
    for one in (event(1, age_days=30), event(2, age_days=20), event(3), event(1, BOB, 30)):
        keep(checkpoint, one)
    assert checkpoint.prune(NOW - timedelta(days=14)) == 2
    assert (checkpoint.last_sequence(ANN), checkpoint.last_sequence(BOB)) == (3, 1)
    assert checkpoint.seen(event(3).id)
    assert not checkpoint.seen(event(2).id)
