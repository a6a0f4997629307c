"""Rows packed for COPY come back from the server byte for byte, so digests can be taken again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from db.copy import (
    COMMAND_COLUMNS,
    ENTRY_COLUMNS,
    command_row,
    entry_row,
    read_rows,
    text_field,
    writing_rows,
)
from schemas.ids import Place, number_of
from schemas.ledger import HOUSE
from tests.conftest import Database

USER = bytes.fromhex("aaaaaaaaaaaa4aaa8aaaaaaaaaaaaaaa")
TIME_MS = 1_767_225_600_123


@pytest.fixture
def cursor(database: Database) -> Iterator[psycopg.Cursor[tuple[Any, ...]]]:
    """A cursor of the worker, inside a transaction."""
    with psycopg.connect(database.worker_url) as connection, connection.cursor() as opened:
        yield opened


def entry(offset: int, leg: int, amount: int, *, house: bool = False) -> bytes:
    number = number_of(Place(0, 1, 0, offset))
    return entry_row(
        (number + leg).to_bytes(16, "big"),
        number.to_bytes(16, "big"),
        bytes.fromhex(HOUSE.replace("-", "")) if house else USER,
        "chain" if house else "available",
        "DEPOSIT",
        amount if house else 0,
        0 if house else amount,
        None if house else amount,
        text_field(None) + text_field(None)
        if house
        else text_field("deposit") + text_field("ü—\\"),
        7,
        TIME_MS,
    )


def command(offset: int, document: bytes) -> bytes:
    return command_row(
        number_of(Place(0, 1, 0, offset)).to_bytes(16, "big"),
        USER,
        2,
        "process_deposit",
        f"key ü\\ {offset}",
        bytes(range(16)),
        "accepted",
        None,
        None,
        document,
        9,
        TIME_MS,
    )


def _write(
    cursor: psycopg.Cursor[tuple[Any, ...]], table: str, columns: str, rows: Iterable[bytes]
) -> None:
    with writing_rows(cursor, table, columns) as send:
        send(rows)


def test_what_was_written_is_read_back_byte_for_byte(
    cursor: psycopg.Cursor[tuple[Any, ...]],
) -> None:
    entries = [
        row
        for offset in range(300)
        for row in (entry(offset, 1, offset + 1), entry(offset, 2, offset + 1, house=True))
    ]
    # Larger than one message of the protocol, so that rows are cut anywhere.
    documents = [b'{"note": "%s"}' % (b"x" * (size * 97)) for size in range(300)]
    commands = [command(offset, document) for offset, document in enumerate(documents)]
    _write(cursor, "entries", ENTRY_COLUMNS, entries)
    _write(cursor, "commands", COMMAND_COLUMNS, commands)
    assert list(read_rows(cursor, f"SELECT {ENTRY_COLUMNS} FROM entries ORDER BY id")) == entries
    assert (
        list(read_rows(cursor, f"SELECT {COMMAND_COLUMNS} FROM commands ORDER BY id")) == commands
    )


def test_the_server_understands_what_was_packed(cursor: psycopg.Cursor[tuple[Any, ...]]) -> None:
    rows = [entry(5, 1, 2**62), entry(5, 2, 2**62, house=True)]
    _write(cursor, "entries", ENTRY_COLUMNS, rows)
    cursor.execute(
        "SELECT account::text, debit, credit, balance_after, reference_id, wallet_version,"
        " created_at, idempotency_key = id::text FROM entries ORDER BY id"
    )
    when = datetime.fromtimestamp(TIME_MS / 1000, UTC)
    assert cursor.fetchall() == [
        ("available", 0, 2**62, 2**62, "ü—\\", 7, when, True),
        ("chain", 2**62, 0, None, None, None, when, True),
    ]


def test_the_documents_bytes_are_kept_as_they_were_published(
    cursor: psycopg.Cursor[tuple[Any, ...]],
) -> None:
    document = b'{"b":1,  "a":"12.50000000","a":2}'
    _write(cursor, "commands", COMMAND_COLUMNS, [command(1, document)])
    cursor.execute("SELECT document::text FROM commands")
    assert cursor.fetchall() == [(document.decode(),)]


def test_nothing_is_written_and_read_as_nothing(cursor: psycopg.Cursor[tuple[Any, ...]]) -> None:
    _write(cursor, "entries", ENTRY_COLUMNS, [])
    assert list(read_rows(cursor, f"SELECT {ENTRY_COLUMNS} FROM entries")) == []
