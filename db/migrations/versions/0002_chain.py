"""Create the watcher's tables: the chain as it was followed, and our coins on it."""

from __future__ import annotations

from typing import Final

from alembic import op

from db.migrations.roles import require_role

revision = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None

#: A blank line ends a statement.
_TABLES: Final = """
CREATE TABLE chain_state (
    singleton boolean DEFAULT true NOT NULL,
    genesis_hash text NOT NULL,
    birthday_height bigint NOT NULL,
    node_height bigint DEFAULT 0 NOT NULL,
    halted text,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT chain_state_pkey PRIMARY KEY (singleton),
    CONSTRAINT chain_state_one_row CHECK (singleton),
    CONSTRAINT chain_state_birthday_height_not_negative CHECK (birthday_height >= 0),
    CONSTRAINT chain_state_node_height_not_negative CHECK (node_height >= 0)
)

CREATE TABLE blocks (
    hash text NOT NULL,
    height bigint NOT NULL,
    previous_hash text NOT NULL,
    time timestamptz NOT NULL,
    active boolean NOT NULL,
    followed_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT blocks_pkey PRIMARY KEY (hash),
    CONSTRAINT blocks_height_not_negative CHECK (height >= 0)
)

CREATE UNIQUE INDEX blocks_active_height ON blocks (height)
    WHERE active

CREATE TABLE watched_scripts (
    public_key_hash bytea NOT NULL,
    address text NOT NULL,
    user_id uuid,
    account_key text NOT NULL,
    chain smallint NOT NULL,
    derivation_index bigint NOT NULL,
    CONSTRAINT watched_scripts_pkey PRIMARY KEY (public_key_hash),
    CONSTRAINT watched_scripts_account_key_chain_derivation_index_key
        UNIQUE (account_key, chain, derivation_index),
    CONSTRAINT watched_scripts_public_key_hash_length CHECK (octet_length(public_key_hash) = 20),
    CONSTRAINT watched_scripts_deposits_have_user CHECK ((user_id IS NOT NULL) = (chain = 0)),
    CONSTRAINT watched_scripts_chain_known CHECK (chain BETWEEN 0 AND 1),
    CONSTRAINT watched_scripts_derivation_index_not_negative CHECK (derivation_index >= 0)
)

CREATE TABLE coins (
    txid text NOT NULL,
    vout integer NOT NULL,
    public_key_hash bytea NOT NULL,
    amount bigint NOT NULL,
    coinbase boolean NOT NULL,
    block_hash text,
    height bigint,
    spent_height bigint,
    CONSTRAINT coins_pkey PRIMARY KEY (txid, vout),
    CONSTRAINT coins_amount_positive CHECK (amount > 0),
    CONSTRAINT coins_placed_wholly CHECK ((block_hash IS NULL) = (height IS NULL)),
    CONSTRAINT coins_vout_not_negative CHECK (vout >= 0),
    CONSTRAINT coins_height_not_negative CHECK (height >= 0),
    CONSTRAINT coins_spent_height_not_negative CHECK (spent_height >= 0)
)

CREATE INDEX coins_of_block ON coins (height)

CREATE INDEX coins_of_script ON coins (public_key_hash)

CREATE INDEX coins_unspent ON coins (amount DESC)
    WHERE height IS NOT NULL AND spent_height IS NULL

CREATE TABLE spenders (
    txid text NOT NULL,
    outputs_hash bytea NOT NULL,
    paid bigint NOT NULL,
    inputs integer NOT NULL,
    block_hash text,
    height bigint,
    CONSTRAINT spenders_pkey PRIMARY KEY (txid),
    CONSTRAINT spenders_outputs_hash_length CHECK (octet_length(outputs_hash) = 32),
    CONSTRAINT spenders_inputs_positive CHECK (inputs > 0),
    CONSTRAINT spenders_placed_wholly CHECK ((block_hash IS NULL) = (height IS NULL)),
    CONSTRAINT spenders_paid_not_negative CHECK (paid >= 0),
    CONSTRAINT spenders_height_not_negative CHECK (height >= 0)
)

CREATE INDEX spenders_of_block ON spenders (height)

CREATE TABLE spends (
    txid text NOT NULL,
    vout integer NOT NULL,
    spender_txid text NOT NULL,
    height bigint NOT NULL,
    CONSTRAINT spends_pkey PRIMARY KEY (txid, vout),
    CONSTRAINT spends_vout_not_negative CHECK (vout >= 0),
    CONSTRAINT spends_height_not_negative CHECK (height >= 0)
)

CREATE INDEX spends_of_block ON spends (height)

CREATE INDEX spends_of_spender ON spends (spender_txid)

CREATE TABLE receipts (
    txid text NOT NULL,
    vout integer NOT NULL,
    user_id uuid NOT NULL,
    address text NOT NULL,
    amount bigint NOT NULL,
    coinbase boolean NOT NULL,
    block_hash text,
    height bigint,
    sufficient boolean NOT NULL,
    required integer NOT NULL,
    creditings integer DEFAULT 0 NOT NULL,
    credited boolean DEFAULT false NOT NULL,
    seen_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT receipts_pkey PRIMARY KEY (txid, vout),
    CONSTRAINT receipts_amount_positive CHECK (amount > 0),
    CONSTRAINT receipts_required_positive CHECK (required > 0),
    CONSTRAINT receipts_credited_once_at_least CHECK (NOT credited OR creditings > 0),
    CONSTRAINT receipts_credited_is_sufficient CHECK (NOT credited OR sufficient),
    CONSTRAINT receipts_placed_wholly CHECK ((block_hash IS NULL) = (height IS NULL)),
    CONSTRAINT receipts_vout_not_negative CHECK (vout >= 0),
    CONSTRAINT receipts_height_not_negative CHECK (height >= 0),
    CONSTRAINT receipts_creditings_not_negative CHECK (creditings >= 0)
)

CREATE INDEX receipts_of_block ON receipts (height)

CREATE INDEX receipts_of_user ON receipts (user_id, height)

CREATE INDEX receipts_waiting ON receipts (height)
    WHERE sufficient AND NOT credited AND height IS NOT NULL

CREATE TABLE watcher_outbox (
    id bigint GENERATED ALWAYS AS IDENTITY,
    user_id uuid NOT NULL,
    type text NOT NULL,
    idempotency_key text NOT NULL,
    data json NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    sent_at timestamptz,
    CONSTRAINT watcher_outbox_pkey PRIMARY KEY (id),
    CONSTRAINT watcher_outbox_user_id_idempotency_key_key UNIQUE (user_id, idempotency_key),
    CONSTRAINT watcher_outbox_key_length CHECK (length(idempotency_key) BETWEEN 1 AND 255)
)

CREATE INDEX watcher_outbox_sent ON watcher_outbox (sent_at)
    WHERE sent_at IS NOT NULL

CREATE INDEX watcher_outbox_unsent ON watcher_outbox (id)
    WHERE sent_at IS NULL
"""

_TABLE_NAMES: Final = (
    "chain_state, blocks, watched_scripts, coins, spenders, spends, receipts, watcher_outbox"
)

#: It reads which addresses are ours and by which rules they are credited; no balance, no entry.
_GRANTS: Final = (
    "GRANT USAGE ON SCHEMA public TO wallet_watcher",
    "GRANT SELECT ON deposit_addresses, address_counters, deposits, rules, rules_head,"
    " alembic_version TO wallet_watcher",
    f"GRANT SELECT, INSERT ON {_TABLE_NAMES} TO wallet_watcher",
    "GRANT UPDATE ON chain_state, blocks, coins, spenders, receipts TO wallet_watcher",
    "GRANT UPDATE (sent_at) ON watcher_outbox TO wallet_watcher",
    "GRANT DELETE ON spends TO wallet_watcher",
    f"GRANT SELECT ON {_TABLE_NAMES} TO wallet_worker, wallet_api",
)


def upgrade() -> None:
    """Create the tables; refuses, with the way out, where the role is missing."""
    require_role("wallet_watcher")
    for statement in _TABLES.strip().split("\n\n"):
        op.execute(statement)
    for statement in _GRANTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop the tables; the ledger stays as it is."""
    op.execute(f"DROP TABLE {_TABLE_NAMES}")
    op.execute("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM wallet_watcher")
    op.execute("REVOKE USAGE ON SCHEMA public FROM wallet_watcher")
