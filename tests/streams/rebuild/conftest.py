"""One wallet on a real broker in which the whole story was told, for all tests of the folder."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from processors import journal
from processors.ledger.decide import decide
from processors.ledger.model import Books, Decision, Request
from schemas.commands import FreezeWallet, Fund, LockFunds, OpenWallet, UnfreezeWallet
from schemas.ledger import HOUSE
from schemas.settings import Settings
from tests.conftest import Database, Databases
from tests.support.running import Teller, prepared, tell_story, worker_on
from tests.support.story import DAN, USERS, Story, doge


@dataclass(frozen=True, kw_only=True)
class Told:
    """The wallet: its settings and database; nothing runs on it."""

    settings: Settings
    database: Database
    story: Story


@pytest.fixture(scope="module")
def told(databases: Databases, kafka_server: str) -> Iterator[Told]:
    """A wallet with a history: batches of many slices, refusals, dead letters, changed rules, and
    one command that the program could not decide."""
    database = databases.fresh()
    prefix = f"t{secrets.token_hex(6)}."
    settings = prepared(
        Settings(
            database_url=database.owner_url,
            worker_database_url=database.worker_url,
            api_database_url=database.api_url,
            topic_prefix=prefix,
            group=f"{prefix}worker",
            partitions=4,
            kafka={"bootstrap.servers": kafka_server},
        )
    )
    story = Story()
    teller = Teller(settings)
    with worker_on(settings):
        tell_story(settings, database, story)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(journal, "decide", stumbling)
            story.do(DAN, UnfreezeWallet())
            story.do(DAN, _STUMBLE)
            story.do(DAN, FreezeWallet(reason="a look"))
            teller.tell(story.close())
            teller.settle()
    # What waits for a worker it takes together: a batch of many slices.
    for user in (*USERS, HOUSE):
        for number in range(3):
            story.do(user, Fund(amount=doge(1)) if user == HOUSE else OpenWallet())
            if user != HOUSE:
                story.do(user, LockFunds(amount=doge(1), **AUCTION), key=f"together-{number}")
    teller.tell(story.close())
    with worker_on(settings):
        teller.settle()
    teller.close()
    yield Told(settings=settings, database=database, story=story)


AUCTION = {"reference_type": "auction", "reference_id": "together"}
_STUMBLE = FreezeWallet(reason="a stone in the way")


def stumbling(request: Request, books: Books) -> Decision:
    """Decide, but stumble over one command."""
    if request.data == _STUMBLE:
        raise ZeroDivisionError("a fault of the program")
    return decide(request, books)
