"""The servers that all tests share: what the fixtures promise."""

from __future__ import annotations

import psycopg

from schemas.settings import Settings
from schemas.topics import TOPICS
from streams.kafka.admin import Admin
from tests.conftest import Database, Databases


def test_a_fresh_database_is_migrated_and_each_role_can_connect(database: Database) -> None:
    for url, role in (
        (database.owner_url, "wallet_owner"),
        (database.worker_url, "wallet_worker"),
        (database.api_url, "wallet_api"),
    ):
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT current_user").fetchone() == (role,)
            assert connection.execute("SELECT count(*) FROM entries").fetchone() == (0,)


def test_what_one_test_writes_another_does_not_see(databases: Databases) -> None:
    first, second = databases.fresh(), databases.fresh()
    with psycopg.connect(first.owner_url) as connection:
        connection.execute("CREATE TABLE mark (x int)")
    with psycopg.connect(second.owner_url) as connection:
        assert connection.execute("SELECT to_regclass('mark')").fetchone() == (None,)


def test_topics_of_a_test_carry_its_prefix(settings: Settings) -> None:
    made = Admin(settings).create_topics()
    assert sorted(made) == sorted(settings.topic_prefix + topic.name for topic in TOPICS)
