"""Outboxes of watcher and payer: commands that were decided on, until the topic has them.

A command enters in the transaction that decides on it, and is marked once the broker has it. Its
key is unique, so what is decided twice enters once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from db.engine import Connection, Cursor

OutboxTable = Literal["watcher_outbox", "payer_outbox"]
WATCHER_OUTBOX: Final = "watcher_outbox"
PAYER_OUTBOX: Final = "payer_outbox"


class Order(NamedTuple):
    """A command to be sent; ``data`` is the wire's JSON."""

    user_id: str
    type: str
    idempotency_key: str
    data: str


class Waiting(NamedTuple):
    """An order that no topic has yet."""

    id: int
    order: Order


def enqueue(cursor: Cursor, table: OutboxTable, orders: Sequence[Order]) -> int:
    """Add orders at the end, in their order; how many were new."""
    if not orders:
        return 0
    cursor.execute(
        f"""
        INSERT INTO {table} (user_id, type, idempotency_key, data)
        SELECT o.user_id, o.type, o.key, o.data::json
          FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[])
               WITH ORDINALITY o (user_id, type, key, data, place)
         ORDER BY place
            ON CONFLICT (user_id, idempotency_key) DO NOTHING
        """,
        [list(column) for column in zip(*orders, strict=True)],
    )
    return cursor.rowcount


def waiting(cursor: Cursor, table: OutboxTable, limit: int) -> list[Waiting]:
    """The oldest orders that are not sent.

    By what is not marked, never by numbers greater than the last: a lower number may commit later.
    """
    cursor.execute(
        f"SELECT id, user_id::text, type, idempotency_key, data::text FROM {table}"
        " WHERE sent_at IS NULL ORDER BY id LIMIT %s",
        (limit,),
    )
    return [Waiting(row[0], Order(*row[1:])) for row in cursor]


def mark_sent(connection: Connection, table: OutboxTable, ids: Sequence[int]) -> None:
    """The topic has them."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET sent_at = now() WHERE id = ANY(%s)", (list(ids),))


def backlog(cursor: Cursor, table: OutboxTable) -> int:
    """How many orders wait."""
    cursor.execute(f"SELECT count(*) FROM {table} WHERE sent_at IS NULL")
    row = cursor.fetchone()
    return 0 if row is None else int(row[0])
