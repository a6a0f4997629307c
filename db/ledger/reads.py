"""What a batch reads: every function takes the whole batch's keys, asks once, and answers later.

All of it is read after the locks are taken, and belongs to a wallet that the batch has locked, but
for two: who sells in an escrow never changes, and the keys of a partition's users are written by
the batch alone that has the partition locked. The connection has the plain values of ``db.plain``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import msgspec

from db.engine import Cursor
from db.plain import array, longs, milliseconds_of, packed_uuids, texts, uuids
from db.together import Answer, Together, one_of
from schemas.ids import bytes_of
from schemas.ledger import DepositStatus, EscrowStatus, WithdrawalStatus
from schemas.records import (
    Deposit,
    DepositAddress,
    Escrow,
    Lock,
    NetworkFee,
    Wallet,
    Withdrawal,
)

_ESCROW_COLUMNS = (
    "e.id, e.order_id, e.buyer_id, e.seller_id, e.amount, e.fee_amount, e.released, e.refunded,"
    " e.fees, e.remaining, e.status::text, e.dispute_reason, e.created_at, e.updated_at"
)
_WITHDRAWAL_COLUMNS = (
    "id, user_id, amount, fee, destination_address, status::text, reason, txid, requested_at,"
    " updated_at"
)
_ADDRESS_COLUMNS = (
    "a.address, a.user_id, a.account_key, a.chain, a.derivation_index, a.active, a.assigned_at"
)


class First(msgspec.Struct, frozen=True, gc=False):
    """The first command of an idempotency key, which decides every later one."""

    command_id: str
    request_hash: bytes
    outcome: str
    code: str | None


def firsts_of(
    server: Together, keys: Collection[tuple[str, int, str]]
) -> Answer[dict[tuple[str, int, str], First]]:
    """The first commands of those keys (user, topic, idempotency key) that are known."""
    if not keys:
        return dict
    asked = list(keys)
    users, topics, idempotency_keys = zip(*asked, strict=True)
    found = server.ask(
        """
        SELECT k.place, c.id, c.request_hash, c.outcome::text, c.code
          FROM unnest(%s::uuid[], %s::bigint[], %s::text[])
               WITH ORDINALITY AS k(user_id, topic, key, place)
          JOIN commands c
            ON c.user_id = k.user_id AND c.topic = k.topic::smallint
           AND c.idempotency_key = k.key AND c.outcome IN ('accepted', 'rejected')
        """,
        (uuids(users), longs(topics), texts(idempotency_keys)),
    )
    return lambda: {asked[row[0] - 1]: First(*row[1:]) for row in found.fetchall()}


def sellers_of(server: Together, escrow_ids: Collection[str]) -> Answer[dict[str, str]]:
    """Escrow id to seller."""
    if not escrow_ids:
        return dict
    found = server.ask(
        "SELECT id, seller_id FROM escrows WHERE id = ANY(%s::uuid[])", (array(escrow_ids),)
    )
    return lambda: dict(found.fetchall())


def lock_wallets(server: Together, user_ids: Collection[str]) -> Answer[dict[str, Wallet]]:
    """Make the wallets that are missing, then lock all, in one order everywhere: no deadlock."""
    by_bytes = {bytes_of(user_id): user_id for user_id in user_ids}
    wanted = packed_uuids(sorted(by_bytes))
    server.ask(
        """
        INSERT INTO wallets (user_id)
        SELECT k.user_id FROM unnest(%s::uuid[]) AS k(user_id)
         WHERE NOT EXISTS (SELECT FROM wallets w WHERE w.user_id = k.user_id)
         ORDER BY k.user_id
            ON CONFLICT DO NOTHING
        """,
        (wanted,),
    )
    # As bytes, since the loaders of bytes are psycopg's own, in C: half the time for thousands.
    found = server.ask(
        """
        SELECT uuid_send(user_id), available, bids, escrow, pending, shortfall, frozen_by_operator,
               version, sequence, timestamptz_send(time), timestamptz_send(opened_at)
          FROM wallets WHERE user_id = ANY(%s::uuid[]) ORDER BY user_id FOR NO KEY UPDATE
        """,
        (wanted,),
    )
    return lambda: _wallets(found, by_bytes)


def _wallets(found: Cursor, by_bytes: dict[bytes, str]) -> dict[str, Wallet]:
    return {
        (user_id := by_bytes[row[0]]): Wallet(
            user_id=user_id,
            available=row[1],
            bids=row[2],
            escrow=row[3],
            pending=row[4],
            shortfall=row[5],
            frozen_by_operator=row[6],
            version=row[7],
            sequence=row[8],
            time=milliseconds_of(row[9]),
            opened_at=milliseconds_of(row[10]),
        )
        for row in found.fetchall()
    }


def locks_of(server: Together, keys: Collection[tuple[str, str, str]]) -> Answer[list[Lock]]:
    """Locks by user and reference."""
    if not keys:
        return list
    asked = list(keys)
    users, kinds, idents = zip(*asked, strict=True)
    found = server.ask(
        """
        SELECT k.place, l.amount
          FROM unnest(%s::uuid[], %s::text[], %s::text[])
               WITH ORDINALITY AS k(user_id, type, id, place)
          JOIN locks l
            ON l.user_id = k.user_id AND l.reference_type = k.type AND l.reference_id = k.id
        """,
        (uuids(users), texts(kinds), texts(idents)),
    )
    return lambda: [
        Lock(user_id=user_id, reference_type=kind, reference_id=ident, amount=amount)
        for place, amount in found.fetchall()
        for user_id, kind, ident in (asked[place - 1],)
    ]


def escrows_of(
    server: Together, escrow_ids: Collection[str], orders: Collection[tuple[str, str]]
) -> Answer[list[Escrow]]:
    """Escrows by id, and by buyer and order."""
    found: list[Cursor] = []
    if escrow_ids:
        found.append(
            server.ask(
                f"SELECT {_ESCROW_COLUMNS} FROM escrows e WHERE e.id = ANY(%s::uuid[])",
                (array(escrow_ids),),
            )
        )
    if orders:
        buyers, order_ids = zip(*orders, strict=True)
        found.append(
            server.ask(
                f"""
                SELECT {_ESCROW_COLUMNS}
                  FROM unnest(%s::uuid[], %s::text[]) AS k(buyer_id, order_id)
                  JOIN escrows e ON e.buyer_id = k.buyer_id AND e.order_id = k.order_id
                """,
                (array(buyers), list(order_ids)),
            )
        )
    return lambda: [_escrow(row) for cursor in found for row in cursor.fetchall()]


def _escrow(row: tuple[Any, ...]) -> Escrow:
    return Escrow(
        id=row[0],
        order_id=row[1],
        buyer_id=row[2],
        seller_id=row[3],
        amount=row[4],
        fee_amount=row[5],
        released=row[6],
        refunded=row[7],
        fees=row[8],
        remaining=row[9],
        status=EscrowStatus(row[10]),
        dispute_reason=row[11],
        created_at=row[12],
        updated_at=row[13],
    )


def withdrawals_of(
    server: Together, withdrawal_ids: Collection[str], pending_of: Collection[str]
) -> Answer[list[Withdrawal]]:
    """Withdrawals by id, and all of some users that nobody has claimed."""
    if not withdrawal_ids and not pending_of:
        return list
    found = server.ask(
        f"""
        SELECT {_WITHDRAWAL_COLUMNS} FROM withdrawals WHERE id = ANY(%s::uuid[])
        UNION
        SELECT {_WITHDRAWAL_COLUMNS} FROM withdrawals
         WHERE user_id = ANY(%s::uuid[]) AND status = 'PENDING'
        """,
        (array(withdrawal_ids), array(pending_of)),
    )
    return lambda: [
        Withdrawal(
            id=row[0],
            user_id=row[1],
            amount=row[2],
            fee=row[3],
            destination_address=row[4],
            status=WithdrawalStatus(row[5]),
            reason=row[6],
            txid=row[7],
            requested_at=row[8],
            updated_at=row[9],
        )
        for row in found.fetchall()
    ]


def deposits_of(server: Together, outpoints: Collection[tuple[str, int]]) -> Answer[list[Deposit]]:
    """Deposits by outpoint."""
    if not outpoints:
        return list
    txids, vouts = zip(*outpoints, strict=True)
    found = server.ask(
        """
        SELECT d.txid, d.vout, d.user_id, d.address, d.amount, d.status::text, d.creditings,
               d.block_hash, d.height, d.detected_at, d.updated_at
          FROM unnest(%s::text[], %s::int[]) AS k(txid, vout)
          JOIN deposits d ON d.txid = k.txid AND d.vout = k.vout
        """,
        (list(txids), array(vouts)),
    )
    return lambda: [
        Deposit(
            txid=row[0],
            vout=row[1],
            user_id=row[2],
            address=row[3],
            amount=row[4],
            status=DepositStatus(row[5]),
            creditings=row[6],
            block_hash=row[7],
            height=row[8],
            detected_at=row[9],
            updated_at=row[10],
        )
        for row in found.fetchall()
    ]


def addresses_of(
    server: Together, addresses: Collection[tuple[str, str]], active_of: Collection[str]
) -> Answer[list[DepositAddress]]:
    """Addresses by user and text, and the active ones of some users."""
    found: list[Cursor] = []
    if addresses:
        users, shown = zip(*addresses, strict=True)
        found.append(
            server.ask(
                f"""
                SELECT {_ADDRESS_COLUMNS}
                  FROM unnest(%s::uuid[], %s::text[]) AS k(user_id, address)
                  JOIN deposit_addresses a ON a.address = k.address AND a.user_id = k.user_id
                """,
                (array(users), list(shown)),
            )
        )
    if active_of:
        found.append(
            server.ask(
                f"""
                SELECT {_ADDRESS_COLUMNS} FROM deposit_addresses a
                 WHERE a.user_id = ANY(%s::uuid[]) AND a.active
                """,
                (array(active_of),),
            )
        )
    return lambda: [_address(row) for cursor in found for row in cursor.fetchall()]


def _address(row: tuple[Any, ...]) -> DepositAddress:
    return DepositAddress(
        address=row[0],
        user_id=row[1],
        account_key=row[2],
        chain=row[3],
        derivation_index=row[4],
        active=row[5],
        assigned_at=row[6],
    )


def lock_address_counter(server: Together, account_key: str) -> Answer[int]:
    """The next index of the account, locked until the batch ends."""
    server.ask(
        "INSERT INTO address_counters (account_key) VALUES (%s) ON CONFLICT DO NOTHING",
        (account_key,),
    )
    found = server.ask(
        "SELECT next_index FROM address_counters WHERE account_key = %s FOR NO KEY UPDATE",
        (account_key,),
    )
    return lambda: int(one_of(found))


def network_fees_of(server: Together, txids: Iterable[str]) -> Answer[list[NetworkFee]]:
    """Posted network fees by transaction."""
    wanted = list(txids)
    if not wanted:
        return list
    found = server.ask(
        "SELECT txid, amount, postings, posted FROM network_fees WHERE txid = ANY(%s)", (wanted,)
    )
    return lambda: [
        NetworkFee(txid=row[0], amount=row[1], postings=row[2], posted=row[3])
        for row in found.fetchall()
    ]
