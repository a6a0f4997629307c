"""Each container's exact command line, run outside of containers until it is healthy.

The servers are the fixtures' and the places are this machine's. The words of the commands, the
variables, the files with secrets, the order and the health checks are docker-compose.yml's own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
import pytest

from api.auth import mint
from schemas.settings import Settings
from streams.local import compose as secrets_of_compose
from streams.local.keys import Account, Passwords
from streams.local.process import LOOPBACK, free_port
from streams.local.roles import ROLES
from tests.conftest import PASSWORD, Databases
from tests.support.compose import SECRETS, Service, rewritten, services
from tests.support.eventually import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

#: Those are the fixtures'; what they are called with is their images' own affair.
GIVEN: Final = ("postgres", "kafka")
ONCE_SECONDS: Final = 60.0
STOP_SECONDS: Final = 15.0
_PROGRAMS: Final = str(Path(sys.executable).parent)


class Outside:
    """Where the places of the containers are on this machine."""

    def __init__(self, folder: Path, broker: str, prefix: str) -> None:
        self.folder = folder
        aws, node = free_port(), free_port()
        #: So that tests share one broker.
        self._more = {"WALLET_TOPIC_PREFIX": prefix, "WALLET_GROUP": f"{prefix}worker"}
        self._places = {
            SECRETS: str(folder / "secrets"),
            "/var/lib/node": str(folder / "node"),
            "kafka:9092": broker,
            "aws:5000": f"{LOOPBACK}:{aws}",
            "node:18332": f"{LOOPBACK}:{node}",
            "0.0.0.0": LOOPBACK,
            "5000": str(aws),
            "18332": str(node),
        }

    def words(self, argv: list[str]) -> list[str]:
        """A command as it is called here."""
        return [rewritten(word, self._places) for word in argv]

    def environment(self, service: Service) -> dict[str, str]:
        """A container's variables, with a port of its own, as it has an address of its own."""
        own = {name: rewritten(value, self._places) for name, value in service.environment.items()}
        own |= {name: str(free_port()) for name in own if name.endswith("_PORT")}
        plain = {"PATH": f"{_PROGRAMS}:{os.environ['PATH']}", "HOME": str(self.folder)}
        return {**plain, "WALLET_HOME": str(self.folder / "home"), **self._more, **own}


class Container:
    """One that runs: a process in place of it."""

    def __init__(self, service: Service, outside: Outside, name: str) -> None:
        self.name = name
        self.environment = outside.environment(service)
        self._check = outside.words(service.check)
        if self._check == ["wallet", "health"]:
            # Inside it looks at process 1, which out here is another's.
            self._check.append(service.name)
        self._once = service.runs_once
        self._log = outside.folder / f"{name}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                outside.words(service.argv),
                cwd=outside.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def await_condition(self) -> None:
        """Until it is healthy or, where it runs once, has ended well."""
        if self._once:
            assert self.process.wait(ONCE_SECONDS) == 0, self.said()
        else:
            eventually(self._healthy, f"{self.name} is healthy")

    def asked(self, *argv: str) -> bool:
        """Whether a command inside of it exits with 0."""
        done = subprocess.run(argv, env=self.environment, capture_output=True, check=False)
        return done.returncode == 0

    def said(self) -> str:
        """Its output."""
        return f"{self.name} said:\n{self._log.read_text()}"

    def stop(self) -> int:
        """As the engine does; the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        finally:
            self.process.kill()

    def _healthy(self) -> bool:
        assert self.process.poll() is None, self.said()
        return self.asked(*self._check)


@contextmanager
def composed(outside: Outside) -> Iterator[dict[str, Container]]:
    """All of the file's services but the servers, started in its order."""
    running: dict[str, Container] = {}
    try:
        for service in services().values():
            if service.name in GIVEN:
                continue
            for name in service.waits_for:
                if name not in GIVEN:
                    running[name].await_condition()
            for number in range(service.body.get("deploy", {}).get("replicas", 1)):
                name = service.name if number == 0 else f"{service.name}-{number + 1}"
                running[name] = Container(service, outside, name)
        yield running
    finally:
        for container in running.values():
            container.process.terminate()
        for container in running.values():
            container.stop()


def test_every_command_line_runs_until_its_container_is_healthy(
    databases: Databases, kafka_server: str, topics: str, tmp_path: Path
) -> None:
    server = urlsplit(databases.server)
    passwords = msgspec.structs.replace(
        Passwords.make(),
        superuser=server.password,
        # The roles are on the tests' server already, with the password that all tests share.
        **dict.fromkeys(ROLES, PASSWORD),
    )
    database = f"compose_{uuid.uuid4().hex[:12]}"
    databases.made.append(database)
    values = secrets_of_compose.contents(
        passwords,
        Account.make("regtest"),
        server=f"{server.hostname}:{server.port}",
        database=database,
    )
    secrets_of_compose.write(tmp_path / "secrets", values)
    (tmp_path / "node").mkdir()
    with composed(Outside(tmp_path, kafka_server, topics)) as running:
        for container in running.values():
            container.await_condition()
        for name in ("worker", "worker-2", "api", "bridge", "watcher", "payer", "views"):
            eventually(
                lambda name=name: running[name].asked(  # type: ignore[misc]
                    "wallet", "health", name.partition("-")[0], "--ready"
                ),
                f"{name} is ready",
            )
        assert _opened(running["api"], values["jwt_secret"]) == "0.00000000"
        # What docs/containers.md has the reader call inside of them.
        for name, *words in (
            ("api", "token", "auctions", "--service"),
            ("watcher", "chain", "status"),
            ("worker", "topics"),
            ("worker", "doctor", "--quick"),
            ("payer", "keys", "check"),
        ):
            assert running[name].asked("wallet", *words), words
        ended = {
            name: container.stop()
            for name, container in reversed(running.items())
            if name not in ("aws", "node")
        }
    assert set(ended.values()) == {0}, ended


def _opened(api: Container, secret: str) -> str:
    """What a new user has: the wallet is opened by way of broker, worker and database."""
    user = str(uuid.uuid4())
    request = urllib.request.Request(
        f"http://{LOOPBACK}:{api.environment['WALLET_API_PORT']}/api/v1/wallet/balance",
        headers={
            "Authorization": f"Bearer {mint(Settings(jwt_secret=secret), user)}",
            "Prefer": "wait=15",
        },
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        available: str = json.load(answer)["available"]
    return available
