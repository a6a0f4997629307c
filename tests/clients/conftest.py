"""What the client's tests share."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from schemas.settings import Settings
from streams.kafka.admin import create_topics
from tests.clients.station import Station, station_on
from tests.conftest import Databases


@pytest.fixture(scope="module")
def station(databases: Databases, kafka_server: str) -> Iterator[Station]:
    """A wallet that runs."""
    with station_on(databases, kafka_server) as running:
        yield running


@pytest.fixture(scope="module")
def idle(kafka_server: str) -> Settings:
    """Topics on which nobody works."""
    settings = Settings(
        topic_prefix=f"t{secrets.token_hex(6)}.",
        partitions=2,
        kafka={"bootstrap.servers": kafka_server},
    )
    create_topics(settings)
    return settings
