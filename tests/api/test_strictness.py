"""What no route understands is refused by each of them, and nothing is put on a topic."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest
from aiohttp import ClientResponse

from api.routes import PREFIX, ROUTES, Access, Route
from tests.api.harness import ELSEWHERE, Marketplace

ID: Final = "00000100-0100-8000-8000-000000000001"
#: A value for every field that a body may have.
FIELDS: Final = {
    "user_id": "5b2cf6a8-7f35-4a38-9a53-0b9c1f6f8f10",
    "seller_id": "5b2cf6a8-7f35-4a38-9a53-0b9c1f6f8f11",
    "escrow_id": ID,
    "order_id": "o1",
    "amount": "20",
    "to_seller": "1",
    "to_buyer": "0",
    "reference_type": "bid",
    "reference_id": "b1",
    "reason": "broken",
    "address": ELSEWHERE,
}
POSTS: Final = [route for route in ROUTES if route.body]


def body_of(route: Route) -> dict[str, str]:
    """A body that the route can read."""
    return {name: FIELDS[name] for name in route.body.__struct_fields__}


async def ask(
    market: Marketplace, route: Route, user: str, query: str = "", **unknown: Any
) -> ClientResponse:
    """A request that the route can read, but for the query and for fields that it does not know."""
    by_service = route.access is Access.SERVICE
    headers = market.service() if by_service else market.user(user)
    path = f"{route.path.format(id=ID)}{query}"
    if route.method == "GET":
        return await market.get(path, headers)
    return await market.post(path, headers, {**body_of(route), **unknown})


async def problem_of(answer: ClientResponse) -> dict[str, Any]:
    """The problem that the answer is, told as RFC 9457 has it."""
    assert (answer.status, answer.content_type) == (400, "application/problem+json")
    problem: dict[str, Any] = msgspec.json.decode(await answer.read())
    assert (problem["status"], problem["instance"]) == (400, answer.url.path)
    assert problem["instance"].startswith(PREFIX)
    return problem


async def test_a_parameter_that_is_unknown_is_refused(market: Marketplace, alice: str) -> None:
    for route in ROUTES:
        problem = await problem_of(await ask(market, route, alice, "?surprise=1"))
        assert problem["code"] == "unknown_parameter", route.name
        assert problem["detail"].startswith("'surprise' is not one of: ")
    assert market.log.sent == []


@pytest.mark.parametrize("query", ["?surprise", "?=1", "?limit=1&=", "?LIMIT=1"])
async def test_what_is_no_parameter_by_its_letters_is_unknown(
    market: Marketplace, alice: str, query: str
) -> None:
    problem = await problem_of(await market.get(f"/history{query}", market.user(alice)))
    assert problem["code"] == "unknown_parameter"


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/balance", "at=2026-01-31T12:00:00Z&at=2026-01-31T12:00:00Z"),
        ("/history", "limit=1&limit=1"),
        ("/history", "limit=1&type=DEPOSIT&limit=2"),
        ("/history", "reference_id=b1&reference_id="),
    ],
)
async def test_a_parameter_that_is_given_twice_is_refused(
    market: Marketplace, alice: str, path: str, query: str
) -> None:
    answer = await market.get(f"{path}?{query}", market.user(alice))
    problem = await problem_of(answer)
    assert problem["code"] == "bad_parameter"
    assert "is given twice" in problem["detail"]


async def test_a_field_that_is_unknown_is_refused(market: Marketplace, alice: str) -> None:
    for route in POSTS:
        problem = await problem_of(await ask(market, route, alice, surprise="1"))
        assert problem["code"] == "unknown_field", route.name
        assert "surprise" in problem["detail"]
    assert market.log.sent == []


async def post_as_it_is(
    market: Marketplace, route: Route, user: str, body: bytes
) -> ClientResponse:
    """The route's request with these bytes for its body."""
    by_service = route.access is Access.SERVICE
    headers = market.service() if by_service else market.user(user)
    return await market.client.post(
        PREFIX + route.path.format(id=ID),
        data=body,
        headers={**headers, "Idempotency-Key": "k", "Content-Type": "application/json"},
    )


async def test_a_field_that_is_given_twice_is_refused_whichever_it_is(
    market: Marketplace, alice: str
) -> None:
    for route in POSTS:
        whole = msgspec.json.encode(body_of(route))
        for name in body_of(route):
            again = msgspec.json.encode({name: FIELDS[name]})
            body = whole[:-1] + b"," + again[1:]
            problem = await problem_of(await post_as_it_is(market, route, alice, body))
            assert problem["code"] == "field_repeated", route.name
            assert problem["detail"].startswith(f"'{name}' is given twice. ")
    assert market.log.sent == []


@pytest.mark.parametrize(
    "body",
    [
        # The same field, written otherwise.
        b'{"amount":"20","\\u0061mount":"20","address":"x"}',
        # A later fault does not hide it.
        b'{"amount":"1","amount":"100","surprise":1}',
        b'{"address":{"amount":"1","amount":"1"},"amount":"20"}',
        b'{"address":[{"amount":"1"},{"amount":"1","amount":"1"}],"amount":"20"}',
        # More digits than Python turns into a number.
        b'{"address":' + b"9" * 5000 + b',"amount":"1","amount":"100"}',
    ],
)
async def test_a_field_that_is_given_twice_is_refused_wherever_it_hides(
    market: Marketplace, alice: str, body: bytes
) -> None:
    (withdraw,) = (route for route in POSTS if route.path == "/withdraw")
    problem = await problem_of(await post_as_it_is(market, withdraw, alice, body))
    assert problem["code"] == "field_repeated"
    assert problem["detail"].startswith("'amount' is given twice. ")
    assert market.log.sent == []


async def test_a_field_of_half_a_letter_that_is_given_twice_can_be_told(
    market: Marketplace, alice: str
) -> None:
    (withdraw,) = (route for route in POSTS if route.path == "/withdraw")
    body = b'{"\\ud800":1,"\\ud800":1}'
    problem = await problem_of(await post_as_it_is(market, withdraw, alice, body))
    assert problem["detail"].startswith(r"'\ud800' is given twice. ")


async def test_what_lies_too_deep_to_be_looked_through_is_refused(
    market: Marketplace, alice: str
) -> None:
    for route in POSTS:
        whole = msgspec.json.encode(body_of(route))
        for depth in (900, 1000, 5000):
            deep = b'{"user_id":' + b"[" * depth + b"]" * depth + b","
            answer = await post_as_it_is(market, route, alice, deep + whole[1:])
            problem = await problem_of(answer)
            assert problem["code"] in {"field_repeated", "not_json", "unknown_field"}
    assert market.log.sent == []


async def test_without_them_the_requests_are_read(market: Marketplace, alice: str) -> None:
    for route in ROUTES:
        assert (await ask(market, route, alice)).status in {200, 402, 404, 409}, route.name
