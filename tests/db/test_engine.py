"""Connections: whatever form an address has, and what the server does with a client that froze."""

from __future__ import annotations

import time
from collections.abc import Callable

import psycopg
import pytest

from db.engine import DatabaseUrlError, connect, connect_async, conninfo, libpq_url
from schemas.ledger import HOUSE
from tests.conftest import Database


def _wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the server did not do it in time"
        time.sleep(0.02)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_every_usual_scheme_is_read(scheme: str) -> None:
    assert libpq_url(f"{scheme}://u:p@h:5/db") == "postgresql://u:p@h:5/db"


def test_an_address_of_something_else_is_refused_without_its_password() -> None:
    with pytest.raises(DatabaseUrlError, match="mysql") as refused:
        libpq_url("mysql://u:hidden@h/db")
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize("rest", ["u:hush@h/db?foo=1", "u:hush%zz@h/db", "u:hush@[::1/db"])
def test_an_address_that_cannot_be_read_is_refused_and_not_shown(rest: str) -> None:
    with pytest.raises(DatabaseUrlError, match="cannot be read") as refused:
        conninfo(f"postgresql://{rest}", application_name="test")
    assert "hush" not in str(refused.value)


def test_what_the_address_says_stands() -> None:
    said = "?connect_timeout=3&application_name=mine&options=-c%20statement_timeout%3D7"
    found = conninfo("postgresql://u:p@h:5/db" + said, application_name="other")
    assert found["connect_timeout"] == "3"
    assert found["application_name"] == "mine"
    assert str(found["options"]).endswith("-c timezone=UTC -c statement_timeout=7")
    assert (found["host"], found["port"], found["dbname"]) == ("h", "5", "db")


def test_a_connection_has_its_name_and_the_servers_time_outs(database: Database) -> None:
    with connect(
        database.worker_url,
        application_name="wallet-worker",
        statement_seconds=12.5,
        idle_in_transaction_seconds=5,
    ) as connection:
        row = connection.execute(
            "SELECT current_setting('application_name'), current_setting('statement_timeout'),"
            " current_setting('idle_in_transaction_session_timeout'), current_setting('timezone')"
        ).fetchone()
    assert row == ("wallet-worker", "12500ms", "5s", "UTC")


async def test_the_api_connects_the_same_way(database: Database) -> None:
    connection = await connect_async(database.api_url, application_name="wallet-api")
    async with connection:
        assert connection.autocommit
        cursor = await connection.execute("SELECT current_user, current_setting('timezone')")
        assert await cursor.fetchone() == ("wallet_api", "UTC")


def test_a_client_that_froze_in_a_transaction_loses_its_locks(database: Database) -> None:
    frozen = connect(
        database.worker_url,
        application_name="frozen",
        autocommit=True,
        idle_in_transaction_seconds=0.1,
    )
    # In one message: between two of them it would be idle in a transaction already.
    frozen.execute(f"BEGIN; SELECT FROM wallets WHERE user_id = '{HOUSE}' FOR UPDATE")
    with connect(database.worker_url, application_name="other", autocommit=True) as other:

        def free() -> bool:
            try:
                other.execute("SELECT FROM wallets WHERE user_id = %s FOR UPDATE NOWAIT", [HOUSE])
            except psycopg.errors.LockNotAvailable:
                return False
            return True

        _wait_until(free)
    # Not an OperationalError, as one might think: whoever retries has to know this one too.
    with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
        frozen.execute("SELECT 1")
    frozen.close()


def test_a_statement_that_takes_too_long_is_cancelled(database: Database) -> None:
    with (
        connect(database.worker_url, application_name="slow", statement_seconds=0.05) as connection,
        pytest.raises(psycopg.errors.QueryCanceled),
    ):
        connection.execute("SELECT pg_sleep(30)")
