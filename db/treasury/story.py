"""The story of a withdrawal, read from everywhere that has a part in it: for operators' eyes."""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from db.engine import Connection


class Line(NamedTuple):
    """One withdrawal among many; ``payout_id`` is that of the payment under way, if any."""

    id: str
    user_id: str
    amount: int
    fee: int
    destination_address: str
    status: str
    reason: str | None
    txid: str | None
    requested_at: datetime
    payout_id: int | None
    payout_status: str | None


class Event(NamedTuple):
    """Something that happened: when, who wrote it down, and what it was."""

    time: datetime
    source: str
    text: str


_LINES: Final = """
SELECT w.id::text, w.user_id::text, w.amount, w.fee, w.destination_address, w.status::text,
       w.reason, w.txid, w.requested_at, c.payout_id, p.status::text
  FROM withdrawals w
  LEFT JOIN claims c ON c.withdrawal_id = w.id
  LEFT JOIN payouts p ON p.id = c.payout_id
"""


def lines(
    connection: Connection, *, status: str | None, user_id: str | None, limit: int
) -> list[Line]:
    """Withdrawals, the newest first."""
    rows = connection.execute(
        f"{_LINES} WHERE (%(status)s::text IS NULL OR w.status::text = %(status)s)"
        " AND (%(user_id)s::uuid IS NULL OR w.user_id = %(user_id)s)"
        " ORDER BY w.requested_at DESC, w.id DESC LIMIT %(limit)s",
        {"status": status, "user_id": user_id, "limit": limit},
    )
    return [Line(*row) for row in rows]


def line(connection: Connection, withdrawal_id: str) -> Line | None:
    """One withdrawal."""
    row = connection.execute(f"{_LINES} WHERE w.id = %s", (withdrawal_id,)).fetchone()
    return None if row is None else Line(*row)


#: The last id of a command's entries: the same place with all bits of the leg set (schemas.ids).
_LAST_LEG: Final = (
    "left(k.id::text, 29) || to_hex(('x' || substr(k.id::text, 30, 1))::bit(4)::int | 3)"
    " || 'ffffff'"
)

#: Each part of the story as rows of time, source and text, for the parameters id, user and payout.
_PARTS: Final = (
    # What the ledger was asked, and said.
    """
    SELECT decided_at, 'ledger', type || ': ' || outcome || coalesce(' (' || code || ')', '')
      FROM commands
     WHERE user_id = %(user)s
       AND (id = %(id)s OR position(%(id)s::text IN idempotency_key) > 0
            OR position(%(id)s::text IN document::text) > 0)
    """,
    # What it booked, both halves: the house's entries are found by their commands alone, whose ids
    # theirs follow in the key's order.
    f"""
    SELECT e.created_at, 'entry',
           e.entry_type || ' ' || e.account || ' '
           || CASE WHEN e.debit > 0 THEN 'debit ' ELSE 'credit ' END
           || to_char((e.debit + e.credit) / 1e8, 'FM999999999990.00000000')
      FROM commands k
      JOIN entries e ON e.id > k.id AND e.id <= ({_LAST_LEG})::uuid
     WHERE k.user_id = %(user)s AND k.outcome = 'accepted'
       AND (k.id = %(id)s OR position(%(id)s::text IN k.idempotency_key) > 0
            OR position(%(id)s::text IN k.document::text) > 0)
       AND e.reference_type = 'withdrawal' AND e.reference_id = %(id)s::text
    """,
    "SELECT claimed_at, 'payer', 'claimed, attempt ' || attempts FROM claims"
    " WHERE withdrawal_id = %(id)s",
    "SELECT settled_at, 'payer', 'claim was ' || outcome || coalesce(' (' || code || ')', '')"
    " FROM claims WHERE withdrawal_id = %(id)s AND settled_at IS NOT NULL",
    """
    SELECT sent_at, 'payer', type || ' is on the topic' FROM payer_outbox
     WHERE user_id = %(user)s AND position(%(id)s::text IN idempotency_key) > 0
       AND sent_at IS NOT NULL
    """,
    """
    SELECT p.created_at, 'payer', 'coins reserved in payout ' || p.id || ', with '
           || (SELECT CASE count(*) WHEN 2 THEN '1 other' ELSE count(*) - 1 || ' others' END
                 FROM claims o WHERE o.payout_id = p.id)
      FROM payouts p WHERE p.id = %(payout)s
    """,
    """
    SELECT created_at, 'payer', 'version ' || version || ' with a fee of '
           || to_char(fee / 1e8, 'FM999990.00000000')
      FROM payout_versions WHERE payout_id = %(payout)s
    """,
    "SELECT signed_at, 'payer', 'version ' || version || ' signed as ' || txid"
    " FROM payout_versions WHERE payout_id = %(payout)s AND signed_at IS NOT NULL",
    "SELECT first_sent_at, 'node', 'version ' || version || ' sent for the first time'"
    " FROM payout_versions WHERE payout_id = %(payout)s AND first_sent_at IS NOT NULL",
    """
    SELECT last_sent_at, 'node',
           'version ' || version || ' sent ' || CASE sends WHEN 1 THEN 'once' ELSE sends || ' times'
           END || ', last answer ' || last_answer
      FROM payout_versions WHERE payout_id = %(payout)s AND last_sent_at IS NOT NULL
    """,
    """
    SELECT b.followed_at, 'chain',
           'coin ' || x.txid || ':' || x.vout || ' spent by ' || x.spender_txid
           || ' in block ' || x.height
      FROM payout_versions v
     CROSS JOIN LATERAL json_to_recordset(v.template -> 'inputs') AS i(txid text, vout int)
      JOIN spends x ON x.txid = i.txid AND x.vout = i.vout
      JOIN blocks b ON b.height = x.height AND b.active
     WHERE v.payout_id = %(payout)s
    """,
    "SELECT updated_at, 'payer', 'payout ' || id || ' ' || status"
    " || coalesce(' by ' || confirmed_txid, '') || coalesce(': ' || failure, '')"
    " FROM payouts WHERE id = %(payout)s",
)


def story(connection: Connection, about: Line) -> list[Event]:
    """All that happened to a withdrawal, in the order of time; at the same time, of the parts."""
    query = " UNION ".join(
        f"SELECT *, {number} AS part FROM ({part}) AS p(time, source, text)"
        for number, part in enumerate(_PARTS)
    )
    rows = connection.execute(
        f"SELECT time, source, text FROM ({query}) AS told ORDER BY time, part, text",
        {"id": about.id, "user": about.user_id, "payout": about.payout_id},
    )
    return [Event(*row) for row in rows]


def signed_as(connection: Connection, withdrawal_id: str) -> str | None:
    """The txid of bytes that pay a withdrawal, or once did: they may be mined at any time."""
    row = connection.execute(
        """
        SELECT txid FROM withdrawals WHERE id = %(id)s AND status IN ('BROADCAST', 'CONFIRMED')
         UNION ALL
        SELECT v.txid FROM payout_versions v
         WHERE v.raw IS NOT NULL
           AND position(%(id)s::text IN v.template::text) > 0
         LIMIT 1
        """,
        {"id": withdrawal_id},
    ).fetchone()
    return None if row is None else str(row[0])
