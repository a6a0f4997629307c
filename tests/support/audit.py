"""Audits a wallet's database from outside: each function answers what is wrong, in words.

Written in plain SQL over what is stored, apart from the code that wrote it.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

import psycopg

from db.copy import COMMAND_COLUMNS, ENTRY_COLUMNS, read_rows
from schemas.ids import LEG_MAX, Place, number_of, text_of

Connection = psycopg.Connection[tuple[Any, ...]]

#: Each query finds nothing in sound books.
_QUERIES: Final = {
    "debits of a command are not its credits": """
        SELECT command_id, sum(debit), sum(credit) FROM entries GROUP BY command_id
        HAVING sum(debit) <> sum(credit)""",
    "a wallet is not the sum of its entries": """
        SELECT w.user_id, w.available, w.bids, w.escrow, w.pending, e.* FROM wallets w
        LEFT JOIN LATERAL (
            SELECT coalesce(sum(credit - debit) FILTER (WHERE account = 'available'), 0) AS a,
                   coalesce(sum(credit - debit) FILTER (WHERE account = 'bids'), 0) AS b,
                   coalesce(sum(credit - debit) FILTER (WHERE account = 'escrow'), 0) AS e,
                   coalesce(sum(credit - debit) FILTER (WHERE account = 'pending'), 0) AS p
              FROM entries WHERE user_id = w.user_id AND balance_after IS NOT NULL) e ON true
        WHERE (w.available, w.bids, w.escrow, w.pending) IS DISTINCT FROM (e.a, e.b, e.e, e.p)""",
    "an entry's balance_after is not the running sum": """
        SELECT * FROM (
            SELECT id, user_id, account, balance_after,
                   sum(credit - debit) OVER (PARTITION BY user_id, account
                                             ORDER BY wallet_version, id) AS running
              FROM entries WHERE balance_after IS NOT NULL) e
        WHERE balance_after <> running""",
    "an entry belongs to no accepted command": """
        SELECT e.id FROM entries e LEFT JOIN commands c
            ON c.id = e.command_id AND c.outcome = 'accepted' WHERE c.id IS NULL""",
    "bids are not the sum of the locks": """
        SELECT w.user_id, w.bids, sum(l.amount) FROM wallets w LEFT JOIN locks l USING (user_id)
        GROUP BY w.user_id, w.bids HAVING w.bids <> coalesce(sum(l.amount), 0)""",
    "an escrow balance is not what remains in the escrows": """
        SELECT w.user_id, w.escrow, sum(x.remaining) FROM wallets w
        LEFT JOIN escrows x ON x.buyer_id = w.user_id
        GROUP BY w.user_id, w.escrow HAVING w.escrow <> coalesce(sum(x.remaining), 0)""",
    "pending is not the sum of the open withdrawals": """
        SELECT w.user_id, w.pending, sum(p.amount + p.fee) FROM wallets w
        LEFT JOIN withdrawals p ON p.user_id = w.user_id
              AND p.status IN ('PENDING', 'PROCESSING', 'BROADCAST')
        GROUP BY w.user_id, w.pending HAVING w.pending <> coalesce(sum(p.amount + p.fee), 0)""",
    "shortfalls are not what the house's account says": """
        SELECT w.owed, e.owed FROM (SELECT coalesce(sum(shortfall), 0) AS owed FROM wallets) w,
        (SELECT coalesce(sum(debit - credit), 0) AS owed FROM entries
          WHERE account = 'shortfall') e WHERE w.owed <> e.owed""",
    "a key has more than one first command": """
        SELECT user_id, topic, idempotency_key FROM commands
         WHERE outcome IN ('accepted', 'rejected')
         GROUP BY 1, 2, 3 HAVING count(*) > 1""",
    "a later command of a key points to no first one": """
        SELECT c.id FROM commands c LEFT JOIN commands f
            ON f.id = c.first_id AND f.outcome IN ('accepted', 'rejected')
           AND (f.user_id, f.topic, f.idempotency_key) = (c.user_id, c.topic, c.idempotency_key)
         WHERE c.first_id IS NOT NULL AND f.id IS NULL""",
    "a record is both command and dead letter": """
        SELECT c.id FROM commands c JOIN dead_letters d USING (id)""",
    "a batch's counts are not those of its slices": """
        SELECT b.id FROM batches b JOIN batch_slices s ON s.batch_id = b.id
         GROUP BY b.id HAVING b.commands <> sum(s.commands) OR b.entries <> sum(s.entries)""",
    "a command's batch is none": """
        SELECT c.id FROM commands c LEFT JOIN batches b ON b.id = c.batch_id WHERE b.id IS NULL""",
}


def faults_of_books(connection: Connection) -> list[str]:
    """What does not add up in the ledger."""
    faults = []
    for sentence, query in _QUERIES.items():
        rows = connection.execute(query).fetchall()
        if rows:
            faults.append(f"{sentence}: {rows[:3]}")
    return faults


def faults_of_chain(connection: Connection) -> list[str]:
    """Where digests and chains are not those of the rows that are stored."""
    faults = []
    chains: dict[tuple[int, int], tuple[bytes, int]] = {}
    slices = connection.execute(
        "SELECT batch_id, topic, partition, generation, first_offset, last_offset, commands,"
        " entries, digest, chain FROM batch_slices ORDER BY topic, partition, first_offset"
    ).fetchall()
    for (
        batch,
        topic,
        partition,
        generation,
        first,
        last,
        commands,
        entries,
        digest,
        chain,
    ) in slices:
        where = f"batch {batch}, topic {topic}, partition {partition}, offsets {first} to {last}"
        before, ended = chains.get((topic, partition), (bytes(32), -1))
        if first <= ended:
            faults.append(f"{where} overlaps the slice before")
        found, rows = _digest(connection, Place(topic, generation, partition, first), last)
        if found != digest or rows != (entries, commands):
            faults.append(f"{where}: stored rows {rows} have another digest or number")
        if blake2b(before + digest, digest_size=32).digest() != chain:
            faults.append(f"{where} is not chained to the slice before")
        chains[topic, partition] = (chain, last)
    for topic, partition, chain, last in connection.execute(
        "SELECT topic, partition, chain, coalesce(last_offset, -1) FROM partitions"
    ).fetchall():
        if chains.get((topic, partition), (bytes(32), -1)) != (chain, last):
            faults.append(f"topic {topic}, partition {partition} does not end with its last slice")
    return faults


def _digest(connection: Connection, first: Place, last: int) -> tuple[bytes, tuple[int, int]]:
    """Digest of what is stored of a slice, and the number of its entries and commands."""
    low = text_of(number_of(first))
    high = text_of(number_of(first._replace(offset=last), LEG_MAX))
    packed, counts = [], []
    for table, columns in (("entries", ENTRY_COLUMNS), ("commands", COMMAND_COLUMNS)):
        with connection.cursor() as cursor:
            rows = list(
                read_rows(
                    cursor,
                    f"SELECT {columns} FROM {table} WHERE id BETWEEN '{low}' AND '{high}'"
                    " ORDER BY id",
                )
            )
        packed += rows
        counts.append(len(rows))
    return blake2b(b"".join(packed), digest_size=32).digest(), (counts[0], counts[1])


def audit(connection: Connection) -> None:
    """Fail unless the books and the chain are sound."""
    faults = faults_of_books(connection) + faults_of_chain(connection)
    assert not faults, "\n".join(faults)
