"""Dead letters are sent again in the order in which they came, however many there are."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from api.commands import dead_letters
from db.ledger import operating
from db.ledger.operating import LetterFilter, session
from schemas.settings import Settings
from tests.conftest import Database
from tests.support.played import play, seed
from tests.support.story import XPUB


def test_where_there_are_more_than_are_sent_at_once_the_oldest_go_first(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed(Settings(database_url=database.owner_url, account_xpub=XPUB, partitions=4))
    play(database)
    with session(database.worker_url) as connection:
        newest_first = operating.letters(connection, LetterFilter(), 10)
    assert len(newest_first) == 3
    monkeypatch.setattr(dead_letters, "_REPLAY_MAX", 2)
    told = CliRunner(env={"WALLET_WORKER_DATABASE_URL": database.worker_url}).invoke(
        dead_letters.command, ["replay", "--all", "--dry-run"]
    )
    lines = told.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        letter.id for letter in newest_first[:0:-1]
    ]
    assert "1 newer" in told.stderr
