"""Which event may be sent next, and up to where all are acknowledged: pure, no clock, no I/O.

A user's events go one after the other: the next one is sent once the one before is acknowledged.
Users don't wait for each other, except for room: what is held is bounded by whoever adds to it.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class PassedOver(Exception):
    """Events lie between the last one that was added and the next: none is committed past them."""


class Item(NamedTuple, Generic[T]):
    """One event: its place in the topic, its user, its size in bytes, and what is sent."""

    partition: int
    offset: int
    user: str
    size: int
    load: T
    #: How often it was tried in vain.
    tries: int = 0


@dataclass
class _Log:
    """A partition's events under way, oldest first."""

    waiting: deque[int] = field(default_factory=deque)
    acknowledged: set[int] = field(default_factory=set)
    end: int = 0

    def next_offset(self) -> int:
        """Everything before it is acknowledged."""
        while self.waiting and self.waiting[0] in self.acknowledged:
            self.acknowledged.remove(self.waiting.popleft())
        return self.waiting[0] if self.waiting else self.end


class Schedule(Generic[T]):
    """Events that are held until they are acknowledged."""

    def __init__(self) -> None:
        self._logs: dict[int, _Log] = {}
        #: Each user's events in order; the first is the one that is ready, under way or resting.
        self._users: dict[str, deque[Item[T]]] = {}
        #: Users whose first event may be sent, in the order in which that came about.
        self._ready: deque[str] = deque()
        self._resting: list[tuple[float, int, str]] = []
        self._rests = 0
        self._held = 0

    def __len__(self) -> int:
        """Events held."""
        return self._held

    def begin(self, partition: int, offset: int) -> None:
        """The partition is read from there: nothing before it that is not held is still to come."""
        log = self._logs.setdefault(partition, _Log())
        log.end = max(log.end, offset)

    def add(self, item: Item[T], since: int) -> None:
        """Take an event in; a partition's come in the order of their offsets.

        No other lies between ``since`` and it, says who has read it. Raises ``PassedOver`` where
        that does not join on to what is known here.
        """
        log = self._logs.get(item.partition)
        if log is None or not since <= log.end <= item.offset:
            known = "nothing" if log is None else f"all before {log.end}"
            raise PassedOver(
                f"partition {item.partition}: {known} is known, {item.offset} comes after {since}"
            )
        log.waiting.append(item.offset)
        log.end = item.offset + 1
        self._held += 1
        queue = self._users.setdefault(item.user, deque())
        queue.append(item)
        if len(queue) == 1:
            self._ready.append(item.user)

    def reach(self, partition: int, end: int) -> None:
        """No event lies between the last one that was added and ``end``."""
        log = self._logs[partition]
        log.end = max(log.end, end)

    def take(self, count: int, size: int) -> list[Item[T]]:
        """The next events to send in one call: of a user one at most, within count and size.

        One that is larger than ``size`` is taken alone; whoever sends it sees what becomes of it.
        """
        taken: list[Item[T]] = []
        left = size
        while self._ready and len(taken) < count:
            item = self._users[self._ready[0]][0]
            if taken and item.size > left:
                break
            self._ready.popleft()
            taken.append(item)
            left -= item.size
        return taken

    def acknowledge(self, item: Item[T]) -> None:
        """It is where it should be: the user's next one may go."""
        queue = self._users[item.user]
        queue.popleft()
        self._held -= 1
        self._logs[item.partition].acknowledged.add(item.offset)
        if queue:
            self._ready.append(item.user)
        else:
            del self._users[item.user]

    def rest(self, item: Item[T], until: float) -> None:
        """It was tried in vain: the user waits until then."""
        self._users[item.user][0] = item._replace(tries=item.tries + 1)
        self._rests += 1
        heapq.heappush(self._resting, (until, self._rests, item.user))

    def wake(self, now: float) -> float | None:
        """Let those go whose time has come; when the next one's comes, None if none rests."""
        while self._resting and self._resting[0][0] <= now:
            self._ready.append(heapq.heappop(self._resting)[2])
        return self._resting[0][0] if self._resting else None

    def next_offsets(self) -> dict[int, int]:
        """By partition, the offset before which all is acknowledged: what may be committed."""
        return {number: log.next_offset() for number, log in self._logs.items()}
