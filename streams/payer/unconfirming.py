"""Step 3: a payment that was confirmed, and that a deep reorganisation took out of the chain."""

from __future__ import annotations

import logging

from db.engine import Cursor
from db.treasury import payouts as store
from db.treasury.payouts import Payout
from schemas.payouts import PayoutStatus
from streams.metrics import PAYOUTS
from streams.payer import books
from streams.payer.office import Office

log = logging.getLogger(__name__)


def unconfirm(office: Office) -> int:
    """Take back what was told of payouts that are no longer on the chain; how many.

    Their coins are reserved still, so that nothing else was paid from them meanwhile.
    """
    with office.work("unconfirm") as cursor:
        found = store.uprooted(cursor)
        for payout in found:
            _take_back(cursor, payout)
    for payout in found:
        PAYOUTS.labels("unconfirmed").inc()
        office.alarm(
            "payout-unconfirmed",
            f"payout {payout.id}",
            f"A reorganisation took transaction {payout.confirmed_txid} of payout {payout.id} "
            "out of the chain after it was confirmed; it is sent until it is in a block again.",
        )
    return len(found)


def _take_back(cursor: Cursor, payout: Payout) -> None:
    taken = books.unconfirmed(cursor, payout)
    store.stage(cursor, taken)
    store.advance(cursor, payout.id, PayoutStatus.CONFIRMED, PayoutStatus.BROADCAST)
