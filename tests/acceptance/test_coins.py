"""Coins from one stranger to another, by REST, topics and chain alone: deposit, bid, escrow,
release, withdrawal; every process of the wallet is the real one, on our node and on a real one."""

from __future__ import annotations

import json
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from api.auth import INTERNAL, mint
from api.routes import PREFIX
from db.engine import connect
from db.ledger.rules import seed_rules
from processors.seed import first_rules, keyring_of
from schemas.amounts import parse_amount
from schemas.settings import Settings
from schemas.topics import EVENTS
from streams.doctor import examine
from streams.kafka.admin import create_topics
from streams.local import keys
from streams.local.aws import EmbeddedAws
from streams.local.process import free_port
from streams.local.supervisor import Service
from tests.conftest import Database
from tests.crash.wallet import bare_environment
from tests.support.eventually import eventually
from tests.support.nodes import RunningNode, any_node
from tests.support.running import environment_of
from tests.support.station import read_all

__all__ = ["any_node"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CONFIRMATIONS: Final = 3
PATIENCE_SECONDS: Final = 120.0
#: Nobody of ours has its key.
ELSEWHERE: Final = "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn"
PAID: Final = "20.00000000"


class Shop:
    """The wallet's processes around one node, and a client that talks to them."""

    def __init__(self, settings: Settings, aws: EmbeddedAws, home: Path) -> None:
        self.settings = settings
        self._aws = aws
        self._home = home
        self._address = f"http://127.0.0.1:{settings.api_port}{PREFIX}"

    def process(self, name: str, port: int, *arguments: str) -> Service:
        """One process by the command line; the payer alone is given the key's place."""
        own = self._aws.environment() if name == "payer" else {}
        return Service(
            name,
            [sys.executable, "-m", "api.cli", name, *arguments],
            home=self._home,
            env=bare_environment() | environment_of(self.settings) | own,
            ready_url=f"http://127.0.0.1:{port}/readyz",
        )

    def followed(self) -> int:
        """The height up to which the watcher has followed."""
        with connect(self.settings.watcher_database_url, application_name="test") as connection:
            row = connection.execute("SELECT max(height) FROM blocks WHERE active").fetchone()
        assert row is not None
        return int(row[0] or 0)

    def get(self, user: str, path: str) -> dict[str, Any]:
        """What a user reads."""
        return self._ask(mint(self.settings, user), path, None)

    def post(self, user: str, path: str, body: dict[str, str]) -> dict[str, Any]:
        """What a user asks for; the result."""
        result: dict[str, Any] = self._ask(mint(self.settings, user), path, body)["result"]
        return result

    def serve(self, path: str, body: dict[str, str]) -> dict[str, Any]:
        """What a service of the marketplace asks for; the result."""
        token = mint(self.settings, "auctions", (INTERNAL,))
        result: dict[str, Any] = self._ask(token, f"internal/{path}", body)["result"]
        return result

    def _ask(self, token: str, path: str, body: dict[str, str] | None) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self._address}/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/json",
                "Idempotency-Key": uuid.uuid4().hex,
            },
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            said: dict[str, Any] = json.load(answer)
            return said


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where the processes keep their logs, and the emulator finds the key."""
    return tmp_path / "home"


@pytest.fixture
def shop(
    settings: Settings, database: Database, any_node: RunningNode, home: Path
) -> Iterator[Shop]:
    """Everything runs: database, broker, node, emulator, worker, API, watcher, payer."""
    account = keys.account(home, "regtest")
    aws = EmbeddedAws(home, port=free_port(), network="regtest")
    ours = msgspec.structs.replace(
        settings,
        watcher_database_url=database.watcher_url,
        payer_database_url=database.payer_url,
        account_xpub=account.account_xpub,
        jwt_secret="of this test alone, and long enough",
        node_url=any_node.endpoint.url,
        node_user=any_node.endpoint.user,
        node_password=any_node.endpoint.password,
        rules_confirmations=str(CONFIRMATIONS),
        poll_seconds=0.2,
        payout_wait_seconds=0.0,
        api_rate_per_minute=0,
        api_wait_seconds=15.0,
        partitions=3,
        **{f"{name}_port": free_port() for name in ("api", "worker", "watcher", "payer")},
    )
    with connect(ours.database_url, application_name="test") as owner:
        seed_rules(owner, first_rules(ours, keyring_of(ours)))
    create_topics(ours)
    # Coins that can be spent, so that paying mines no blocks by itself.
    any_node.mine(any_node.maturity + 20)
    made = Shop(ours, aws, home)
    with ExitStack() as running:
        running.callback(aws.stop)
        aws.start()
        for name in ("worker", "api", "watcher", "payer"):
            more = ("--genesis", any_node.genesis) if name == "watcher" else ()
            process = made.process(name, getattr(ours, f"{name}_port"), *more)
            running.callback(process.stop)
            process.start()
        yield made


def test_a_buyers_coins_become_a_sellers_and_leave(shop: Shop, any_node: RunningNode) -> None:
    buyer, seller = str(uuid.uuid4()), str(uuid.uuid4())
    address = shop.get(buyer, "deposit-address")["address"]

    def available(user: str) -> str:
        return str(shop.get(user, "balance")["available"])

    def withdrawn(withdrawal_id: str) -> bool:
        # One block after the other: a payer waits for a watcher that is far behind.
        if shop.followed() == any_node.call("getblockcount"):
            any_node.mine()
        return bool(shop.get(seller, f"withdrawals/{withdrawal_id}")["status"] == "CONFIRMED")

    any_node.fund(address, parse_amount("100"))
    any_node.mine(CONFIRMATIONS)
    eventually(lambda: available(buyer) == "100.00000000", "it is credited", PATIENCE_SECONDS)

    bid = {"user_id": buyer, "amount": "40", "reference_type": "auction", "reference_id": "7"}
    shop.serve("lock", bid)
    sale = shop.serve("convert-to-escrow", {**bid, "seller_id": seller, "order_id": "o-1"})
    shop.serve("release-escrow", {"escrow_id": sale["id"]})
    assert (available(buyer), available(seller)) == ("60.00000000", "39.00000000")

    asked = shop.post(seller, "withdraw", {"amount": PAID, "address": ELSEWHERE})
    eventually(lambda: withdrawn(asked["id"]), "it is paid", PATIENCE_SECONDS)

    paid = shop.get(seller, f"withdrawals/{asked['id']}")
    outputs = any_node.call("getrawtransaction", paid["txid"], 1)["vout"]
    assert [
        f"{output['value']:.8f}"
        for output in outputs
        if ELSEWHERE in output["scriptPubKey"].get("addresses", ())
    ] == [PAID]
    balance = shop.get(seller, "balance")
    assert (balance["available"], balance["pending"]) == ("18.00000000", "0.00000000")
    eventually(lambda: _types_of(shop.settings, seller) == SELLERS, "all of it is told")
    eventually(lambda: examine(shop.settings) == [], "the books close", PATIENCE_SECONDS)


#: The seller's story as a consumer of the events' topic reads it.
SELLERS: Final = [
    "sale.credited",
    "withdrawal.requested",
    "withdrawal.processing",
    "withdrawal.broadcast",
    "withdrawal.confirmed",
]


def _types_of(settings: Settings, user: str) -> list[str]:
    events = [json.loads(message.value() or b"") for message in read_all(settings, EVENTS)[EVENTS]]
    own = sorted((e["sequence"], e["type"]) for e in events if e["subject"] == user)
    return [kind for _, kind in own if kind != "wallet.opened"]
