"""A member of the workers' group that applies nothing: it holds what it is given, and reads."""

from __future__ import annotations

import msgspec

from schemas.settings import Settings
from schemas.topics import CommandTopic
from streams.kafka.consume import Assignment, CommandConsumer
from tests.support.eventually import eventually


class Member:
    """A member of the group that reads all it is given from the start, in the test's thread."""

    def __init__(self, settings: Settings) -> None:
        self.held: list[tuple[CommandTopic, int]] = []
        self.assigned = 0
        # A machine that pauses for some seconds is no dead member.
        patient = {**settings.kafka, "session.timeout.ms": "30000"}
        self.consumer = CommandConsumer(
            msgspec.structs.replace(settings, kafka=patient),
            on_assigned=self._take,
            on_revoked=self.held.clear,
        )

    def _take(self, places: list[tuple[CommandTopic, int]]) -> list[Assignment]:
        self.held[:] = places
        self.assigned += 1
        return [Assignment(topic, number, 0) for topic, number in places]

    def join(self, count: int) -> None:
        """Poll until this many partitions are held."""

        def holds() -> bool:
            self.consumer.poll(0.05)
            return self.assigned > 0 and len(self.held) == count

        eventually(holds, f"{count} partitions are assigned")
