"""The story of ``tests.support.story`` applied to a database, without a broker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from db.engine import connect
from db.ledger import partitions
from db.ledger.rules import seed_rules
from db.plain import use_plain_values
from processors.apply import Applier, Claim
from processors.seed import first_rules
from schemas.settings import Settings
from schemas.topics import CommandTopic
from tests.conftest import Database
from tests.support.story import KEYRING, XPUB, Story


def with_account(settings: Settings) -> Settings:
    """The settings, with the story's account."""
    return msgspec.structs.replace(settings, account_xpub=XPUB)


def seed(settings: Settings) -> None:
    """Make version 1 of the rules."""
    with connect(settings.database_url, application_name="test") as connection:
        seed_rules(connection, first_rules(settings, KEYRING))


def address_in(database: Database, user: str) -> str:
    """The address that a user was given."""
    with connect(database.api_url, application_name="test") as connection:
        row = connection.execute(
            "SELECT address FROM deposit_addresses WHERE user_id = %s AND active", (user,)
        ).fetchone()
    assert row is not None
    return str(row[0])


@contextmanager
def applier(
    database: Database, story: Story
) -> Iterator[tuple[Applier, dict[tuple[int, int], Claim]]]:
    """An applier that holds every partition."""
    with connect(database.worker_url, application_name="test", autocommit=True) as connection:
        use_plain_values(connection)
        claims: dict[tuple[int, int], Claim] = {}
        with connection.cursor(binary=True) as cursor:
            for topic in CommandTopic:
                for number in range(story.partitions):
                    row = partitions.take_over(
                        cursor, topic, number, topic_id="a topic", owner="test"
                    )
                    claims[int(topic), number] = Claim(row.epoch, row.generation)
        yield (
            Applier(
                connection,
                owner="test",
                derive=KEYRING.deposit_address,
            ),
            claims,
        )


def play(database: Database) -> Story:
    """Apply the whole story, a batch a chapter."""
    story = Story()
    with applier(database, story) as (applies, claims):
        for chapter in story.chapters(lambda user: address_in(database, user)):
            applies.apply(chapter, claims)
    return story
