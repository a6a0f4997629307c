"""The triggers by which the database itself refuses what no constraint can say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from sqlalchemy import Connection, MetaData, Table, event, text

_BALANCED_FUNCTION: Final = """\
CREATE FUNCTION entries_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wrong record;
BEGIN
    SELECT command_id, sum(debit) AS debits, sum(credit) AS credits INTO wrong
    FROM inserted GROUP BY command_id HAVING sum(debit) <> sum(credit)
    ORDER BY command_id LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'unbalanced: the entries of command % debit % and credit % koinu',
            wrong.command_id, wrong.debits, wrong.credits
            USING ERRCODE = 'check_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME,
                CONSTRAINT = TG_NAME,
                HINT = 'Insert all entries of a command in one statement; debits equal credits.';
    END IF;
    RETURN NULL;
END
$$"""

_APPEND_ONLY_FUNCTION: Final = """\
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'append-only: % of % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME,
            CONSTRAINT = TG_NAME,
            HINT = 'A mistake in the books is corrected by a further command, never by a change.';
END
$$"""

_STATUS_FUNCTION: Final = """\
CREATE FUNCTION refuse_status() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'status: % does not follow % in %', NEW.status, OLD.status, TG_TABLE_NAME
        USING ERRCODE = 'check_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME,
            CONSTRAINT = TG_NAME,
            HINT = 'What becomes of a record is decided by commands, in the order of its statuses.';
END
$$"""

#: Which status may follow which: the steps of ``processors.ledger.invariants``, any number of them
#: at once, since a batch writes what became of a record at its end alone. A test compares the two.
_FOLLOWS: Final = {
    "deposits": """CASE OLD.status
        WHEN 'detected' THEN true
        ELSE NEW.status <> 'detected' END""",
    "withdrawals": """CASE OLD.status
        WHEN 'PENDING' THEN NEW.status <> 'PENDING'
        WHEN 'FAILED' THEN false
        ELSE NEW.status NOT IN ('PENDING', 'PROCESSING') END""",
    "escrows": """CASE OLD.status
        WHEN 'LOCKED' THEN true
        WHEN 'DISPUTED' THEN NEW.status IN ('RELEASED', 'REFUNDED')
        ELSE false END""",
}

#: A statement at a time, over all that it inserted: measured as free in a batch.
_BALANCED: Final = """\
CREATE TRIGGER entries_balanced AFTER INSERT ON entries
    REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION entries_balanced()"""


def _append_only(table: str) -> str:
    """The trigger that refuses every change of a table's rows, whether it would hit one or not."""
    return (
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def _status_follows(table: str) -> str:
    """The trigger that refuses a status which cannot follow the one before.

    After the row and with a condition: a step that is known costs a comparison, and no lock that
    the row does not have already.
    """
    return (
        f"CREATE TRIGGER {table}_status_follows AFTER UPDATE OF status ON {table}"
        f" FOR EACH ROW WHEN (NOT {_FOLLOWS[table]}) EXECUTE FUNCTION refuse_status()"
    )


def _body(function: str) -> str:
    """What stands between the dollars, as the server keeps it."""
    return function.split("$$")[1].strip("\n")


#: What each function does, by its name.
BODIES: Final = {
    "entries_balanced": _body(_BALANCED_FUNCTION),
    "refuse_change": _body(_APPEND_ONLY_FUNCTION),
    "refuse_status": _body(_STATUS_FUNCTION),
}


def names(append_only_tables: Iterable[Table]) -> list[tuple[str, str]]:
    """Table and name of every trigger."""
    return [
        ("entries", "entries_balanced"),
        *((table.name, f"{table.name}_append_only") for table in append_only_tables),
        *((table, f"{table}_status_follows") for table in _FOLLOWS),
    ]


def attach(metadata: MetaData, entries: Table, append_only_tables: Iterable[Table]) -> None:
    """Let ``metadata.create_all`` make the functions and triggers too."""
    for function in (_BALANCED_FUNCTION, _APPEND_ONLY_FUNCTION, _STATUS_FUNCTION):
        event.listen(metadata, "before_create", _executing(function))
    after_create(entries, _BALANCED)
    for table in append_only_tables:
        after_create(table, _append_only(table.name))
    for name in _FOLLOWS:
        after_create(metadata.tables[name], _status_follows(name))


def after_create(table: Table, statement: str) -> None:
    """Let ``metadata.create_all`` run a statement once it has made the table."""
    event.listen(table, "after_create", _executing(statement))


def _executing(statement: str) -> Callable[..., None]:
    def listener(_target: MetaData | Table, connection: Connection, **_: object) -> None:
        connection.execute(text(statement))

    return listener
