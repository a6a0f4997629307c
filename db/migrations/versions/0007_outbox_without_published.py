"""The outbox does not say what is published: the group's committed offset alone does.

``published_at`` was never written. Who read it would have taken every event for unpublished.
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision: str | None = "0006"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Drop a column that was empty."""
    op.execute("ALTER TABLE outbox DROP COLUMN published_at")


def downgrade() -> None:
    """Bring it back, and the worker's right to write it."""
    op.execute("ALTER TABLE outbox ADD COLUMN published_at timestamptz")
    op.execute("GRANT UPDATE (published_at) ON outbox TO wallet_worker")
