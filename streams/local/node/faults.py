"""What a node can be told to do wrong: to calls, for so many times."""

from __future__ import annotations

import threading
from typing import Annotated, Final

import msgspec

from schemas.words import Word

#: Core's own words.
OVERLOAD_TEXT: Final = "Work queue depth exceeded"
WARMING_UP_TEXT: Final = "Loading block index..."


class FaultKind(Word):
    """How a call goes wrong."""

    #: The call is done, and its answer never comes: the connection stays open, silent.
    TIME_OUT = "time_out"
    #: The call is done, and the connection ends without an answer.
    LOST = "lost"
    #: The connection ends before the call is done.
    UNHEARD = "unheard"
    #: Not done; answered by ``code`` and ``message``.
    ERROR = "error"
    #: Done; answered by ``code`` and ``message`` all the same.
    LATE_ERROR = "late_error"
    #: HTTP 500 in plain text, as when all threads are busy.
    OVERLOAD = "overload"
    #: -28, as while a node starts.
    WARMING_UP = "warming_up"
    #: HTTP 200 with something that is not JSON.
    GARBAGE = "garbage"
    #: The first half of the true answer, whose length was announced; then the end.
    HALF = "half"
    #: Every height in the answer is wrong by ``value``.
    HEIGHT_LIE = "height_lie"
    #: The answer before this one of the same method comes again.
    REPEAT = "repeat"
    #: The answer is ``value``, whatever it should be.
    ANSWER = "answer"


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One of them."""

    kind: FaultKind
    #: The method that it hits; "*" for every one.
    method: str = "*"
    #: How many calls it hits; 0 for all until it is cleared.
    times: Annotated[int, msgspec.Meta(ge=0)] = 1
    #: How many calls it lets pass first.
    skip: Annotated[int, msgspec.Meta(ge=0)] = 0
    code: int = -1
    message: str = "told to fail"
    #: How long a silent answer is silent.
    seconds: float = 3600.0
    value: object = None

    def hits(self, method: str) -> bool:
        """Whether it is about this method."""
        return self.method in ("*", method)


class Faults:
    """Those in force, oldest first; a call meets the first that hits it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Let it happen from the next call on."""
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Behave again."""
        with self._lock:
            self._faults.clear()

    def listed(self) -> list[Fault]:
        """Those that are left."""
        with self._lock:
            return list(self._faults)

    def meet(self, method: str) -> Fault | None:
        """The fault that this call meets; it is counted."""
        with self._lock:
            for fault in self._faults:
                if not fault.hits(method):
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                if fault.times == 1:
                    self._faults.remove(fault)
                fault.times = max(fault.times - 1, 0)
                return fault
        return None
