"""Waiting for what another process or thread makes true: a condition and a deadline, no luck."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")
_GLANCE_SECONDS = 0.02


def eventually(look: Callable[[], _T], what: str, seconds: float = 60.0) -> _T:
    """The first true answer of ``look``; fails with ``what`` was awaited when the time is over.

    The time is for a machine that is slow and busy: nobody waits longer than it takes.
    """
    deadline = time.monotonic() + seconds
    while True:
        answer = look()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}; last seen: {answer!r}")
        time.sleep(_GLANCE_SECONDS)
