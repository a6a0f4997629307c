"""The README as a stranger follows it: each of its examples is run, as it stands, in one shell.

Only the API's port is another than the README says, for it may be taken here.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from streams.local.process import free_port, wait_until
from tests.docs.pages import README, blocks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PORT_TOLD: Final = "127.0.0.1:8003"
START_SECONDS: Final = 120
PART_SECONDS: Final = 400
EVENT_SECONDS: Final = 120

#: What the README says that its consumer sees of Alice, in order.
EVENTS: Final = (
    "wallet.opened",
    "address.assigned",
    "command.rejected",
    "command.rejected",
    "deposit.detected",
    "deposit.confirmed",
    "funds.locked",
    "command.replayed",
    "withdrawal.requested",
    "withdrawal.processing",
    "withdrawal.broadcast",
    "withdrawal.confirmed",
)


class Event(NamedTuple):
    """What the consumer printed of an event."""

    sequence: int
    type: str


class Reader:
    """Somebody who has cloned the project, made .venv and reads the README."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        # As `. .venv/bin/activate` would leave it.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "COLUMNS": "200"}
        for block in blocks(README):
            if block.name.endswith(".py"):
                (folder / block.name).write_text(block.code)

    def code(self, *parts: str) -> str:
        """The shell code of some parts of the README."""
        code = "\n".join(
            block.code for part in parts for block in blocks(README) if block.name == part
        )
        assert code
        return code.replace(PORT_TOLD, f"127.0.0.1:{self.port}")

    def shell(self, code: str) -> str:
        """Run it in one shell that stops at the first failure; what it said."""
        # To a file, for `wallet up --detach` leaves processes that keep a pipe open.
        with tempfile.TemporaryFile("w+") as said:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", code],
                cwd=self.folder,
                env=self.environment,
                stdout=said,
                stderr=subprocess.STDOUT,
                timeout=PART_SECONDS,
                check=False,
            )
            said.seek(0)
            text = said.read()
        assert done.returncode == 0, f"{code}\n---\n{text}"
        return text

    def events_of(self, user: str) -> list[Event]:
        """What the README's consumer prints of one user, once all that is awaited has come."""
        with tempfile.NamedTemporaryFile() as said:
            consumer = subprocess.Popen(
                self.code("consumer").split(),
                cwd=self.folder,
                env=self.environment,
                stdout=said,
                stderr=subprocess.STDOUT,
            )

            def seen() -> list[Event]:
                # By its name: who shares the consumer's file moves the place it writes at.
                lines = Path(said.name).read_text().split("\n")[:-1]
                words = [line.split(" ", 3) for line in lines if line.startswith(user)]
                return [Event(int(word[1]), word[2]) for word in words]

            try:
                assert wait_until(lambda: len(seen()) >= len(EVENTS), EVENT_SECONDS), seen()
                return seen()
            finally:
                consumer.send_signal(signal.SIGTERM)
                consumer.wait(60)


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    """The wallet runs in the reader's folder, where `make up` would have it."""
    folder = Path(tempfile.mkdtemp(prefix="wallet-readme-", dir="/var/tmp"))
    folder.chmod(0o755)
    made = Reader(folder)
    ports = " ".join(
        f"--{server}-port={free_port()}" for server in ("broker", "database", "node", "aws")
    )
    try:
        made.shell(f"wallet up --detach --api-port={made.port} {ports}")
        yield made
    finally:
        made.shell("wallet down")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def said(reader: Reader) -> str:
    """What the reader saw as a client and as a producer, and then who Alice is."""
    told = reader.shell(
        reader.code("client", "producer") + '\necho; echo "ALICE $ALICE"; echo "TOKEN $TOKEN"'
    )
    reader.environment["ALICE"] = _told(told, "ALICE")
    return told


def test_a_client_a_producer_and_a_consumer_get_what_the_readme_says(
    reader: Reader, said: str
) -> None:
    assert said.count('"code":"insufficient_funds"') == 2
    assert said.count("wallet.commands partition") == 2
    assert "payout 1 confirmed by" in said

    events = sorted(reader.events_of(_told(said, "ALICE")), key=lambda event: event.sequence)
    assert [event.type for event in events] == list(EVENTS)
    assert [event.sequence for event in events] == list(range(1, len(EVENTS) + 1))

    balance = json.loads(
        reader.shell(
            f"curl -s http://127.0.0.1:{reader.port}/api/v1/wallet/balance"
            f" -H 'Authorization: Bearer {_told(said, 'TOKEN')}'"
        )
    )
    assert (balance["available"], balance["locked"]) == ("216.50000000", "12.50000000")


def test_an_operator_plays_kills_and_finds_the_books_in_order(reader: Reader, said: str) -> None:
    shown = reader.shell(reader.code("operator"))
    assert shown.count("every outcome, event and balance is as it should be") == 2, shown
    assert shown.count("nothing was found") == 2, shown
    assert "both databases hold the same" in shown


def _told(said: str, name: str) -> str:
    (line,) = [line for line in said.splitlines() if line.startswith(f"{name} ")]
    return line.removeprefix(f"{name} ")
