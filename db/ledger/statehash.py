"""A canonical hash of each table, so that a rebuilt database can be held against the one it
stands for; it covers all that the log decides, and nothing that only tells when or by whom.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from db.copy import COMMAND_COLUMNS, ENTRY_COLUMNS
from db.engine import Connection


class TableHash(NamedTuple):
    """Rows of a table and the hash over them, in order of their key."""

    rows: int
    digest: str


#: Wallets that no event has touched are left out: a batch that was rolled back may have made them,
#: and so are the outbox and whatever says when the database did something.
QUERIES: Final = {
    "wallets": (
        "SELECT user_id, available, bids, escrow, pending, shortfall, frozen_by_operator, version,"
        " sequence, time, opened_at FROM wallets WHERE version > 0 OR sequence > 0"
        " ORDER BY user_id"
    ),
    "entries": f"SELECT {ENTRY_COLUMNS} FROM entries ORDER BY id",
    "commands": f"SELECT {COMMAND_COLUMNS} FROM commands ORDER BY id",
    "dead_letters": (
        'SELECT id, topic, generation, partition, "offset", code, detail, key, value, record_time,'
        " batch_id FROM dead_letters ORDER BY id"
    ),
    "deposit_addresses": (
        "SELECT address, user_id, account_key, chain, derivation_index, active, assigned_at"
        " FROM deposit_addresses ORDER BY address"
    ),
    "address_counters": (
        "SELECT account_key, next_index FROM address_counters ORDER BY account_key"
    ),
    "deposits": (
        "SELECT txid, vout, user_id, address, amount, status, creditings, block_hash, height,"
        " detected_at, updated_at FROM deposits ORDER BY txid, vout"
    ),
    "withdrawals": (
        "SELECT id, user_id, amount, fee, destination_address, status, reason, txid, requested_at,"
        " updated_at FROM withdrawals ORDER BY id"
    ),
    "escrows": (
        "SELECT id, order_id, buyer_id, seller_id, amount, fee_amount, released, refunded, fees,"
        " remaining, status, dispute_reason, created_at, updated_at FROM escrows ORDER BY id"
    ),
    "locks": (
        "SELECT user_id, reference_type, reference_id, amount FROM locks"
        " ORDER BY user_id, reference_type, reference_id"
    ),
    "network_fees": "SELECT txid, amount, postings, posted FROM network_fees ORDER BY txid",
    "rules": "SELECT version, data, command_id FROM rules ORDER BY version",
    "rules_head": "SELECT version FROM rules_head",
    "batches": (
        "SELECT id, rules_version, logic_version, commands, entries FROM batches ORDER BY id"
    ),
    "batch_slices": (
        "SELECT batch_id, topic, partition, generation, first_offset, last_offset, commands,"
        " entries, digest, chain FROM batch_slices ORDER BY batch_id, topic, partition"
    ),
    "partitions": (
        "SELECT topic, partition, generation, next_offset, last_offset, last_digest, chain"
        " FROM partitions WHERE chain <> decode(repeat('00', 32), 'hex') AND {wanted}"
        " ORDER BY topic, partition"
    ),
}

Place = tuple[int, int]


def adopted(connection: Connection) -> list[Place]:
    """Partitions (topic, number) that an operator has let go on elsewhere, and that had no batch
    since: the log does not tell of that."""
    rows = connection.execute(
        "SELECT topic, partition FROM partitions WHERE last_offset IS NULL"
        " AND chain <> decode(repeat('00', 32), 'hex') ORDER BY topic, partition"
    )
    return [(topic, partition) for topic, partition in rows]


def _query(table: str, left_out: Collection[Place]) -> str:
    places = ", ".join(f"({topic:d}, {partition:d})" for topic, partition in left_out)
    wanted = f"(topic, partition) NOT IN ({places})" if places else "true"
    return QUERIES[table].format(wanted=wanted)


def table_hash(connection: Connection, table: str, left_out: Collection[Place] = ()) -> TableHash:
    """The hash of one table, streamed in PostgreSQL's binary format.

    ``left_out`` names partitions, whose rows in ``partitions`` do not count.
    """
    digest = blake2b(digest_size=32)
    with connection.cursor() as cursor:
        with cursor.copy(f"COPY ({_query(table, left_out)}) TO STDOUT (FORMAT binary)") as copy:
            for chunk in copy:
                digest.update(chunk)
        return TableHash(cursor.rowcount, digest.hexdigest())


def table_rows(
    connection: Connection, table: str, left_out: Collection[Place] = ()
) -> Iterator[tuple[Any, ...]]:
    """The rows that the hash is over, in its order."""
    with connection.cursor(name=f"rows_of_{table}") as cursor:
        cursor.execute(_query(table, left_out))
        yield from cursor
