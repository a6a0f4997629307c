"""One valid row of each table and the role that writes it, for tests that change one thing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
from psycopg import sql

from schemas.ledger import HOUSE

BUYER: Final = "00000000-0000-4000-8000-00000000000b"
SELLER: Final = "00000000-0000-4000-8000-00000000000c"
NOW: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
TXID: Final = "ab" * 32
OTHER_TXID: Final = "cd" * 32
BLOCK_HASH: Final = "0b" * 32


def place(offset: int, leg: int = 0) -> str:
    """An id as the log gives it, readable in a failure."""
    return f"00000100-0000-8000-8000-{offset:06d}{leg:06d}"


_Rows = Mapping[str, Mapping[str, Any]]

LEDGER_ROWS: Final[_Rows] = {
    "wallets": {"user_id": BUYER, "available": 100, "bids": 20, "escrow": 3, "pending": 1},
    "entries": {
        "id": place(1, 1),
        "command_id": place(1),
        "user_id": BUYER,
        "account": "available",
        "entry_type": "BID_LOCK",
        "debit": 5,
        "credit": 0,
        "balance_after": 95,
        "reference_type": "auction",
        "reference_id": "7",
        "wallet_version": 1,
        "created_at": NOW,
    },
    "commands": {
        "id": place(1),
        "user_id": BUYER,
        "topic": 0,
        "type": "lock_funds",
        "idempotency_key": "bid-1",
        "request_hash": bytes(16),
        "outcome": "accepted",
        "document": "{}",
        "batch_id": 1,
        "decided_at": NOW,
    },
    "dead_letters": {
        "id": place(2),
        "topic": 0,
        "generation": 1,
        "partition": 0,
        "offset": 2,
        "code": "not_json",
        "detail": "",
        "record_time": NOW,
        "batch_id": 1,
    },
    "deposit_addresses": {
        "address": "nAddress1",
        "user_id": BUYER,
        "account_key": "fingerprint",
        "chain": 0,
        "derivation_index": 0,
        "active": True,
        "assigned_at": NOW,
    },
    "address_counters": {"account_key": "fingerprint"},
    "deposits": {
        "txid": TXID,
        "vout": 0,
        "user_id": BUYER,
        "address": "nAddress1",
        "amount": 5,
        "status": "credited",
        "creditings": 1,
        "detected_at": NOW,
        "updated_at": NOW,
    },
    "withdrawals": {
        "id": place(3),
        "user_id": BUYER,
        "amount": 5,
        "fee": 1,
        "destination_address": "nAddress2",
        "status": "PENDING",
        "requested_at": NOW,
        "updated_at": NOW,
    },
    "escrows": {
        "id": place(4),
        "order_id": "order-1",
        "buyer_id": BUYER,
        "seller_id": SELLER,
        "amount": 100,
        "fee_amount": 10,
        "released": 18,
        "refunded": 30,
        "fees": 2,
        "remaining": 50,
        "status": "LOCKED",
        "created_at": NOW,
        "updated_at": NOW,
    },
    "locks": {"user_id": BUYER, "reference_type": "auction", "reference_id": "7", "amount": 5},
    "network_fees": {"txid": TXID, "amount": 5, "postings": 1, "posted": True},
    "rules": {"version": 1, "data": "{}"},
    "rules_head": {"version": 1},
    "partitions": {"topic": 0, "partition": 0},
    "batches": {
        "id": 1,
        "rules_version": 1,
        "logic_version": 1,
        "commands": 1,
        "entries": 2,
        "owner": "worker-1",
    },
    "batch_slices": {
        "batch_id": 1,
        "topic": 0,
        "partition": 0,
        "generation": 1,
        "first_offset": 0,
        "last_offset": 1,
        "commands": 1,
        "entries": 2,
        "digest": bytes(32),
        "chain": bytes(32),
    },
    "outbox": {
        "batch_id": 1,
        "topic": 0,
        "partition": 0,
        "first_offset": 0,
        "last_offset": 1,
        "frames": b"",
    },
}

#: Written by the watcher.
CHAIN_ROWS: Final[_Rows] = {
    "chain_state": {"genesis_hash": "00" * 32, "birthday_height": 100},
    "blocks": {
        "hash": BLOCK_HASH,
        "height": 100,
        "previous_hash": "0a" * 32,
        "time": NOW,
        "active": True,
    },
    "watched_scripts": {
        "public_key_hash": bytes(20),
        "address": "nAddress1",
        "user_id": BUYER,
        "account_key": "fingerprint",
        "chain": 0,
        "derivation_index": 0,
    },
    "coins": {
        "txid": TXID,
        "vout": 0,
        "public_key_hash": bytes(20),
        "amount": 5,
        "coinbase": False,
        "block_hash": BLOCK_HASH,
        "height": 100,
    },
    "spenders": {
        "txid": OTHER_TXID,
        "outputs_hash": bytes(32),
        "paid": 4,
        "inputs": 1,
        "block_hash": BLOCK_HASH,
        "height": 100,
    },
    "spends": {"txid": TXID, "vout": 0, "spender_txid": OTHER_TXID, "height": 100},
    "receipts": {
        "txid": TXID,
        "vout": 0,
        "user_id": BUYER,
        "address": "nAddress1",
        "amount": 5,
        "coinbase": False,
        "block_hash": BLOCK_HASH,
        "height": 100,
        "sufficient": True,
        "required": 20,
    },
    "watcher_outbox": {
        "user_id": BUYER,
        "type": "detect_deposit",
        "idempotency_key": "detect:1",
        "data": "{}",
    },
}

#: Written by the payer.
PAYOUT_ROWS: Final[_Rows] = {
    "change_counters": {"account_key": "fingerprint"},
    "payouts": {"kind": "withdrawals", "status": "reserved", "id": 1},
    "payout_versions": {"payout_id": 1, "version": 1, "template": "{}", "fee": 1},
    "reservations": {"txid": TXID, "vout": 0, "payout_id": 1},
    "claims": {
        "withdrawal_id": place(3),
        "user_id": BUYER,
        "amount": 5,
        "destination_address": "nAddress2",
    },
    "stranded": {"withdrawal_id": place(3), "height": 100},
    "payer_outbox": {
        "user_id": BUYER,
        "type": "claim_withdrawal",
        "idempotency_key": "claim:1",
        "data": "{}",
    },
}

VALID: Final[_Rows] = {**LEDGER_ROWS, **CHAIN_ROWS, **PAYOUT_ROWS}

#: Table to the service that writes it.
WRITER: Final[Mapping[str, str]] = {
    **dict.fromkeys(LEDGER_ROWS, "worker"),
    **dict.fromkeys(CHAIN_ROWS, "watcher"),
    **dict.fromkeys(PAYOUT_ROWS, "payer"),
}

#: The other side of the entry above, and a pair between the house's accounts.
OTHER_SIDE: Final = {
    "id": place(1, 2),
    "account": "bids",
    "debit": 0,
    "credit": 5,
    "balance_after": 5,
}
HOUSE_PAIR: Final = (
    {
        "id": place(9, 1),
        "command_id": place(9),
        "user_id": HOUSE,
        "account": "cold",
        "entry_type": "CUSTODY",
        "balance_after": None,
        "wallet_version": None,
    },
    {
        "id": place(9, 2),
        "command_id": place(9),
        "user_id": HOUSE,
        "account": "chain",
        "entry_type": "CUSTODY",
        "debit": 0,
        "credit": 5,
        "balance_after": None,
        "wallet_version": None,
    },
)


def insert(connection: psycopg.Connection, table: str, *changes: Mapping[str, Any]) -> None:
    """Insert in one statement a valid row for each of ``changes``, with what it changes."""
    rows = [{**VALID[table], **change} for change in changes or ({},)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    line = sql.SQL("({})").format(sql.SQL(", ").join([sql.Placeholder()] * len(names)))
    connection.execute(
        # A row that another one names has a number that is known.
        sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES {}").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, names)),
            sql.SQL(", ").join([line] * len(rows)),
        ),
        [row.get(name) for row in rows for name in names],
    )


def insert_all(connection: psycopg.Connection, tables: Iterable[str] = VALID) -> None:
    """A valid row in each table, written in an order that no reference forbids."""
    for table in tables:
        insert(connection, table, *([{}, OTHER_SIDE] if table == "entries" else []))
