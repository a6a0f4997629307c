"""``wallet up`` as a stranger drives it: by the command line, in a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from streams.local.process import free_port, recorded

START_SECONDS: Final = 120


class Wallet:
    """The command line in a folder of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._options = [
            f"--api-port={free_port()}",
            f"--broker-port={free_port()}",
            f"--database-port={free_port()}",
            f"--node-port={free_port()}",
            f"--aws-port={free_port()}",
        ]

    def run(
        self, *arguments: str, seconds: float = START_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run ``wallet`` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "api.cli", *arguments],
            env={**os.environ, "WALLET_HOME": str(self.home), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )

    def up(self) -> dict[str, Any]:
        """Start it in the background; what ``endpoints.json`` says."""
        done = self.run("up", "--detach", *self._options)
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads((self.home / "endpoints.json").read_text())
        return found

    def process(self, name: str) -> int:
        """The pid of one of its processes."""
        process = recorded(self.home / "run" / f"{name}.pid")
        assert process is not None, f"{name} does not run"
        return process.pid


@contextmanager
def unpacked() -> Iterator[Wallet]:
    """Nothing runs yet; nothing is left."""
    home = Path(tempfile.mkdtemp(prefix="wallet-test-", dir="/var/tmp"))
    home.chmod(0o755)
    made = Wallet(home)
    try:
        yield made
    finally:
        made.run("down")
        shutil.rmtree(home, ignore_errors=True)


def metrics_at(url: str) -> dict[str, float]:
    """What a process tells of itself, by name and labels as they stand there."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")
    }


def bridged(endpoints: dict[str, Any]) -> bool:
    """Whether the bridge has brought every event to the bus, and there were some."""
    told = metrics_at(endpoints["bridge_metrics"])
    delivered = told.get('wallet_bridge_events_total{outcome="delivered"}', 0)
    return delivered > 0 and told["wallet_bridge_lag_records"] == 0
