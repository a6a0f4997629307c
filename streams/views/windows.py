"""Sliding windows over minutes: when their sum is over a limit, whatever order events came in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Span(NamedTuple):
    """Minutes [start, until) at whose ends a window was over its limit."""

    start: int
    until: int


class Limit(NamedTuple):
    """What a window must reach to be over: so many events, or so many koinu; None: no matter."""

    events: int | None
    koinu: int | None

    def reached(self, count: int, koinu: int) -> bool:
        """Whether one of the two is reached."""
        return (self.events is not None and count >= self.events) or (
            self.koinu is not None and koinu >= self.koinu
        )


def spans_over(totals: Mapping[int, tuple[int, int]], window: int, limit: Limit) -> list[Span]:
    """When the sum over the last ``window`` minutes is over the limit, oldest first.

    ``totals`` is (count, koinu) by minute. The window that ends with minute m holds the minutes
    m - window + 1 to m. The last span's end is where it would end if nothing more came.
    """
    spans: list[Span] = []
    changes = sorted({*totals, *(minute + window for minute in totals)})
    count = koinu = 0
    start: int | None = None
    for minute in changes:
        added = totals.get(minute, (0, 0))
        gone = totals.get(minute - window, (0, 0))
        count += added[0] - gone[0]
        koinu += added[1] - gone[1]
        over = limit.reached(count, koinu)
        if over and start is None:
            start = minute
        elif not over and start is not None:
            spans.append(Span(start, minute))
            start = None
    return spans


def window_sum(totals: Mapping[int, tuple[int, int]], window: int, minute: int) -> tuple[int, int]:
    """Count and koinu of the ``window`` minutes that end with ``minute``."""
    held = [total for at, total in totals.items() if minute - window < at <= minute]
    return sum(count for count, _ in held), sum(koinu for _, koinu in held)
