"""Outcomes of orders, stranded withdrawals, and where blocks are read again from."""

from __future__ import annotations

from typing import Final

from alembic import op

revision = "0004"
down_revision: str | None = "0003"
branch_labels: str | None = None
depends_on: str | None = None

_OUTBOXES: Final = ("watcher_outbox", "payer_outbox")

_CHAIN_STATE: Final = """
ALTER TABLE chain_state
    ADD COLUMN rescan_from bigint,
    ADD COLUMN rescan_height bigint,
    ADD CONSTRAINT chain_state_rescan_height_of_rescan
        CHECK (rescan_height IS NULL OR rescan_from IS NOT NULL),
    ADD CONSTRAINT chain_state_rescan_from_not_negative CHECK (rescan_from >= 0)
"""

_STRANDED: Final = """
CREATE TABLE stranded (
    withdrawal_id uuid NOT NULL,
    height bigint NOT NULL,
    found_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT stranded_pkey PRIMARY KEY (withdrawal_id),
    CONSTRAINT stranded_height_known CHECK (height >= -1)
)
"""

_GRANTS: Final = (
    "GRANT SELECT, INSERT ON stranded TO wallet_payer",
    "GRANT UPDATE (height) ON stranded TO wallet_payer",
    "GRANT SELECT ON stranded TO wallet_worker, wallet_api",
    "GRANT SELECT ON commands TO wallet_watcher",
    "GRANT UPDATE (outcome) ON watcher_outbox TO wallet_watcher",
    "GRANT UPDATE (outcome) ON payer_outbox TO wallet_payer",
)


def upgrade() -> None:
    """Add them; what became of the orders that are there is taken over by watcher and payer."""
    op.execute(_CHAIN_STATE)
    op.execute(_STRANDED)
    for outbox in _OUTBOXES:
        op.execute(
            f"ALTER TABLE {outbox} ADD COLUMN outcome text,"
            f" ADD CONSTRAINT {outbox}_outcome_known CHECK (outcome IN ('accepted', 'rejected'))"
        )
        op.execute(f"CREATE INDEX {outbox}_undecided ON {outbox} (id) WHERE outcome IS NULL")
        op.execute(f"CREATE INDEX {outbox}_refused ON {outbox} (id) WHERE outcome = 'rejected'")
    for statement in _GRANTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop them; nothing else knows of them."""
    op.execute("REVOKE SELECT ON commands FROM wallet_watcher")
    for outbox in _OUTBOXES:
        op.execute(f"ALTER TABLE {outbox} DROP COLUMN outcome")
    op.execute("DROP TABLE stranded")
    op.execute("ALTER TABLE chain_state DROP COLUMN rescan_from, DROP COLUMN rescan_height")
