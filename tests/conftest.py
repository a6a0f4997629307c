"""What the tests share: one database server and one broker a run, and a fresh database a test.

``TEST_DATABASE_URL`` (a superuser's) and ``TEST_KAFKA_BOOTSTRAP`` name servers that a developer
keeps running (``make servers`` starts some); otherwise they are started on temporary data.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import hypothesis
import psycopg
import pytest
from psycopg import sql

from api.home import stop_leftovers
from db import migrate
from schemas.settings import Settings
from streams.local import roles, stack
from streams.local.process import free_port, record, recorded
from streams.logs import JsonFormatter

#: Fixtures of their own file: nodes of a chain.
pytest_plugins = ["tests.support.nodes"]

#: Where this run's servers live: not below a folder that only root may walk into.
TEMPORARY: Final = Path("/var/tmp")
PREFIX: Final = "wallet-test-"
OWNER_FILE: Final = "owner.pid"

#: The throw-away servers listen on the loopback alone, so their passwords need no secret.
PASSWORD: Final = "test"
PASSWORDS: Final = dict.fromkeys(roles.ROLES, PASSWORD)


# What is tested is never how fast a busy machine draws or runs an example.
hypothesis.settings.register_profile(
    "wallet", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("wallet")


def pytest_configure(config: pytest.Config) -> None:
    """Keep the settings of a developer's shell out of the tests."""
    for name in [name for name in os.environ if name.startswith("WALLET_")]:
        del os.environ[name]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: begun last, each would be waited for while nothing else runs."""
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def logs_where_they_were() -> Iterator[None]:
    """A command that a test runs in this process turns all of its logs to that test's screen, which
    later tests do not have: what is logged then would stand among what another command says."""
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)
    for handler in [each for each in root.handlers if isinstance(each.formatter, JsonFormatter)]:
        root.removeHandler(handler)
    logging.captureWarnings(False)


@dataclass(frozen=True, kw_only=True)
class Database:
    """A migrated database of one test's own, by the URL of each role."""

    name: str
    superuser_url: str
    owner_url: str
    worker_url: str
    api_url: str
    watcher_url: str
    payer_url: str

    @classmethod
    def on(cls, server: str, name: str) -> Database:
        """The URLs of the database ``name`` on the server that the superuser's URL names."""
        return cls(
            name=name,
            superuser_url=roles.url_as(server, name),
            owner_url=roles.url_as(server, name, roles.OWNER, PASSWORD),
            worker_url=roles.url_as(server, name, roles.WORKER, PASSWORD),
            api_url=roles.url_as(server, name, roles.API, PASSWORD),
            watcher_url=roles.url_as(server, name, roles.WATCHER, PASSWORD),
            payer_url=roles.url_as(server, name, roles.PAYER, PASSWORD),
        )


@dataclass(kw_only=True)
class Databases:
    """Makes databases on one server, each a copy of one migrated template."""

    server: str
    template: str
    made: list[str] = field(default_factory=list)

    def fresh(self, *, migrated: bool = True) -> Database:
        """A new database; ``migrated=False`` gives an empty one that the owner owns."""
        name = f"test_{secrets.token_hex(6)}"
        statement = sql.SQL("CREATE DATABASE {} OWNER wallet_owner TEMPLATE {}")
        source = self.template if migrated else "template0"
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute(statement.format(sql.Identifier(name), sql.Identifier(source)))
        self.made.append(name)
        return Database.on(self.server, name)

    def drop(self, name: str) -> None:
        """Remove a database, and whoever is still connected to it."""
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute(statement.format(sql.Identifier(name)))


def sweep_killed_runs() -> None:
    """Stop and remove the servers of runs that were killed, and so could not do it themselves."""
    for owner in TEMPORARY.glob(f"{PREFIX}*/{OWNER_FILE}"):
        if recorded(owner) is None:
            stop_leftovers(owner.parent)
            shutil.rmtree(owner.parent, ignore_errors=True)


@pytest.fixture(scope="session")
def servers_home() -> Iterator[Path]:
    """A folder for this run's servers that every user may walk into, as the database needs it."""
    sweep_killed_runs()
    home = Path(tempfile.mkdtemp(prefix=PREFIX, dir=TEMPORARY))
    home.chmod(0o755)
    record(home / OWNER_FILE, os.getpid())
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(servers_home: Path) -> Iterator[str]:
    """A superuser's URL of the one database server of this run."""
    # A developer's, who keeps some running, or none.
    given = os.environ.get("TEST_DATABASE_URL", "")
    server = stack.provide_postgres(servers_home, port=free_port(), password=PASSWORD, given=given)
    server.start()
    yield server.address
    server.stop()


@pytest.fixture(scope="session")
def kafka_server(servers_home: Path) -> Iterator[str]:
    """The address of the one broker of this run."""
    given = os.environ.get("TEST_KAFKA_BOOTSTRAP", "")
    server = stack.provide_kafka(servers_home, port=free_port(), given=given)
    server.start()
    yield server.address
    server.stop()


@pytest.fixture(scope="session")
def databases(postgres_server: str) -> Iterator[Databases]:
    """Makes databases for tests that need more than one; all are dropped at the end."""
    template = f"template_{secrets.token_hex(6)}"
    roles.bootstrap(postgres_server, template, PASSWORDS)
    migrate.upgrade(Database.on(postgres_server, template).owner_url)
    made = Databases(server=postgres_server, template=template)
    yield made
    for name in [*made.made, template]:
        made.drop(name)


@pytest.fixture
def database(databases: Databases) -> Iterator[Database]:
    """A fresh, migrated database of the test's own."""
    fresh = databases.fresh()
    yield fresh
    databases.drop(fresh.name)
    databases.made.remove(fresh.name)


@pytest.fixture
def topics(kafka_server: str) -> str:
    """A prefix for the names of the test's topics, so that all tests share one broker."""
    return f"t{secrets.token_hex(6)}."


@pytest.fixture
def settings(database: Database, kafka_server: str, topics: str, tmp_path: Path) -> Settings:
    """Settings of a service on the test's own database and topics, which are not made yet."""
    return Settings(
        home=str(tmp_path / ".wallet"),
        database_url=database.owner_url,
        worker_database_url=database.worker_url,
        api_database_url=database.api_url,
        topic_prefix=topics,
        group=f"{topics}worker",
        partitions=4,
        jwt_secret="a secret of the tests, long enough for HS256",
        kafka={"bootstrap.servers": kafka_server},
    )
