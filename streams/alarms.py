"""Alarms of the worker: logged as critical, and put on ``wallet.alerts`` for operators."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import msgspec

from schemas.publications import Alert
from schemas.settings import Settings
from schemas.topics import ALERTS, topic_name
from streams.kafka.produce import Producer

log = logging.getLogger(__name__)


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
