"""Garbage collection for a loop that makes many objects without a cycle."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

#: Seconds between two looks for cyclic garbage; a probe's requests leave some.
_COLLECT_SECONDS: Final = 5.0


@contextmanager
def collected_seldom() -> Iterator[Callable[[], None]]:
    """No collection but by what is given: to be called each round, it looks every five seconds.

    What is there already, the code above all, is never walked again.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    last = 0.0

    def collect() -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > _COLLECT_SECONDS:
            last = now
            gc.collect()

    try:
        yield collect
    finally:
        gc.enable()
