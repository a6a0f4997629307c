"""What moved, by minute and event: from the ledger's entries, and as the views show it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import psycopg

from schemas.amounts import format_amount
from streams.views.facts import MINUTE_MS

#: By command: the event it gives, and which side of which account shows what it moved.
MOVED: Final = {
    "process_deposit": ("deposit.confirmed", "credit", "available"),
    "reverse_deposit": ("deposit.reversed", "credit", "chain"),
    "lock_funds": ("funds.locked", "credit", "bids"),
    "unlock_funds": ("funds.unlocked", "debit", "bids"),
    "pay_order": ("order.paid", "credit", "escrow"),
    "convert_to_escrow": ("escrow.created", "credit", "escrow"),
    "release_escrow": ("escrow.released", "debit", "escrow"),
    "refund_escrow": ("escrow.refunded", "debit", "escrow"),
    "resolve_dispute": ("escrow.resolved", "debit", "escrow"),
    "request_withdrawal": ("withdrawal.requested", "debit", "available"),
    "cancel_withdrawal": ("withdrawal.failed", "debit", "pending"),
    "fail_withdrawal": ("withdrawal.failed", "debit", "pending"),
    "confirm_withdrawal": ("withdrawal.confirmed", "debit", "pending"),
    "unconfirm_withdrawal": ("withdrawal.unconfirmed", "credit", "pending"),
    "record_network_fee": ("network_fee.recorded", "debit", None),
    "move_custody": ("custody.moved", "debit", None),
    "fund": ("capital.funded", "debit", None),
    "withdraw_revenue": ("revenue.withdrawn", "debit", None),
}

#: A repayment is no part of what the event is about.
ENTRIES: Final = """
SELECT c.type, e.account::text, floor(extract(epoch FROM e.created_at) / 60)::bigint,
       sum(e.debit)::numeric, sum(e.credit)::numeric
  FROM entries e JOIN commands c ON c.id = e.command_id
 WHERE e.entry_type <> 'SHORTFALL_REPAYMENT' GROUP BY 1, 2, 3
"""
SALES: Final = """
SELECT floor(extract(epoch FROM created_at) / 60)::bigint, sum(credit)::numeric
  FROM entries WHERE entry_type = 'SALE_CREDIT' AND credit > 0 GROUP BY 1
"""


def of_the_ledger(connection: psycopg.Connection) -> dict[tuple[int, str], str]:
    """Amounts by minute and event, from the entries."""
    found: dict[tuple[int, str], int] = {}
    for kind, account, minute, debit, credit in connection.execute(ENTRIES):
        name, side, shown = MOVED[kind]
        if shown in (account, None):
            koinu = int(debit if side == "debit" else credit)
            found[minute, name] = found.get((minute, name), 0) + koinu
    for minute, credit in connection.execute(SALES):
        found[minute, "sale.credited"] = int(credit)
    return {place: format_amount(koinu) for place, koinu in found.items() if koinu}


def of_the_views(page: dict[str, Any]) -> dict[tuple[int, str], str]:
    """The same from ``/flows``, without what moves nothing in the ledger."""
    moving = {name for name, _, _ in MOVED.values()} | {"sale.credited"}
    return {
        (int(_milliseconds(row["minute"]) // MINUTE_MS), kind): total["amount"]
        for row in page["minutes"]
        for kind, total in row["flows"].items()
        if kind in moving and total["amount"] != "0.00000000"
    }


def _milliseconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)
