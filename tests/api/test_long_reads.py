"""Whoever reads a long past keeps nobody else waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from api.database import POOL_SIZE
from tests.api.conftest import Opened
from tests.api.harness import PREFIX, Marketplace
from tests.conftest import Database


@pytest.fixture
async def market(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> Marketplace:
    """An API whose reads of entries end when the test lets them, and not by the clock before."""
    monkeypatch.setattr("api.database.STATEMENT_SECONDS", 60.0)
    return await opened()


@asynccontextmanager
async def entries_locked(database: Database) -> AsyncIterator[psycopg.Connection]:
    """Every reading of entries waits until the block ends."""
    with psycopg.connect(database.superuser_url) as connection:
        connection.execute("LOCK TABLE entries IN ACCESS EXCLUSIVE MODE")
        yield connection
        connection.rollback()


async def readers_wait(connection: psycopg.Connection, count: int) -> None:
    """Wait until so many wait for the entries."""
    waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'entries'::regclass AND NOT granted"
    async with asyncio.timeout(30.0):
        while connection.execute(waiting).fetchone() != (count,):
            await asyncio.sleep(0.02)


async def test_one_user_with_a_long_history_keeps_no_other_from_balance_and_commands(
    market: Marketplace, database: Database, alice: str, bob: str
) -> None:
    await market.deposit(bob, "10")
    asked = await market.post("/withdraw", market.user(bob), {"amount": "1", "address": "x"})
    command_id = (await asked.json())["command_id"]
    paths = ("/history", "/history?type=REFUND", "/balance?at=2026-01-01T00:00:00Z")
    async with entries_locked(database) as connection:
        greedy = [
            asyncio.create_task(market.client.get(PREFIX + path, headers=market.user(alice)))
            for path in paths * 10
        ]
        await readers_wait(connection, 1)
        for path in ("/balance", f"/commands/{command_id}"):
            # Who finds no connection is told 503.
            answer = await market.get(path, market.user(bob))
            assert answer.status == 200
    answers = await asyncio.gather(*greedy)
    # Those that waited for too long are told to come again; nothing is left behind.
    assert {answer.status for answer in answers} <= {200, 503}
    assert (await market.get("/history", market.user(alice))).status == 200


async def test_long_reads_of_many_users_leave_connections_to_the_quick_ones(
    market: Marketplace, database: Database, alice: str, bob: str
) -> None:
    await market.deposit(bob, "10")
    users = [alice[:-2] + f"{number:02x}" for number in range(20)]
    async with entries_locked(database) as connection:
        many = [asyncio.create_task(market.get("/history", market.user(user))) for user in users]
        await readers_wait(connection, POOL_SIZE // 2)
        assert (await market.get("/balance", market.user(bob))).status == 200
    await asyncio.gather(*many)
