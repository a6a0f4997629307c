"""What the clients complain of by themselves: it is the reason of the error that follows."""

from __future__ import annotations

import logging
import time
from typing import Final

_SELDOM_SECONDS: Final = 10.0
_KEPT_MAX: Final = 1_000


class _Seldom(logging.Filter):
    """Lets a client's complaint through once in ten seconds, however often it is repeated.

    While a broker is away, each connection tries twenty times a second and says so each time.
    """

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is news."""
        complaint = record.getMessage().partition("(after")[0]
        if record.created - self._told.get(complaint, 0.0) < _SELDOM_SECONDS:
            return False
        if len(self._told) >= _KEPT_MAX:
            self._told.clear()
        self._told[complaint] = record.created
        return True


class Complaints(logging.Handler):
    """Keeps what the clients complained of last, for the error that follows from it.

    That there is a handler at all keeps a command's screen free of the library's lines; services
    log them by their own.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: tuple[float, str] = (0.0, "")

    def emit(self, record: logging.LogRecord) -> None:
        """Remember it, without the names of the library's threads."""
        self._last = (record.created, record.getMessage().rpartition("]: ")[2].strip())

    def last(self) -> str:
        """The last one of late, or nothing."""
        told, complaint = self._last
        return complaint if time.time() - told < _SELDOM_SECONDS else ""


#: What the clients of this process complained of.
OF_LATE: Final = Complaints()
#: Where every client writes its complaints to.
LIBRARY: Final = logging.getLogger("librdkafka")
LIBRARY.addFilter(_Seldom())
LIBRARY.addHandler(OF_LATE)
