"""The migrations make what the tables say, go back to nothing, and never collide."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from sqlalchemy import create_engine, text

from db import migrate, tables
from db.engine import Connection, SchemaMismatchError, connect, require_schema
from schemas.ledger import HOUSE
from tests.conftest import Database, Databases
from tests.support.eventually import eventually

#: Everything that the tables module says about a database, as text; grants are the migration's.
CATALOG = """
SELECT 'column', c.relname || '.' || a.attname,
       concat_ws(' ', a.attnum, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated,
                 a.attstorage, a.attcompression, pg_get_expr(d.adbin, d.adrelid))
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'r'
  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
 WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT 'relation', relname, concat_ws(' ', relkind, reloptions::text) FROM pg_class
 WHERE relnamespace = 'public'::regnamespace
UNION ALL
SELECT 'toast', c.relname, t.reloptions::text
  FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid
 WHERE c.relnamespace = 'public'::regnamespace
UNION ALL
SELECT 'constraint', conname, concat_ws(' ', contype, pg_get_constraintdef(oid)) FROM pg_constraint
 WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL
SELECT 'trigger', t.tgname, concat_ws(' ', t.tgenabled, pg_get_triggerdef(t.oid)) FROM pg_trigger t
 WHERE NOT t.tgisinternal
UNION ALL
SELECT 'function', proname, pg_get_functiondef(oid) FROM pg_proc
 WHERE pronamespace = 'public'::regnamespace
UNION ALL
SELECT 'enum', t.typname, string_agg(e.enumlabel, ' ' ORDER BY e.enumsortorder)
  FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid GROUP BY t.typname
UNION ALL
SELECT 'sequence', sequencename,
       concat_ws(' ', data_type, start_value, increment_by, max_value, cycle, cache_size)
  FROM pg_sequences
"""


@pytest.fixture
def empty(databases: Databases) -> Iterator[Database]:
    """A database without a table, which the owner owns."""
    fresh = databases.fresh(migrated=False)
    yield fresh
    databases.drop(fresh.name)
    databases.made.remove(fresh.name)


def _catalog(database: Database) -> set[tuple[str, str, str]]:
    with connect(database.owner_url, application_name="test") as connection:
        return {row for row in connection.execute(CATALOG) if "alembic_version" not in str(row)}


def test_the_newest_migration_is_the_one_of_the_tables(empty: Database) -> None:
    assert migrate.head() == tables.REVISION
    assert migrate.current(empty.owner_url) is None
    migrate.upgrade(empty.owner_url)
    for url in (empty.owner_url, empty.worker_url, empty.api_url):
        assert migrate.current(url) == tables.REVISION


def test_alembic_finds_no_difference_to_the_tables(database: Database) -> None:
    assert migrate.differences(database.owner_url) == []


def test_migrated_and_created_databases_are_the_same(database: Database, empty: Database) -> None:
    engine = create_engine(empty.owner_url.replace("postgresql:", "postgresql+psycopg:", 1))
    with engine.begin() as connection:
        tables.metadata.create_all(connection)
    engine.dispose()
    created, migrated = _catalog(empty), _catalog(database)
    assert created - migrated == set()
    assert migrated - created == set()
    assert len(created) > 200


def test_down_leaves_nothing_and_up_again_makes_the_same(database: Database) -> None:
    before = _catalog(database)
    migrate.downgrade(database.owner_url)
    assert _catalog(database) == set()
    assert migrate.current(database.owner_url) is None
    with connect(database.superuser_url, application_name="test") as superuser:
        left = superuser.execute(
            "SELECT count(*) FROM pg_shdepend d JOIN pg_database b ON b.oid = d.dbid"
            " JOIN pg_roles r ON r.oid = d.refobjid WHERE b.datname = current_database()"
            " AND r.rolname IN ('wallet_worker', 'wallet_api')"
        ).fetchone()
    assert left == (0,), "a role that still has a grant cannot be dropped"
    migrate.upgrade(database.owner_url)
    assert _catalog(database) == before


def test_a_new_ledger_holds_the_houses_wallet_and_nothing_else(database: Database) -> None:
    with connect(database.worker_url, application_name="test") as connection:
        for table in tables.metadata.tables:
            if table != "wallets":
                found = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
                assert found == (0,), table
        wallets = connection.execute(
            "SELECT user_id::text, available, sequence, extract(epoch FROM time)::int FROM wallets"
        ).fetchall()
    assert wallets == [(HOUSE, 0, 0, 0)]


def test_two_migrators_at_once_do_not_collide(empty: Database) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(migrate.upgrade, [empty.owner_url] * 4))
    assert migrate.current(empty.owner_url) == migrate.head()


def test_a_migrator_lets_the_workers_go_on_where_somebody_reads_for_long(
    empty: Database,
) -> None:
    migrate.upgrade(empty.owner_url, "0006")
    worker = connect(empty.worker_url, application_name="test", autocommit=True)
    doctor = connect(empty.owner_url, application_name="test", idle_in_transaction_seconds=60.0)
    with worker, doctor, ThreadPoolExecutor() as pool:
        doctor.execute("SELECT FROM outbox")
        migrator = pool.submit(migrate.upgrade, empty.owner_url)
        eventually(lambda: waits_for_a_table(worker), "the migrator waits")
        # As long as a worker waits for a table.
        worker.execute("SET lock_timeout = 5000")
        worker.execute("DELETE FROM outbox")
        with pytest.raises(RuntimeError, match="migrate again"):
            migrator.result()
        assert migrate.current(empty.owner_url) == "0006"
        doctor.rollback()
        migrate.upgrade(empty.owner_url)
        # Its plan was made for the table as it was.
        worker.execute("DELETE FROM outbox")


def waits_for_a_table(connection: Connection) -> bool:
    return bool(
        connection.execute(
            "SELECT FROM pg_locks WHERE NOT granted AND relation IS NOT NULL"
        ).fetchall()
    )


def test_a_migration_without_the_roles_leaves_nothing_and_says_what_to_do(empty: Database) -> None:
    engine = create_engine(empty.superuser_url.replace("postgresql:", "postgresql+psycopg:", 1))
    # Renamed for this transaction alone, which nobody else sees.
    with engine.connect() as connection:
        connection.execute(text("ALTER ROLE wallet_api RENAME TO wallet_api_elsewhere"))
        with pytest.raises(RuntimeError, match=r"no role wallet_api .*CREATE ROLE"):
            migrate.upgrade_on(connection)
        connection.rollback()
    engine.dispose()
    assert _catalog(empty) == set()


def test_a_service_refuses_a_database_of_another_release(empty: Database) -> None:
    with (
        connect(empty.worker_url, application_name="test") as connection,
        pytest.raises(SchemaMismatchError, match=rf"none.*needs {tables.REVISION}.*wallet migrate"),
    ):
        require_schema(connection)
    migrate.upgrade(empty.owner_url)
    with connect(empty.worker_url, application_name="test") as connection:
        require_schema(connection)
    with psycopg.connect(empty.owner_url) as owner:
        owner.execute("UPDATE alembic_version SET version_num = '0000'")
    with (
        connect(empty.worker_url, application_name="test") as connection,
        pytest.raises(SchemaMismatchError, match="at migration 0000"),
    ):
        require_schema(connection)


def test_a_server_that_refuses_is_told_as_by_every_other_connection() -> None:
    with pytest.raises(psycopg.OperationalError, match="refused"):
        migrate.upgrade("postgresql://wallet_owner:x@127.0.0.1:1/wallet")
