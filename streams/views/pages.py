"""The web part's answers: JSON reports, metrics, health. They read the picture, and change nothing.

Parameters stand in the query: ``minutes`` back from the newest event, ``limit``, ``events``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from schemas.amounts import KOINU_PER_DOGE
from schemas.events import EventType
from schemas.times import format_time
from streams import metrics
from streams.kafka.lag import Backlog
from streams.views import reports
from streams.views.facts import MINUTE_MS
from streams.views.faust_app import Answer, Page
from streams.views.outlook import Seen
from streams.views.replica import Replica
from streams.views.reports import MOVERS_MAX, Report
from streams.views.rules import Rule
from streams.views.tally import MINUTES_KEPT

_HOUR: Final = 60
_MOVERS: Final = 10
_MOVED: Final = (EventType.DEPOSIT_CONFIRMED, EventType.WITHDRAWAL_REQUESTED)

Query = Mapping[str, str]


class BadQuery(Exception):
    """A parameter of the query cannot be read."""


class NotFound(Exception):
    """Nothing is known of what the path names."""


def now_ms() -> int:
    """The clock, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Pages:
    """Answers from a replica's picture; ``look`` says what was seen outside of the events."""

    def __init__(
        self,
        replica: Replica,
        rules: tuple[Rule, ...],
        *,
        seen: Callable[[], Seen],
        unwatched: tuple[str, ...],
        ready: Callable[[], str | None],
        healthy: Callable[[], str | None],
    ) -> None:
        self._replica = replica
        self._rules = rules
        self._seen = seen
        self._unwatched = unwatched
        self._ready = ready
        self._healthy = healthy

    def all(self) -> dict[str, Page]:
        """Every page by its path."""
        pages = {
            "/flows": self._report(self._flows),
            "/rejections": self._report(self._rejections),
            "/movers": self._report(self._movers),
            "/velocity/{user}": self._report(self._velocity),
            "/ageing": self._report(self._ageing),
            "/lag": self._report(self._lag),
            "/alerts": self._report(self._alerts),
            "/metrics": self._metrics,
            "/healthz": _state(self._healthy),
            "/readyz": _state(self._ready),
        }
        return {"/": _index(list(pages)), **pages}

    def _report(self, make: Callable[[Query, Query], Report]) -> Page:
        async def page(path: Query, query: Query) -> Answer:
            if self._replica.fault is not None:
                return _json(503, {"status": self._replica.fault})
            try:
                with self._replica.lock:
                    return _json(200, make(path, query))
            except BadQuery as fault:
                return _json(400, {"status": str(fault)})
            except NotFound as fault:
                return _json(404, {"status": str(fault)})

        return page

    def _flows(self, path: Query, query: Query) -> Report:
        return reports.flows(self._replica.picture, _number(query, "minutes", _HOUR, MINUTES_KEPT))

    def _rejections(self, path: Query, query: Query) -> Report:
        minutes = _number(query, "minutes", _HOUR, MINUTES_KEPT)
        return reports.rejections(self._replica.picture, minutes)

    def _movers(self, path: Query, query: Query) -> Report:
        asked = query.get("events", ",".join(_MOVED)).split(",")
        known = [kind.value for kind in EventType]
        if unknown := [name for name in asked if name not in known]:
            raise BadQuery(f"events: {', '.join(unknown)} is none of {', '.join(known)}")
        return reports.movers(
            self._replica.picture,
            _number(query, "minutes", _HOUR, MINUTES_KEPT),
            asked,
            _number(query, "limit", _MOVERS, MOVERS_MAX),
        )

    def _velocity(self, path: Query, query: Query) -> Report:
        found = reports.velocity(self._replica.picture, path["user"])
        if found is None:
            raise NotFound("no event of this user was seen lately")
        return found

    def _ageing(self, path: Query, query: Query) -> Report:
        return reports.ageing(self._replica.picture, now_ms())

    def _lag(self, path: Query, query: Query) -> Report:
        seen, now = self._seen(), now_ms()
        return {
            "worker": _backlog(seen.worker, now),
            "bridge": _backlog(seen.bridge, now),
            "views": _backlog(seen.views, now),
            "users_with_gaps": len(self._replica.picture.with_gaps),
            "fault": seen.fault,
        }

    def _alerts(self, path: Query, query: Query) -> Report:
        return {
            **reports.alerts(self._replica.picture),
            "rules": [rule.name for rule in self._rules],
            "unwatched": list(self._unwatched),
        }

    async def _metrics(self, path: Query, query: Query) -> Answer:
        with self._replica.lock:
            self._measure(now_ms())
        return 200, "text/plain", metrics.exposition("views")

    def _measure(self, now: int) -> None:
        picture, seen = self._replica.picture, self._seen()
        last = list(picture.minutes.get(now // MINUTE_MS - 1, {}).values())
        metrics.VIEW_FLOW_EVENTS.clear()
        metrics.VIEW_FLOW_DOGE.clear()
        for kind, total in reports.flows_of(last).items():
            metrics.VIEW_FLOW_EVENTS.labels(kind).set(total.count)
            metrics.VIEW_FLOW_DOGE.labels(kind).set(total.koinu / KOINU_PER_DOGE)
        found = reports.outcomes(last)
        metrics.VIEW_OUTCOMES.clear()
        for outcome in ("accepted", "replayed"):
            metrics.VIEW_OUTCOMES.labels(outcome).set(found[outcome])
        for code, count in found["reasons"].items():
            metrics.VIEW_OUTCOMES.labels(code).set(count)
        for status, waiting in reports.ageing(picture, now)["statuses"].items():
            metrics.VIEW_WITHDRAWALS.labels(status).set(waiting["count"])
            metrics.VIEW_WITHDRAWAL_SECONDS.labels(status).set(waiting["oldest_seconds"])
        for rule in self._rules:
            metrics.VIEW_INCIDENTS.labels(rule.name).set(
                sum(
                    incident.rule == rule.name and incident.ended_ms is None
                    for _, incident in picture.incidents.values()
                )
            )
        metrics.VIEW_GAPS.set(len(picture.with_gaps))
        self._measure_lag(seen, now)

    def _measure_lag(self, seen: Seen, now: int) -> None:
        """What is unknown has no value at all."""
        metrics.VIEW_LAG.clear()
        metrics.VIEW_LAG_SECONDS.clear()
        groups = (("worker", seen.worker), ("bridge", seen.bridge), ("views", seen.views))
        for group, backlog in groups:
            if backlog is not None:
                metrics.VIEW_LAG.labels(group).set(backlog.records)
                if (seconds := backlog.seconds(now)) is not None:
                    metrics.VIEW_LAG_SECONDS.labels(group).set(seconds)


def _backlog(backlog: Backlog | None, now: int) -> Report | None:
    if backlog is None:
        return None
    oldest, seconds = backlog.oldest_ms, backlog.seconds(now)
    return {
        "records_at_most": backlog.records,
        "oldest": None if oldest is None else format_time(oldest),
        "seconds": None if seconds is None else int(seconds),
    }


def _index(paths: list[str]) -> Page:
    """What there is to ask for."""

    async def page(path: Query, query: Query) -> Answer:
        return _json(200, {"pages": paths})

    return page


def _state(check: Callable[[], str | None]) -> Page:
    async def page(path: Query, query: Query) -> Answer:
        fault = check()
        return _json(200 if fault is None else 503, {"status": fault or "ok"})

    return page


def _number(query: Query, name: str, default: int, most: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
        raise BadQuery(f"{name}: a number from 1 to {most}")
    return int(text)


def _json(status: int, report: Report) -> Answer:
    return status, "application/json", msgspec.json.encode(report)
