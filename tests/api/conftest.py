"""An API of the test's own, on a real database and a log in memory."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from api.app import build_app
from api.services import Services
from tests.api.harness import LocalLog, Marketplace, settings_for
from tests.conftest import Database

Opened = Callable[..., Awaitable[Marketplace]]


@pytest.fixture
async def opened(database: Database) -> AsyncIterator[Opened]:
    """Opens an API with the settings that are given by name; closed after the test."""
    clients: list[TestClient[Any, Any]] = []

    async def open_api(**changes: Any) -> Marketplace:
        settings = settings_for(database, **changes)
        log = LocalLog(database)
        client = TestClient(TestServer(build_app(Services.of(settings, log))))
        clients.append(client)
        await client.start_server()
        return Marketplace(client, log, settings)

    yield open_api
    for client in clients:
        await client.close()


@pytest.fixture
async def market(opened: Opened) -> Marketplace:
    """An API with the settings that most tests want."""
    return await opened()


@pytest.fixture
def alice() -> str:
    """A user."""
    return str(uuid.uuid4())


@pytest.fixture
def bob() -> str:
    """Another user."""
    return str(uuid.uuid4())
