"""Step 11: the ledger refused what happened on chain: an operator must look."""

from __future__ import annotations

import time
from typing import Final

from db.treasury.payouts import refused
from streams.payer.office import Office

_LATELY_SECONDS: Final = 86_400.0


class Refusals:
    """Looks now and then: what is refused stays so."""

    def __init__(self, every_seconds: float = 30.0) -> None:
        self._every = every_seconds
        self._looked = -every_seconds

    def look(self, office: Office) -> int:
        """Sound the alarm if it is time; how many refusals there are."""
        now = time.monotonic()
        if now - self._looked < self._every:
            return 0
        self._looked = now
        return look_at_refusals(office)


def look_at_refusals(office: Office) -> int:
    """Sound an alarm for each command of the last day that was refused; how many there are."""
    with office.work("look at refusals") as cursor:
        found = refused(cursor, _LATELY_SECONDS)
    for each in found:
        office.alarm(
            "command-refused",
            each.idempotency_key,
            f"The ledger refused {each.type} ({each.code}), under the key "
            f"{each.idempotency_key}: chain and ledger disagree. `wallet withdrawals show` tells "
            "the story.",
        )
    return len(found)
