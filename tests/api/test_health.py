"""`wallet health`, as a container's check calls it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from api.cli import group
from api.commands import health
from api.probes import address_of
from schemas.settings import Settings
from streams.local.process import free_port
from streams.probe import Check, Probe


@contextmanager
def served(healthy: Check, ready: Check) -> Iterator[int]:
    """A process' probe."""
    probe = Probe("worker", "127.0.0.1", 0, healthy=healthy, ready=ready)
    try:
        yield probe.port
    finally:
        probe.close()


Asked = Callable[..., Result]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Asked:
    """Call it with a worker's port."""
    monkeypatch.chdir(tmp_path)

    def asked(port: int, *arguments: str) -> Result:
        environment: dict[str, str | None] = {"WALLET_WORKER_PORT": str(port)}
        return CliRunner(env=environment).invoke(group, ["health", *arguments])

    return asked


def test_a_process_that_lives_and_waits_is_well_and_not_ready(ask: Asked) -> None:
    with served(lambda: None, lambda: "broker is away") as port:
        well, ready = ask(port, "worker"), ask(port, "worker", "--ready")
    assert (well.exit_code, well.output) == (0, "the worker is well\n")
    assert (ready.exit_code, ready.output) == (
        1,
        "Error: the worker is not ready: broker is away\n",
    )


def test_a_process_that_is_not_well_says_why(ask: Asked) -> None:
    with served(lambda: "it hangs", lambda: None) as port:
        found = ask(port, "worker")
    assert (found.exit_code, found.output) == (1, "Error: the worker is not well: it hangs\n")


def test_nobody_there_is_one_line_and_so_is_a_port_that_is_drawn(ask: Asked) -> None:
    silent = ask(free_port(), "worker")
    assert silent.exit_code == 1
    assert silent.output == "Error: the worker does not answer: [Errno 111] Connection refused\n"
    drawn = ask(0, "worker")
    assert drawn.exit_code == 1
    assert "WALLET_WORKER_PORT is 0" in str(drawn.exception)


@pytest.mark.parametrize(
    "first",
    [
        ["/opt/wallet/bin/python", "/opt/wallet/bin/wallet", "worker"],
        ["/sbin/docker-init", "--", "wallet", "worker"],
    ],
)
def test_a_container_is_asked_by_what_it_runs(
    ask: Asked, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, first: list[str]
) -> None:
    (tmp_path / "cmdline").write_bytes("".join(f"{word}\0" for word in first).encode())
    monkeypatch.setattr(health, "_FIRST", tmp_path / "cmdline")
    with served(lambda: None, lambda: None) as port:
        assert ask(port).output == "the worker is well\n"


def test_where_it_cannot_be_told_it_asks_which(
    ask: Asked, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(health, "_FIRST", tmp_path / "none")
    found = ask(free_port())
    assert found.exit_code == 2
    assert "say which: api, worker" in found.output


def test_it_asks_by_the_loopback_whoever_listens_everywhere_and_by_tls_where_that_is_spoken() -> (
    None
):
    settings = Settings(api_host="::", api_port=8003, worker_host="10.0.0.7", worker_port=9101)
    assert address_of("api", settings) == "http://[::1]:8003"
    assert address_of("worker", settings) == "http://10.0.0.7:9101"
    secured = Settings(api_host="0.0.0.0", api_tls_certificate="c", api_tls_key="k")
    assert address_of("api", secured) == "https://127.0.0.1:8003"
