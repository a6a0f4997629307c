"""Step 6: ask the ledger for pending withdrawals, as many at once as share a transaction.

Claimed is only what the coins suffice for: the rest stays pending, where its user can cancel it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from db.treasury.claims import Pending, dust, insert_claims, owed_in_claims, pending
from db.treasury.payouts import stage
from db.treasury.purse import spendable_total
from processors.dogecoin.fees import DUST_HARD
from schemas.amounts import format_amount
from streams.payer import orders
from streams.payer.funds import affordable, change_under_way, tell_missing
from streams.payer.office import Office, usable_tip

#: Withdrawals that are looked at in one round.
LOOK_MAX: Final = 5_000

log = logging.getLogger(__name__)

#: Set aside for the fee: a transaction of so many bytes.
_FEE_BYTES: Final = 10_000


def claim(office: Office) -> int:
    """Claim a batch, if one is due; how many withdrawals."""
    limits = office.limits
    with office.work("claim") as cursor:
        tip = usable_tip(cursor)
        waiting = pending(cursor, limits.retry_seconds, DUST_HARD, LOOK_MAX)
        unpaid = dust(cursor, DUST_HARD)
        due = _due(office, waiting)
        if tip is None or not (due or unpaid):
            return 0
        aside = owed_in_claims(cursor) + limits.policy.rate * _FEE_BYTES // 1000
        budget = spendable_total(cursor, office.purse(tip)) - aside
        # Of all that wait, not of the oldest alone: many large ones must not hold up a small one.
        chosen = affordable(waiting, budget)[: limits.withdrawals_max] if due else []
        late = change_under_way(cursor)
        insert_claims(cursor, chosen)
        stage(cursor, [orders.claim(p.user_id, p.withdrawal_id, p.attempts + 1) for p in chosen])
    _tell_dust(office, unpaid)
    tell_missing(office, sum(each.amount for each in waiting) - budget - late)
    if chosen:
        log.info("claiming", extra={"withdrawals": [each.withdrawal_id for each in chosen]})
    return len(chosen)


def _tell_dust(office: Office, unpaid: Sequence[str]) -> None:
    """Those that rules of long ago let in, and that cannot be paid: their users can cancel them."""
    if not unpaid:
        office.silence("cannot-pay", "dust")
        return
    office.alarm(
        "cannot-pay",
        "dust",
        f"{len(unpaid)} withdrawals, as {unpaid[0]}, are of less than "
        f"{format_amount(DUST_HARD)} DOGE, which no node relays: they are not claimed.",
    )


def _due(office: Office, waiting: Sequence[Pending]) -> bool:
    """The batch is full, or its oldest has waited long enough for others."""
    if len(waiting) >= office.limits.withdrawals_max:
        return True
    return any(each.age_seconds >= office.limits.wait_seconds for each in waiting)
