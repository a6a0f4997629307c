"""Alembic from code: bring a database to a revision, tell where it is, one migrator at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import errors
from sqlalchemy import Connection, NullPool, create_engine, exc, text

from db.engine import connect, libpq_url, schema_revision
from db.tables import metadata

#: Names the lock that migrators of one database queue for: "wallet" in ASCII.
_LOCK: Final = 0x77616C6C6574
_APPLICATION: Final = "wallet-migrate"
#: How long a table is waited for. Whoever wants it next waits behind the migrator, the workers
#: first, who wait for 5 s before they begin anew; and a doctor may read for an hour.
_PATIENCE_MS: Final = 3_000


def upgrade(owner_url: str, revision: str = "head") -> None:
    """Migrate up to ``revision``, all or nothing, as the owner of the tables.

    A second migrator waits for the first and then finds nothing to do. Raises ``RuntimeError``
    with the way out where the roles of the service are missing, and where somebody has a table for
    long.
    """
    with _connection(owner_url) as connection:
        upgrade_on(connection, revision)


def upgrade_on(connection: Connection, revision: str = "head") -> None:
    """The same within the caller's own transaction."""
    command.upgrade(_config(connection), revision)


def downgrade(owner_url: str, revision: str = "base") -> None:
    """Migrate down to ``revision``; ``base`` leaves nothing of ours, the books included."""
    with _connection(owner_url) as connection:
        command.downgrade(_config(connection), revision)


def current(url: str) -> str | None:
    """The revision that the database is at, None before the first migration."""
    with connect(url, application_name=_APPLICATION, autocommit=True) as connection:
        return schema_revision(connection)


def head() -> str:
    """The newest revision that this release knows."""
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    if newest is None:
        raise RuntimeError("This installation lacks its migrations; install the package again.")
    return newest


def differences(owner_url: str) -> list[object]:
    """What Alembic would change to make the database like ``db.tables``; empty if nothing."""
    with _connection(owner_url) as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        return list(compare_metadata(context, metadata))


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", "db:migrations")
    if connection is not None:
        config.attributes["connection"] = connection
    return config


@contextmanager
def _connection(url: str) -> Iterator[Connection]:
    """One transaction that holds the migrators' lock until its end."""
    address = libpq_url(url)
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: connect(
            address,
            application_name=_APPLICATION,
            statement_seconds=0,
            idle_in_transaction_seconds=0,
        ),
        poolclass=NullPool,
    )
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(engine.begin())
        except exc.OperationalError as fault:
            # As every other connection of ours says that its server is away.
            raise (fault.orig or fault) from None
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        connection.execute(text(f"SET LOCAL lock_timeout = {_PATIENCE_MS}"))
        try:
            yield connection
        except exc.OperationalError as fault:
            if isinstance(fault.orig, errors.LockNotAvailable):
                raise RuntimeError(
                    "Somebody has a table for long, a doctor, a rebuild or a backup perhaps. "
                    "Nothing is changed, so that the workers need not wait too: migrate again "
                    "when they are done."
                ) from None
            raise
