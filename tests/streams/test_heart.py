"""Health of the processes: their loops beat whatever is away, and one that hangs is told."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Final

import msgspec
import pytest

from processors.dogecoin.derivation import account_keys
from processors.dogecoin.hidden import Hidden
from processors.dogecoin.keyring import Keyring
from processors.dogecoin.signing import AccountSigner
from schemas.settings import Settings, SettingsError
from streams.bridge.bridge import Bridge
from streams.heart import STILL_SECONDS, Heart
from streams.local.process import free_port
from streams.payer.process import Till
from streams.probe import Process, run_with_probe
from streams.watcher.follower import Watcher
from streams.worker.worker import Worker
from tests.support.eventually import eventually

_XPRV, _XPUB = account_keys(bytes(64), "regtest")


def stopped_long_ago(heart: Heart) -> None:
    heart._beat -= heart._still_seconds + 1


def till(settings: Settings) -> Till:
    signer = AccountSigner(Hidden(_XPRV), "regtest", fee_max=10**8)
    return Till(settings, Keyring(_XPUB, "regtest"), signer)


PROCESSES: Final[dict[str, Callable[[Settings], Process]]] = {
    "worker": Worker,
    "watcher": Watcher,
    "payer": till,
    "bridge": Bridge,
}


@pytest.mark.parametrize("name", PROCESSES)
def test_a_loop_beats_though_every_server_but_the_broker_is_away(
    settings: Settings, name: str
) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    make = PROCESSES[name]
    process = make(
        msgspec.structs.replace(
            settings,
            account_xpub=_XPUB,
            node_url=f"http://{nowhere}",
            watcher_database_url=f"postgresql://wallet_watcher:x@{nowhere}/wallet",
            payer_database_url=f"postgresql://wallet_payer:x@{nowhere}/wallet",
        )
    )
    stopped_long_ago(process.heart)
    assert "stands still" in (process.heart.stalled() or "")
    thread = threading.Thread(target=process.run)
    thread.start()
    try:
        eventually(lambda: process.heart.stalled() is None, "it beats")
        stopped_long_ago(process.heart)
        eventually(lambda: process.heart.stalled() is None, "it beats on")
    finally:
        process.stop()
        thread.join(30.0)
    assert not thread.is_alive()


class Hanging:
    """A process whose loop has stopped turning."""

    def __init__(self) -> None:
        self.heart = Heart()
        self.stopped = threading.Event()

    def run(self) -> None:
        self.stopped.wait()

    def stop(self) -> None:
        self.stopped.set()

    def fault(self) -> str | None:
        return None


def health_at(address: str) -> tuple[int, dict[str, str]]:
    try:
        with urllib.request.urlopen(f"{address}/healthz") as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_the_probe_fails_for_a_loop_that_stands_still() -> None:
    process = Hanging()
    seen: list[tuple[int, dict[str, str]]] = []

    def look(line: str) -> None:
        address = line.rpartition(" ")[2]
        seen.append(health_at(address))
        stopped_long_ago(process.heart)
        seen.append(health_at(address))
        os.kill(os.getpid(), signal.SIGTERM)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        run_with_probe(process, "hanging", "127.0.0.1", 0, look)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    (well, still) = seen
    assert well == (200, {"status": "ok"})
    assert still[0] == 503
    told = re.fullmatch(r"stands still for (\d+) s", still[1]["status"])
    assert told is not None
    # And as long as the test has taken meanwhile.
    assert int(told[1]) > STILL_SECONDS


def test_a_port_that_is_taken_is_told_with_the_setting_that_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            with pytest.raises(SettingsError, match=rf"127\.0\.0\.1:{port}: .*WALLET_WORKER_PORT"):
                run_with_probe(Hanging(), "worker", "127.0.0.1", port, lambda line: None)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
