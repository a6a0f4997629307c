"""The embedded broker: topics that stay, and starts after every kind of untidy end."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.settings import Settings
from streams.kafka.admin import Admin
from streams.local.broker import EmbeddedKafka
from streams.local.errors import HalfInitialised, PortTaken
from streams.local.process import LOOPBACK, free_port


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedKafka]:
    """A broker that is not started yet."""
    made = EmbeddedKafka(tmp_path, port=free_port())
    yield made
    made.remove()


def admin_of(server: EmbeddedKafka) -> Admin:
    """Talks to the broker."""
    return Admin(Settings(partitions=1, kafka={"bootstrap.servers": server.address}))


@pytest.mark.slow
def test_topics_stay_through_a_stop_a_kill_and_a_lost_supervisor(
    server: EmbeddedKafka, tmp_path: Path
) -> None:
    server.start()
    made = admin_of(server).create_topics()
    server.stop()

    server.start()
    before = admin_of(server).topics(made)
    assert len(before) == len(made)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)

    server.start()
    left = server.pid
    later = EmbeddedKafka(tmp_path, port=server.port)
    try:
        later.start()
        assert later.pid != left
        assert admin_of(later).topics(made) == before
    finally:
        later.stop()


def test_a_half_formatted_directory_is_told_with_the_way_out(
    server: EmbeddedKafka, tmp_path: Path
) -> None:
    (tmp_path / "kafka" / "data").mkdir(parents=True)
    with pytest.raises(HalfInitialised, match=r"meta\.properties is missing.*restore it"):
        server.start()


def test_a_taken_port_is_told_with_the_way_out(server: EmbeddedKafka) -> None:
    told = pytest.raises(PortTaken, match=f"port {server.port}.*--broker-port")
    with socket.create_server((LOOPBACK, server.port)), told:
        server.start()
