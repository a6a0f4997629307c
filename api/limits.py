"""How much one caller may ask: a token bucket each, of bounded number."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import Final

#: A service acts for all its users, so it gets that many times a user's rate.
SERVICE_FACTOR: Final = 100
CALLERS_MAX: Final = 50_000


class RateLimit:
    """A bucket a caller: filled with a minute's requests, refilled evenly.

    The caller seen longest ago is forgotten when there are more than ``CALLERS_MAX``; its bucket
    would be full again by then, unless somebody floods the table, whom the tokens' issuer knows.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str, factor: int = 1) -> float:
        """Take one request out of the caller's bucket.

        0.0 if there was one, else the seconds until there will be.
        """
        if not self._per_minute:
            return 0.0
        capacity = float(self._per_minute * factor)
        per_second = capacity / 60
        now = self._clock()
        left, since = self._buckets.pop(caller, (capacity, now))
        left = min(capacity, left + (now - since) * per_second)
        wait = 0.0 if left >= 1 else (1 - left) / per_second
        self._buckets[caller] = (left if wait else left - 1, now)
        if len(self._buckets) > CALLERS_MAX:
            self._buckets.popitem(last=False)
        return wait
