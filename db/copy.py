"""Rows in PostgreSQL's binary COPY format, the fastest way in, and the same bytes back out.

The bytes of a row are canonical: the server sends a stored row back exactly as it was written
here. So the digest of a batch is taken over what is written, and ``wallet doctor`` takes it again
over what is stored. Format: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from struct import Struct
from typing import Any, Final

import psycopg

from db.plain import EPOCH_2000_MS

_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_NULL: Final = b"\xff\xff\xff\xff"

_length = Struct(">i")
_entry_head = Struct(">hi16si16si16s")
_user_money = Struct(">iqiqiq")
_house_money = Struct(">iqiqi")
_user_tail = Struct(">iqiq")
_house_tail = Struct(">iiq")
_command_head = Struct(">hi16si16sih")
_hash = Struct(">i16s")
_command_tail = Struct(">iqiq")


def text_field(text: str | None) -> bytes:
    """A nullable text, enum label or JSON document as one field."""
    if text is None:
        return _NULL
    data = text.encode()
    return _length.pack(len(data)) + data


def bytes_field(data: bytes | None) -> bytes:
    """Nullable bytes, or text that is encoded already, as one field."""
    return _NULL if data is None else _length.pack(len(data)) + data


def server_time(milliseconds: int) -> int:
    """Milliseconds since 1970 as PostgreSQL keeps a timestamptz: microseconds since 2000."""
    return (milliseconds - EPOCH_2000_MS) * 1000


# The same few words come again and again.
_word = lru_cache(maxsize=256)(text_field)


@lru_cache(maxsize=256)
def _words(account: str, entry_type: str) -> bytes:
    return text_field(account) + text_field(entry_type)


ENTRY_COLUMNS: Final = (
    "id, command_id, user_id, account, entry_type, debit, credit, balance_after,"
    " reference_type, reference_id, wallet_version, created_at"
)


def entry_row(
    entry_id: bytes,
    command_id: bytes,
    user_id: bytes,
    account: str,
    entry_type: str,
    debit: int,
    credit: int,
    balance_after: int | None,
    reference: bytes,
    wallet_version: int,
    milliseconds: int,
) -> bytes:
    """One row of ``entries``; ``reference`` holds both reference fields.

    Where ``balance_after`` is None the entry is the house's, and has no wallet's version.
    """
    time = (milliseconds - EPOCH_2000_MS) * 1000
    if balance_after is None:
        money = _house_money.pack(8, debit, 8, credit, -1)
        tail = _house_tail.pack(-1, 8, time)
    else:
        money = _user_money.pack(8, debit, 8, credit, 8, balance_after)
        tail = _user_tail.pack(8, wallet_version, 8, time)
    return (
        _entry_head.pack(12, 16, entry_id, 16, command_id, 16, user_id)
        + _words(account, entry_type)
        + money
        + reference
        + tail
    )


COMMAND_COLUMNS: Final = (
    "id, user_id, topic, type, idempotency_key, request_hash, outcome, code, first_id,"
    " document, batch_id, decided_at"
)


def command_row(
    command_id: bytes,
    user_id: bytes,
    topic: int,
    kind: str,
    idempotency_key: str,
    request_hash: bytes,
    outcome: str,
    code: str | None,
    first_id: bytes | None,
    document: bytes,
    batch_id: int,
    milliseconds: int,
) -> bytes:
    """One row of ``commands``; ``document`` is the JSON that was published."""
    key = idempotency_key.encode()
    return b"".join(
        (
            _command_head.pack(12, 16, command_id, 16, user_id, 2, topic),
            _word(kind),
            _length.pack(len(key)),
            key,
            _hash.pack(16, request_hash),
            _word(outcome),
            _NULL if code is None else _word(code),
            _NULL if first_id is None else bytes_field(first_id),
            _length.pack(len(document)),
            document,
            _command_tail.pack(8, batch_id, 8, server_time(milliseconds)),
        )
    )


@contextmanager
def writing_rows(
    cursor: psycopg.Cursor[Any], table: str, columns: str
) -> Iterator[Callable[[Iterable[bytes]], None]]:
    """Open a COPY into a table, to be fed rows while more are being made.

    The server works on what it has meanwhile. Leaving by an exception undoes it all.
    """
    with cursor.copy(f"COPY {table} ({columns}) FROM STDIN (FORMAT binary)") as copy:
        copy.write(_SIGNATURE)
        yield lambda rows: copy.write(b"".join(rows))
        copy.write(_TRAILER)


def read_rows(cursor: psycopg.Cursor, query: str) -> Iterator[bytes]:
    """The rows of a query, each as the bytes that were written.

    The server sends one message a row, as the protocol promises, the first behind the signature:
    to look for the ends of rows would take five times as long.
    https://www.postgresql.org/docs/current/protocol-flow.html, "COPY Operations".
    """
    before = len(_SIGNATURE)
    with cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT binary)") as copy:
        for message in copy:
            row = bytes(message[before:])
            before = 0
            # A row has fields; what has none is the trailer, or a signature alone.
            if len(row) > len(_TRAILER):
                yield row
