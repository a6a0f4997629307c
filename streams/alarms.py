"""Alarms of a process: logged as critical, and put on ``wallet.alerts`` for operators."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Final, Protocol

import msgspec

from schemas.publications import Alert
from schemas.settings import Settings
from schemas.topics import ALERTS, topic_name
from streams.kafka.produce import Producer

log = logging.getLogger(__name__)

#: An alarm that still stands is sounded again after so long.
_AGAIN_SECONDS: Final = 3600.0


class Bell(Protocol):
    """Who is told when an operator must look."""

    def sound(self, kind: str, subject: str, detail: str) -> None:
        """Tell it; ``kind`` names the runbook."""


class Standing:
    """Alarms by kind and subject: one that stands is told again every hour, not every time.

    What is said in detail may change meanwhile, a height with each block: that is no new incident.
    """

    def __init__(self, bell: Bell, clock: Callable[[], float] = time.monotonic) -> None:
        self._bell = bell
        self._clock = clock
        self._sounded: dict[tuple[str, str], float] = {}

    def sound(self, kind: str, subject: str, detail: str) -> None:
        """Tell operators, unless they were told of the same lately."""
        now = self._clock()
        told = self._sounded.get((kind, subject))
        if told is None or now - told > _AGAIN_SECONDS:
            self._sounded[kind, subject] = now
            self._bell.sound(kind, subject, detail)

    def silence(self, kind: str, subject: str) -> None:
        """What was wrong is right: tell of it at once if it comes again."""
        self._sounded.pop((kind, subject), None)

    def keep(self, kind: str, subjects: Collection[str]) -> None:
        """Silence all of a kind but these subjects, which still stand."""
        for told in [each for each in self._sounded if each[0] == kind]:
            if told[1] not in subjects:
                del self._sounded[told]


class Alarms:
    """Raises alarms; one that cannot be published is in the log all the same."""

    def __init__(self, settings: Settings, *, source: str) -> None:
        self._topic = topic_name(settings, ALERTS)
        self._source = source
        self._producer = Producer(settings)

    def sound(self, kind: str, subject: str, detail: str) -> None:
        """Tell operators; ``kind`` names the runbook, ``subject`` what it is about."""
        log.critical(detail, extra={"alarm": kind, "subject": subject})
        alert = Alert(
            kind=kind,
            subject=subject,
            detail=detail,
            source=self._source,
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )
        self._producer.send(self._topic, subject.encode(), msgspec.json.encode(alert))

    def close(self) -> None:
        """Send what is queued."""
        self._producer.close(2.0)
