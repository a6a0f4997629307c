"""Step 5: coins of payouts that are buried so deep that nothing digs them up are let go of."""

from __future__ import annotations

from db.treasury.payouts import buried, read_tip
from db.treasury.purse import release
from streams.payer.office import Office


def bury(office: Office) -> int:
    """Let go of coins of buried payouts; how many payouts."""
    with office.work("bury") as cursor:
        tip = read_tip(cursor)
        if tip is None:
            return 0
        done = buried(cursor, tip.height - office.limits.burial_confirmations + 1)
        for payout_id in done:
            release(cursor, payout_id)
    return len(done)
