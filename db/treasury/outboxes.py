"""Outboxes of watcher and payer: commands that were decided on, until the topic has them.

A command enters in the transaction that decides on it, and is marked once the broker has it. Its
key is unique, so what is decided twice enters once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, NamedTuple

from db.engine import Connection, Cursor
from db.plain import columns
from db.treasury.orders import TREASURY

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


def enqueue(cursor: Cursor, table: OutboxTable, orders: Sequence[Order]) -> None:
    """Add at the end, in their order, those of the orders that are new."""
    if not orders:
        return
    cursor.execute(
        f"""
        INSERT INTO {table} (user_id, type, idempotency_key, data)
        SELECT o.user_id, o.type, o.key, o.data::json
          FROM unnest(%s::text[]::uuid[], %s::text[], %s::text[], %s::text[])
               WITH ORDINALITY o (user_id, type, key, data, place)
         ORDER BY place
            ON CONFLICT (user_id, idempotency_key) DO NOTHING
        """,
        columns(orders),
    )


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


# ---------------------------------------------------------------------- what became of them


def take_outcomes(cursor: Cursor, table: OutboxTable, limit: int) -> int:
    """Note what the ledger has decided on orders that were sent; how many those were."""
    cursor.execute(
        f"""
        UPDATE {table} o SET outcome = k.outcome::text
          FROM (SELECT id FROM {table} WHERE outcome IS NULL AND sent_at IS NOT NULL
                 ORDER BY id LIMIT %s) w,
               commands k
         WHERE o.id = w.id AND k.user_id = o.user_id AND k.topic = {TREASURY}
           AND k.idempotency_key = o.idempotency_key AND k.outcome IN ('accepted', 'rejected')
        """,
        (limit,),
    )
    return cursor.rowcount


class Overdue(NamedTuple):
    """An order that was sent, and that the ledger has no outcome for."""

    id: int
    user_id: str
    type: str
    idempotency_key: str
    sent_at: datetime


def overdue(cursor: Cursor, table: OutboxTable, seconds: float, limit: int) -> list[Overdue]:
    """Orders that were sent so long ago, the oldest first."""
    cursor.execute(
        f"SELECT id, user_id::text, type, idempotency_key, sent_at FROM {table}"
        " WHERE outcome IS NULL AND sent_at < now() - make_interval(secs => %s)"
        " ORDER BY id LIMIT %s",
        (seconds, limit),
    )
    return [Overdue(*row) for row in cursor]


def decided_since(cursor: Cursor, table: OutboxTable, sent_at: datetime) -> dict[str, datetime]:
    """Of orders that were sent after a moment and are decided: the newest one's, by its user."""
    cursor.execute(
        f"SELECT user_id::text, max(sent_at) FROM {table}"
        " WHERE sent_at > %s AND outcome IS NOT NULL GROUP BY user_id",
        (sent_at,),
    )
    return {row[0]: row[1] for row in cursor}


def send_again(cursor: Cursor, table: OutboxTable, ids: Sequence[int]) -> None:
    """Have orders sent once more, under their keys."""
    cursor.execute(
        f"UPDATE {table} SET sent_at = NULL WHERE id = ANY(%s) AND outcome IS NULL", (list(ids),)
    )


class Refused(NamedTuple):
    """An order that the ledger refused, and why."""

    type: str
    idempotency_key: str
    code: str


def refused_receipts(cursor: Cursor) -> list[Refused]:
    """The watcher's orders that were refused, and of whose deposit the ledger says otherwise still.

    One is settled once both say the same: by another order, by a reorganisation or by hand.
    """
    cursor.execute(
        f"""
        SELECT o.type, o.idempotency_key, k.code
          FROM watcher_outbox o
          JOIN commands k ON k.user_id = o.user_id AND k.topic = {TREASURY}
           AND k.idempotency_key = o.idempotency_key AND k.outcome = 'rejected'
          JOIN receipts r ON r.txid = o.data->>'txid' AND r.vout = (o.data->>'vout')::int
          LEFT JOIN deposits d ON d.txid = r.txid AND d.vout = r.vout
         WHERE o.outcome = 'rejected'
           AND CASE o.type
               WHEN 'process_deposit' THEN r.credited AND d.status IS DISTINCT FROM 'credited'
               WHEN 'reverse_deposit' THEN NOT r.credited AND d.status = 'credited'
               ELSE r.height IS NOT NULL AND d.txid IS NULL END
         ORDER BY o.id
        """
    )
    return [Refused(*row) for row in cursor]
