"""Each role may do the least it needs; tried by real connections as each of them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from types import MappingProxyType
from typing import Final, NamedTuple

import psycopg
import pytest
from psycopg import errors, sql

from db import roles
from db.engine import connect
from db.tables import metadata
from schemas.ledger import HOUSE
from tests.conftest import PASSWORDS, Database, Databases
from tests.db.rows import CHAIN_ROWS, LEDGER_ROWS, PAYOUT_ROWS, VALID, insert_all

TABLES: Final = sorted(metadata.tables)
_LEDGER: Final = frozenset(LEDGER_ROWS)
_CHAIN: Final = frozenset(CHAIN_ROWS)
_PAYOUTS: Final = frozenset(PAYOUT_ROWS)


class Rights(NamedTuple):
    """What a service may do, by table."""

    reads: frozenset[str]
    #: The columns that it may read, of tables that it may not read whole.
    parts: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    adds: frozenset[str] = frozenset()
    #: The columns that it may change; None stands for all of a table's.
    changes: Mapping[str, tuple[str, ...] | None] = MappingProxyType({})
    deletes: frozenset[str] = frozenset()


#: What became of a command, without the document, which holds the user's balance.
_OUTCOME: Final = MappingProxyType(
    {
        "commands": (
            *("id", "user_id", "topic", "type", "idempotency_key", "outcome", "code"),
            "decided_at",
        )
    }
)

RIGHTS: Final[Mapping[str, Rights]] = {
    "worker": Rights(
        reads=_LEDGER | _CHAIN | _PAYOUTS,
        adds=_LEDGER,
        changes={
            "wallets": (
                *("available", "bids", "escrow", "pending", "shortfall", "frozen_by_operator"),
                *("version", "sequence", "time", "opened_at"),
            ),
            "address_counters": ("next_index",),
            "deposits": ("status", "creditings", "block_hash", "height", "updated_at"),
            "withdrawals": ("status", "reason", "txid", "updated_at"),
            "escrows": (
                *("released", "refunded", "fees", "remaining", "status"),
                *("dispute_reason", "updated_at"),
            ),
            "locks": ("amount",),
            "network_fees": ("postings", "posted"),
            "rules_head": None,
            "partitions": None,
            "deposit_addresses": ("active",),
            "dead_letters": ("replayed_at",),
        },
        deletes=frozenset({"outbox"}),
    ),
    "api": Rights(
        reads=(_LEDGER | _CHAIN | _PAYOUTS)
        - {"outbox", "batches", "batch_slices", "address_counters", "network_fees"}
    ),
    "watcher": Rights(
        reads=_CHAIN | {"deposit_addresses", "address_counters", "deposits", "rules", "rules_head"},
        parts=_OUTCOME,
        adds=_CHAIN,
        changes={
            "chain_state": None,
            "blocks": None,
            "coins": None,
            "spenders": None,
            "receipts": None,
            "watcher_outbox": ("sent_at", "outcome"),
        },
        deletes=frozenset({"spends"}),
    ),
    "payer": Rights(
        reads=(_PAYOUTS | _CHAIN | {"withdrawals", "rules", "rules_head"}) - {"watcher_outbox"},
        parts=_OUTCOME,
        adds=_PAYOUTS | {"watched_scripts"},
        changes={
            "change_counters": None,
            "payouts": None,
            "payout_versions": None,
            "claims": None,
            "stranded": ("height",),
            "payer_outbox": ("sent_at", "outcome"),
        },
        deletes=frozenset({"reservations"}),
    ),
}
SERVICES: Final = tuple(RIGHTS)

#: Gives a connection as the role of a service.
AsRole = Callable[[str], psycopg.Connection]


@pytest.fixture(scope="module")
def module_database(databases: Databases) -> Iterator[Database]:
    """One database with a row in every table."""
    fresh = databases.fresh()
    with connect(fresh.owner_url, application_name="test") as connection:
        insert_all(connection)
    yield fresh
    databases.drop(fresh.name)
    databases.made.remove(fresh.name)


@pytest.fixture
def as_role(module_database: Database) -> Iterator[Callable[[str], psycopg.Connection]]:
    """A connection as the role of a service; what it does is rolled back."""
    opened: list[psycopg.Connection] = []
    with ExitStack() as stack:

        def enter(role: str) -> psycopg.Connection:
            url: str = getattr(module_database, f"{role}_url")
            opened.append(stack.enter_context(connect(url, application_name="test")))
            return opened[-1]

        yield enter
        for connection in opened:
            connection.rollback()


def _may(connection: psycopg.Connection, statement: str, *names: str) -> bool:
    """Whether the server lets the role do it; the attempt leaves no trace."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
    except errors.InsufficientPrivilege:
        return False
    return True


def _columns_updated(connection: psycopg.Connection, table: str) -> set[str]:
    return {
        column
        for column in _writable(table)
        if _may(connection, "UPDATE {} SET {} = {} WHERE false", table, column, column)
    }


def _writable(table: str) -> list[str]:
    """The columns that the server does not fill by itself."""
    return [
        column.name
        for column in metadata.tables[table].columns
        if not column.computed and column.identity is None
    ]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_reads_and_adds_to_what_it_must_and_nothing_else(
    as_role: AsRole, service: str, table: str
) -> None:
    connection, rights = as_role(service), RIGHTS[service]
    whole = [column.name for column in metadata.tables[table].columns]
    readable = {name for name in whole if _may(connection, "SELECT {} FROM {}", name, table)}
    assert readable == set(whole if table in rights.reads else rights.parts.get(table, ()))
    column = next(name for name in VALID[table] if name in _writable(table))
    adds = _may(connection, "INSERT INTO {} ({}) SELECT NULL WHERE false", table, column)
    assert adds == (table in rights.adds)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_changes_what_it_must_and_nothing_else(
    as_role: AsRole, service: str, table: str
) -> None:
    connection, rights = as_role(service), RIGHTS[service]
    changed = _columns_updated(connection, table)
    if table not in rights.changes:
        assert changed == set()
        # Who may change no row may not lock one either, and so keep others from it.
        assert not _may(connection, "SELECT FROM {} FOR SHARE", table)
    elif (columns := rights.changes[table]) is not None:
        assert changed == set(columns)
    else:
        assert changed == set(_writable(table))


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_deletes_what_it_must_and_nothing_else(
    as_role: AsRole, service: str, table: str
) -> None:
    deletes = _may(as_role(service), "DELETE FROM {}", table)
    assert deletes == (table in RIGHTS[service].deletes)


@pytest.mark.parametrize("service", sorted(set(SERVICES) - {"worker"}))
def test_the_worker_alone_draws_numbers_of_batches(as_role: AsRole, service: str) -> None:
    assert not _may(as_role(service), "SELECT nextval('batch_numbers')")


def test_the_worker_locks_the_rules_shared_and_draws_numbers(as_role: AsRole) -> None:
    worker = as_role("worker")
    worker.execute("SELECT version FROM rules_head FOR SHARE")
    first = worker.execute("SELECT nextval('batch_numbers')").fetchone()
    second = worker.execute("SELECT nextval('batch_numbers')").fetchone()
    assert first is not None
    assert second == (first[0] + 1,)
    assert not _may(worker, "SELECT setval('batch_numbers', 1)")


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE outbox",
        "ALTER TABLE entries DISABLE TRIGGER ALL",
        "ALTER TABLE wallets DROP CONSTRAINT wallets_available_not_negative",
        "DROP TABLE outbox",
        "DROP FUNCTION refuse_change() CASCADE",
        "CREATE TABLE mine (id int)",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE sql AS ''",
        "UPDATE alembic_version SET version_num = '0'",
        "SET session_replication_role = replica",
        "SET ROLE wallet_owner",
        "CREATE ROLE other",
        "COPY wallets TO PROGRAM 'true'",
    ],
)
def test_no_service_changes_the_tables_or_its_own_rights(
    as_role: AsRole, service: str, statement: str
) -> None:
    assert not _may(as_role(service), statement)


def test_the_owner_is_no_superuser(module_database: Database) -> None:
    with connect(module_database.owner_url, application_name="test") as owner:
        row = owner.execute(
            "SELECT rolsuper, rolcreatedb, rolcreaterole, rolbypassrls, rolreplication"
            " FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        assert row == (False,) * 5
        assert not _may(owner, "SET session_replication_role = replica")


def test_a_worker_ends_a_stuck_backend_of_its_own_role(module_database: Database) -> None:
    stuck = connect(module_database.worker_url, application_name="stuck")
    stuck.execute("SELECT FROM wallets WHERE user_id = %s FOR UPDATE", [HOUSE])
    with connect(module_database.worker_url, application_name="test", autocommit=True) as worker:
        row = worker.execute(
            "SELECT pid, backend_start IS NOT NULL, pg_terminate_backend(pid, 5000)"
            " FROM pg_stat_activity WHERE application_name = 'stuck' AND datname = %s",
            [module_database.name],
        ).fetchone()
        assert row == (stuck.info.backend_pid, True, True)
        worker.execute("SELECT FROM wallets WHERE user_id = %s FOR UPDATE NOWAIT", [HOUSE])
    with pytest.raises(psycopg.OperationalError):
        stuck.execute("SELECT 1")
    stuck.close()


def test_a_worker_does_not_end_a_backend_of_another_role(module_database: Database) -> None:
    with (
        connect(module_database.owner_url, application_name="test") as owner,
        connect(module_database.worker_url, application_name="test") as worker,
    ):
        assert not _may(worker, f"SELECT pg_terminate_backend({owner.info.backend_pid})")
        assert owner.execute("SELECT 1").fetchone() == (1,)


def test_the_api_hears_what_the_worker_notifies(module_database: Database) -> None:
    with (
        connect(module_database.api_url, application_name="test", autocommit=True) as api,
        connect(module_database.worker_url, application_name="test") as worker,
    ):
        api.execute("LISTEN wallet_passed")
        worker.execute("SELECT pg_notify('wallet_passed', '0:3:17')")
        worker.commit()
        heard = list(api.notifies(timeout=10, stop_after=1))
    assert [(note.channel, note.payload) for note in heard] == [("wallet_passed", "0:3:17")]


def test_roles_and_database_are_made_once(postgres_server: str, databases: Databases) -> None:
    assert roles.ensure_roles(postgres_server, PASSWORDS) == ()
    name = f"test_{secrets.token_hex(6)}"
    databases.made.append(name)
    assert roles.ensure_database(postgres_server, name)
    assert not roles.ensure_database(postgres_server, name)
    database = Database.on(postgres_server, name)
    for role in ("owner", *SERVICES):
        url: str = getattr(database, f"{role}_url")
        with connect(url, application_name="test") as connection:
            row = connection.execute(
                "SELECT datcollate, pg_encoding_to_char(encoding), pg_get_userbyid(datdba)"
                " FROM pg_database WHERE datname = current_database()"
            ).fetchone()
            assert row == ("C", "UTF8", "wallet_owner")


def test_a_role_without_a_password_is_refused(postgres_server: str) -> None:
    with pytest.raises(ValueError, match="wallet_worker, wallet_api, wallet_watcher, wallet_payer"):
        roles.ensure_roles(postgres_server, {roles.OWNER: "x", roles.API: ""})


def test_nobody_but_the_five_roles_connects(postgres_server: str, databases: Databases) -> None:
    name = f"test_{secrets.token_hex(6)}"
    databases.made.append(name)
    roles.ensure_database(postgres_server, name)
    with connect(postgres_server, application_name="test") as superuser:
        row = superuser.execute(
            "SELECT datacl::text FROM pg_database WHERE datname = %s", [name]
        ).fetchone()
    assert row is not None
    grantees = {entry.partition("=")[0] for entry in row[0].strip("{}").split(",")}
    assert grantees == set(roles.ROLES)
