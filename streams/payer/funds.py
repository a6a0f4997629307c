"""What the hot wallet can pay now, and what it lacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from db.engine import Cursor
from db.treasury import payouts as store
from schemas.amounts import KOINU_PER_DOGE, format_amount
from streams.metrics import COINS_MISSING
from streams.payer import templates
from streams.payer.office import Office


class _Owed(Protocol):
    @property
    def amount(self) -> int: ...


_T = TypeVar("_T", bound=_Owed)


def affordable(owed: Sequence[_T], budget: int) -> list[_T]:
    """Those that a budget pays, the first ones first.

    One that is too large is passed over, so that it does not hold up all others.
    """
    chosen: list[_T] = []
    for each in owed:
        if each.amount <= budget:
            chosen.append(each)
            budget -= each.amount
    return chosen


def change_under_way(cursor: Cursor) -> int:
    """Koinu of change in transactions that are in no block yet: not missing, only late."""
    return sum(templates.change_of(stored) for stored in store.newest_unmined(cursor))


def tell_missing(office: Office, missing: int) -> None:
    """Sound the alarm for coins that no payment under way will bring back."""
    COINS_MISSING.set(max(missing, 0) / KOINU_PER_DOGE)
    if missing <= 0:
        office.silence("out-of-coins", "hot wallet")
        return
    office.alarm(
        "out-of-coins",
        "hot wallet",
        f"{format_amount(missing)} DOGE are missing in the hot wallet to pay the withdrawals that "
        f"wait; send them to {office.refill_address()}, which is ours and no user's, and book them "
        "by `wallet operator move-custody` or `fund`.",
    )
