"""The token bucket, by a clock of the test's own."""

from __future__ import annotations

import pytest

from api import limits
from api.limits import RateLimit


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_minutes_requests_may_come_at_once_and_then_evenly() -> None:
    clock = Clock()
    limit = RateLimit(60, clock)
    assert [limit.take("a") for _ in range(60)] == [0.0] * 60
    assert limit.take("a") == pytest.approx(1.0)
    clock.now += 1.0
    assert limit.take("a") == 0.0
    assert limit.take("a") > 0


def test_refused_requests_cost_nothing() -> None:
    clock = Clock()
    limit = RateLimit(1, clock)
    assert limit.take("a") == 0.0
    waits = [limit.take("a") for _ in range(5)]
    assert waits == [pytest.approx(60.0)] * 5
    clock.now += 60.0
    assert limit.take("a") == 0.0


def test_callers_do_not_share() -> None:
    limit = RateLimit(1, Clock())
    assert limit.take("a") == 0.0
    assert limit.take("b") == 0.0


def test_a_service_gets_more() -> None:
    limit = RateLimit(1, Clock())
    assert [limit.take("s", 3) for _ in range(3)] == [0.0] * 3
    assert limit.take("s", 3) == pytest.approx(20.0)


def test_zero_switches_it_off() -> None:
    limit = RateLimit(0, Clock())
    assert [limit.take("a") for _ in range(1000)] == [0.0] * 1000


def test_the_number_of_callers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CALLERS_MAX", 2)
    limit = RateLimit(1, Clock())
    for caller in ("a", "b", "c"):
        assert limit.take(caller) == 0.0
    assert limit.take("c") > 0
    assert limit.take("a") == 0.0
