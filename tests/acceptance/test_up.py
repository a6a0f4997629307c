"""``wallet up`` as a stranger uses it: start, ask, kill, stop, start again by the commands."""

from __future__ import annotations

import json
import os
import signal
import stat
import time
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from typing import Any, Final

import pytest

from streams.local.process import recorded, wait_until
from tests.support.upped import Wallet, bridged, unpacked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

STOP_SECONDS: Final = 10
SERVICES_AND_SERVERS: Final = (
    *("worker", "api", "watcher", "payer", "bridge", "views"),
    *("node", "aws", "kafka", "postgres"),
)


@pytest.fixture
def wallet() -> Iterator[Wallet]:
    """Nothing runs yet; nothing is left."""
    with unpacked() as made:
        yield made


def deposit(wallet: Wallet, endpoints: dict[str, Any], amount: str) -> None:
    """Pay the user test coins, and wait until they are his."""
    before = Decimal(balance(endpoints)["available"])
    paid = wallet.run("faucet", _ask(endpoints, "deposit-address")["address"], amount)
    assert paid.returncode == 0, paid.stderr
    awaited = before + Decimal(amount)
    assert wait_until(lambda: Decimal(balance(endpoints)["available"]) == awaited, 60)


def balance(endpoints: dict[str, Any]) -> dict[str, Any]:
    """The user's balance over REST."""
    return _ask(endpoints, "balance")


def _ask(endpoints: dict[str, Any], path: str) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{endpoints['api']}/api/v1/wallet/{path}",
        headers={"Authorization": f"Bearer {endpoints['user_token']}", "Prefer": "wait=15"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def test_it_starts_answers_survives_kills_stops_in_time_and_finds_its_data(wallet: Wallet) -> None:
    endpoints = wallet.up()
    assert stat.S_IMODE((wallet.home / "endpoints.json").stat().st_mode) == 0o600
    assert balance(endpoints)["available"] == "0.00000000"
    assert wallet.run("status").returncode == 0

    second = wallet.run("up")
    assert second.returncode == 1
    assert "`wallet down` stops it" in second.stderr

    # The commands find the running wallet by themselves.
    assert "WALLET_KAFKA_BOOTSTRAP_SERVERS" in wallet.run("settings").stdout
    topics = wallet.run("topics")
    assert topics.returncode == 0, topics.stdout + topics.stderr

    deposit(wallet, endpoints, "30")
    for name in SERVICES_AND_SERVERS:
        before = wallet.process(name)
        os.kill(before, signal.SIGKILL)
        assert wait_until(partial(_again, wallet, name, before), 60), name
    assert wait_until(lambda: wallet.run("status").returncode == 0, 90)
    assert balance(endpoints)["available"] == "30.00000000"
    deposit(wallet, endpoints, "12")
    assert wait_until(lambda: bridged(endpoints), 60)

    started = time.monotonic()
    assert wallet.run("down").stdout == "stopped\n"
    assert time.monotonic() - started < STOP_SECONDS
    assert not (wallet.home / "endpoints.json").exists()
    assert wallet.run("status").returncode == 1

    again = wallet.up()
    assert again["user_id"] == endpoints["user_id"]
    assert again["broker"] == endpoints["broker"]
    assert balance(again)["available"] == "42.00000000"
    doctor = wallet.run("doctor")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr


def test_after_its_own_process_was_killed_it_starts_again_or_is_taken_down(wallet: Wallet) -> None:
    endpoints = wallet.up()
    os.kill(endpoints["pid"], signal.SIGKILL)
    assert wait_until(lambda: "was killed" in wallet.run("status").stdout, 60)
    again = wallet.up()
    assert balance(again)["available"] == "0.00000000"
    os.kill(again["pid"], signal.SIGKILL)
    assert wait_until(lambda: "was killed" in wallet.run("status").stdout, 60)
    assert wallet.run("down").stdout == "stopped\n"
    assert "nothing of" in wallet.run("down").stdout


def _again(wallet: Wallet, name: str, before: int) -> bool:
    process = recorded(wallet.home / "run" / f"{name}.pid")
    return process is not None and process.pid != before
