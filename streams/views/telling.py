"""Tells incidents on ``wallet.alerts``, each start and each end once.

The topic itself says what was told. It is read before anything is put on it, so a crash between
telling and noting it makes nobody tell it again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from threading import Event
from typing import Final, Literal

import msgspec

from schemas.publications import Alert
from schemas.settings import Settings
from schemas.times import format_time, in_milliseconds
from schemas.topics import ALERTS, topic_name
from streams.kafka.config import KafkaUnavailable
from streams.kafka.produce import Delivery, Producer
from streams.kafka.view import LogView
from streams.views.kept import Incident

log = logging.getLogger(__name__)

SOURCE: Final = "views"
_DELIVERY_SECONDS: Final = 10.0

State = Literal["started", "ended"]


class Told:
    """What stands on the topic of alerts."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()
        self._standing: dict[tuple[str, str], tuple[str, int]] = {}

    def note(self, alert: Alert) -> None:
        """Take in a record; alarms, which are no incidents, are passed over."""
        if not isinstance(alert.incident, str) or not isinstance(alert.state, str):
            return
        self._told.add((alert.incident, alert.state))
        subject = (alert.kind, alert.subject)
        if alert.state == "started" and isinstance(alert.started_at, str):
            if not self.has(alert.incident, "ended"):
                started_ms = in_milliseconds(datetime.fromisoformat(alert.started_at))
                self._standing[subject] = (alert.incident, started_ms)
        elif self._standing.get(subject, ("", 0))[0] == alert.incident:
            del self._standing[subject]

    def has(self, incident: str, state: str) -> bool:
        """Whether an incident's start or end was told."""
        return (incident, state) in self._told

    def standing(self, rule: str, subject: str) -> int | None:
        """When an incident started whose end nobody was told of, in milliseconds."""
        found = self._standing.get((rule, subject))
        return None if found is None else found[1]


def alert_of(incident: Incident, state: State, do: str, now_ms: int) -> Alert:
    """The record that tells a start or an end."""
    ended_ms = incident.ended_ms
    return Alert(
        kind=incident.rule,
        subject=incident.subject,
        detail=incident.detail,
        source=SOURCE,
        time=format_time(now_ms),
        incident=incident.id,
        state=state,
        started_at=format_time(incident.started_ms),
        ended_at=format_time(ended_ms)
        if state == "ended" and ended_ms is not None
        else msgspec.UNSET,
        do=do,
    )


class Teller:
    """Puts alerts on the topic; its calls block, and are made by one thread at a time."""

    def __init__(self, settings: Settings, do: Mapping[str, str]) -> None:
        """``do`` says by rule what an operator is to do."""
        self._topic = topic_name(settings, ALERTS)
        self._do = do
        self._log = LogView(settings)
        self._producer = Producer(settings, timeout_ms=int(_DELIVERY_SECONDS * 1000))
        self._next = 0
        self.told = Told()

    def close(self) -> None:
        """Let go of the broker."""
        self._producer.close()
        self._log.close()

    def refresh(self) -> None:
        """Read what was told since, by whomever; raises ``KafkaUnavailable``."""
        low, high = self._log.watermarks(self._topic, 0)
        self._next = max(self._next, low)
        if self._next >= high:
            return
        for message in self._log.records(self._topic, 0, self._next, high - 1):
            self._next = (message.offset() or 0) + 1
            try:
                self.told.note(msgspec.json.decode(message.value() or b"", type=Alert))
            except (msgspec.MsgspecError, ValueError) as fault:
                log.warning("an alert cannot be read", extra={"cause": str(fault)})

    def tell(self, incident: Incident, state: State, now_ms: int) -> bool:
        """Tell a start or an end unless it was told (False); ``KafkaUnavailable`` if unknown."""
        if self.told.has(incident.id, state):
            return False
        alert = alert_of(incident, state, self._do.get(incident.rule, ""), now_ms)
        answered = Event()
        answers: list[Delivery] = []

        def note(delivery: Delivery) -> None:
            answers.append(delivery)
            answered.set()

        self._producer.send(
            self._topic, incident.subject.encode(), msgspec.json.encode(alert), note
        )
        if not answered.wait(_DELIVERY_SECONDS + 1) or answers[0].error is not None:
            cause = answers[0].error if answers else "no answer"
            raise KafkaUnavailable(f"an alert may not be told: {cause}")
        log.warning(
            incident.detail,
            extra={"alert": incident.rule, "subject": incident.subject, "state": state},
        )
        self.told.note(alert)
        return True
