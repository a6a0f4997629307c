"""Whoever reads a long past keeps nobody else waiting."""

from __future__ import annotations

import asyncio

import psycopg

from tests.api.harness import PREFIX, Marketplace
from tests.conftest import Database


async def test_one_user_with_a_long_history_keeps_no_other_from_balance_and_commands(
    market: Marketplace, database: Database, alice: str, bob: str
) -> None:
    await market.deposit(bob, "10")
    asked = await market.post("/withdraw", market.user(bob), {"amount": "1", "address": "x"})
    command_id = (await asked.json())["command_id"]
    paths = ("/history", "/history?type=REFUND", "/balance?at=2026-01-01T00:00:00Z")
    with psycopg.connect(database.superuser_url) as connection:
        # Every reading of entries takes as long as the server allows, 5 s.
        connection.execute("LOCK TABLE entries IN ACCESS EXCLUSIVE MODE")
        greedy = [
            asyncio.create_task(market.client.get(PREFIX + path, headers=market.user(alice)))
            for path in paths * 10
        ]
        async with asyncio.timeout(2.0):
            for path in ("/balance", f"/commands/{command_id}"):
                answer = await market.get(path, market.user(bob))
                assert answer.status == 200
        connection.rollback()
    answers = await asyncio.gather(*greedy)
    # Those that waited for too long are told to come again; nothing is left behind.
    assert {answer.status for answer in answers} <= {200, 503}
    assert (await market.get("/history", market.user(alice))).status == 200


async def test_long_reads_of_many_users_leave_connections_to_the_quick_ones(
    market: Marketplace, database: Database, alice: str, bob: str
) -> None:
    await market.deposit(bob, "10")
    users = [alice[:-2] + f"{number:02x}" for number in range(20)]
    with psycopg.connect(database.superuser_url) as connection:
        connection.execute("LOCK TABLE entries IN ACCESS EXCLUSIVE MODE")
        many = [asyncio.create_task(market.get("/history", market.user(user))) for user in users]
        async with asyncio.timeout(2.0):
            assert (await market.get("/balance", market.user(bob))).status == 200
        connection.rollback()
    await asyncio.gather(*many)
