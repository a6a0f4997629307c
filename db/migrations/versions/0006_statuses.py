"""Statuses follow one another as the decisions know it: the database refuses any other step."""

from __future__ import annotations

from typing import Final

from alembic import op

revision = "0006"
down_revision: str | None = "0005"
branch_labels: str | None = None
depends_on: str | None = None

_FUNCTION: Final = """\
CREATE FUNCTION refuse_status() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'status: % does not follow % in %', NEW.status, OLD.status, TG_TABLE_NAME
        USING ERRCODE = 'check_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME,
            CONSTRAINT = TG_NAME,
            HINT = 'What becomes of a record is decided by commands, in the order of its statuses.';
END
$$"""

#: A batch may take a record several steps on, and writes the last one alone.
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


def upgrade() -> None:
    """Have a status that cannot follow the one before refused."""
    op.execute(_FUNCTION)
    for table, follows in _FOLLOWS.items():
        op.execute(
            f"CREATE TRIGGER {table}_status_follows AFTER UPDATE OF status ON {table}"
            f" FOR EACH ROW WHEN (NOT {follows}) EXECUTE FUNCTION refuse_status()"
        )


def downgrade() -> None:
    """Leave the order of statuses to the decisions."""
    for table in _FOLLOWS:
        op.execute(f"DROP TRIGGER {table}_status_follows ON {table}")
    op.execute("DROP FUNCTION refuse_status()")
