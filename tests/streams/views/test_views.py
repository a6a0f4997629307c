"""The views on a real broker."""

from __future__ import annotations

import time

import pytest

from schemas.settings import Settings
from streams.kafka.admin import create_topics
from tests.streams.views import stage
from tests.streams.views.stage import event, viewing


@pytest.fixture
def wallet(settings: Settings) -> Settings:
    """The test's own topics."""
    create_topics(settings)
    return settings


def test_smoke(wallet: Settings) -> None:
    now = int(time.time() * 1000)
    records = [event(f"user-{n}", 1, "deposit.confirmed", now, amount="12.5") for n in range(10)]
    stage.publish_in_transactions(
        wallet,
        [
            (records, True),
            ([event("user-1", 2, "deposit.confirmed", now, amount="99")], False),
            ([event("user-1", 2, "funds.locked", now, amount="3")], True),
        ],
    )
    start = time.monotonic()
    with viewing(wallet) as member:
        member.ready()
        print("ready", time.monotonic() - start)
        member.await_total({"deposit.confirmed": 10, "funds.locked": 1})
        print("total", time.monotonic() - start)
        for path in (
            "/flows",
            "/rejections",
            "/movers",
            "/velocity/user-1",
            "/ageing",
            "/lag",
            "/alerts",
            "/metrics",
            "/healthz",
        ):
            print(path, str(member.get(path))[-600:])
    print("end", time.monotonic() - start)
