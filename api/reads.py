"""What the API reads of the database, as the shapes that it answers."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from api.database import Pool, Row
from api.requests import Cursor, format_cursor
from api.shapes import Entry, History
from db.ledger.rules import decode_rules
from processors.ledger.escrows import escrow_result
from processors.ledger.withdrawals import withdrawal_result
from processors.telling import balance_of
from schemas.amounts import format_amount
from schemas.events import AddressResult, Balance, EscrowResult, WithdrawalResult
from schemas.ids import EVENT_LEG
from schemas.ledger import HOUSE, Account, EntryType, EscrowStatus, WithdrawalStatus
from schemas.records import Escrow, Wallet, Withdrawal
from schemas.times import format_time, in_milliseconds
from schemas.topics import CommandTopic

_BALANCE: Final = """
SELECT available, bids, escrow, pending, shortfall, frozen_by_operator, version, time
  FROM wallets
 WHERE user_id = %(user_id)s AND opened_at > to_timestamp(0)
"""

#: Said aloud, so that the partial index is usable by a prepared statement too.
_USERS_OWN: Final = f"user_id = %(user_id)s AND user_id <> '{HOUSE}'"

#: The last entry of each account up to then has the balance of then. What the user owed is a
#: house account: it grew by reversals of the user's deposits, whose entries are found by the range
#: of ids that each command owns, and shrank by repayments out of what was available.
_BALANCE_AT: Final = f"""
WITH mine AS (
    SELECT a.account, e.balance_after, e.wallet_version, e.created_at
      FROM unnest(ARRAY['available', 'bids', 'escrow', 'pending']::account[]) AS a (account)
     CROSS JOIN LATERAL (
        SELECT balance_after, wallet_version, created_at
          FROM entries
         WHERE {_USERS_OWN} AND account = a.account AND created_at <= %(at)s
         ORDER BY created_at DESC, wallet_version DESC, id DESC
         LIMIT 1) AS e
), owed AS (
    SELECT COALESCE(sum(e.debit), 0) AS amount
      FROM commands c
      JOIN entries e ON e.id > c.id AND e.command_id = c.id
       AND e.id <= (left(c.id::text, 28) || lpad(to_hex(
             ('x' || right(c.id::text, 8))::bit(32)::int | {EVENT_LEG - 1}), 8, '0'))::uuid
     WHERE c.user_id = %(user_id)s AND c.topic = {CommandTopic.TREASURY:d}
       AND c.outcome = 'accepted' AND c.type = 'reverse_deposit' AND c.decided_at <= %(at)s
       AND e.account = 'shortfall'
), last_freeze AS (
    SELECT type
      FROM commands
     WHERE user_id = %(user_id)s AND topic = {CommandTopic.TREASURY:d} AND outcome = 'accepted'
       AND type IN ('freeze_wallet', 'unfreeze_wallet') AND decided_at <= %(at)s
     ORDER BY decided_at DESC, id DESC
     LIMIT 1
)
SELECT COALESCE((SELECT balance_after FROM mine WHERE account = 'available'), 0),
       COALESCE((SELECT balance_after FROM mine WHERE account = 'bids'), 0),
       COALESCE((SELECT balance_after FROM mine WHERE account = 'escrow'), 0),
       COALESCE((SELECT balance_after FROM mine WHERE account = 'pending'), 0),
       CASE WHEN owed.amount = 0 THEN 0 ELSE owed.amount - (
           SELECT COALESCE(sum(debit), 0)
             FROM entries
            WHERE {_USERS_OWN} AND entry_type = 'SHORTFALL_REPAYMENT' AND created_at <= %(at)s
       ) END::bigint,
       COALESCE((SELECT type = 'freeze_wallet' FROM last_freeze), false),
       COALESCE((SELECT max(wallet_version) FROM mine), 0),
       COALESCE((SELECT max(created_at) FROM mine), %(at)s)
  FROM owed
"""  # noqa: S608 - put together from literals of ours

_ADDRESS: Final = """
SELECT r.data::text, a.address
  FROM rules_head h JOIN rules r ON r.version = h.version
  LEFT JOIN deposit_addresses a ON a.user_id = %(user_id)s AND a.active
   AND a.account_key = r.data->>'account_key'
"""

_ESCROW: Final = """
SELECT id, order_id, buyer_id, seller_id, amount, fee_amount, released, refunded, fees, remaining,
       status::text, created_at, updated_at
  FROM escrows
 WHERE id = %(id)s
"""

_BUYER: Final = "SELECT buyer_id FROM escrows WHERE id = %(id)s"

_WITHDRAWAL: Final = """
SELECT id, user_id, amount, fee, destination_address, status::text, txid, reason, requested_at,
       updated_at
  FROM withdrawals
 WHERE id = %(id)s
"""

_HISTORY: Final = f"""
SELECT id, command_id, user_id, account::text, entry_type::text, debit, credit, balance_after,
       reference_type, reference_id, idempotency_key, created_at, wallet_version
  FROM entries
 WHERE {_USERS_OWN}{{conditions}}
 ORDER BY created_at DESC, wallet_version DESC, id DESC
 LIMIT %(limit)s
"""  # noqa: S608 - put together from literals of ours


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries of a user's history are asked for; ``since`` is included, ``until`` not."""

    user_id: str
    limit: int
    cursor: Cursor | None = None
    entry_type: str | None = None
    account: str | None = None
    reference_type: str | None = None
    reference_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


#: Each condition stands for a field of the filter.
_CONDITIONS: Final = {
    "entry_type": "entry_type = %(entry_type)s::entry_type",
    "account": "account = %(account)s::account",
    "reference_type": "reference_type = %(reference_type)s",
    "reference_id": "reference_id = %(reference_id)s",
    "since": "created_at >= %(since)s",
    "until": "created_at < %(until)s",
}
_AFTER_CURSOR: Final = (
    "(created_at, wallet_version, id)"
    " < (%(cursor_time)s::timestamptz, %(cursor_version)s::bigint, %(cursor_id)s::uuid)"
)


async def balance(pool: Pool, user_id: str) -> Balance | None:
    """The user's balance; None if there is no wallet."""
    rows = await pool.fetch(_BALANCE, {"user_id": user_id})
    return _balance(user_id, rows[0]) if rows else None


async def balance_at(pool: Pool, user_id: str, at: datetime) -> Balance:
    """The balance at a time, from the entries up to then; its version is of the last of them."""
    rows = await pool.fetch_long(_BALANCE_AT, {"user_id": user_id, "at": at}, user_id=user_id)
    return _balance(user_id, rows[0])


def _balance(user_id: str, row: Row) -> Balance:
    available, bids, escrow, pending, shortfall, frozen_by_operator, version, time = row
    return balance_of(
        Wallet(
            user_id=user_id,
            available=available,
            bids=bids,
            escrow=escrow,
            pending=pending,
            shortfall=shortfall,
            frozen_by_operator=frozen_by_operator,
            version=version,
            time=in_milliseconds(time),
        )
    )


async def address(pool: Pool, user_id: str) -> tuple[AddressResult | None, int]:
    """The user's active deposit address, and the version of the rules.

    None if there is none, or it is of a former account: the user is to get another one.
    """
    ((rules, text),) = await pool.fetch(_ADDRESS, {"user_id": user_id})
    present = decode_rules(rules)
    if text is None:
        return None, present.version
    found = AddressResult(
        address=text,
        network=present.network,
        minimum=format_amount(present.deposit_minimum),
        confirmations=present.confirmations[0].confirmations,
    )
    return found, present.version


async def escrow(pool: Pool, escrow_id: str) -> EscrowResult | None:
    """An escrow by its id."""
    rows = await pool.fetch(_ESCROW, {"id": escrow_id})
    if not rows:
        return None
    row = rows[0]
    return escrow_result(
        Escrow(
            id=str(row[0]),
            order_id=row[1],
            buyer_id=str(row[2]),
            seller_id=str(row[3]),
            amount=row[4],
            fee_amount=row[5],
            released=row[6],
            refunded=row[7],
            fees=row[8],
            remaining=row[9],
            status=EscrowStatus(row[10]),
            created_at=in_milliseconds(row[11]),
            updated_at=in_milliseconds(row[12]),
        )
    )


async def buyer_of(pool: Pool, escrow_id: str) -> str | None:
    """The buyer of an escrow, by whom its commands are keyed."""
    rows = await pool.fetch(_BUYER, {"id": escrow_id})
    return str(rows[0][0]) if rows else None


async def withdrawal(pool: Pool, withdrawal_id: str) -> WithdrawalResult | None:
    """A withdrawal by its id."""
    rows = await pool.fetch(_WITHDRAWAL, {"id": withdrawal_id})
    if not rows:
        return None
    row = rows[0]
    return withdrawal_result(
        Withdrawal(
            id=str(row[0]),
            user_id=str(row[1]),
            amount=row[2],
            fee=row[3],
            destination_address=row[4],
            status=WithdrawalStatus(row[5]),
            txid=row[6],
            reason=row[7],
            requested_at=in_milliseconds(row[8]),
            updated_at=in_milliseconds(row[9]),
        )
    )


async def history(pool: Pool, wanted: Filter) -> History:
    """One page of a user's entries, newest first."""
    parameters: dict[str, object] = {"user_id": wanted.user_id, "limit": wanted.limit + 1}
    conditions = ""
    for field, condition in _CONDITIONS.items():
        value = getattr(wanted, field)
        if value is not None:
            parameters[field] = value
            conditions += f"\n   AND {condition}"
    if wanted.cursor is not None:
        parameters["cursor_time"] = wanted.cursor.created_at
        parameters["cursor_version"] = wanted.cursor.wallet_version
        parameters["cursor_id"] = wanted.cursor.id
        conditions += f"\n   AND {_AFTER_CURSOR}"
    query = _HISTORY.format(conditions=conditions)
    rows = await pool.fetch_long(query, parameters, user_id=wanted.user_id)
    page = rows[: wanted.limit]
    last = page[-1] if len(rows) > wanted.limit else None
    return History(
        entries=tuple(map(_entry, page)),
        next=None if last is None else format_cursor(Cursor(last[11], last[12], str(last[0]))),
    )


def _entry(row: Row) -> Entry:
    return Entry(
        id=str(row[0]),
        command_id=str(row[1]),
        user_id=str(row[2]),
        account=Account(row[3]),
        entry_type=EntryType(row[4]),
        debit=format_amount(row[5]),
        credit=format_amount(row[6]),
        balance_after=format_amount(row[7]),
        reference_type=row[8],
        reference_id=row[9],
        idempotency_key=row[10],
        created_at=format_time(in_milliseconds(row[11])),
    )
