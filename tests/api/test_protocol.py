"""HTTP itself: methods, types, sizes, limits, health, metrics and the page."""

from __future__ import annotations

import asyncio
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.api.conftest import Opened
from tests.api.harness import PREFIX, Marketplace

LOCK = b'{"user_id":"%s","amount":"1","reference_type":"bid","reference_id":"b1"}'


async def test_a_path_that_there_is_not_is_a_problem(market: Marketplace, alice: str) -> None:
    answer = await market.get("/nothing", market.user(alice))
    assert (answer.status, (await answer.json())["code"]) == (404, "no_such_path")
    assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize(("path", "allowed"), [("/balance/", "GET"), ("/withdraw", "POST")])
async def test_a_wrong_method_is_told_the_right_one(
    market: Marketplace, alice: str, path: str, allowed: str
) -> None:
    answer = await market.client.delete(PREFIX + path, headers=market.user(alice))
    assert (answer.status, (await answer.json())["code"]) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", ""],
)
async def test_a_body_must_be_json(market: Marketplace, alice: str, content_type: str) -> None:
    headers = {**market.service(), "Idempotency-Key": "k"}
    if content_type:
        headers["Content-Type"] = content_type
    answer = await market.client.post(
        f"{PREFIX}/internal/lock", data=LOCK % alice.encode(), headers=headers
    )
    assert (answer.status, (await answer.json())["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "not_json"),
        (b"{", "not_json"),
        (b"\xff", "not_utf8"),
        (b"[" * 5000, "not_json"),
        (b'{"user_id":' + b"[" * 5000, "not_json"),
        (b'{"user_id":"\xff"}', "not_utf8"),
        (b'{"user_id":"\\ud800"}', "not_json"),
        (b"null", "not_an_object"),
        (LOCK % b"\xc3\xa4", "bad_user_id"),
    ],
)
async def test_a_body_that_cannot_be_read_has_its_code(
    market: Marketplace, body: bytes, code: str
) -> None:
    headers = {**market.service(), "Idempotency-Key": "k", "Content-Type": "application/json"}
    answer = await market.client.post(f"{PREFIX}/internal/lock", data=body, headers=headers)
    assert (answer.status, (await answer.json())["code"]) == (400, code)


async def test_a_body_may_not_be_large(market: Marketplace, alice: str) -> None:
    headers = {**market.service(), "Idempotency-Key": "k", "Content-Type": "application/json"}
    body = (LOCK % alice.encode())[:-1] + b" " * 20_000 + b"}"
    answer = await market.client.post(f"{PREFIX}/internal/lock", data=body, headers=headers)
    assert (answer.status, (await answer.json())["code"]) == (413, "body_too_large")


async def test_a_body_that_does_not_come_is_told_to_hurry(
    market: Marketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.requests.BODY_SECONDS", 0.05)
    server = market.client.server
    reader, writer = await asyncio.open_connection(server.host, server.port)
    token = market.service()["Authorization"]
    writer.write(
        f"POST {PREFIX}/internal/lock HTTP/1.1\r\nHost: wallet\r\nAuthorization: {token}\r\n"
        "Idempotency-Key: k\r\nContent-Type: application/json\r\n"
        "Content-Length: 90\r\n\r\n".encode()
    )
    status = await reader.readline()
    assert b" 408 " in status
    writer.close()
    await writer.wait_closed()


async def test_a_caller_who_asks_too_often_is_told_when_to_come_again(
    opened: Opened, alice: str, bob: str
) -> None:
    market = await opened(api_rate_per_minute=2)
    statuses = [(await market.get("/history", market.user(alice))).status for _ in range(3)]
    assert statuses == [200, 200, 429]
    refused = await market.get("/history", market.user(alice))
    assert (await refused.json())["code"] == "rate_limited"
    assert 1 <= int(refused.headers["Retry-After"]) <= 31
    assert (await market.get("/history", market.user(bob))).status == 200


async def test_guesses_of_tokens_are_limited_by_address(opened: Opened, alice: str) -> None:
    market = await opened(api_rate_per_minute=2)
    bad = {"Authorization": "Bearer x"}
    statuses = [(await market.get("/history", bad)).status for _ in range(3)]
    assert statuses == [401, 401, 429]
    assert (await market.get("/history", market.user(alice))).status == 200


async def test_a_query_that_takes_too_long_is_given_up(
    market: Marketplace, alice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = "SELECT pg_sleep(10), %(user_id)s, %(limit)s -- {conditions}"
    monkeypatch.setattr("api.reads._HISTORY", slow)
    monkeypatch.setattr("api.database.STATEMENT_SECONDS", 0.05)
    answer = await market.get("/history", market.user(alice))
    assert (answer.status, (await answer.json())["code"]) == (503, "query_too_long")


async def test_health_and_readiness_tell_the_truth(market: Marketplace) -> None:
    assert (await market.client.get("/healthz")).status == 200
    # Ready once the database tells of outcomes.
    ready = await market.client.get("/readyz")
    while not (await ready.json())["checks"]["outcomes"]:
        ready = await market.client.get("/readyz")
    assert await ready.json() == {
        "status": "ok",
        "checks": {"database": True, "outcomes": True, "broker": True},
    }
    market.log.up = False
    unready = await market.client.get("/readyz")
    assert unready.status == 503
    assert (await unready.json())["checks"]["broker"] is False


async def test_readiness_knows_when_the_database_is_away(opened: Opened) -> None:
    market = await opened(api_database_url="postgresql://nobody@127.0.0.1:1/none")
    unready = await market.client.get("/readyz")
    assert unready.status == 503
    checks = (await unready.json())["checks"]
    assert checks == {"database": False, "outcomes": False, "broker": True}
    assert (await market.client.get("/healthz")).status == 200


async def test_metrics_count_requests_by_route(market: Marketplace, alice: str) -> None:
    await market.get("/balance/", market.user(alice))
    await market.get("/balance", market.user(alice))
    await market.get("/no/such/path", market.user(alice))
    answer = await market.client.get("/metrics")
    assert answer.content_type == "text/plain"
    families = {
        family.name: family for family in text_string_to_metric_families(await answer.text())
    }
    counted = {
        (sample.labels["route"], sample.labels["status"]): sample.value
        for sample in families["wallet_api_requests"].samples
        if sample.name.endswith("_total")
    }
    assert counted[(f"{PREFIX}/balance", "200")] == 2
    assert counted[("none", "404")] == 1
    assert families["wallet_api_listening"].samples[0].value == 1


async def test_the_page_needs_nothing_from_elsewhere(market: Marketplace) -> None:
    page = await market.client.get("/docs")
    assert page.status == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    text = await page.text()
    loaded = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert loaded
    for path in loaded:
        assert path.startswith("/")
        assert (await market.client.get(path)).status == 200
    for path in ("/docs.js", "/docs.css"):
        assert "://" not in await (await market.client.get(path)).text()


async def test_the_bare_address_leads_to_the_page(market: Marketplace) -> None:
    answer = await market.client.get("/", allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (302, "/docs")


async def test_answers_are_not_stored_by_caches(market: Marketplace, alice: str) -> None:
    answer = await market.get("/balance", market.user(alice))
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
