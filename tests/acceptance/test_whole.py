"""All of the wallet at work for a while: what happened is the same wherever it is told.

A minute here; an hour with ``make proof``.
"""

from __future__ import annotations

import json
import threading
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from schemas.settings import Settings
from streams.bridge.tap import Tap
from streams.local.aws import CREDENTIALS
from tests.support.eventually import eventually
from tests.support.flows import of_the_ledger, of_the_views
from tests.support.upped import Wallet, unpacked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

#: The emulator hands on no more than some 20 events a second.
RATE: Final = 8
PATIENCE_SECONDS: Final = 120.0


class _Arrived:
    """The ids of all events that a rule of our own has passed on, as they come."""

    def __init__(self, settings: Settings) -> None:
        self.ids: list[str] = []
        self._settings = settings
        self._listening, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._listen, name="bus")

    def __enter__(self) -> _Arrived:
        self._thread.start()
        assert self._listening.wait(30.0)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30.0)

    def _listen(self) -> None:
        with Tap(self._settings) as tap:
            self._listening.set()
            while not self._over.is_set():
                self.ids += [json.loads(body)["detail"]["id"] for body in tap.receive()]


@contextmanager
def at_work(seconds: float) -> Iterator[tuple[Wallet, dict[str, Any], _Arrived]]:
    """A wallet through which a marketplace has gone for so long."""
    with unpacked() as wallet, pytest.MonkeyPatch.context() as patch:
        endpoints = wallet.up()
        patch.setenv("AWS_ACCESS_KEY_ID", CREDENTIALS[0])
        patch.setenv("AWS_SECRET_ACCESS_KEY", CREDENTIALS[1])
        with _Arrived(settings_of(endpoints)) as arrived:
            played = wallet.run(
                *("loadgen", "--users", "60", "--rate", str(RATE)),
                *("--duration", str(seconds)),
                seconds=seconds + PATIENCE_SECONDS,
            )
            assert played.returncode == 0, played.stdout + played.stderr
            yield wallet, endpoints, arrived


def settings_of(endpoints: dict[str, Any]) -> Settings:
    """Those of the commands that are run beside the wallet."""
    lines = Path(endpoints["environment_file"]).read_text().splitlines()
    return Settings.from_environ(dict(line.split("=", 1) for line in lines))


def events_of(wallet: Wallet) -> list[dict[str, Any]]:
    """Every event that a reader of committed records finds."""
    told = wallet.run("events", "tail", "--from-beginning", "--no-follow", "--json")
    assert told.returncode == 0, told.stderr
    return [json.loads(line) for line in told.stdout.splitlines()]


def page_of(endpoints: dict[str, Any], path: str) -> Any:
    """One of the views' pages."""
    address = endpoints["views_metrics"].removesuffix("/metrics")
    with urllib.request.urlopen(f"{address}{path}", timeout=10) as answer:
        return json.load(answer)


def told_by(endpoints: dict[str, Any]) -> int:
    """How many events the ledger has told: each user's are numbered from 1."""
    with psycopg.connect(endpoints["database"]) as connection:
        row = connection.execute("SELECT coalesce(sum(sequence), 0) FROM wallets").fetchone()
    assert row is not None
    return int(row[0])


def prove(seconds: float) -> None:
    """Play, then compare topic, bus, sequences, views and ledger."""
    with at_work(seconds) as (wallet, endpoints, arrived):
        told = told_by(endpoints)
        assert told > seconds * RATE / 2
        eventually(
            lambda: len(set(arrived.ids)) >= told, "all is on the bus", PATIENCE_SECONDS + seconds
        )
        events = events_of(wallet)
        assert {event["id"] for event in events} == set(arrived.ids)
        assert len(events) == told
        sequences: dict[str, list[int]] = defaultdict(list)
        for event in events:
            sequences[event["subject"]].append(event["sequence"])
        for user, numbers in sequences.items():
            assert sorted(numbers) == list(range(1, len(numbers) + 1)), user
        _prove_views(endpoints)
        doctor = wallet.run("doctor", seconds=PATIENCE_SECONDS)
        assert doctor.returncode == 0, doctor.stdout + doctor.stderr


def _prove_views(endpoints: dict[str, Any]) -> None:
    with psycopg.connect(endpoints["database"], autocommit=True) as connection:
        flows = of_the_ledger(connection)
    assert flows, "nothing moved, which proves nothing"
    eventually(
        lambda: of_the_views(page_of(endpoints, "/flows?minutes=1440")) == flows,
        "the views tell what the ledger tells",
        PATIENCE_SECONDS,
    )
    assert page_of(endpoints, "/lag")["users_with_gaps"] == 0


def test_topic_bus_views_and_ledger_tell_the_same() -> None:
    prove(60.0)


@pytest.mark.proof
@pytest.mark.timeout(5400)
def test_topic_bus_views_and_ledger_tell_the_same_after_an_hour() -> None:
    prove(3600.0)
