"""What the Faust app does with records, without Faust: count them in, say where to read on, write.

An event's place in its partition is the only progress there is. It stands in the documents
themselves, so neither Faust's acknowledgements nor the group's offsets decide anything.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, MutableMapping, Sequence
from typing import NamedTuple

from streams import metrics
from streams.views import tally
from streams.views.facts import Fact, Unreadable, fact_of
from streams.views.incidents import UserWatch
from streams.views.kept import Mark
from streams.views.rules import Rule
from streams.views.store import Store, Writes

log = logging.getLogger(__name__)


class Progress(NamedTuple):
    """How far a partition is counted in: its last offset, and the latest time in it."""

    offset: int
    time_ms: int


class Keeper:
    """Counts the records of the partitions that this process holds into documents."""

    def __init__(self, table: MutableMapping[bytes, bytes], rules: Sequence[Rule]) -> None:
        self.store = Store(table)
        self._watch = UserWatch(rules)
        self._progress: dict[int, Progress] = {}
        self._moved: set[int] = set()
        #: Partitions of which all that stood there at the take-over is counted in.
        self.settled: set[int] = set()
        #: The marks that the table had at the take-over.
        self.begun: dict[int, int] = {}

    @property
    def held(self) -> Collection[int]:
        """The partitions that are read at present."""
        return self._progress.keys()

    def lose(self, partitions: Collection[int]) -> None:
        """Forget all of some partitions that is not written: they are somebody else's, or were."""
        for partition in partitions:
            self._progress.pop(partition, None)
            self._moved.discard(partition)
            self.settled.discard(partition)
            self.begun.pop(partition, None)
            self.store.forget(partition)

    def begin(self, partition: int) -> int:
        """Where to read a partition on, once the table has what was written of it; 0 is new."""
        if partition not in self._progress:
            mark = self.store.get(Mark, partition) or Mark()
            self._progress[partition] = Progress(mark.through, mark.time_ms)
            self.begun[partition] = mark.through
        return self._progress[partition].offset + 1

    def take(self, partition: int, offset: int, value: bytes | None) -> None:
        """Count a record in; one that is no event is told and passed over."""
        if not self._is_news(partition, offset):
            return
        try:
            fact = fact_of(value)
        except Unreadable as fault:
            metrics.VIEWED.labels("unreadable").inc()
            log.error(
                "no event of the wallet",
                extra={"partition": partition, "offset": offset, "cause": str(fault)},
            )
            self._move(partition, offset, 0)
        else:
            self.count(partition, offset, fact)

    def count(self, partition: int, offset: int, fact: Fact) -> None:
        """Count a fact in, unless it is counted already."""
        if self._is_news(partition, offset):
            fresh = tally.apply(self.store, self._watch, partition, offset, fact)
            metrics.VIEWED.labels("counted" if fresh else "double").inc()
            self._move(partition, offset, fact.time_ms)

    def _is_news(self, partition: int, offset: int) -> bool:
        progress = self._progress.get(partition)
        return progress is not None and offset > progress.offset

    def _move(self, partition: int, offset: int, time_ms: int) -> None:
        newest_ms = max(self._progress[partition].time_ms, time_ms)
        self._progress[partition] = Progress(offset, newest_ms)
        self._moved.add(partition)

    def through(self, partition: int) -> int:
        """The last offset that is counted in; -1 before the first."""
        progress = self._progress.get(partition)
        return -1 if progress is None else progress.offset

    def leave(self) -> list[Writes]:
        """What is to be written, phase by phase, marks last; then call ``store.left``."""
        for partition in self._moved:
            offset, time_ms = self._progress[partition]
            self.store.put(partition, Mark(through=offset, time_ms=time_ms))
        self._moved.clear()
        return self.store.leave()
