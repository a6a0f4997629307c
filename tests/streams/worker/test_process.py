"""The worker as a process: what it says of itself, and that it refuses to start on wrong ground."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from processors.dogecoin.derivation import account_keys
from schemas.commands import OpenWallet
from schemas.settings import Settings
from streams.local.process import LOOPBACK
from tests.crash.wallet import Worker, bare_environment
from tests.support.commands import wire
from tests.support.eventually import eventually
from tests.support.running import environment_of
from tests.support.station import Proof, outcomes_of, prepared, send

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parent.parent.parent.parent


@pytest.fixture
def wallet(settings: Settings) -> Settings:
    return prepared(settings)


@pytest.fixture
def worker(wallet: Settings, tmp_path: Path) -> Iterator[Worker]:
    with Worker(wallet, tmp_path / "worker.log") as made:
        made.await_ready()
        yield made


def get(worker: Worker, path: str) -> str:
    with urllib.request.urlopen(f"http://{LOOPBACK}:{worker.port}{path}", timeout=5) as answer:
        return str(answer.read().decode())


def test_it_is_alive_ready_and_measured_and_drains_when_it_is_told_to_end(
    wallet: Settings, worker: Worker
) -> None:
    places = send(wallet, [wire(OpenWallet()) for _ in range(30)])
    eventually(
        lambda: "none" not in {outcome for outcome, _ in outcomes_of(wallet, places)},
        "all is applied",
    )
    assert get(worker, "/healthz") == '{"status": "ok"}'
    metrics = get(worker, "/metrics")
    assert 'wallet_worker_commands_total{outcome="accepted"} 30.0' in metrics
    assert "wallet_worker_partitions 12.0" in metrics
    assert "wallet_worker_partitions_halted 0.0" in metrics
    worker.drain()
    Proof(wallet).hold()


def test_its_logs_are_one_json_object_a_line(worker: Worker, tmp_path: Path) -> None:
    worker.drain()
    lines = [
        msgspec.json.decode(line) for line in (tmp_path / "worker.log").read_text().splitlines()
    ]
    assert {line["service"] for line in lines} == {"worker"}
    assert "took over" in {line["message"] for line in lines}


def refused(settings: Settings) -> str:
    """What a worker says that does not start."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.process", "never", "PAUSE", "0"],
        cwd=ROOT,
        env={**bare_environment(), **environment_of(settings)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    return done.stderr.strip().splitlines()[-1]


def test_it_does_not_start_on_the_books_of_another_account(wallet: Settings) -> None:
    _, other = account_keys(bytes(range(64)), wallet.network)
    said = refused(msgspec.structs.replace(wallet, account_xpub=other))
    assert "put that account's public key there too" in said


def test_it_does_not_start_without_an_account(wallet: Settings) -> None:
    assert "WALLET_ACCOUNT_XPUB" in refused(msgspec.structs.replace(wallet, account_xpub=""))
