"""An operator is told the outcome of his own command, and the unknown is never called failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import psycopg
import pytest
from click.testing import CliRunner, Result

from api.cli import group
from db.ledger import operating
from db.ledger.operating import LetterFilter, session
from schemas.commands import CommandType, Fund, WithdrawRevenue
from schemas.ledger import HOUSE
from schemas.settings import Settings
from streams.kafka.config import partition_of
from streams.kafka.produce import Delivery
from streams.operator import desk as under_test
from streams.operator import letters
from streams.operator.desk import Desk, OutcomeUnknown, order
from tests.conftest import Database
from tests.support.played import play, seed
from tests.support.story import XPUB, doge

PARTITIONS = 4


class ForgetfulBroker:
    """Has lost all that it had, and begins again at offset 0."""

    def __init__(self, settings: Settings) -> None:
        pass

    def send(
        self, topic: str, key: bytes, value: bytes, report: Callable[[Delivery], None]
    ) -> None:
        """Take a record."""
        report(Delivery(partition_of(key, PARTITIONS), 0, None, False))

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def desk(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A desk whose broker puts each record where the story's first one stood."""
    settings = Settings(database_url=database.owner_url, account_xpub=XPUB, partitions=PARTITIONS)
    seed(settings)
    play(database)
    monkeypatch.setattr(under_test, "Producer", ForgetfulBroker)
    with session(database.worker_url) as connection, closing(Desk(settings, connection)) as made:
        yield made


def test_where_offsets_come_again_an_operator_is_not_told_the_outcome_of_another(
    desk: Desk,
) -> None:
    asked = order(
        CommandType.WITHDRAW_REVENUE, WithdrawRevenue(amount=doge(3)), user_id=None, key="mine"
    )
    with pytest.raises(OutcomeUnknown, match=r"unknown.*--key mine"):
        desk.send(asked, wait_seconds=1)


def test_the_same_request_under_the_same_key_is_told_what_was_decided(desk: Desk) -> None:
    asked = order(CommandType.FUND, Fund(amount=doge(5_000)), user_id=HOUSE, key="key-9")
    sent = desk.send(asked, wait_seconds=1)
    assert sent.outcome is not None
    assert sent.outcome.outcome == "accepted"


class Broker(ForgetfulBroker):
    """Reports what it is told to, or nothing at all."""

    delivery: Delivery | None = None

    def send(
        self, topic: str, key: bytes, value: bytes, report: Callable[[Delivery], None]
    ) -> None:
        """Take a record."""
        if self.delivery is not None:
            report(self.delivery)


def funded(database: Database) -> Result:
    """What the command line says to one who funds the house."""
    return CliRunner().invoke(
        group,
        ["operator", "fund", "3", "--yes", "--key", "mine"],
        env={"WALLET_WORKER_DATABASE_URL": database.worker_url},
    )


@pytest.mark.parametrize(
    ("delivery", "code", "told"),
    [
        (None, 3, "did not answer: unknown"),
        (Delivery(-1, -1, "timed out", True), 3, "timed out: it may stand on the topic"),
        (Delivery(-1, -1, "not for you", False), 1, "not for you: it is not on the topic"),
    ],
)
def test_what_may_be_on_the_topic_ends_with_another_code_than_what_is_not(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    delivery: Delivery | None,
    code: int,
    told: str,
) -> None:
    monkeypatch.setattr(under_test, "Producer", Broker)
    monkeypatch.setattr(under_test, "_DELIVERY_SECONDS", 0.05)
    monkeypatch.setattr(Broker, "delivery", delivery)
    done = funded(database)
    assert done.exit_code == code, done.output
    assert told in done.stderr
    assert "--key mine" in done.stderr


def test_what_becomes_of_a_dead_letter_that_may_be_on_the_topic_again_is_unknown(
    database: Database, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with session(database.worker_url) as connection:
        found = operating.letters(connection, LetterFilter(), 10)
    letter = next(each for each in found if each.key is not None)
    # Its cause is mended.
    monkeypatch.setattr(letters, "fault_of", lambda letter: None)
    monkeypatch.setattr(under_test, "Producer", Broker)
    monkeypatch.setattr(under_test, "_DELIVERY_SECONDS", 0.05)
    done = CliRunner().invoke(
        group,
        ["dead-letters", "replay", letter.id, "--yes"],
        env={"WALLET_WORKER_DATABASE_URL": database.worker_url},
    )
    assert done.exit_code == 3, done.output
    assert done.stderr.startswith("Error: The broker did not answer: unknown.")
    assert f"Replay {letter.id} again" in done.stderr


def test_a_database_that_goes_away_after_the_command_was_sent_leaves_it_unknown(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CuttingBroker(ForgetfulBroker):
        """Takes the record just before the database ends the operator's session."""

        def send(
            self, topic: str, key: bytes, value: bytes, report: Callable[[Delivery], None]
        ) -> None:
            with psycopg.connect(database.superuser_url, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name = 'wallet-operator'"
                )
            super().send(topic, key, value, report)

    monkeypatch.setattr(under_test, "Producer", CuttingBroker)
    done = funded(database)
    assert done.exit_code == 3, done.output
    assert "the database is away" in done.stderr
    assert "--key mine" in done.stderr
