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


def attach(metadata: MetaData, entries: Table, append_only_tables: Iterable[Table]) -> None:
    """Let ``metadata.create_all`` make the functions and triggers too."""
    for function in (_BALANCED_FUNCTION, _APPEND_ONLY_FUNCTION):
        event.listen(metadata, "before_create", _executing(function))
    after_create(entries, _BALANCED)
    for table in append_only_tables:
        after_create(table, _append_only(table.name))


def after_create(table: Table, statement: str) -> None:
    """Let ``metadata.create_all`` run a statement once it has made the table."""
    event.listen(table, "after_create", _executing(statement))


def _executing(statement: str) -> Callable[..., None]:
    def listener(_target: MetaData | Table, connection: Connection, **_: object) -> None:
        connection.execute(text(statement))

    return listener
