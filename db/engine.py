"""Connections to PostgreSQL.

Every connection has time-outs on the server's side, so that a client that froze or vanished frees
its locks, and keep-alives, so that a server that vanished is noticed.
"""

from __future__ import annotations

from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from db.tables import REVISION

#: Whose rows are tuples.
Connection = psycopg.Connection[TupleRow]
Cursor = psycopg.Cursor[TupleRow]

_SCHEMES: Final = ("postgresql://", "postgresql+psycopg://", "postgres://")
#: Seconds after which a connection attempt, a dead peer or unanswered data is given up.
_CONNECT_SECONDS: Final = 10
_TCP_SECONDS: Final = 10

#: A plan is made once, for any number of keys; without a way by an index it takes another.
_BY_INDEX: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}


class DatabaseUrlError(Exception):
    """A database's address is not one of PostgreSQL."""


class SchemaMismatchError(Exception):
    """The database's tables are not those that this release was written for."""


def libpq_url(url: str) -> str:
    """The URL as libpq reads it, whichever of the usual schemes it has.

    Raises ``DatabaseUrlError`` for another scheme; the message shows the scheme alone, since the
    rest may hold a password.
    """
    for scheme in _SCHEMES:
        if url.startswith(scheme):
            return "postgresql://" + url[len(scheme) :]
    raise DatabaseUrlError(
        f"A database address starts with postgresql://, not {url.partition('://')[0][:20]!r}: "
        "postgresql://user:password@host:port/database."
    )


def parts_of(url: str) -> dict[str, str | int | None]:
    """What an address says, by libpq's names; raises ``DatabaseUrlError``."""
    try:
        return conninfo_to_dict(libpq_url(url))
    except psycopg.ProgrammingError:
        # libpq's own words may hold a part of the password.
        raise DatabaseUrlError(
            "A database address cannot be read. It is postgresql://user:password@host:port/database"
            " and libpq's own parameters; a %, for one, is written %25 in it."
        ) from None


def conninfo(
    url: str,
    *,
    application_name: str,
    statement_seconds: float = 30.0,
    idle_in_transaction_seconds: float = 5.0,
) -> dict[str, str | int]:
    """The parameters of a connection: what the URL says, and where it is silent, our own.

    ``statement_seconds`` and ``idle_in_transaction_seconds`` are enforced by the server; 0 switches
    one off.
    """
    server = {
        "statement_timeout": round(statement_seconds * 1000),
        "idle_in_transaction_session_timeout": round(idle_in_transaction_seconds * 1000),
        "timezone": "UTC",
    }
    options = " ".join(f"-c {name}={value}" for name, value in server.items())
    given = parts_of(url)
    # The later option wins on the server: what the URL asks for stands.
    given_options = given.pop("options", None)
    ours: dict[str, str | int] = {
        "application_name": application_name,
        "connect_timeout": _CONNECT_SECONDS,
        "keepalives": 1,
        "keepalives_idle": _TCP_SECONDS // 2,
        "keepalives_interval": 1,
        "keepalives_count": _TCP_SECONDS // 2,
        "tcp_user_timeout": _TCP_SECONDS * 1000,
    }
    stated = {name: value for name, value in given.items() if value is not None}
    return {**ours, **stated, "options": f"{options} {given_options or ''}".rstrip()}


def connect(
    url: str,
    *,
    application_name: str,
    autocommit: bool = False,
    statement_seconds: float = 30.0,
    idle_in_transaction_seconds: float = 5.0,
) -> psycopg.Connection[TupleRow]:
    """A connection for a worker's or an operator's own statements.

    Raises ``psycopg.OperationalError`` where the server does not answer within ten seconds or
    refuses, and ``DatabaseUrlError`` for an address that is none.
    """
    parameters = conninfo(
        url,
        application_name=application_name,
        statement_seconds=statement_seconds,
        idle_in_transaction_seconds=idle_in_transaction_seconds,
    )
    return psycopg.connect(autocommit=autocommit, **parameters)  # type: ignore[arg-type]


def look_up_by_index(connection: Connection) -> None:
    """Have each statement of a batch find its rows by an index, whatever the statistics say.

    A batch gives thousands of keys at once, to tables that grow faster than they are analysed. What
    the planner thinks best is then to read and sort a whole table, batch after batch.
    """
    for name, value in _BY_INDEX.items():
        connection.execute(f"SET {name} = {value}")


async def connect_async(
    url: str,
    *,
    application_name: str,
    autocommit: bool = True,
    statement_seconds: float = 30.0,
    idle_in_transaction_seconds: float = 5.0,
) -> psycopg.AsyncConnection[TupleRow]:
    """The same for the API; by default each statement is its own transaction, as LISTEN asks."""
    parameters = conninfo(
        url,
        application_name=application_name,
        statement_seconds=statement_seconds,
        idle_in_transaction_seconds=idle_in_transaction_seconds,
    )
    return await psycopg.AsyncConnection.connect(
        autocommit=autocommit,
        **parameters,  # type: ignore[arg-type]
    )


def schema_revision(connection: psycopg.Connection[TupleRow]) -> str | None:
    """The migration that the database is at, None where it has no tables of ours."""
    row = connection.execute("SELECT to_regclass('alembic_version') IS NOT NULL").fetchone()
    if row is None or not row[0]:
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])


def require_schema(connection: psycopg.Connection[TupleRow]) -> None:
    """Raise ``SchemaMismatchError`` unless the database is at the migration of this release."""
    found = schema_revision(connection)
    if found != REVISION:
        raise SchemaMismatchError(
            f"The database is at migration {found or 'none'}, this release needs {REVISION}: "
            "run `wallet migrate` as the owner first."
        )
