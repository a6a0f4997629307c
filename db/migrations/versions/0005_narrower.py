"""Counting what was set apart, without reading all dead letters."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision: str | None = "0004"
branch_labels: str | None = None
depends_on: str | None = None

_INDEX = """
CREATE INDEX dead_letters_unprocessable ON dead_letters (batch_id) WHERE code = 'unprocessable'
"""


def upgrade() -> None:
    """Add it."""
    op.execute(_INDEX)


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP INDEX dead_letters_unprocessable")
