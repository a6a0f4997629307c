"""The ten lines that the client's README shows are run as they stand, against a real wallet."""

from __future__ import annotations

import contextlib
import io
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
from wallet_client import tables
from wallet_client.kafka import config

from tests.clients.station import ELSEWHERE, Station
from tests.docs.pages import ROOT, blocks

README: Final = ROOT / "clients/python/README.md"
Said = Callable[[str], str]


def code_of(name: str) -> str:
    (block,) = [block for block in blocks(README) if block.name == name]
    return block.code


@pytest.fixture(scope="module")
def alice(station: Station) -> str:
    return station.user("250")


@pytest.fixture
def said(station: Station, alice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Said:
    """Runs a piece of the README; what it prints."""
    monkeypatch.chdir(tmp_path)
    # All tests share one broker, so each has its topics under another name.
    prefix = station.settings.topic_prefix
    kafka = "wallet_client.kafka"
    monkeypatch.setattr(f"{kafka}.producer.TOPICS", [prefix + name for name in tables.TOPICS])
    monkeypatch.setattr(f"{kafka}.outcomes.DEAD_LETTERS", prefix + config.DEAD_LETTERS)
    monkeypatch.setattr(f"{kafka}.outcomes.EVENTS", prefix + config.EVENTS)
    monkeypatch.setattr(f"{kafka}.consumer.EVENTS", prefix + config.EVENTS)
    known: dict[str, Any] = {
        "API": station.url,
        "TOKEN": station.token(alice),
        "BROKER": station.broker,
        "ALICE": alice,
        "ADDRESS": ELSEWHERE,
        "enough": lambda event: event.type == "funds.locked",
    }

    def run(name: str) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as told:
            exec(compile(code_of(name), f"README: {name}", "exec"), known)
        return told.getvalue()

    return run


@pytest.mark.parametrize("name", ["rest", "producer", "consumer"])
def test_it_takes_ten_lines(name: str) -> None:
    assert len(code_of(name).splitlines()) <= 12


def test_rest_producer_and_consumer_do_what_the_readme_says(said: Said, alice: str) -> None:
    told = said("rest")
    assert "250.00000000 DOGE, paid in at" in told
    assert "PENDING 21.00000000" in told
    assert said("rest").endswith("PENDING 21.00000000\n"), "the same key is the same payment"

    assert said("producer").endswith(" funds.locked\n")

    lines = [line for line in said("consumer").splitlines() if line.startswith(alice)]
    assert [line.split()[2] for line in lines] == ["deposit.confirmed", "funds.locked"]

    for _ in range(2):
        said("checkpoint")
    with closing(sqlite3.connect("shop.db")) as database:
        bids = database.execute("SELECT user_id, amount FROM bids").fetchall()
    assert bids == [(alice, "12.50000000")]
