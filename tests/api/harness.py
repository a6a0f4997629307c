"""The API on a real database, with a log and a worker of the test's own instead of a broker."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient

from api.auth import INTERNAL, mint
from db.engine import connect
from db.ledger.partitions import take_over
from db.ledger.rules import seed_rules
from db.plain import use_plain_values
from processors.apply import Applier, Claim
from processors.dogecoin.derivation import Keychain, account_keys
from processors.dogecoin.keyring import Keyring
from processors.incoming import Record
from schemas.amounts import Koinu, parse_amount
from schemas.commands import TOPIC_OF, CommandType, Data, ProcessDeposit
from schemas.envelope import encode_command
from schemas.records import Rules, Tier
from schemas.settings import Settings
from schemas.topics import CommandTopic
from streams.kafka.config import partition_of
from streams.kafka.produce import Delivery
from tests.conftest import Database

PREFIX: Final = "/api/v1/wallet"
SECRET: Final = "a secret of the tests, long enough for HS256"
PARTITIONS: Final = 2
#: The account of the rules, and another one to rotate to.
KEYRING: Final = Keyring(
    ",".join(
        account_keys(seed, "regtest")[1] for seed in (bytes(range(64)), bytes(range(64, 128)))
    ),
    "regtest",
)
#: Addresses of somebody else on the same network, to pay to.
ELSEWHERE: Final = Keychain(account_keys(bytes(64), "regtest")[1], "regtest").address(0, 0)

RULES: Final = Rules(
    version=1,
    network="regtest",
    account_key=KEYRING.first.fingerprint,
    escrow_fee_basis_points=250,
    withdrawal_fee=parse_amount("1"),
    withdrawal_minimum=parse_amount("10"),
    withdrawal_maximum=parse_amount("1000"),
    deposit_minimum=parse_amount("1"),
    confirmations=(Tier(0, 20), Tier(parse_amount("1000"), 40)),
)


def settings_for(database: Database, **changes: Any) -> Settings:
    """Settings of an API on the test's database."""
    settings = Settings(
        api_database_url=database.api_url,
        partitions=PARTITIONS,
        jwt_secret=SECRET,
        api_rate_per_minute=0,
        # What is tested is what is answered, not how soon a busy machine does it.
        api_wait_seconds=30.0,
    )
    return msgspec.structs.replace(settings, **changes)


def user_token(user_id: str, settings: Settings) -> dict[str, str]:
    """The header of a user."""
    return {"Authorization": f"Bearer {mint(settings, user_id)}"}


class LocalLog:
    """Topics in memory, and one worker thread that applies each record as it comes.

    ``held`` keeps the worker from working; ``early`` lets it be quicker than the report of the
    delivery; ``outage`` is what the broker says instead of taking a record.
    """

    def __init__(self, database: Database) -> None:
        with connect(database.owner_url, application_name="test-owner") as owner:
            seed_rules(owner, RULES)
        connection = connect(database.worker_url, application_name="test-worker", autocommit=True)
        use_plain_values(connection)
        self._connection = connection
        self._applier = Applier(connection, owner="test", derive=KEYRING.deposit_address)
        self._claims = self._take_over()
        self._ends: dict[tuple[int, int], int] = defaultdict(int)
        self._thread = ThreadPoolExecutor(1)
        self._kept: list[Record] = []
        self.sent: list[Record] = []
        self.held = False
        self.early = False
        self.outage: Delivery | None = None
        self.silent = False
        self.up = True

    def _take_over(self) -> dict[tuple[int, int], Claim]:
        claims = {}
        with self._connection.transaction(), self._connection.cursor(binary=True) as cursor:
            for topic in CommandTopic:
                for number in range(PARTITIONS):
                    row = take_over(cursor, topic, number, topic_id="test", owner="test")
                    claims[(int(topic), number)] = Claim(row.epoch, row.generation)
        return claims

    def send(
        self,
        topic: CommandTopic,
        key: str,
        value: bytes,
        on_delivery: Callable[[Delivery], None],
    ) -> None:
        """As ``CommandSender`` has it."""
        if self.silent:
            return
        if self.outage is not None:
            on_delivery(self.outage)
            return
        partition = self.partition_of(key)
        place = (int(topic), partition)
        offset = self._ends[place]
        self._ends[place] += 1
        now = time.time_ns() // 1_000_000
        record = Record(int(topic), partition, offset, now, key.encode(), value)
        self.sent.append(record)
        self._thread.submit(self._work, record, on_delivery)

    def _work(self, record: Record, on_delivery: Callable[[Delivery], None]) -> None:
        if not self.early:
            on_delivery(Delivery(record.partition, record.offset, None, False))
        if self.held:
            self._kept.append(record)
        else:
            self._applier.apply([record], self._claims)
        if self.early:
            on_delivery(Delivery(record.partition, record.offset, None, False))

    def lose(self) -> None:
        """As a broker that lost its tail, or a topic made anew: the first offsets come again."""
        self._ends.clear()

    async def release(self) -> None:
        """Let the worker do what it was kept from, as one batch."""
        await asyncio.wrap_future(self._thread.submit(self._let_go))

    def _let_go(self) -> None:
        # In the worker's thread: a record is told as delivered a moment before it is kept.
        self.held = False
        kept, self._kept = self._kept, []
        self._applier.apply(kept, self._claims)

    def partition_of(self, key: str) -> int:
        """As every producer computes it."""
        return partition_of(key.encode(), PARTITIONS)

    async def reachable(self) -> bool:
        """As the test says."""
        return self.up

    async def close(self) -> None:
        """Stop the worker."""
        self._thread.shutdown()
        self._connection.close()

    async def command(self, kind: CommandType, user_id: str, data: Data, key: str = "") -> Delivery:
        """Put a command on its topic as another producer would, and have it applied."""
        value = encode_command(
            kind,
            user_id=user_id,
            idempotency_key=key or uuid.uuid4().hex,
            data=data,
            issuer="test",
            issued_at=datetime.now(UTC),
            id="test",
        )
        return await self.record(TOPIC_OF[kind], user_id, value)

    async def record(self, topic: CommandTopic, key: str, value: bytes) -> Delivery:
        """Put a record on a topic, and have it applied."""
        loop = asyncio.get_running_loop()
        delivered: asyncio.Future[Delivery] = loop.create_future()

        def report(delivery: Delivery) -> None:
            loop.call_soon_threadsafe(delivered.set_result, delivery)

        self.send(topic, key, value, report)
        delivery = await delivered
        # The worker's thread does one thing after the other.
        await asyncio.wrap_future(self._thread.submit(lambda: None))
        return delivery


class Marketplace:
    """A client of the API, with the words of a test."""

    def __init__(self, client: TestClient[Any, Any], log: LocalLog, settings: Settings) -> None:
        self.client = client
        self.log = log
        self.settings = settings
        self._deposits = 0

    def user(self, user_id: str) -> dict[str, str]:
        """The header of a user."""
        return user_token(user_id, self.settings)

    def service(self, name: str = "auctions") -> dict[str, str]:
        """The header of a service."""
        return {"Authorization": f"Bearer {mint(self.settings, name, [INTERNAL])}"}

    async def get(self, path: str, headers: dict[str, str], **query: str) -> ClientResponse:
        """GET a path below the prefix."""
        response: ClientResponse = await self.client.get(
            PREFIX + path, headers=headers, params=query
        )
        return response

    async def post(
        self, path: str, headers: dict[str, str], body: object = None, *, key: str | None = None
    ) -> ClientResponse:
        """POST a body below the prefix, with a fresh key unless one is given."""
        sent = {"Idempotency-Key": key or uuid.uuid4().hex, **headers}
        if body is not None:
            sent["Content-Type"] = "application/json"
        response: ClientResponse = await self.client.post(
            PREFIX + path,
            headers=sent,
            data=None if body is None else msgspec.json.encode(body),
        )
        return response

    async def deposit(self, user_id: str, amount: str) -> None:
        """Let the chain pay a user."""
        answer = await self.get("/deposit-address", self.user(user_id))
        address = (await answer.json())["address"]
        self._deposits += 1
        await self.log.command(
            CommandType.PROCESS_DEPOSIT,
            user_id,
            ProcessDeposit(
                txid=f"{self._deposits:064x}",
                vout=0,
                address=address,
                amount=Koinu(parse_amount(amount)),
                block_hash="ab" * 32,
                height=1,
                ordinal=1,
            ),
        )

    async def escrow(self, buyer: str, seller: str, amount: str, order: str = "o1") -> str:
        """Pay an order into escrow; answer the escrow's id."""
        body = {"user_id": buyer, "seller_id": seller, "order_id": order, "amount": amount}
        answer = await self.post("/internal/pay-order", self.service(), body)
        assert answer.status == 200, await answer.text()
        return str((await answer.json())["result"]["id"])
