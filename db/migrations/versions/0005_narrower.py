"""Narrower rights: outcomes without their documents for watcher and payer, and of what the worker
may change only what changes. Who owes has nothing available. What was set apart is counted fast."""

from __future__ import annotations

from typing import Final

from alembic import op

revision = "0005"
down_revision: str | None = "0004"
branch_labels: str | None = None
depends_on: str | None = None

_INDEX: Final = """
CREATE INDEX dead_letters_unprocessable ON dead_letters (batch_id) WHERE code = 'unprocessable'
"""

_OWES: Final = """
ALTER TABLE wallets
    ADD CONSTRAINT wallets_nothing_available_while_owing CHECK (shortfall = 0 OR available = 0)
"""

#: Neither the document, which holds the user's balance, nor the request.
_OUTCOME: Final = "id, user_id, topic, type, idempotency_key, outcome, code, decided_at"

#: What a row is about stays; what becomes of it changes.
_CHANGING: Final = {
    "wallets": "available, bids, escrow, pending, shortfall, frozen_by_operator, version, sequence,"
    " time, opened_at",
    "address_counters": "next_index",
    "deposits": "status, creditings, block_hash, height, updated_at",
    "withdrawals": "status, reason, txid, updated_at",
    "escrows": "released, refunded, fees, remaining, status, dispute_reason, updated_at",
    "locks": "amount",
    "network_fees": "postings, posted",
}


def upgrade() -> None:
    """Take the wider rights, and give the narrower ones; refuses where a wallet that owes has
    money available."""
    op.execute(_INDEX)
    op.execute(_OWES)
    for role in ("wallet_watcher", "wallet_payer"):
        op.execute(f"REVOKE SELECT ON commands FROM {role}")
        op.execute(f"GRANT SELECT ({_OUTCOME}) ON commands TO {role}")
    for table, columns in _CHANGING.items():
        op.execute(f"REVOKE UPDATE ON {table} FROM wallet_worker")
        op.execute(f"GRANT UPDATE ({columns}) ON {table} TO wallet_worker")


def downgrade() -> None:
    """Give the wider rights back."""
    for table, columns in _CHANGING.items():
        op.execute(f"REVOKE UPDATE ({columns}) ON {table} FROM wallet_worker")
        op.execute(f"GRANT UPDATE ON {table} TO wallet_worker")
    for role in ("wallet_watcher", "wallet_payer"):
        op.execute(f"REVOKE SELECT ({_OUTCOME}) ON commands FROM {role}")
        op.execute(f"GRANT SELECT ON commands TO {role}")
    op.execute("ALTER TABLE wallets DROP CONSTRAINT wallets_nothing_available_while_owing")
    op.execute("DROP INDEX dead_letters_unprocessable")
