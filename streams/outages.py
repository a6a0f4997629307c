"""What counts as an outage of a server, as against a fault of a command or of this program."""

from __future__ import annotations

import random
from typing import Final

from db.failures import AWAY, has_answered
from streams.kafka.config import KafkaUnavailable

#: A server is away: what was under way is given up and found again by a take-over.
OUTAGES: Final = (*AWAY, KafkaUnavailable)


BROKER: Final = "broker"
DATABASE: Final = "database"


def server_of(error: BaseException) -> str:
    """``BROKER`` or ``DATABASE``."""
    return BROKER if isinstance(error, KafkaUnavailable) else DATABASE


def in_words(outage: Exception) -> str:
    """An outage in a line: which server, and whether it is away or answers that it cannot."""
    verb = "cannot" if has_answered(outage) else "is away"
    return f"{server_of(outage)} {verb}: {' '.join(str(outage).split())}"


class Backoff:
    """Doubling waits with jitter, so that many workers do not come back at once."""

    def __init__(self, first_seconds: float = 0.1, most_seconds: float = 5.0) -> None:
        self._first = first_seconds
        self._most = most_seconds
        self._next = first_seconds

    def next(self) -> float:
        """Seconds to wait this time."""
        wait, self._next = self._next, min(self._next * 2, self._most)
        return wait * random.uniform(0.75, 1.25)  # noqa: S311 - jitter is no secret

    def reset(self) -> None:
        """It worked: begin from the first wait again."""
        self._next = self._first
