"""Create the ledger: its types, tables, triggers, the house's wallet, and what each role may do."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

from db.migrations.roles import require_role

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

#: Values in the order of schemas.ledger; a blank line ends a statement, here and below.
_TYPES: Final = """
CREATE TYPE account AS ENUM (
    'available', 'bids', 'escrow', 'pending', 'chain', 'cold', 'fees', 'network_fees',
    'shortfall', 'capital', 'suspense'
)

CREATE TYPE entry_type AS ENUM (
    'DEPOSIT', 'DEPOSIT_REVERSAL', 'BID_LOCK', 'BID_UNLOCK', 'ESCROW_LOCK', 'SALE_CREDIT',
    'FEE_DEBIT', 'REFUND', 'WITHDRAWAL', 'WITHDRAWAL_REVERSAL', 'SHORTFALL_REPAYMENT',
    'NETWORK_FEE', 'CUSTODY', 'CAPITAL', 'REVENUE'
)

CREATE TYPE command_outcome AS ENUM ('accepted', 'rejected', 'replayed', 'key_reused')

CREATE TYPE withdrawal_status AS ENUM (
    'PENDING', 'PROCESSING', 'BROADCAST', 'CONFIRMED', 'FAILED'
)

CREATE TYPE escrow_status AS ENUM ('LOCKED', 'RELEASED', 'REFUNDED', 'DISPUTED')

CREATE TYPE deposit_status AS ENUM ('detected', 'credited', 'reversed')
"""

#: What the triggers call.
_FUNCTIONS: Final = """
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
$$

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'append-only: % of % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME,
            CONSTRAINT = TG_NAME,
            HINT = 'A mistake in the books is corrected by a further command, never by a change.';
END
$$
"""

#: Tables with their indexes; constraints are named, since errors are told apart by name.
_TABLES: Final = """
CREATE SEQUENCE batch_numbers AS bigint CACHE 1

CREATE TABLE wallets (
    user_id uuid NOT NULL,
    available bigint DEFAULT 0 NOT NULL,
    bids bigint DEFAULT 0 NOT NULL,
    escrow bigint DEFAULT 0 NOT NULL,
    pending bigint DEFAULT 0 NOT NULL,
    shortfall bigint DEFAULT 0 NOT NULL,
    locked bigint GENERATED ALWAYS AS (bids + escrow) STORED NOT NULL,
    frozen_by_operator boolean DEFAULT false NOT NULL,
    version bigint DEFAULT 0 NOT NULL,
    sequence bigint DEFAULT 0 NOT NULL,
    time timestamptz DEFAULT to_timestamp(0) NOT NULL,
    opened_at timestamptz DEFAULT to_timestamp(0) NOT NULL,
    CONSTRAINT wallets_pkey PRIMARY KEY (user_id),
    CONSTRAINT wallets_available_not_negative CHECK (available >= 0),
    CONSTRAINT wallets_bids_not_negative CHECK (bids >= 0),
    CONSTRAINT wallets_escrow_not_negative CHECK (escrow >= 0),
    CONSTRAINT wallets_pending_not_negative CHECK (pending >= 0),
    CONSTRAINT wallets_shortfall_not_negative CHECK (shortfall >= 0),
    CONSTRAINT wallets_version_not_negative CHECK (version >= 0),
    CONSTRAINT wallets_sequence_not_negative CHECK (sequence >= 0)
) WITH (
    fillfactor = 60,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.05
)

CREATE TABLE entries (
    id uuid NOT NULL,
    command_id uuid NOT NULL,
    user_id uuid NOT NULL,
    account account NOT NULL,
    entry_type entry_type NOT NULL,
    debit bigint NOT NULL,
    credit bigint NOT NULL,
    balance_after bigint,
    reference_type text,
    reference_id text,
    wallet_version bigint,
    created_at timestamptz NOT NULL,
    idempotency_key text GENERATED ALWAYS AS (id::text) {generated},
    CONSTRAINT entries_pkey PRIMARY KEY (id),
    CONSTRAINT entries_one_side
        CHECK (debit >= 0 AND credit >= 0 AND (debit = 0) <> (credit = 0)),
    CONSTRAINT entries_owner_has_account
        CHECK ((user_id <> '00000000-0000-8000-8000-00000000d09e')
        = (account IN ('available', 'bids', 'escrow', 'pending'))),
    CONSTRAINT entries_balance_of_users_alone
        CHECK ((balance_after IS NULL) = (user_id = '00000000-0000-8000-8000-00000000d09e')),
    CONSTRAINT entries_balance_after_not_negative CHECK (balance_after >= 0),
    CONSTRAINT entries_version_of_users
        CHECK (wallet_version IS NOT NULL OR user_id = '00000000-0000-8000-8000-00000000d09e')
) WITH (
    autovacuum_freeze_min_age = 0,
    autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_analyze_scale_factor = 0.05
)

CREATE INDEX entries_of_user ON entries (user_id, created_at)
    WHERE user_id <> '00000000-0000-8000-8000-00000000d09e'

CREATE TABLE commands (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    topic smallint NOT NULL,
    type text NOT NULL,
    idempotency_key text NOT NULL,
    request_hash bytea NOT NULL,
    outcome command_outcome NOT NULL,
    code text,
    first_id uuid,
    document json NOT NULL,
    batch_id bigint NOT NULL,
    decided_at timestamptz NOT NULL,
    CONSTRAINT commands_pkey PRIMARY KEY (id),
    CONSTRAINT commands_topic_known CHECK (topic BETWEEN 0 AND 2),
    CONSTRAINT commands_key_length CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    CONSTRAINT commands_request_hash_length CHECK (octet_length(request_hash) = 16),
    CONSTRAINT commands_accepted_without_code CHECK (outcome <> 'accepted' OR code IS NULL),
    CONSTRAINT commands_refused_with_code
        CHECK (outcome NOT IN ('rejected', 'key_reused') OR code IS NOT NULL),
    CONSTRAINT commands_later_names_first
        CHECK ((outcome IN ('replayed', 'key_reused')) = (first_id IS NOT NULL))
) WITH (
    autovacuum_freeze_min_age = 0,
    autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_analyze_scale_factor = 0.05
)

CREATE UNIQUE INDEX commands_first_of_key ON commands (user_id, topic, idempotency_key)
    WHERE outcome IN ('accepted', 'rejected')

CREATE TABLE dead_letters (
    id uuid NOT NULL,
    topic smallint NOT NULL,
    generation integer NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    code text NOT NULL,
    detail text NOT NULL,
    key bytea,
    value bytea,
    record_time timestamptz NOT NULL,
    batch_id bigint NOT NULL,
    replayed_at timestamptz,
    CONSTRAINT dead_letters_pkey PRIMARY KEY (id),
    CONSTRAINT dead_letters_topic_known CHECK (topic BETWEEN 0 AND 2)
)

CREATE TABLE deposit_addresses (
    address text NOT NULL,
    user_id uuid NOT NULL,
    account_key text NOT NULL,
    chain smallint NOT NULL,
    derivation_index bigint NOT NULL,
    active boolean NOT NULL,
    assigned_at timestamptz NOT NULL,
    CONSTRAINT deposit_addresses_pkey PRIMARY KEY (address),
    CONSTRAINT deposit_addresses_account_key_chain_derivation_index_key
        UNIQUE (account_key, chain, derivation_index),
    CONSTRAINT deposit_addresses_chain_not_negative CHECK (chain >= 0),
    CONSTRAINT deposit_addresses_derivation_index_not_negative CHECK (derivation_index >= 0)
)

CREATE UNIQUE INDEX deposit_addresses_one_active ON deposit_addresses (user_id) WHERE active

CREATE TABLE address_counters (
    account_key text NOT NULL,
    next_index bigint DEFAULT 0 NOT NULL,
    CONSTRAINT address_counters_pkey PRIMARY KEY (account_key),
    CONSTRAINT address_counters_next_index_not_negative CHECK (next_index >= 0)
)

CREATE TABLE deposits (
    txid text NOT NULL,
    vout integer NOT NULL,
    user_id uuid NOT NULL,
    address text NOT NULL,
    amount bigint NOT NULL,
    status deposit_status NOT NULL,
    creditings integer DEFAULT 0 NOT NULL,
    block_hash text,
    height bigint,
    detected_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT deposits_pkey PRIMARY KEY (txid, vout),
    CONSTRAINT deposits_amount_positive CHECK (amount > 0),
    CONSTRAINT deposits_vout_not_negative CHECK (vout >= 0),
    CONSTRAINT deposits_creditings_not_negative CHECK (creditings >= 0),
    CONSTRAINT deposits_height_not_negative CHECK (height >= 0),
    CONSTRAINT deposits_detected_is_uncredited CHECK ((status = 'detected') = (creditings = 0))
) WITH (fillfactor = 80)

CREATE INDEX deposits_of_user ON deposits (user_id)

CREATE TABLE withdrawals (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    amount bigint NOT NULL,
    fee bigint NOT NULL,
    destination_address text NOT NULL,
    status withdrawal_status NOT NULL,
    reason text,
    txid text,
    requested_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT withdrawals_pkey PRIMARY KEY (id),
    CONSTRAINT withdrawals_amount_positive CHECK (amount > 0),
    CONSTRAINT withdrawals_fee_not_negative CHECK (fee >= 0),
    CONSTRAINT withdrawals_reason_of_failed CHECK ((status = 'FAILED') = (reason IS NOT NULL)),
    CONSTRAINT withdrawals_broadcast_has_txid
        CHECK (status NOT IN ('BROADCAST', 'CONFIRMED') OR txid IS NOT NULL)
) WITH (fillfactor = 80)

CREATE INDEX withdrawals_to_pay ON withdrawals (requested_at, id) WHERE status = 'PENDING'

CREATE INDEX withdrawals_open_of_user ON withdrawals (user_id)
    WHERE status IN ('PENDING', 'PROCESSING', 'BROADCAST')

CREATE TABLE escrows (
    id uuid NOT NULL,
    order_id text NOT NULL,
    buyer_id uuid NOT NULL,
    seller_id uuid NOT NULL,
    amount bigint NOT NULL,
    fee_amount bigint NOT NULL,
    released bigint NOT NULL,
    refunded bigint NOT NULL,
    fees bigint NOT NULL,
    remaining bigint NOT NULL,
    status escrow_status NOT NULL,
    dispute_reason text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT escrows_pkey PRIMARY KEY (id),
    CONSTRAINT escrows_buyer_id_order_id_key UNIQUE (buyer_id, order_id),
    CONSTRAINT escrows_amount_positive CHECK (amount > 0),
    CONSTRAINT escrows_released_not_negative CHECK (released >= 0),
    CONSTRAINT escrows_refunded_not_negative CHECK (refunded >= 0),
    CONSTRAINT escrows_fees_not_negative CHECK (fees >= 0),
    CONSTRAINT escrows_remaining_not_negative CHECK (remaining >= 0),
    CONSTRAINT escrows_fee_within_amount CHECK (fee_amount BETWEEN 0 AND amount),
    CONSTRAINT escrows_parts_add_up CHECK (released + refunded + fees + remaining = amount),
    CONSTRAINT escrows_fees_within_fee CHECK (fees <= fee_amount),
    CONSTRAINT escrows_parties_differ CHECK (buyer_id <> seller_id),
    CONSTRAINT escrows_closed_when_empty
        CHECK ((status IN ('RELEASED', 'REFUNDED')) = (remaining = 0)),
    CONSTRAINT escrows_refunded_when_all CHECK ((status = 'REFUNDED') = (refunded = amount)),
    CONSTRAINT escrows_dispute_has_reason
        CHECK (status <> 'DISPUTED' OR dispute_reason IS NOT NULL)
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.05
)

CREATE TABLE locks (
    user_id uuid NOT NULL,
    reference_type text NOT NULL,
    reference_id text NOT NULL,
    amount bigint NOT NULL,
    CONSTRAINT locks_pkey PRIMARY KEY (user_id, reference_type, reference_id),
    CONSTRAINT locks_amount_not_negative CHECK (amount >= 0)
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.05
)

CREATE TABLE network_fees (
    txid text NOT NULL,
    amount bigint NOT NULL,
    postings integer NOT NULL,
    posted boolean NOT NULL,
    CONSTRAINT network_fees_pkey PRIMARY KEY (txid),
    CONSTRAINT network_fees_amount_positive CHECK (amount > 0),
    CONSTRAINT network_fees_postings_positive CHECK (postings >= 1)
)

CREATE TABLE rules (
    version integer NOT NULL,
    data json NOT NULL,
    command_id uuid,
    created_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT rules_pkey PRIMARY KEY (version),
    CONSTRAINT rules_version_positive CHECK (version >= 1)
)

CREATE TABLE partitions (
    topic smallint NOT NULL,
    partition integer NOT NULL,
    topic_id text,
    generation integer DEFAULT 1 NOT NULL,
    epoch bigint DEFAULT 0 NOT NULL,
    next_offset bigint DEFAULT 0 NOT NULL,
    last_offset bigint,
    last_digest bytea,
    chain bytea DEFAULT decode(repeat('00', 32), 'hex') NOT NULL,
    owner text,
    backend_pid integer,
    backend_start timestamptz,
    halted text,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT partitions_pkey PRIMARY KEY (topic, partition),
    CONSTRAINT partitions_topic_known CHECK (topic BETWEEN 0 AND 2),
    CONSTRAINT partitions_partition_fits CHECK (partition BETWEEN 0 AND 65535),
    CONSTRAINT partitions_generation_fits CHECK (generation BETWEEN 0 AND 65535),
    CONSTRAINT partitions_epoch_not_negative CHECK (epoch >= 0),
    CONSTRAINT partitions_next_offset_not_negative CHECK (next_offset >= 0),
    CONSTRAINT partitions_last_before_next CHECK (last_offset < next_offset),
    CONSTRAINT partitions_last_has_digest CHECK ((last_offset IS NULL) = (last_digest IS NULL)),
    CONSTRAINT partitions_chain_length CHECK (octet_length(chain) = 32)
) WITH (fillfactor = 20)

CREATE TABLE outbox (
    batch_id bigint NOT NULL,
    topic smallint NOT NULL,
    partition integer NOT NULL,
    first_offset bigint NOT NULL,
    last_offset bigint NOT NULL,
    frames bytea NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    published_at timestamptz,
    CONSTRAINT outbox_pkey PRIMARY KEY (topic, partition, first_offset),
    CONSTRAINT outbox_offsets_in_order CHECK (first_offset BETWEEN 0 AND last_offset)
) WITH (autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_vacuum_scale_factor = 0.05)

ALTER TABLE outbox ALTER COLUMN frames SET STORAGE EXTERNAL

CREATE TABLE rules_head (
    singleton boolean DEFAULT true NOT NULL,
    version integer NOT NULL,
    CONSTRAINT rules_head_pkey PRIMARY KEY (singleton),
    CONSTRAINT rules_head_one_row CHECK (singleton),
    CONSTRAINT rules_head_version_fkey
        FOREIGN KEY (version) REFERENCES rules (version) DEFERRABLE INITIALLY DEFERRED
)

CREATE TABLE batches (
    id bigint NOT NULL,
    rules_version integer NOT NULL,
    logic_version integer NOT NULL,
    commands integer NOT NULL,
    entries integer NOT NULL,
    owner text NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT batches_pkey PRIMARY KEY (id),
    CONSTRAINT batches_commands_not_negative CHECK (commands >= 0),
    CONSTRAINT batches_entries_not_negative CHECK (entries >= 0),
    CONSTRAINT batches_rules_version_fkey
        FOREIGN KEY (rules_version) REFERENCES rules (version) DEFERRABLE INITIALLY DEFERRED
)

CREATE TABLE batch_slices (
    batch_id bigint NOT NULL,
    topic smallint NOT NULL,
    partition integer NOT NULL,
    generation integer NOT NULL,
    first_offset bigint NOT NULL,
    last_offset bigint NOT NULL,
    commands integer NOT NULL,
    entries integer NOT NULL,
    digest bytea NOT NULL,
    chain bytea NOT NULL,
    CONSTRAINT batch_slices_pkey PRIMARY KEY (batch_id, topic, partition),
    CONSTRAINT batch_slices_offsets_in_order CHECK (first_offset BETWEEN 0 AND last_offset),
    CONSTRAINT batch_slices_commands_not_negative CHECK (commands >= 0),
    CONSTRAINT batch_slices_entries_not_negative CHECK (entries >= 0),
    CONSTRAINT batch_slices_chain_length CHECK (octet_length(chain) = 32),
    CONSTRAINT batch_slices_batch_id_fkey
        FOREIGN KEY (batch_id) REFERENCES batches (id) DEFERRABLE INITIALLY DEFERRED
)
"""

#: What no constraint can say.
_TRIGGERS: Final = """
CREATE TRIGGER entries_balanced AFTER INSERT ON entries
    REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION entries_balanced()

CREATE TRIGGER entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()

CREATE TRIGGER commands_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON commands
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()

CREATE TRIGGER rules_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON rules
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()

CREATE TRIGGER batches_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON batches
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()

CREATE TRIGGER batch_slices_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON batch_slices
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
"""

_TABLE_NAMES: Final = (
    "wallets, entries, commands, dead_letters, deposit_addresses, address_counters, deposits,"
    " withdrawals, escrows, locks, network_fees, rules, rules_head, partitions, batches,"
    " batch_slices, outbox"
)
_TYPE_NAMES: Final = (
    "account, entry_type, command_outcome, withdrawal_status, escrow_status, deposit_status"
)

#: Keys the house's commands; its money is in entries alone, so that no worker queues for the row's.
_HOUSE_WALLET: Final = """
INSERT INTO wallets (user_id) VALUES ('00000000-0000-8000-8000-00000000d09e')
"""

#: The least each role needs. FOR SHARE and FOR UPDATE ask for the right to UPDATE some column.
_GRANTS: Final = (
    "GRANT USAGE ON SCHEMA public TO wallet_worker, wallet_api",
    "GRANT SELECT ON ALL TABLES IN SCHEMA public TO wallet_worker",
    f"GRANT INSERT ON {_TABLE_NAMES} TO wallet_worker",
    "GRANT UPDATE ON wallets, address_counters, deposits, withdrawals, escrows, locks,"
    " network_fees, rules_head, partitions TO wallet_worker",
    "GRANT UPDATE (active) ON deposit_addresses TO wallet_worker",
    "GRANT UPDATE (replayed_at) ON dead_letters TO wallet_worker",
    "GRANT UPDATE (published_at) ON outbox TO wallet_worker",
    "GRANT DELETE ON outbox TO wallet_worker",
    "GRANT USAGE ON SEQUENCE batch_numbers TO wallet_worker",
    "GRANT SELECT ON wallets, entries, commands, dead_letters, deposit_addresses, deposits,"
    " withdrawals, escrows, locks, rules, rules_head, partitions, alembic_version TO wallet_api",
)


def upgrade() -> None:
    """Create everything; refuses, with the way out, where a role is missing."""
    require_role("wallet_worker", "wallet_api")
    # Before 18 there are no virtual columns: the key as text is stored.
    version: int = op.get_bind().scalar(sa.text("SHOW server_version_num"))
    generated = "VIRTUAL" if int(version) >= 180000 else "STORED"
    for script in (_TYPES, _FUNCTIONS, _TABLES.replace("{generated}", generated), _TRIGGERS):
        for statement in script.strip().split("\n\n"):
            op.execute(statement)
    op.execute(_HOUSE_WALLET)
    for statement in _GRANTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop everything, the books included."""
    op.execute(f"DROP TABLE {_TABLE_NAMES}")
    op.execute("DROP SEQUENCE batch_numbers")
    op.execute("DROP FUNCTION entries_balanced(), refuse_change()")
    op.execute(f"DROP TYPE {_TYPE_NAMES}")
    op.execute("REVOKE ALL ON alembic_version FROM wallet_worker, wallet_api")
    op.execute("REVOKE USAGE ON SCHEMA public FROM wallet_worker, wallet_api")
