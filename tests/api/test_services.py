"""What a service may ask: locks, orders, escrows and disputes, for any user."""

from __future__ import annotations

import uuid

import pytest

from tests.api.harness import Marketplace

LOCK = {"amount": "30", "reference_type": "bid", "reference_id": "b1"}


async def test_locks_add_up_and_are_given_back(market: Marketplace, alice: str) -> None:
    await market.deposit(alice, "100")
    body = {"user_id": alice, **LOCK}
    first = await market.post("/internal/lock/", market.service(), body)
    assert first.status == 200
    answer = await first.json()
    assert answer["result"]["locked"] == "30.00000000"
    assert answer["balance"]["locked"] == "30.00000000"
    second = await market.post("/internal/lock", market.service(), body)
    assert (await second.json())["result"]["locked"] == "60.00000000"
    back = await market.post("/internal/unlock/", market.service(), {**body, "amount": "45"})
    assert (await back.json())["result"]["locked"] == "15.00000000"
    too_much = await market.post("/internal/unlock", market.service(), body)
    assert (too_much.status, (await too_much.json())["code"]) == (409, "lock_insufficient")


async def test_a_lock_without_money_is_402_and_says_how_much_there_is(
    market: Marketplace, alice: str
) -> None:
    await market.deposit(alice, "12")
    answer = await market.post("/internal/lock", market.service(), {"user_id": alice, **LOCK})
    problem = await answer.json()
    assert answer.status == 402
    assert problem["code"] == "insufficient_funds"
    assert problem["type"] == "/docs#insufficient_funds"
    assert problem["title"] == "Insufficient funds"
    assert "12.00000000" in problem["detail"]
    assert uuid.UUID(problem["command_id"]).version == 8


async def test_an_order_is_paid_and_released_in_parts(
    market: Marketplace, alice: str, bob: str
) -> None:
    await market.deposit(alice, "100")
    escrow = await market.escrow(alice, bob, "80")
    body = {"escrow_id": escrow, "amount": "20"}
    part = await market.post("/internal/release-escrow/", market.service(), body)
    result = (await part.json())["result"]
    assert (result["released"], result["fees"]) == ("19.50000000", "0.50000000")
    assert (result["remaining"], result["status"]) == ("60.00000000", "LOCKED")
    rest = await market.post("/internal/release-escrow", market.service(), {"escrow_id": escrow})
    assert (await rest.json())["result"]["status"] == "RELEASED"
    seller = await (await market.get("/balance", market.user(bob))).json()
    assert seller["available"] == "78.00000000"
    closed = await market.post("/internal/refund-escrow", market.service(), {"escrow_id": escrow})
    assert (closed.status, (await closed.json())["code"]) == (409, "escrow_closed")


async def test_a_lock_becomes_an_escrow_and_is_refunded(
    market: Marketplace, alice: str, bob: str
) -> None:
    await market.deposit(alice, "100")
    await market.post("/internal/lock", market.service(), {"user_id": alice, **LOCK})
    body = {
        "user_id": alice,
        "seller_id": bob,
        "order_id": "o1",
        "amount": "25",
        "reference_type": "bid",
        "reference_id": "b1",
    }
    made = await market.post("/internal/convert-to-escrow/", market.service(), body)
    answer = await made.json()
    assert made.status == 200
    assert answer["balance"]["escrow"] == "25.00000000"
    assert answer["balance"]["available"] == "75.00000000"
    refund = {"escrow_id": answer["result"]["id"]}
    back = await market.post("/internal/refund-escrow/", market.service(), refund)
    assert (await back.json())["result"]["status"] == "REFUNDED"


async def test_a_dispute_stops_an_escrow_until_it_is_resolved(
    market: Marketplace, alice: str, bob: str
) -> None:
    await market.deposit(alice, "100")
    escrow = await market.escrow(alice, bob, "80")
    dispute = {"escrow_id": escrow, "reason": "not as described"}
    told = await market.post("/internal/dispute-escrow/", market.service(), dispute)
    assert (await told.json())["result"]["status"] == "DISPUTED"
    stopped = await market.post("/internal/release-escrow", market.service(), {"escrow_id": escrow})
    assert (stopped.status, (await stopped.json())["code"]) == (409, "escrow_disputed")
    wrong = {"escrow_id": escrow, "to_seller": "40", "to_buyer": "41"}
    refused = await market.post("/internal/resolve-dispute", market.service(), wrong)
    assert (refused.status, (await refused.json())["code"]) == (422, "escrow_parts_mismatch")
    right = {"escrow_id": escrow, "to_seller": "0", "to_buyer": "80"}
    done = await market.post("/internal/resolve-dispute/", market.service(), right)
    assert (await done.json())["result"]["status"] == "REFUNDED"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("release-escrow", {}),
        ("refund-escrow", {}),
        ("dispute-escrow", {"reason": "lost"}),
        ("resolve-dispute", {"to_seller": "1", "to_buyer": "1"}),
    ],
)
async def test_an_escrow_that_there_is_not_is_404_and_nothing_is_sent(
    market: Marketplace, path: str, body: dict[str, str]
) -> None:
    answer = await market.post(
        f"/internal/{path}", market.service(), {"escrow_id": str(uuid.uuid4()), **body}
    )
    assert (answer.status, (await answer.json())["code"]) == (404, "escrow_not_found")
    assert market.log.sent == []


async def test_an_escrow_is_seen_by_its_parties_and_services_alone(
    market: Marketplace, alice: str, bob: str
) -> None:
    await market.deposit(alice, "100")
    escrow = await market.escrow(alice, bob, "80")
    path = f"/escrows/{escrow}/"
    seen = await (await market.get(path, market.user(alice))).json()
    assert seen["buyer_id"] == alice
    assert seen["seller_id"] == bob
    assert seen["fee_amount"] == "2.00000000"
    assert await (await market.get(path, market.user(bob))).json() == seen
    assert await (await market.get(path, market.service())).json() == seen
    stranger = await market.get(path, market.user(str(uuid.uuid4())))
    assert stranger.status == 404


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"user_id": None}, "missing_field"),
        ({"user_id": "ALICE"}, "bad_user_id"),
        ({"user_id": 7}, "wrong_type"),
        ({"amount": 1}, "amount_not_text"),
        ({"amount": "-1"}, "amount_negative"),
        ({"amount": "0.000000001"}, "amount_too_precise"),
        ({"amount": "99999999999999"}, "amount_too_large"),
        ({"reference_id": ""}, "bad_text"),
        ({"reference_id": "x" * 129}, "bad_text"),
        ({"surprise": 1}, "unknown_field"),
        ({"user_id": "00000000-0000-8000-8000-00000000d09e"}, "wrong_user"),
    ],
)
async def test_a_body_is_refused_with_the_code_that_the_topic_gives(
    market: Marketplace, alice: str, change: dict[str, object], code: str
) -> None:
    body = {"user_id": alice, **LOCK, **change}
    answer = await market.post("/internal/lock", market.service(), body)
    assert (answer.status, (await answer.json())["code"]) == (400, code)


async def test_a_body_without_its_user_is_refused(market: Marketplace) -> None:
    answer = await market.post("/internal/lock", market.service(), LOCK)
    assert (answer.status, (await answer.json())["code"]) == (400, "missing_field")


async def test_users_may_not_call_services_routes(market: Marketplace, alice: str) -> None:
    answer = await market.post("/internal/lock", market.user(alice), {"user_id": alice, **LOCK})
    assert (answer.status, (await answer.json())["code"]) == (403, "scope_missing")


async def test_a_service_is_no_user(market: Marketplace) -> None:
    answer = await market.get("/balance", market.service())
    assert (answer.status, (await answer.json())["code"]) == (403, "not_a_user")
