"""A whole wallet for clients: a real broker and database, a worker, and the API, in threads."""

from __future__ import annotations

import asyncio
import secrets
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web
from wallet_client import Amount, WalletClient
from wallet_client.kafka import CommandProducer, Role
from wallet_client.models import AddressResult, AssignAddress, ProcessDeposit

from api.app import build_app
from api.auth import INTERNAL, mint
from api.ports import KafkaSender
from api.services import Services
from schemas.settings import Settings
from streams.local.process import free_port
from tests.conftest import Databases
from tests.support.running import prepared, worker_on

#: Somebody else's address on the test network, to pay to.
ELSEWHERE: Final = "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn"


@dataclass(kw_only=True)
class Station:
    """Where a client's tests connect to."""

    settings: Settings
    url: str
    deposits: int = field(default=0)

    @property
    def broker(self) -> str:
        """The broker's address."""
        return self.settings.kafka["bootstrap.servers"]

    def token(self, user_id: str) -> str:
        """A user's token."""
        return mint(self.settings, user_id)

    def service_token(self) -> str:
        """A service's token."""
        return mint(self.settings, "auctions", [INTERNAL])

    def producer(self, role: Role = Role.SERVICE) -> CommandProducer:
        """A producer on this wallet's topics."""
        return CommandProducer(
            self.broker, "tests", role=role, topic_prefix=self.settings.topic_prefix
        )

    def user(self, doge: str = "") -> str:
        """A new user, who was paid so much by the chain."""
        if not doge:
            return str(uuid.uuid4())
        (user,) = self.users(1, doge)
        return user

    def users(self, count: int, doge: str) -> list[str]:
        """New users, each of whom was paid so much."""
        made = [str(uuid.uuid4()) for _ in range(count)]
        with self.producer(Role.USERS) as users, self.producer(Role.TREASURY) as treasury:
            asked = [users.send(user, AssignAddress(), idempotency_key="address") for user in made]
            paid = []
            for sent in asked:
                given = sent.outcome().result
                assert isinstance(given, AddressResult)
                self.deposits += 1
                deposit = ProcessDeposit(
                    txid=f"{self.deposits:064x}",
                    vout=0,
                    address=given.address,
                    amount=Amount(doge),
                    block_hash="ab" * 32,
                    height=1,
                    ordinal=1,
                )
                key = f"deposit:{self.deposits}"
                paid.append(treasury.send(sent.user_id, deposit, idempotency_key=key))
            for sent in paid:
                sent.outcome()
        return made

    def as_user(self, user_id: str) -> WalletClient:
        """A user's client."""
        return WalletClient(self.url, self.token(user_id))


@contextmanager
def api_on(settings: Settings) -> Iterator[str]:
    """The API in a thread with a loop of its own; its address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="api")
    thread.start()

    async def start() -> web.AppRunner:
        runner = web.AppRunner(build_app(Services.of(settings, KafkaSender(settings))))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", settings.api_port).start()
        return runner

    try:
        runner = asyncio.run_coroutine_threadsafe(start(), loop).result(30.0)
        yield f"http://127.0.0.1:{settings.api_port}"
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30.0)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=30.0)
        loop.close()


@contextmanager
def station_on(databases: Databases, kafka: str, partitions: int = 4) -> Iterator[Station]:
    """A wallet that runs, with topics and a database of its own."""
    database = databases.fresh()
    prefix = f"t{secrets.token_hex(6)}."
    settings = prepared(
        Settings(
            database_url=database.owner_url,
            worker_database_url=database.worker_url,
            api_database_url=database.api_url,
            topic_prefix=prefix,
            group=f"{prefix}worker",
            partitions=partitions,
            jwt_secret=secrets.token_hex(16),
            api_port=free_port(),
            api_rate_per_minute=0,
            kafka={"bootstrap.servers": kafka},
        )
    )
    with worker_on(settings), api_on(settings) as url:
        yield Station(settings=settings, url=url)
