"""What a batch writes: each function writes the rows of one table, as sets.

Entries and outcomes, which are many and are bytes already, go by COPY; all else goes together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import NamedTuple

from db.copy import COMMAND_COLUMNS, ENTRY_COLUMNS, writing_rows
from db.engine import Cursor
from db.plain import Array, array, booleans, longs, texts, times, uuids
from db.together import Prepared
from schemas.records import (
    Deposit,
    DepositAddress,
    Escrow,
    Lock,
    NetworkFee,
    Wallet,
    Withdrawal,
)

LockKey = tuple[str, str, str]


class DeadLetter(NamedTuple):
    """A record that is no command, kept as it came; ``time`` in milliseconds since 1970."""

    id: str
    topic: int
    generation: int
    partition: int
    offset: int
    code: str
    detail: str
    key: bytes | None
    value: bytes | None
    time: int


def seconds(milliseconds: int) -> float:
    """For ``to_timestamp``: exact, since a double holds 53 bits."""
    return milliseconds / 1000


def writing_entries(
    cursor: Cursor,
) -> AbstractContextManager[Callable[[Iterable[bytes]], None]]:
    """Takes entries, packed by ``db.copy.entry_row``, while the batch is being decided."""
    return writing_rows(cursor, "entries", ENTRY_COLUMNS)


def writing_commands(
    cursor: Cursor,
) -> AbstractContextManager[Callable[[Iterable[bytes]], None]]:
    """Takes outcomes, packed by ``db.copy.command_row``, while they are being told."""
    return writing_rows(cursor, "commands", COMMAND_COLUMNS)


def update_wallets(changes: Prepared, wallets: Collection[Wallet]) -> None:
    """New balances of locked wallets."""
    if not wallets:
        return
    changes.change(
        """
        UPDATE wallets w
           SET available = v.available, bids = v.bids, escrow = v.escrow, pending = v.pending,
               shortfall = v.shortfall, frozen_by_operator = v.frozen, version = v.version,
               sequence = v.sequence, time = v.time, opened_at = v.opened_at
          FROM unnest(%s::uuid[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],
                      %s::bigint[], %s::bool[], %s::bigint[], %s::bigint[], %s::timestamptz[],
                      %s::timestamptz[])
            AS v(user_id, available, bids, escrow, pending, shortfall, frozen, version, sequence,
                 time, opened_at)
         WHERE w.user_id = v.user_id
        """,
        (
            uuids([w.user_id for w in wallets]),
            longs([w.available for w in wallets]),
            longs([w.bids for w in wallets]),
            longs([w.escrow for w in wallets]),
            longs([w.pending for w in wallets]),
            longs([w.shortfall for w in wallets]),
            booleans([w.frozen_by_operator for w in wallets]),
            longs([w.version for w in wallets]),
            longs([w.sequence for w in wallets]),
            times([w.time for w in wallets]),
            times([w.opened_at for w in wallets]),
        ),
        rows=len(wallets),
        otherwise=lambda there: RowsMissing(f"{len(wallets)} wallets to write, {there} there"),
    )


class RowsMissing(Exception):
    """Rows that a batch has locked are gone: somebody changes the database by hand."""


def write_locks(changes: Prepared, locks: Collection[Lock], known: Container[LockKey]) -> None:
    """New locks, and new amounts of those that are ``known``, for the database has them.

    Apart, since asking for a conflict at every row costs twice as much as either; the user's
    wallet is locked, so nobody else can make one meanwhile.
    """
    old = [lock for lock in locks if lock.key in known]
    new = [lock for lock in locks if lock.key not in known]
    if new:
        changes.ask(
            """
            INSERT INTO locks (user_id, reference_type, reference_id, amount)
            SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::bigint[])
            """,
            _columns_of(new),
        )
    if old:
        changes.change(
            """
            UPDATE locks l SET amount = v.amount
              FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::bigint[])
                AS v(user_id, type, id, amount)
             WHERE l.user_id = v.user_id AND l.reference_type = v.type AND l.reference_id = v.id
            """,
            _columns_of(old),
            rows=len(old),
            otherwise=lambda there: RowsMissing(f"{len(old)} locks to write, {there} there"),
        )


def _columns_of(locks: Collection[Lock]) -> tuple[Array, ...]:
    return (
        uuids([lock.user_id for lock in locks]),
        texts([lock.reference_type for lock in locks]),
        texts([lock.reference_id for lock in locks]),
        longs([lock.amount for lock in locks]),
    )


def write_escrows(changes: Prepared, escrows: Collection[Escrow]) -> None:
    """New escrows, and what changes of those there are."""
    if not escrows:
        return
    changes.ask(
        """
        INSERT INTO escrows (id, order_id, buyer_id, seller_id, amount, fee_amount, released,
                             refunded, fees, remaining, status, dispute_reason, created_at,
                             updated_at)
        SELECT id, order_id, buyer_id, seller_id, amount, fee_amount, released, refunded, fees,
               remaining, status::escrow_status, dispute_reason, created, updated
          FROM unnest(%s::uuid[], %s::text[], %s::uuid[], %s::uuid[], %s::bigint[], %s::bigint[],
                      %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],
                      %s::text[], %s::text[], %s::timestamptz[], %s::timestamptz[])
            AS v(id, order_id, buyer_id, seller_id, amount, fee_amount, released, refunded, fees,
                 remaining, status, dispute_reason, created, updated)
            ON CONFLICT (id) DO UPDATE
           SET released = excluded.released, refunded = excluded.refunded, fees = excluded.fees,
               remaining = excluded.remaining, status = excluded.status,
               dispute_reason = excluded.dispute_reason, updated_at = excluded.updated_at
        """,
        (
            uuids([e.id for e in escrows]),
            texts([e.order_id for e in escrows]),
            uuids([e.buyer_id for e in escrows]),
            uuids([e.seller_id for e in escrows]),
            longs([e.amount for e in escrows]),
            longs([e.fee_amount for e in escrows]),
            longs([e.released for e in escrows]),
            longs([e.refunded for e in escrows]),
            longs([e.fees for e in escrows]),
            longs([e.remaining for e in escrows]),
            texts([e.status for e in escrows]),
            [e.dispute_reason for e in escrows],
            times([e.created_at for e in escrows]),
            times([e.updated_at for e in escrows]),
        ),
    )


def write_withdrawals(changes: Prepared, withdrawals: Collection[Withdrawal]) -> None:
    """New withdrawals, and new statuses of those there are."""
    if not withdrawals:
        return
    changes.ask(
        """
        INSERT INTO withdrawals (id, user_id, amount, fee, destination_address, status, reason,
                                 txid, requested_at, updated_at)
        SELECT id, user_id, amount, fee, destination_address, status, reason, txid,
               to_timestamp(requested), to_timestamp(updated)
          FROM unnest(%s::uuid[], %s::uuid[], %s::bigint[], %s::bigint[], %s::text[],
                      %s::withdrawal_status[], %s::text[], %s::text[], %s::float8[], %s::float8[])
            AS v(id, user_id, amount, fee, destination_address, status, reason, txid, requested,
                 updated)
            ON CONFLICT (id) DO UPDATE
           SET status = excluded.status, reason = excluded.reason, txid = excluded.txid,
               updated_at = excluded.updated_at
        """,
        (
            array(w.id for w in withdrawals),
            array(w.user_id for w in withdrawals),
            array(w.amount for w in withdrawals),
            array(w.fee for w in withdrawals),
            [w.destination_address for w in withdrawals],
            array(w.status for w in withdrawals),
            [w.reason for w in withdrawals],
            [w.txid for w in withdrawals],
            array(seconds(w.requested_at) for w in withdrawals),
            array(seconds(w.updated_at) for w in withdrawals),
        ),
    )


def write_deposits(changes: Prepared, deposits: Collection[Deposit]) -> None:
    """New deposits, and what changes of those there are; a deposit never changes its user."""
    if not deposits:
        return
    changes.change(
        """
        INSERT INTO deposits AS d (txid, vout, user_id, address, amount, status, creditings,
                                   block_hash, height, detected_at, updated_at)
        SELECT txid, vout, user_id, address, amount, status::deposit_status, creditings,
               block_hash, height, detected, updated
          FROM unnest(%s::text[], %s::int[], %s::uuid[], %s::text[], %s::bigint[],
                      %s::text[], %s::int[], %s::text[], %s::bigint[], %s::timestamptz[],
                      %s::timestamptz[])
            AS v(txid, vout, user_id, address, amount, status, creditings, block_hash, height,
                 detected, updated)
            ON CONFLICT (txid, vout) DO UPDATE
           SET status = excluded.status, creditings = excluded.creditings,
               block_hash = excluded.block_hash, height = excluded.height,
               updated_at = excluded.updated_at
         WHERE d.user_id = excluded.user_id AND d.amount = excluded.amount
        """,
        (
            texts([d.txid for d in deposits]),
            array(d.vout for d in deposits),
            uuids([d.user_id for d in deposits]),
            texts([d.address for d in deposits]),
            longs([d.amount for d in deposits]),
            texts([d.status for d in deposits]),
            array(d.creditings for d in deposits),
            array(d.block_hash for d in deposits),
            array(d.height for d in deposits),
            times([d.detected_at for d in deposits]),
            times([d.updated_at for d in deposits]),
        ),
        rows=len(deposits),
        otherwise=lambda there: OutpointOfAnother(f"{len(deposits)} deposits, {there} fit"),
    )


class OutpointOfAnother(Exception):
    """An outpoint is recorded for another user or amount: the watcher contradicts itself."""


def write_addresses(changes: Prepared, addresses: Collection[DepositAddress]) -> None:
    """New addresses, and old ones that are shown no more: these first, one is active a user."""
    for active in (False, True):
        rows = [address for address in addresses if address.active is active]
        if rows:
            _write_addresses(changes, rows)


def _write_addresses(changes: Prepared, addresses: Collection[DepositAddress]) -> None:
    changes.ask(
        """
        INSERT INTO deposit_addresses (address, user_id, account_key, chain, derivation_index,
                                       active, assigned_at)
        SELECT address, user_id, account_key, chain, derivation_index, active, to_timestamp(at)
          FROM unnest(%s::text[], %s::uuid[], %s::text[], %s::smallint[], %s::bigint[],
                      %s::bool[], %s::float8[])
            AS v(address, user_id, account_key, chain, derivation_index, active, at)
            ON CONFLICT (address) DO UPDATE SET active = excluded.active
        """,
        (
            [a.address for a in addresses],
            array(a.user_id for a in addresses),
            [a.account_key for a in addresses],
            array(a.chain for a in addresses),
            array(a.derivation_index for a in addresses),
            array(a.active for a in addresses),
            array(seconds(a.assigned_at) for a in addresses),
        ),
    )


def write_address_counter(changes: Prepared, account_key: str, next_index: int) -> None:
    """The index that the next address takes."""
    changes.ask(
        "UPDATE address_counters SET next_index = %s WHERE account_key = %s",
        (next_index, account_key),
    )


def write_network_fees(changes: Prepared, fees: Collection[NetworkFee]) -> None:
    """Posted network fees, and those taken back."""
    for fee in fees:
        changes.ask(
            """
            INSERT INTO network_fees (txid, amount, postings, posted) VALUES (%s, %s, %s, %s)
                ON CONFLICT (txid) DO UPDATE
               SET postings = excluded.postings, posted = excluded.posted
            """,
            (fee.txid, fee.amount, fee.postings, fee.posted),
        )


def write_dead_letters(cursor: Cursor, letters: Collection[DeadLetter], batch_id: int) -> None:
    """Records that are no commands, as they came."""
    if not letters:
        return
    with cursor.copy(
        'COPY dead_letters (id, topic, generation, partition, "offset", code, detail, key, value,'
        " record_time, batch_id) FROM STDIN"
    ) as copy:
        for letter in letters:
            copy.write_row((*letter[:9], _utc(letter.time), batch_id))


def _utc(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
