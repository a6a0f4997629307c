"""The REST client against the real API, worker and broker, in both colours, on bad days too."""

from __future__ import annotations

import uuid
from decimal import Decimal

import httpx
import pytest
from wallet_client import Amount, AsyncWalletClient, OutcomeUnknown, Policy, WalletClient
from wallet_client.errors import (
    EscrowRejected,
    InsufficientFunds,
    KeyReused,
    Malformed,
    NotFound,
    Refused,
    Unauthorized,
    WithdrawalRejected,
)

from tests.clients.station import ELSEWHERE, Station


def test_a_marketplace_is_played_through_every_call(station: Station) -> None:
    buyer, seller = station.user("500"), station.user()
    with (
        station.as_user(buyer) as alice,
        WalletClient(station.url, station.service_token) as service,
    ):
        assert alice.deposit_address().confirmations > 0
        assert service.lock(buyer, "12.5", "auction", "7").result.locked == Decimal("12.5")
        assert service.unlock(buyer, Amount("2.5"), "auction", "7").result.locked == 10
        sale = service.convert_to_escrow(buyer, seller, "o1", 10, "auction", "7").result
        assert service.release_escrow(sale.id, "4").result.released == Decimal("3.9")
        assert service.dispute_escrow(sale.id, "broken").result.status == "DISPUTED"
        assert service.resolve_dispute(sale.id, "0", "6").result.refunded == 6
        order = service.pay_order(buyer, seller, "o2", "5").result
        assert service.refund_escrow(order.id).balance.escrow == 0
        assert alice.escrow(order.id).status == "REFUNDED"

        asked = alice.withdraw("20", ELSEWHERE)
        assert alice.withdrawal(asked.result.id).status == "PENDING"
        assert alice.command(asked.command_id).outcome == "accepted"
        assert alice.cancel_withdrawal(asked.result.id).result.status == "FAILED"

        assert alice.balance().available == Decimal("496")
        page = alice.history(limit=2, account="available")
        assert len(page.entries) == 2
        assert page.next is not None
        assert len(alice.history(limit=200, cursor=page.next, account="available").entries) > 5


def test_the_same_key_moves_money_once(station: Station) -> None:
    user = station.user("10")
    with WalletClient(station.url, station.service_token()) as service:
        first = service.lock(user, "1", "auction", "7", idempotency_key="bid")
        again = service.lock(user, "1", "auction", "7", idempotency_key="bid")
        assert again == first
        with pytest.raises(KeyReused):
            service.lock(user, "2", "auction", "7", idempotency_key="bid")


def test_a_key_of_any_letters_arrives_as_it_is(station: Station) -> None:
    user = station.user("10")
    with WalletClient(station.url, station.service_token()) as service:
        for key in ('"quoted"', "back\\slash ", "größe:1", " spaced"):
            done = service.lock(user, "1", "auction", "7", idempotency_key=key)
            assert service.command(done.command_id).idempotency_key == key


def test_refusals_are_classes_with_code_and_command(station: Station) -> None:
    user = station.user("30")
    with station.as_user(user) as client, WalletClient(station.url, station.service_token) as house:
        with pytest.raises(InsufficientFunds) as refused:
            client.withdraw("200", ELSEWHERE, idempotency_key="much")
        assert refused.value.code == "insufficient_funds"
        assert client.command(str(refused.value.command_id)).outcome == "rejected"
        with pytest.raises(WithdrawalRejected):
            client.withdraw("0.5", ELSEWHERE)
        with pytest.raises(EscrowRejected):
            house.pay_order(user, user, "o1", "1")
        with pytest.raises(Malformed):
            house.lock("no user", "1", "auction", "7")
        with pytest.raises(NotFound):
            client.command("00000100-0000-8000-8000-00ffff000000")
        with pytest.raises(Refused):
            client.lock(user, "1", "auction", "7")
    with WalletClient(station.url, "nonsense") as stranger, pytest.raises(Unauthorized):
        stranger.balance()


async def test_async_is_the_same_client(station: Station) -> None:
    user = station.user("10")
    async with AsyncWalletClient(station.url, station.service_token()) as service:
        done = await service.lock(user, "1", "auction", "7")
        assert done.balance.bids == 1
        with pytest.raises(InsufficientFunds):
            await service.lock(user, "100", "auction", "7")
    async with AsyncWalletClient(station.url, station.token(user)) as client:
        assert (await client.balance()).available == 9


class Flaky(httpx.HTTPTransport):
    """Loses answers: the request arrives, the caller never hears of it."""

    def __init__(self, losses: int) -> None:
        super().__init__()
        self.left = losses
        self.keys: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send it on; then perhaps forget the answer."""
        self.keys.append(request.headers["Idempotency-Key"])
        response = super().handle_request(request)
        if self.left > 0:
            self.left -= 1
            response.close()
            raise httpx.ReadError("the line broke")
        return response


def flaky(
    station: Station, losses: int, deadline_seconds: float = 60.0
) -> tuple[Flaky, WalletClient]:
    transport = Flaky(losses)
    return transport, WalletClient(
        station.url,
        station.service_token(),
        policy=Policy(pause_seconds=0.01, deadline_seconds=deadline_seconds),
        http=httpx.Client(transport=transport),
    )


def test_lost_answers_are_asked_for_again_with_the_same_key(station: Station) -> None:
    user = station.user("10")
    transport, service = flaky(station, 3)
    with service:
        done = service.lock(user, "1", "auction", "7")
        assert done.balance.bids == 1
        assert len(transport.keys) == 4
        assert len(set(transport.keys)) == 1
        assert service.lock(user, "1", "auction", "7").balance.bids == 2


def test_what_nobody_knows_is_unknown_and_names_the_key(station: Station) -> None:
    user = station.user("10")
    _, service = flaky(station, 1_000, 0.2)
    with service, pytest.raises(OutcomeUnknown, match="retry with the same key") as unknown:
        service.lock(user, "1", "auction", "7")
    with WalletClient(station.url, station.service_token()) as better:
        key = unknown.value.idempotency_key
        assert better.lock(user, "1", "auction", "7", idempotency_key=key).balance.bids == 1


def test_an_outcome_that_takes_longer_is_fetched_from_its_location(station: Station) -> None:
    user = station.user("10")
    asked = httpx.Client(headers={"Prefer": "respond-async"})
    with WalletClient(station.url, station.service_token(), http=asked) as service:
        done = service.lock(user, "1", "auction", "7", idempotency_key=str(uuid.uuid4()))
        assert done.balance.bids == 1
        with pytest.raises(InsufficientFunds) as refused:
            service.lock(user, "100", "auction", "7")
        assert refused.value.command_id is not None
