"""How far a bridge is behind, and since when nothing moves: pure, no clock, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class _Stand(NamedTuple):
    """Where a partition stands, and since when events have waited for it to go on from there."""

    offset: int
    since: float


class Behind:
    """What waits in the partitions that a bridge has, by the ends that the broker tells."""

    def __init__(self) -> None:
        self._stands: dict[int, _Stand] = {}
        #: Offsets behind what is acknowledged: records, and markers of transactions.
        self.records = 0

    def look(self, next_offsets: Mapping[int, int], ends: Mapping[int, int], now: float) -> None:
        """All before ``next_offsets`` is acknowledged, the logs end at ``ends``."""
        stands = {}
        waiting = 0
        for number, offset in next_offsets.items():
            left = max(ends.get(number, offset) - offset, 0)
            before = self._stands.get(number)
            waiting += left
            if before is None or before.offset != offset or not left:
                before = _Stand(offset, now)
            stands[number] = before
        self._stands = stands
        self.records = waiting

    def still_seconds(self, now: float) -> float:
        """For how long the partition that has stood longest has not moved while events wait."""
        return max((now - stand.since for stand in self._stands.values()), default=0.0)
