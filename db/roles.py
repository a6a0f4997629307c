"""The roles and their database, which only a superuser can make; what they may do is granted
by the migration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from db.engine import connect, parts_of

#: Owns the tables and migrates them; no service runs as it.
OWNER: Final = "wallet_owner"
#: Writes the ledger, and may not change or delete what is written.
WORKER: Final = "wallet_worker"
#: Reads.
API: Final = "wallet_api"
#: Follows the chain; of the ledger it sees what became of commands and deposits, and no balance.
WATCHER: Final = "wallet_watcher"
#: Pays withdrawals out, and can touch neither balances nor entries.
PAYER: Final = "wallet_payer"
ROLES: Final = (OWNER, WORKER, API, WATCHER, PAYER)

_APPLICATION: Final = "wallet-roles"


class RoleUrlError(Exception):
    """The address of a role's database does not say what is needed to make the role."""


def stated(urls: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The one database, and each role's password, as the roles' own addresses state them.

    Raises ``RoleUrlError``, whose text shows no password.
    """
    passwords: dict[str, str] = {}
    names = set()
    for role, url in urls.items():
        parts = parts_of(url)
        if parts.get("user") != role:
            raise RoleUrlError(
                f"The address for {role} has the user {parts.get('user') or 'none'}."
            )
        if not parts.get("password"):
            raise RoleUrlError(f"The address for {role} has no password.")
        passwords[role] = str(parts["password"])
        names.add(str(parts.get("dbname") or ""))
    if len(names) != 1 or not (name := names.pop()):
        raise RoleUrlError("The roles' addresses do not name one database.")
    return name, passwords


def ensure_roles(superuser_url: str, passwords: Mapping[str, str]) -> tuple[str, ...]:
    """Create the roles that are missing; returns their names.

    ``passwords`` has one for each of ``ROLES``. A role that is there is left as it is, its password
    too. The server, and so its log, sees only a hash (SCRAM). Raises ``ValueError`` where a
    password is missing.
    """
    lacking = [role for role in ROLES if not passwords.get(role)]
    if lacking:
        raise ValueError(f"A password is needed for {', '.join(lacking)}.")
    with connect(superuser_url, application_name=_APPLICATION, autocommit=True) as connection:
        return tuple(role for role in ROLES if _create_role(connection, role, passwords[role]))


def _create_role(connection: psycopg.Connection[TupleRow], role: str, password: str) -> bool:
    found = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).fetchone()
    if found is not None:
        return False
    hashed = connection.pgconn.encrypt_password(
        password.encode(), role.encode(), b"scram-sha-256"
    ).decode()
    statement = sql.SQL(
        "CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD {}"
    ).format(sql.Identifier(role), sql.Literal(hashed))
    try:
        connection.execute(statement)
    except psycopg.errors.DuplicateObject:
        return False  # Another set-up was faster.
    except psycopg.errors.UniqueViolation:
        return False  # The same, in the same instant.
    return True


def ensure_database(superuser_url: str, name: str, owner: str = OWNER) -> bool:
    """Create the database for its owner; returns whether it was missing.

    Texts are compared byte by byte (locale C), so that no upgrade of the system's collations can
    break the index that keeps a key from being used twice. Nobody but the owner and
    the services may connect.
    """
    with connect(superuser_url, application_name=_APPLICATION, autocommit=True) as connection:
        found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone()
        if found is not None:
            return False
        database = sql.Identifier(name)
        try:
            connection.execute(
                sql.SQL(
                    "CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'"
                ).format(database, sql.Identifier(owner))
            )
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            return False  # Another set-up was faster.
        services = sql.SQL(", ").join(sql.Identifier(role) for role in ROLES if role != owner)
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
        connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, services))
        return True
