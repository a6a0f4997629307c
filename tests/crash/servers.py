"""A database server and a broker of one's own, to be killed."""

from __future__ import annotations

import os
import secrets
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from db import migrate
from streams.local import roles
from streams.local.broker import EmbeddedKafka
from streams.local.postgres import EmbeddedPostgres
from streams.local.process import free_port
from tests.conftest import PASSWORD, PASSWORDS, Database, Databases
from tests.support.eventually import eventually


class _Killable(Protocol):
    @property
    def pid(self) -> int | None: ...

    def alive(self) -> bool: ...


class Servers:
    """Both, running; each can die and be started again on its data."""

    def __init__(self, database: EmbeddedPostgres, broker: EmbeddedKafka) -> None:
        self._database = database
        self._broker = broker
        template = f"template_{secrets.token_hex(6)}"
        roles.bootstrap(database.address, template, PASSWORDS)
        migrate.upgrade(Database.on(database.address, template).owner_url)
        self.databases = Databases(server=database.address, template=template)

    @property
    def broker(self) -> str:
        """The broker's address."""
        return self._broker.address

    def kill_database(self) -> None:
        """An immediate shutdown: no session is told, nothing is written that was not."""
        _kill(self._database, signal.SIGQUIT)

    def start_database(self) -> None:
        """Start it on its data, which it recovers."""
        self._database.start()

    def kill_broker(self) -> None:
        """It dies as the process of a machine that fails."""
        _kill(self._broker, signal.SIGKILL)

    def start_broker(self) -> None:
        """Start it on its data."""
        self._broker.start()


def _kill(server: _Killable, number: signal.Signals) -> None:
    assert server.pid is not None
    os.kill(server.pid, number)
    eventually(lambda: not server.alive(), "the server is dead")


@contextmanager
def own_servers() -> Iterator[Servers]:
    """Servers on temporary data, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="wallet-crash-", dir="/var/tmp") as folder:
        home = Path(folder)
        home.chmod(0o755)
        database = EmbeddedPostgres(home, port=free_port(), password=PASSWORD)
        broker = EmbeddedKafka(home, port=free_port())
        try:
            database.start()
            broker.start()
            yield Servers(database, broker)
        finally:
            broker.stop()
            database.stop()
