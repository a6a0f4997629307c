"""Every member's view of all partitions: follows what all members write to the changelog.

Faust's own global tables say that they can recover for ever where an app has several members, so
this reader is ours. What it has of its own partitions is a moment older than the table.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection

from schemas.settings import Settings
from schemas.topics import VIEWS_STATE, topic_name
from streams.kafka.config import KafkaUnavailable
from streams.kafka.view import LogView
from streams.outages import Backoff, in_words
from streams.views.picture import Picture

log = logging.getLogger(__name__)


class Replica:
    """A thread that keeps the picture; hold ``lock`` while you read it."""

    def __init__(self, settings: Settings) -> None:
        self._topic = topic_name(settings, VIEWS_STATE.name)
        self._partitions = range(settings.partitions)
        self._settings = settings
        self._positions: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replica", daemon=True)
        self.lock = threading.Lock()
        self.picture = Picture()
        self.fault: str | None = "reading what is kept"

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Follow no more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(10.0)

    def knows(self, marks: dict[int, int]) -> bool:
        """Whether the picture is as far as these partitions' marks: what was written by then."""
        with self.lock:
            known = self.picture.marks
            return all(
                through < 0 or (number in known and known[number].through >= through)
                for number, through in marks.items()
            )

    def positions(self) -> dict[int, int]:
        """By partition, the event that is counted next, as far as it is written down."""
        with self.lock:
            return {number: mark.through + 1 for number, mark in self.picture.marks.items()}

    def _run(self) -> None:
        backoff = Backoff()
        while not self._stopping.is_set():
            view = LogView(self._settings)
            try:
                self._follow(view)
                backoff.reset()
            except KafkaUnavailable as away:
                self.fault = in_words(away)
                log.warning("outage", extra={"cause": str(away)})
                self._stopping.wait(backoff.next())
            except Exception as fault:
                # An old picture must not pass for a new one.
                self.fault = f"what is kept cannot be read: {fault!r}"
                log.exception("what is kept cannot be read")
                self._stopping.wait(backoff.next())
            finally:
                view.close()

    def _follow(self, view: LogView) -> None:
        for number in self._partitions:
            low, self._ends[number] = view.watermarks(self._topic, number)
            self._positions[number] = max(self._positions.get(number, 0), low)
        self._note_state()
        for message in view.follow(self._topic, self._positions):
            if self._stopping.is_set():
                return
            if message is not None:
                number = message.partition() or 0
                with self.lock:
                    self.picture.put(message.key() or b"", message.value())
                self._positions[number] = (message.offset() or 0) + 1
            if self.fault is not None:
                self._note_state()

    def _note_state(self) -> None:
        """All that stood there at the start is to be known before anything is answered."""
        behind = _behind(self._partitions, self._positions, self._ends)
        self.fault = f"reading what is kept, partitions {behind}" if behind else None


def _behind(
    partitions: Collection[int], positions: dict[int, int], ends: dict[int, int]
) -> list[int]:
    return [number for number in partitions if positions[number] < ends[number]]
