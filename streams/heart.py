"""Tells whether a loop still turns: what ``/healthz`` answers by, and a supervisor restarts for."""

from __future__ import annotations

import time
from typing import Final

#: Longer than any round, and any wait for a server that is away, can take.
STILL_SECONDS: Final = 120.0


class Heart:
    """Beats once a round of its loop, and inside of rounds that may take long; any thread may look.

    ``rest_seconds`` is what the loop sleeps between two rounds at most.
    """

    def __init__(self, rest_seconds: float = 0.0) -> None:
        self._still_seconds = STILL_SECONDS + rest_seconds
        self._beat = time.monotonic()

    def beat(self) -> None:
        """The loop has come this far."""
        self._beat = time.monotonic()

    def still_seconds(self) -> float:
        """How long ago it beat."""
        return time.monotonic() - self._beat

    def stalled(self) -> str | None:
        """That the loop stands still, in words; None while it turns."""
        still = self.still_seconds()
        return f"stands still for {still:.0f} s" if still > self._still_seconds else None
