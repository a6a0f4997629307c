"""Step 2: what the ledger said to the claims. Nothing is reserved or signed before."""

from __future__ import annotations

import logging
from typing import Final

from db.treasury.claims import oldest_awaited_seconds, settle_claims
from streams.payer.office import Office

log = logging.getLogger(__name__)

#: A claim is decided in milliseconds; after so long somebody must look at topic and worker.
_AWAITED_TOO_LONG_SECONDS: Final = 600


def settle(office: Office) -> int:
    """Take over committed outcomes; how many there were."""
    with office.work("settle") as cursor:
        settled = settle_claims(cursor)
        waiting = oldest_awaited_seconds(cursor)
    for claim in settled:
        log.info("claim settled", extra=claim._asdict())
    if waiting > _AWAITED_TOO_LONG_SECONDS:
        office.alarm(
            "claim-unanswered",
            "claims",
            f"A claim has waited {waiting} s for its outcome: is a worker running, and does the "
            "outbox reach the topic?",
        )
    return len(settled)
