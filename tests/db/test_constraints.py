"""The database itself refuses what is wrong: every constraint and trigger is violated once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Final

import psycopg
import pytest
from psycopg import errors, sql

from db import tables
from db.engine import connect
from processors.ledger.invariants import DEPOSIT_STEPS, ESCROW_STEPS, WITHDRAWAL_STEPS
from tests.conftest import Database, Databases
from tests.db import cases, chain_cases, payout_cases
from tests.db.cases import Case
from tests.db.rows import (
    BUYER,
    HOUSE_PAIR,
    OTHER_SIDE,
    SELLER,
    TXID,
    VALID,
    WRITER,
    insert,
    insert_all,
    place,
)

CHECKS: Final = (*cases.CHECKS, *chain_cases.CHECKS, *payout_cases.CHECKS)
UNIQUE: Final = (*cases.UNIQUE, *chain_cases.UNIQUE, *payout_cases.UNIQUE)
FOREIGN: Final = (*cases.FOREIGN, *payout_cases.FOREIGN)

#: Table to the steps that the decisions know, from a status to those that may follow it.
STEPS: Final[dict[str, Mapping[Any, frozenset[Any]]]] = {
    "deposits": DEPOSIT_STEPS,
    "withdrawals": WITHDRAWAL_STEPS,
    "escrows": ESCROW_STEPS,
}
#: What else a row says in a status, so that no constraint but the order of statuses refuses it.
_NOTHING_LEFT: Final = {"fees": 0, "remaining": 0}
BESIDE: Final[dict[str, dict[str, Any]]] = {
    "detected": {"creditings": 0},
    "credited": {"creditings": 1},
    "reversed": {"creditings": 1},
    "FAILED": {"reason": "cancelled"},
    "BROADCAST": {"reason": None, "txid": TXID},
    "CONFIRMED": {"reason": None, "txid": TXID},
    "PENDING": {"reason": None},
    "PROCESSING": {"reason": None},
    "LOCKED": {"released": 18, "refunded": 30, "fees": 2, "remaining": 50},
    "DISPUTED": {"released": 18, "refunded": 30, "fees": 2, "remaining": 50, "dispute_reason": "x"},
    "RELEASED": {"released": 70, "refunded": 30, **_NOTHING_LEFT},
    "REFUNDED": {"released": 0, "refunded": 100, **_NOTHING_LEFT},
}

#: Gives the transaction of the role that writes a table.
WriterOf = Callable[[str], psycopg.Connection]


@pytest.fixture(scope="module")
def module_database(databases: Databases) -> Iterator[Database]:
    """One database for the module: every test rolls back."""
    fresh = databases.fresh()
    yield fresh
    databases.drop(fresh.name)
    databases.made.remove(fresh.name)


@pytest.fixture
def worker(module_database: Database) -> Iterator[psycopg.Connection]:
    """A transaction of the worker's, rolled back at the end."""
    with connect(module_database.worker_url, application_name="test") as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def writer_of(module_database: Database) -> Iterator[WriterOf]:
    """A transaction of each role that is asked for, rolled back at the end."""
    opened: dict[str, psycopg.Connection] = {}
    with ExitStack() as stack:

        def writer(table: str) -> psycopg.Connection:
            role = WRITER[table]
            if role not in opened:
                url: str = getattr(module_database, f"{role}_url")
                opened[role] = stack.enter_context(connect(url, application_name="test"))
            return opened[role]

        yield writer
        for connection in opened.values():
            connection.rollback()


@pytest.fixture
def owner(module_database: Database) -> Iterator[psycopg.Connection]:
    """A transaction of the owner's, whom grants refuse nothing, rolled back at the end."""
    with connect(module_database.owner_url, application_name="test") as connection:
        yield connection
        connection.rollback()


def _sentences(cases: tuple[Case, ...]) -> list[Any]:
    return [pytest.param(one, id=one.sentence) for one in cases]


@pytest.mark.parametrize("role", sorted(set(WRITER.values())))
def test_a_valid_row_of_each_table_is_taken(writer_of: WriterOf, role: str) -> None:
    tables_of_role = [table for table in VALID if WRITER[table] == role]
    writer = writer_of(tables_of_role[0])
    insert_all(writer, tables_of_role)
    if role == "worker":
        insert(writer, "entries", *HOUSE_PAIR)
    writer.execute("SET CONSTRAINTS ALL IMMEDIATE")


@pytest.mark.parametrize("wrong", _sentences(CHECKS))
def test_check(writer_of: WriterOf, wrong: Case) -> None:
    with pytest.raises(errors.CheckViolation) as refused:
        insert(writer_of(wrong.table), wrong.table, *wrong.rows)
    assert refused.value.diag.constraint_name == wrong.constraint


@pytest.mark.parametrize("twice", _sentences(UNIQUE))
def test_unique(writer_of: WriterOf, twice: Case) -> None:
    with pytest.raises(errors.UniqueViolation) as refused:
        insert(writer_of(twice.table), twice.table, *twice.rows)
    assert refused.value.diag.constraint_name == twice.constraint


@pytest.mark.parametrize("lost", _sentences(FOREIGN))
def test_reference(writer_of: WriterOf, lost: Case) -> None:
    writer = writer_of(lost.table)
    with pytest.raises(errors.ForeignKeyViolation) as refused:
        insert(writer, lost.table, *lost.rows)
        writer.execute("SET CONSTRAINTS ALL IMMEDIATE")
    assert refused.value.diag.constraint_name == lost.constraint


def test_every_constraint_of_the_database_is_violated_above(owner: psycopg.Connection) -> None:
    there = owner.execute(
        """
        SELECT conname FROM pg_constraint
         WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
           AND conrelid <> 'alembic_version'::regclass
        UNION
        SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
         WHERE i.indisunique AND c.relnamespace = 'public'::regnamespace
           AND i.indrelid <> 'alembic_version'::regclass
        """
    )
    assert {name for (name,) in there} == {one.constraint for one in (*CHECKS, *UNIQUE, *FOREIGN)}


def test_a_later_use_of_a_key_is_kept_beside_the_first(worker: psycopg.Connection) -> None:
    later = {"outcome": "replayed", "first_id": place(1)}
    insert(worker, "commands", {}, {"id": place(2), **later}, {"id": place(3), **later})


def test_a_key_is_free_for_another_user_and_for_another_topic(worker: psycopg.Connection) -> None:
    insert(
        worker, "commands", {}, {"id": place(2), "topic": 2}, {"id": place(3), "user_id": SELLER}
    )


def test_an_old_address_stands_beside_the_active_one(worker: psycopg.Connection) -> None:
    old = {"active": False, "derivation_index": 1, "address": "nAddress2"}
    insert(worker, "deposit_addresses", {}, old)


def test_locked_is_the_sum_of_bids_and_escrow(worker: psycopg.Connection) -> None:
    insert(worker, "wallets")
    row = worker.execute("SELECT locked FROM wallets WHERE user_id = %s", [BUYER]).fetchone()
    assert row == (23,)


def test_a_locked_balance_of_more_than_63_bits_is_refused_when_written(
    worker: psycopg.Connection,
) -> None:
    with pytest.raises(errors.NumericValueOutOfRange):
        insert(worker, "wallets", {"bids": 2**62, "escrow": 2**62})


def test_an_entrys_idempotency_key_is_its_id_as_text(worker: psycopg.Connection) -> None:
    insert(worker, "entries", {}, OTHER_SIDE)
    rows = worker.execute("SELECT id::text, idempotency_key FROM entries").fetchall()
    assert [key for _, key in rows] == [entry_id for entry_id, _ in rows]
    assert len(rows) == 2


def test_entries_of_a_command_that_do_not_balance_are_refused(worker: psycopg.Connection) -> None:
    with pytest.raises(errors.CheckViolation) as refused:
        insert(worker, "entries", *HOUSE_PAIR, {}, OTHER_SIDE | {"credit": 4})
    assert refused.value.diag.constraint_name == "entries_balanced"
    assert refused.value.diag.table_name == "entries"
    assert refused.value.diag.message_primary == (
        f"unbalanced: the entries of command {place(1)} debit 5 and credit 4 koinu"
    )


def test_two_commands_do_not_balance_each_other(worker: psycopg.Connection) -> None:
    with pytest.raises(errors.CheckViolation, match="unbalanced"):
        insert(worker, "entries", {}, OTHER_SIDE | {"command_id": place(2)})


def test_amounts_whose_sum_needs_more_than_63_bits_balance(worker: psycopg.Connection) -> None:
    most = 2**63 - 1
    rows: list[dict[str, Any]] = []
    for leg in range(1, 5, 2):
        rows.append({"id": place(1, leg), "debit": most})
        rows.append(OTHER_SIDE | {"id": place(1, leg + 1), "credit": most})
    insert(worker, "entries", *rows)


@pytest.mark.parametrize("table", [table.name for table in tables.APPEND_ONLY])
@pytest.mark.parametrize("verb", ["UPDATE", "DELETE", "TRUNCATE"])
def test_not_even_the_owner_changes_what_is_written(
    owner: psycopg.Connection, table: str, verb: str
) -> None:
    insert_all(owner)
    owner.execute("SET CONSTRAINTS ALL IMMEDIATE")
    column = next(iter(VALID[table]))
    statement = {
        "UPDATE": sql.SQL("UPDATE {table} SET {column} = {column}"),
        "DELETE": sql.SQL("DELETE FROM {table}"),
        "TRUNCATE": sql.SQL("TRUNCATE {table} CASCADE"),
    }[verb]
    with pytest.raises(errors.RestrictViolation) as refused:
        owner.execute(statement.format(table=sql.Identifier(table), column=sql.Identifier(column)))
    refusing = refused.value.diag.table_name
    assert refused.value.diag.constraint_name == f"{refusing}_append_only"
    assert refused.value.diag.message_primary == f"append-only: {verb} of {refusing} is refused"
    # Truncation goes on to the tables that refer to this one, which may refuse first.
    assert refusing == table or verb == "TRUNCATE"


def test_a_change_that_would_hit_no_row_is_refused_too(owner: psycopg.Connection) -> None:
    with pytest.raises(errors.RestrictViolation):
        owner.execute("DELETE FROM entries WHERE false")


@pytest.mark.parametrize(
    ("table", "before"),
    [(table, status) for table, steps in STEPS.items() for status in steps if status is not None],
)
def test_a_status_follows_another_where_decisions_lead_from_one_to_the_other(
    worker: psycopg.Connection, table: str, before: str
) -> None:
    insert(worker, table, BESIDE[before] | {"status": before})
    accepted = {after for after in STEPS[table] if after and _is_taken(worker, table, after)}
    assert accepted == _reached(STEPS[table], before)


def _is_taken(worker: psycopg.Connection, table: str, after: str) -> bool:
    """Whether the row may be given a status; it is as before afterwards."""
    changes = BESIDE[after] | {"status": after}
    columns = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in changes
    )
    try:
        with worker.transaction(force_rollback=True):
            worker.execute(
                sql.SQL("UPDATE {} SET {}").format(sql.Identifier(table), columns), changes
            )
    except errors.CheckViolation as refused:
        # By nothing else than this: the row is valid in itself.
        assert refused.diag.constraint_name == f"{table}_status_follows"
        return False
    return True


def _reached(steps: Mapping[Any, frozenset[Any]], before: str) -> set[str]:
    """What any number of steps leads to, since a batch writes the last of them alone."""
    reached: set[str] = set()
    ahead = set(steps[before])
    while ahead:
        status = ahead.pop()
        reached.add(status)
        ahead |= steps[status] - reached
    return reached
