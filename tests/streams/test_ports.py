"""Ports that are told now and listened on later."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from streams.ports import free_port


def test_a_port_is_told_once_though_nobody_listens_on_it_yet() -> None:
    told = [free_port() for _ in range(100)]
    assert len(set(told)) == 100


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_server_listens_on_the_port_that_it_was_told(host: str) -> None:
    port = free_port(host)
    with socket.create_server((host, port)) as server:
        assert server.getsockname()[1] == port


def test_a_port_that_was_told_is_not_given_to_who_takes_any() -> None:
    told = {free_port() for _ in range(20)}
    with ExitStack() as taken:
        any_port = [taken.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(500)]
        assert told.isdisjoint(server.getsockname()[1] for server in any_port)
