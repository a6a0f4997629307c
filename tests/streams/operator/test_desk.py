"""An operator's command is told its own outcome, never that of another record at its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from db.ledger.operating import session
from schemas.commands import CommandType, Fund, WithdrawRevenue
from schemas.ledger import HOUSE
from schemas.settings import Settings
from streams.kafka.config import partition_of
from streams.kafka.produce import Delivery
from streams.operator import desk as under_test
from streams.operator.desk import Desk, NotDelivered, order
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
    with pytest.raises(NotDelivered, match=r"unknown.*--key mine"):
        desk.send(asked, wait_seconds=1)


def test_the_same_request_under_the_same_key_is_told_what_was_decided(desk: Desk) -> None:
    asked = order(CommandType.FUND, Fund(amount=doge(5_000)), user_id=HOUSE, key="key-9")
    sent = desk.send(asked, wait_seconds=1)
    assert sent.outcome is not None
    assert sent.outcome.outcome == "accepted"
