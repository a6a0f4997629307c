"""What a user may ask: balance, address, withdrawal, history, and what became of a command."""

from __future__ import annotations

import pytest

from schemas.commands import CommandType, FreezeWallet, ReverseDeposit, RotateAccount
from schemas.ledger import HOUSE
from tests.api.harness import ELSEWHERE, KEYRING, Marketplace


async def test_a_balance_makes_the_wallet_once(market: Marketplace, alice: str) -> None:
    first = await market.get("/balance/", market.user(alice))
    assert first.status == 200
    body = await first.json()
    assert body == {
        "user_id": alice,
        "available": "0.00000000",
        "locked": "0.00000000",
        "bids": "0.00000000",
        "escrow": "0.00000000",
        "pending": "0.00000000",
        "shortfall": "0.00000000",
        "frozen": False,
        "version": 1,
        "updated_at": body["updated_at"],
    }
    again = await market.get("/balance", market.user(alice))
    assert await again.json() == body
    assert len(market.log.sent) == 1


async def test_an_address_is_made_once_and_derived_from_the_account(
    market: Marketplace, alice: str, bob: str
) -> None:
    first = await market.get("/deposit-address/", market.user(alice))
    assert first.status == 200
    assert await first.json() == {
        "address": KEYRING.first.address(0, 0),
        "network": "regtest",
        "minimum": "1.00000000",
        "confirmations": 20,
    }
    again = await market.get("/deposit-address", market.user(alice))
    assert await again.json() == await first.json()
    other = await market.get("/deposit-address", market.user(bob))
    assert (await other.json())["address"] == KEYRING.first.address(0, 1)


async def test_after_a_rotation_each_user_is_shown_an_address_of_the_new_account(
    market: Marketplace, alice: str
) -> None:
    async def shown() -> str:
        answer = await market.get("/deposit-address", market.user(alice))
        assert answer.status == 200
        return str((await answer.json())["address"])

    async def rotate(account_key: str, key: str) -> None:
        data = RotateAccount(account_key=account_key)
        await market.log.command(CommandType.ROTATE_ACCOUNT, HOUSE, data, key)

    one, two = KEYRING
    assert await shown() == one.address(0, 0)
    await rotate(two.fingerprint, "there")
    assert await shown() == two.address(0, 0)
    assert await shown() == two.address(0, 0)
    await rotate(one.fingerprint, "and back")
    assert await shown() == one.address(0, 1)


async def test_a_withdrawal_holds_amount_and_fee_and_can_be_cancelled(
    market: Marketplace, alice: str
) -> None:
    await market.deposit(alice, "100")
    asked = await market.post(
        "/withdraw/", market.user(alice), {"amount": "20.5", "address": ELSEWHERE}
    )
    assert asked.status == 200
    body = await asked.json()
    assert body["result"]["id"] == body["command_id"]
    assert body["result"]["amount"] == "20.50000000"
    assert body["result"]["fee"] == "1.00000000"
    assert body["result"]["destination_address"] == ELSEWHERE
    assert body["result"]["status"] == "PENDING"
    assert body["balance"]["available"] == "78.50000000"
    assert body["balance"]["pending"] == "21.50000000"

    path = f"/withdrawals/{body['command_id']}"
    shown = await market.get(path, market.user(alice))
    assert await shown.json() == body["result"]
    cancelled = await market.post(f"{path}/cancel/", market.user(alice))
    assert cancelled.status == 200
    assert (await cancelled.json())["result"]["status"] == "FAILED"
    assert (await cancelled.json())["balance"]["available"] == "100.00000000"
    again = await market.post(f"{path}/cancel", market.user(alice), {})
    assert again.status == 409
    assert (await again.json())["code"] == "withdrawal_wrong_status"


async def test_a_withdrawal_is_its_users_alone(market: Marketplace, alice: str, bob: str) -> None:
    await market.deposit(alice, "100")
    asked = await market.post(
        "/withdraw", market.user(alice), {"amount": "20", "address": ELSEWHERE}
    )
    withdrawal = (await asked.json())["result"]["id"]
    shown = await market.get(f"/withdrawals/{withdrawal}", market.user(bob))
    assert shown.status == 404
    assert (await shown.json())["code"] == "withdrawal_not_found"
    cancelled = await market.post(f"/withdrawals/{withdrawal}/cancel", market.user(bob))
    assert cancelled.status == 404


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"amount": "200", "address": ELSEWHERE}, 402, "insufficient_funds"),
        ({"amount": "9", "address": ELSEWHERE}, 422, "below_minimum"),
        ({"amount": "1001", "address": ELSEWHERE}, 422, "above_maximum"),
        ({"amount": "20", "address": "nowhere"}, 422, "address_malformed"),
        (
            {"amount": "20", "address": "DBus3bamQjgJULBJtYXpEzDWQRwF5iwxgC"},
            422,
            "address_wrong_network",
        ),
        ({"amount": "20", "address": KEYRING.first.address(0, 0)}, 422, "address_own"),
        ({"amount": 20, "address": ELSEWHERE}, 400, "amount_not_text"),
        ({"amount": "0", "address": ELSEWHERE}, 400, "amount_zero"),
        ({"amount": "1e3", "address": ELSEWHERE}, 400, "amount_malformed"),
        ({"amount": "20"}, 400, "missing_field"),
        ({"amount": "20", "address": ELSEWHERE, "fee": "0"}, 400, "unknown_field"),
        ({"amount": "20", "address": "a\u0007b"}, 400, "control_characters"),
        (["20"], 400, "not_an_object"),
    ],
)
async def test_a_withdrawal_is_refused_with_its_code(
    market: Marketplace, alice: str, body: object, status: int, code: str
) -> None:
    await market.deposit(alice, "100")
    answer = await market.post("/withdraw", market.user(alice), body)
    problem = await answer.json()
    assert (answer.status, problem["code"]) == (status, code)
    assert answer.content_type == "application/problem+json"
    assert problem["status"] == status
    assert problem["instance"] == "/api/v1/wallet/withdraw"
    assert problem["detail"].endswith(".")


async def test_a_frozen_wallet_does_not_pay(market: Marketplace, alice: str) -> None:
    await market.deposit(alice, "100")
    await market.log.command(CommandType.FREEZE_WALLET, alice, FreezeWallet(reason="a look"))
    answer = await market.post(
        "/withdraw", market.user(alice), {"amount": "20", "address": ELSEWHERE}
    )
    assert (answer.status, (await answer.json())["code"]) == (409, "wallet_frozen")


async def test_history_is_paged_newest_first(market: Marketplace, alice: str) -> None:
    for amount in ("1", "2", "3", "4", "5"):
        await market.deposit(alice, amount)
    first = await (await market.get("/history/", market.user(alice), limit="2")).json()
    assert [entry["credit"] for entry in first["entries"]] == ["5.00000000", "4.00000000"]
    second = await (
        await market.get("/history/", market.user(alice), limit="2", cursor=first["next"])
    ).json()
    assert [entry["credit"] for entry in second["entries"]] == ["3.00000000", "2.00000000"]
    third = await (
        await market.get("/history/", market.user(alice), limit="2", cursor=second["next"])
    ).json()
    assert [entry["credit"] for entry in third["entries"]] == ["1.00000000"]
    assert third["next"] is None
    entry = third["entries"][0]
    assert entry["balance_after"] == "1.00000000"
    assert entry["account"] == "available"
    assert entry["entry_type"] == "DEPOSIT"
    assert entry["idempotency_key"] == entry["id"]


async def test_history_is_filtered(market: Marketplace, alice: str, bob: str) -> None:
    await market.deposit(alice, "100")
    await market.deposit(bob, "7")
    body = {"user_id": alice, "amount": "5", "reference_type": "bid", "reference_id": "b1"}
    await market.post("/internal/lock", market.service(), body)
    await market.post("/internal/lock", market.service(), {**body, "reference_id": "b2"})

    async def found(**query: str) -> list[tuple[str, str]]:
        answer = await market.get("/history", market.user(alice), **query)
        assert answer.status == 200
        entries = (await answer.json())["entries"]
        return [(entry["account"], entry["reference_id"]) for entry in entries]

    assert await found(type="BID_LOCK", account="bids") == [("bids", "b2"), ("bids", "b1")]
    assert await found(reference_type="bid", reference_id="b1") == [
        ("bids", "b1"),
        ("available", "b1"),
    ]
    assert len(await found()) == 5
    locked_at = (await (await market.get("/history", market.user(alice))).json())["entries"][-2][
        "created_at"
    ]
    assert len(await found(**{"from": locked_at})) >= 4
    assert await found(to="2020-01-01T00:00:00Z") == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"limit": "0"}, "bad_parameter"),
        ({"limit": "201"}, "bad_parameter"),
        ({"limit": "many"}, "bad_parameter"),
        ({"cursor": "x"}, "bad_cursor"),
        ({"cursor": "W10="}, "bad_cursor"),
        ({"type": "GIFT"}, "bad_parameter"),
        ({"account": "chain"}, "bad_parameter"),
        ({"reference_id": ""}, "bad_parameter"),
        ({"reference_id": "a\u0000b"}, "control_characters"),
        ({"from": "yesterday"}, "bad_time"),
        ({"to": "2026-02-30T00:00:00Z"}, "bad_time"),
        ({"to": "0001-01-01T00:00:00+23:00"}, "bad_time"),
        ({"page": "2"}, "unknown_parameter"),
    ],
)
async def test_a_query_that_is_not_understood_is_refused(
    market: Marketplace, alice: str, query: dict[str, str], code: str
) -> None:
    answer = await market.get("/history", market.user(alice), **query)
    assert (answer.status, (await answer.json())["code"]) == (400, code)


async def test_a_past_balance_is_what_it_was(market: Marketplace, alice: str) -> None:
    await market.deposit(alice, "100")
    before = await (await market.get("/balance", market.user(alice))).json()
    body = {"user_id": alice, "amount": "30", "reference_type": "bid", "reference_id": "b1"}
    await market.post("/internal/lock", market.service(), body)
    now = await (await market.get("/balance", market.user(alice))).json()
    assert now["bids"] == "30.00000000"
    past = await market.get("/balance", market.user(alice), at=before["updated_at"])
    assert await past.json() == before
    present = await market.get("/balance", market.user(alice), at=now["updated_at"])
    assert await present.json() == now
    long_ago = await market.get("/balance", market.user(alice), at="2014-01-01T00:00:00Z")
    assert (await long_ago.json())["available"] == "0.00000000"
    assert (await long_ago.json())["version"] == 0


async def test_a_past_balance_tells_what_was_owed_and_frozen(
    market: Marketplace, alice: str, bob: str
) -> None:
    await market.deposit(alice, "50")
    await market.deposit(bob, "1")
    await market.escrow(alice, bob, "40")
    reversal = ReverseDeposit(txid=f"{1:064x}", vout=0, ordinal=1)
    await market.log.command(CommandType.REVERSE_DEPOSIT, alice, reversal)
    owing = await (await market.get("/balance", market.user(alice))).json()
    assert (owing["shortfall"], owing["frozen"]) == ("40.00000000", True)
    await market.deposit(alice, "15")
    await market.log.command(CommandType.FREEZE_WALLET, alice, FreezeWallet(reason="a look"))
    less = await (await market.get("/balance", market.user(alice))).json()
    assert less["shortfall"] == "25.00000000"
    past = await (await market.get("/balance", market.user(alice), at=owing["updated_at"])).json()
    assert past == owing
    present = await market.get("/balance", market.user(alice), at="2100-01-01T00:00:00Z")
    # A freeze moves no money: the version is that of the last change of money.
    assert {**await present.json(), "version": 0, "updated_at": ""} == {
        **less,
        "version": 0,
        "updated_at": "",
    }
