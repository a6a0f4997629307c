"""How a POST waits for its outcome: replays, 202, outages, and one query for all who wait."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable

import psycopg
import pytest
from aiohttp import web

from api.services import SERVICES, Services
from schemas.commands import CommandType
from schemas.topics import CommandTopic
from streams.kafka.produce import Delivery
from tests.api.conftest import Opened
from tests.api.harness import ELSEWHERE, Marketplace
from tests.conftest import Database

LOCK = {"amount": "1", "reference_type": "bid", "reference_id": "b1"}


def services_of(market: Marketplace) -> Services:
    """The services of the application under test."""
    app = market.client.app
    assert isinstance(app, web.Application)
    return app[SERVICES]


async def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_replay_answers_the_first_outcome_and_says_so(
    market: Marketplace, alice: str
) -> None:
    await market.deposit(alice, "100")
    body = {"amount": "20", "address": ELSEWHERE}
    first = await market.post("/withdraw", market.user(alice), body, key="w1")
    again = await market.post("/withdraw", market.user(alice), {**body, "amount": "20.0"}, key="w1")
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.status == 200
    assert await again.read() == await first.read()
    balance = await (await market.get("/balance", market.user(alice))).json()
    assert balance["pending"] == "21.00000000"


async def test_a_replay_of_a_rejection_is_that_rejection(market: Marketplace, alice: str) -> None:
    body = {"user_id": alice, **LOCK}
    first = await market.post("/internal/lock", market.service(), body, key="k")
    await market.deposit(alice, "100")
    again = await market.post("/internal/lock", market.service(), body, key="k")
    assert (first.status, again.status) == (402, 402)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert await again.read() == await first.read()


async def test_a_key_used_for_another_request_is_422(market: Marketplace, alice: str) -> None:
    await market.deposit(alice, "100")
    body = {"user_id": alice, **LOCK}
    await market.post("/internal/lock", market.service(), body, key="k")
    other = await market.post("/internal/lock", market.service(), {**body, "amount": "2"}, key="k")
    assert (other.status, (await other.json())["code"]) == (422, "key_reused")


async def test_a_quoted_key_is_the_same_key(market: Marketplace, alice: str) -> None:
    await market.deposit(alice, "100")
    body = {"user_id": alice, **LOCK}
    await market.post("/internal/lock", market.service(), body, key="k")
    again = await market.post("/internal/lock", market.service(), body, key='"k"')
    assert again.headers["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize("key", ['"k', "k" * 256, "wallet:open", '"k";a=1', '""'])
async def test_a_key_that_is_none_is_refused(market: Marketplace, alice: str, key: str) -> None:
    body = {"user_id": alice, **LOCK}
    answer = await market.post("/internal/lock", market.service(), body, key=key)
    assert (answer.status, (await answer.json())["code"]) == (400, "bad_idempotency_key")


async def test_a_post_needs_a_key(market: Marketplace, alice: str) -> None:
    answer = await market.client.post(
        "/api/v1/wallet/internal/lock",
        json={"user_id": alice, **LOCK},
        headers=market.service(),
    )
    assert (answer.status, (await answer.json())["code"]) == (400, "idempotency_key_missing")


async def test_whoever_does_not_wait_is_told_where_to_look(market: Marketplace, alice: str) -> None:
    await market.deposit(alice, "100")
    headers = {**market.service(), "Prefer": "respond-async"}
    market.log.held = True
    answer = await market.post("/internal/lock", headers, {"user_id": alice, **LOCK})
    assert answer.status == 202
    assert answer.headers["Preference-Applied"] == "respond-async"
    command_id = (await answer.json())["command_id"]
    path = f"/commands/{command_id}/"
    assert answer.headers["Location"] == f"/api/v1/wallet{path}"
    pending = await market.get(path, market.service())
    assert await pending.json() == {"command_id": command_id, "outcome": "pending"}
    await market.log.release()
    done = await (await market.get(path, market.service())).json()
    assert done["outcome"] == "accepted"
    assert done["type"] == "lock_funds"
    assert done["result"]["locked"] == "1.00000000"
    assert done["balance"]["bids"] == "1.00000000"


async def test_a_wait_that_runs_out_is_202(market: Marketplace, alice: str) -> None:
    market.log.held = True
    headers = {**market.service(), "Prefer": "wait=0"}
    answer = await market.post("/internal/lock", headers, {"user_id": alice, **LOCK})
    assert answer.status == 202
    assert answer.headers["Preference-Applied"] == "wait=0"
    assert services_of(market).outcomes.count == 0


async def test_a_user_may_ask_for_a_pending_command_of_their_partition_alone(
    market: Marketplace, alice: str
) -> None:
    await market.deposit(alice, "100")
    market.log.held = True
    headers = {**market.user(alice), "Prefer": "respond-async"}
    answer = await market.post("/withdraw", headers, {"amount": "20", "address": ELSEWHERE})
    path = f"/commands/{(await answer.json())['command_id']}"
    assert (await (await market.get(path, market.user(alice))).json())["outcome"] == "pending"
    others = [str(uuid.uuid4()) for _ in range(20)]
    mine = market.log.partition_of(alice)
    elsewhere = next(user for user in others if market.log.partition_of(user) != mine)
    assert (await market.get(path, market.user(elsewhere))).status == 404


async def test_a_command_is_seen_by_its_user_and_services_alone(
    market: Marketplace, alice: str, bob: str
) -> None:
    asked = await market.post(
        "/withdraw", market.user(alice), {"amount": "20", "address": ELSEWHERE}, key="w"
    )
    command_id = (await asked.json())["command_id"]
    path = f"/commands/{command_id}"
    seen = await (await market.get(path, market.user(alice))).json()
    assert seen["outcome"] == "rejected"
    assert seen["idempotency_key"] == "w"
    assert seen["problem"]["code"] == "insufficient_funds"
    assert seen["problem"]["command_id"] == command_id
    assert (await market.get(path, market.service())).status == 200
    stranger = await market.get(path, market.user(bob))
    assert (stranger.status, (await stranger.json())["code"]) == (404, "command_not_found")


@pytest.mark.parametrize(
    ("command_id", "status", "code"),
    [
        ("00000000-0000-4000-8000-000000000000", 404, "command_not_found"),
        ("09000100-0000-8000-8000-000000000000", 404, "command_not_found"),
        ("not-an-id", 400, "bad_id"),
    ],
)
async def test_an_id_that_was_never_given_is_not_found(
    market: Marketplace, command_id: str, status: int, code: str
) -> None:
    answer = await market.get(f"/commands/{command_id}", market.service())
    assert (answer.status, (await answer.json())["code"]) == (status, code)


async def test_a_dead_letter_is_an_outcome_too(market: Marketplace, alice: str) -> None:
    delivery = await market.log.record(CommandTopic.SERVICES, alice, b"not a command")
    command_id = services_of(market).outcomes.progress.command_id(
        0, delivery.partition, delivery.offset
    )
    status = await (await market.get(f"/commands/{command_id}", market.service())).json()
    assert status["outcome"] == "dead_letter"
    assert status["problem"]["code"] == "not_json"
    assert status["problem"]["status"] == 400
    assert (await market.get(f"/commands/{command_id}", market.user(alice))).status == 200


async def test_a_replayed_command_names_the_first(market: Marketplace, alice: str) -> None:
    await market.deposit(alice, "100")
    body = {"user_id": alice, **LOCK}
    first = await (await market.post("/internal/lock", market.service(), body, key="k")).json()
    await market.post("/internal/lock", market.service(), body, key="k")
    last = market.log.sent[-1]
    command_id = services_of(market).outcomes.progress.command_id(
        last.topic, last.partition, last.offset
    )
    status = await (await market.get(f"/commands/{command_id}", market.service())).json()
    assert status["outcome"] == "replayed"
    assert status["first_command_id"] == first["command_id"]
    assert status["result"] == first["result"]


async def test_the_worker_may_be_quicker_than_the_delivery_report(
    market: Marketplace, alice: str
) -> None:
    await market.deposit(alice, "100")
    market.log.early = True
    answer = await market.post("/internal/lock", market.service(), {"user_id": alice, **LOCK})
    assert answer.status == 200


@pytest.mark.parametrize("prefer", ["wait=5", "respond-async"])
async def test_where_offsets_come_again_nobody_is_told_the_outcome_of_another(
    market: Marketplace, alice: str, bob: str, prefer: str
) -> None:
    while market.log.partition_of(bob) != market.log.partition_of(alice):
        bob = str(uuid.uuid4())
    await market.deposit(alice, "100")
    body = {"user_id": alice, **LOCK}
    assert (await market.post("/internal/lock", market.service(), body)).status == 200
    market.log.lose()
    market.log.held = True
    headers = {**market.service(), "Prefer": prefer}
    answer = await market.post("/internal/lock", headers, {**body, "user_id": bob})
    told = await answer.text()
    assert (answer.status, (await answer.json())["code"]) == (503, "outcome_unknown")
    assert alice not in told
    assert "location" not in answer.headers


async def test_an_outcome_at_a_place_of_which_nothing_was_known_is_held_against_the_request(
    market: Marketplace, alice: str
) -> None:
    await market.deposit(alice, "100")
    body = {"user_id": alice, **LOCK}
    assert (await market.post("/internal/lock", market.service(), body, key="k")).status == 200
    market.log.lose()
    market.log.held = True
    outcomes = services_of(market).outcomes
    # As in an API that has just been started, and hears from the database while it waits.
    known = await outcomes._pool.fetch(
        "SELECT topic, partition, generation, next_offset FROM partitions"
    )
    outcomes.progress.reset([])
    asked = asyncio.create_task(
        market.post("/internal/lock", market.service(), {**body, "amount": "2"}, key="k")
    )
    await eventually(lambda: outcomes.count == 1)
    outcomes.progress.reset(known)
    outcomes._release((0, market.log.partition_of(alice)))
    answer = await asked
    assert (answer.status, (await answer.json())["code"]) == (503, "outcome_unknown")


async def test_one_query_fetches_the_outcomes_of_all_who_wait(
    market: Marketplace, alice: str
) -> None:
    await market.deposit(alice, "100")
    outcomes = services_of(market).outcomes
    before = outcomes.wakeups
    market.log.held = True
    body = {"user_id": alice, **LOCK}
    asked = [
        asyncio.create_task(market.post("/internal/lock", market.service(), body))
        for _ in range(20)
    ]
    await eventually(lambda: outcomes.count == 20)
    await market.log.release()
    answers = await asyncio.gather(*asked)
    assert {answer.status for answer in answers} == {200}
    # All were passed by one batch; each topic's partition is woken by the one notification.
    assert outcomes.wakeups == before + 1


async def test_outcomes_are_told_after_the_listening_connection_was_lost(
    market: Marketplace, database: Database, alice: str
) -> None:
    await market.deposit(alice, "100")
    outcomes = services_of(market).outcomes
    market.log.held = True
    asked = asyncio.create_task(
        market.post("/internal/lock", market.service(), {"user_id": alice, **LOCK})
    )
    await eventually(lambda: outcomes.count == 1)
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'wallet-api' AND datname = current_database()"
        )
    await eventually(lambda: not outcomes.listening)
    # Decided while nobody listens: the offsets are read again on connecting.
    await market.log.release()
    assert (await asked).status == 200
    assert outcomes.listening


@pytest.mark.parametrize(
    ("unknown", "code"), [(True, "outcome_unknown"), (False, "broker_unavailable")]
)
async def test_a_broker_that_does_not_take_the_record_is_503(
    market: Marketplace, alice: str, unknown: bool, code: str
) -> None:
    market.log.outage = Delivery(-1, -1, "timed out", unknown)
    answer = await market.post("/internal/lock", market.service(), {"user_id": alice, **LOCK})
    problem = await answer.json()
    assert (answer.status, problem["code"]) == (503, code)
    assert "same key" in problem["detail"]
    assert answer.headers["Retry-After"] == "1"


async def test_a_broker_that_says_nothing_is_unknown(
    market: Marketplace, alice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.submission.DELIVERY_SECONDS", 0.05)
    market.log.silent = True
    answer = await market.post("/internal/lock", market.service(), {"user_id": alice, **LOCK})
    assert (answer.status, (await answer.json())["code"]) == (503, "outcome_unknown")


async def test_when_the_process_ends_whoever_waits_is_told_where_to_look(
    market: Marketplace, alice: str
) -> None:
    services = services_of(market)
    market.log.held = True
    asked = asyncio.create_task(
        market.post("/internal/lock", market.service(), {"user_id": alice, **LOCK})
    )
    await eventually(lambda: services.outcomes.count == 1)
    services.submission.give_up()
    assert (await asked).status == 202
    market.log.silent = True
    undelivered = asyncio.create_task(
        market.post("/internal/lock", market.service(), {"user_id": alice, **LOCK})
    )
    await eventually(lambda: services.submission.under_way == 1)
    services.submission.give_up()
    answer = await undelivered
    assert (answer.status, (await answer.json())["code"]) == (503, "outcome_unknown")


async def test_too_many_under_way_are_told_to_come_again(
    market: Marketplace, alice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.submission.UNDER_WAY_MAX", 0)
    answer = await market.post("/internal/lock", market.service(), {"user_id": alice, **LOCK})
    assert (answer.status, (await answer.json())["code"]) == (503, "overloaded")


async def test_a_database_that_is_away_is_503(opened: Opened, alice: str) -> None:
    market = await opened(api_database_url="postgresql://nobody@127.0.0.1:1/none")
    answer = await market.get("/history", market.user(alice))
    assert (answer.status, (await answer.json())["code"]) == (503, "database_unavailable")


async def test_the_commands_carry_who_asked(market: Marketplace, alice: str) -> None:
    await market.post("/internal/lock", market.service("auctions"), {"user_id": alice, **LOCK})
    record = market.log.sent[-1]
    assert record.key == alice.encode()
    assert b'"issuer":"api:auctions"' in (record.value or b"")
    assert CommandType.LOCK_FUNDS.encode() in (record.value or b"")
