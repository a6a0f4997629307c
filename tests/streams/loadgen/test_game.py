"""The game on a real broker and database, with a real worker: it agrees, or says why not."""

from __future__ import annotations

import os
import threading

import pytest
from click.testing import CliRunner, Result

from api.commands.loadgen import command
from db.engine import connect
from schemas.settings import Settings
from streams.loadgen.model import Purse
from streams.loadgen.pieces import Player, Shares
from streams.loadgen.run import Game, Options, Stalled, wallets_of
from tests.streams.loadgen.service import prepared, worker_on

DIRTY = Shares(duplicates=0.05, overdrafts=0.02, malformed=0.02)


@pytest.fixture
def wallet(settings: Settings) -> Settings:
    """A wallet that is ready but for its worker."""
    return prepared(settings)


def test_a_marketplace_is_played_and_adds_up_to_the_koinu(wallet: Settings) -> None:
    stages: dict[str, int] = {}
    options = Options(users=20, seed=11, run="test", commands=3_000, shares=DIRTY)
    with worker_on(wallet):
        game = Game(wallet, options, progress=lambda stage, done, total: stages.update({stage: 1}))
        report = game.play()
    assert report.differences == []
    assert report.different == report.skipped == 0
    assert report.sent == 3_000 + 3 * 20
    assert report.accepted and report.replayed
    assert set(report.rejected) == {"insufficient_funds", "key_reused"}
    assert report.dead_letters.total() > 10
    assert list(stages) == ["wallets", "funding", "marketplace", "outcomes"]


def test_a_game_ends_by_time_at_its_rate_or_when_it_is_stopped(wallet: Settings) -> None:
    stop = threading.Event()

    def stop_soon(stage: str, done: int, total: int | None) -> None:
        if stage == "marketplace" and done > 100:
            stop.set()

    timed = Options(users=3, seed=1, run="timed", rate=200, duration_seconds=3.0)
    stopped = Options(users=3, seed=1, run="stopped", rate=2_000)
    with worker_on(wallet):
        one = Game(wallet, timed).play()
        other = Game(wallet, stopped, progress=stop_soon, stop=stop).play()
    assert (one.different, other.different) == (0, 0)
    assert 50 < one.played <= 610
    assert 100 < other.played < 2_000


def test_without_a_worker_the_game_gives_up_and_says_what_to_look_at(wallet: Settings) -> None:
    options = Options(users=2, seed=1, run="alone", commands=1, patience_seconds=1.0)
    with pytest.raises(Stalled, match="is a worker running"):
        Game(wallet, options).play()


def run_command(settings: Settings, *arguments: str) -> Result:
    environ = {
        "WALLET_API_DATABASE_URL": settings.api_database_url,
        "WALLET_KAFKA_BOOTSTRAP_SERVERS": settings.kafka["bootstrap.servers"],
        "WALLET_TOPIC_PREFIX": settings.topic_prefix,
        "WALLET_PARTITIONS": str(settings.partitions),
        "WALLET_NETWORK": settings.network,
    }
    assert not [name for name in os.environ if name.startswith("WALLET_")]
    return CliRunner().invoke(command, arguments, env=environ)


def test_the_command_prints_what_became_of_it_and_ends_with_zero(wallet: Settings) -> None:
    with worker_on(wallet):
        result = run_command(wallet, "--users", "5", "--commands", "400", "--seed", "3")
    assert result.exit_code == 0, result.output
    for text in (
        "seed 3",
        "records sent",
        "accepted",
        "insufficient_funds",
        "dead letter",
        "a second",
    ):
        assert text in result.output
    assert "every outcome, event and balance is as it should be" in result.output


def test_money_that_is_not_where_it_should_be_ends_the_command_with_one(
    wallet: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def steal(url: str, players: list[Player]) -> dict[str, tuple[Purse, int]]:
        with connect(wallet.database_url, application_name="thief") as connection:
            connection.execute("UPDATE wallets SET available = available - 1 WHERE available > 0")
        return wallets_of(url, players)

    monkeypatch.setattr("streams.loadgen.run.wallets_of", steal)
    with worker_on(wallet):
        result = run_command(wallet, "--users", "3", "--commands", "50")
    assert result.exit_code == 1
    assert "the database has" in result.output


def test_without_a_worker_the_command_ends_with_one(wallet: Settings) -> None:
    result = run_command(wallet, "--users", "2", "--commands", "1", "--patience", "1")
    assert result.exit_code == 1
    assert "is a worker running" in result.output


def test_shares_that_leave_nothing_are_refused() -> None:
    result = CliRunner().invoke(command, ["--duplicates", "0.5", "--overdrafts", "0.5"])
    assert result.exit_code == 2
    assert "under 1" in result.output
