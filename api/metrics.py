"""What the API measures of itself, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from api.problems import Fault

#: Around the bars of an awaited POST (p50 10 ms, p99 40 ms).
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24)


class Metrics:
    """One registry a process, so that tests can have many."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "wallet_api_requests",
            "Requests answered, by route as documented.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "wallet_api_request_seconds",
            "From the request's head to its answer.",
            ("method", "route"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.problems = Counter(
            "wallet_api_problems", "Problems told, by code.", ("code",), registry=self.registry
        )
        # A series that begins with its first event counts none: Prometheus sees no rise.
        for fault in Fault:
            self.problems.labels(fault.value)
        self.commands = Counter(
            "wallet_api_commands",
            "Commands asked for: decided, pending (202), or the code of the problem told.",
            ("type", "ending"),
            registry=self.registry,
        )
        self.waiting = Gauge(
            "wallet_api_waiting", "Requests that wait for an outcome.", registry=self.registry
        )
        self.listening = Gauge(
            "wallet_api_listening",
            "1 while the database tells of outcomes.",
            registry=self.registry,
        )
        self.wakeups = Gauge(
            "wallet_api_outcome_queries",
            "Queries for outcomes so far, each for all who waited.",
            registry=self.registry,
        )

    def expose(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)
