"""How far the follower is while it catches up: a line in the log every few seconds, with an ETA."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

#: Fewer blocks behind than this is how a chain is followed, not how one catches up.
_CATCHING_UP_MIN: Final = 10
_EVERY_SECONDS: Final = 5.0


class Progress:
    """Counts blocks while there are many to take."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, words: str = "catching up"
    ) -> None:
        self._clock = clock
        self._words = words
        self._height = 0
        self._target = 0
        self._started: tuple[float, int] | None = None
        self._told = 0.0

    def followed(self, height: int, target: int) -> None:
        """A block was taken; the node is at ``target``."""
        self._height, self._target = height, target
        now = self._clock()
        if target - height < _CATCHING_UP_MIN:
            self._finish(now)
            return
        if self._started is None:
            self._started, self._told = (now, height), now
            log.info(self._words, extra={"height": height, "of": target})
            return
        if now - self._told >= _EVERY_SECONDS:
            self._told = now
            log.info(self._words, extra=self.state())

    def at_tip(self, height: int) -> None:
        """There is nothing more to take."""
        self._height = self._target = height
        self._finish(self._clock())

    def state(self) -> dict[str, object]:
        """Height, target, blocks a second and seconds to go, as far as they are known."""
        since, first = self._started or (self._clock(), self._height)
        seconds = self._clock() - since
        rate = (self._height - first) / seconds if seconds > 0 else 0.0
        left = self._target - self._height
        return {
            "height": self._height,
            "of": self._target,
            "blocks_per_second": round(rate, 1),
            "eta_seconds": round(left / rate) if rate else None,
        }

    def behind(self) -> str | None:
        """That it is still catching up, in words, or None."""
        if self._started is None:
            return None
        state = self.state()
        return (
            f"catching up: block {state['height']} of {state['of']}, "
            f"{state['blocks_per_second']} a second, {state['eta_seconds']} s to go"
        )

    def _finish(self, now: float) -> None:
        if self._started is not None:
            log.info(f"{self._words}: done", extra=self.state())
            self._started = None
