"""Create the payer's tables: which coins pay which withdrawals, in which versions."""

from __future__ import annotations

from typing import Final

from alembic import op

from db.migrations.roles import require_role

revision = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None

_TYPES: Final = """
CREATE TYPE payout_kind AS ENUM ('withdrawals', 'consolidation', 'sweep')

CREATE TYPE payout_status AS ENUM ('reserved', 'signed', 'broadcast', 'confirmed', 'failed')

"""

#: A blank line ends a statement.
_TABLES: Final = """
CREATE TABLE change_counters (
    account_key text NOT NULL,
    next_index bigint DEFAULT 0 NOT NULL,
    CONSTRAINT change_counters_pkey PRIMARY KEY (account_key),
    CONSTRAINT change_counters_next_index_not_negative CHECK (next_index >= 0)
)

CREATE TABLE payouts (
    id bigint GENERATED ALWAYS AS IDENTITY,
    kind payout_kind NOT NULL,
    status payout_status NOT NULL,
    target_address text,
    confirmed_txid text,
    confirmations_told integer DEFAULT 0 NOT NULL,
    failure text,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT payouts_pkey PRIMARY KEY (id),
    CONSTRAINT payouts_sweep_has_target CHECK ((kind = 'sweep') = (target_address IS NOT NULL)),
    CONSTRAINT payouts_confirmed_has_txid
        CHECK ((status = 'confirmed') = (confirmed_txid IS NOT NULL)),
    CONSTRAINT payouts_failure_of_failed CHECK ((status = 'failed') = (failure IS NOT NULL)),
    CONSTRAINT payouts_confirmations_told_not_negative CHECK (confirmations_told >= 0)
)

CREATE INDEX payouts_open ON payouts (id)
    WHERE status IN ('reserved', 'signed', 'broadcast')

CREATE TABLE payout_versions (
    payout_id bigint NOT NULL,
    version integer NOT NULL,
    template json NOT NULL,
    fee bigint NOT NULL,
    raw bytea,
    txid text,
    outputs_hash bytea,
    created_at timestamptz DEFAULT now() NOT NULL,
    signed_at timestamptz,
    first_sent_at timestamptz,
    last_sent_at timestamptz,
    last_sent_tip text,
    sends integer DEFAULT 0 NOT NULL,
    last_answer text,
    CONSTRAINT payout_versions_pkey PRIMARY KEY (payout_id, version),
    CONSTRAINT payout_versions_txid_key UNIQUE (txid),
    CONSTRAINT payout_versions_signed_wholly
        CHECK ((raw IS NULL) = (txid IS NULL) AND (raw IS NULL) = (signed_at IS NULL)
            AND (raw IS NULL) = (outputs_hash IS NULL)),
    CONSTRAINT payout_versions_outputs_hash_length CHECK (octet_length(outputs_hash) = 32),
    CONSTRAINT payout_versions_sent_after_signed CHECK (first_sent_at IS NULL OR raw IS NOT NULL),
    CONSTRAINT payout_versions_version_positive CHECK (version >= 1),
    CONSTRAINT payout_versions_fee_not_negative CHECK (fee >= 0),
    CONSTRAINT payout_versions_sends_not_negative CHECK (sends >= 0),
    CONSTRAINT payout_versions_payout_id_fkey FOREIGN KEY (payout_id) REFERENCES payouts (id)
)

CREATE TABLE reservations (
    txid text NOT NULL,
    vout integer NOT NULL,
    payout_id bigint NOT NULL,
    reserved_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT reservations_pkey PRIMARY KEY (txid, vout),
    CONSTRAINT reservations_vout_not_negative CHECK (vout >= 0),
    CONSTRAINT reservations_payout_id_fkey FOREIGN KEY (payout_id) REFERENCES payouts (id)
)

CREATE INDEX reservations_of_payout ON reservations (payout_id)

CREATE TABLE claims (
    withdrawal_id uuid NOT NULL,
    user_id uuid NOT NULL,
    amount bigint NOT NULL,
    destination_address text NOT NULL,
    attempts integer DEFAULT 1 NOT NULL,
    outcome text,
    code text,
    payout_id bigint,
    claimed_at timestamptz DEFAULT now() NOT NULL,
    settled_at timestamptz,
    CONSTRAINT claims_pkey PRIMARY KEY (withdrawal_id),
    CONSTRAINT claims_amount_positive CHECK (amount > 0),
    CONSTRAINT claims_outcome_known CHECK (outcome IN ('accepted', 'rejected')),
    CONSTRAINT claims_attempts_positive CHECK (attempts >= 1),
    CONSTRAINT claims_code_of_rejected
        CHECK ((outcome IS NOT DISTINCT FROM 'rejected') = (code IS NOT NULL)),
    CONSTRAINT claims_settled_wholly CHECK ((outcome IS NULL) = (settled_at IS NULL)),
    CONSTRAINT claims_paid_if_accepted
        CHECK (payout_id IS NULL OR outcome IS NOT DISTINCT FROM 'accepted'),
    CONSTRAINT claims_payout_id_fkey FOREIGN KEY (payout_id) REFERENCES payouts (id)
)

CREATE INDEX claims_awaited ON claims (claimed_at)
    WHERE outcome IS NULL

CREATE INDEX claims_of_payout ON claims (payout_id)

CREATE INDEX claims_to_pay ON claims (claimed_at)
    WHERE outcome = 'accepted' AND payout_id IS NULL

CREATE TABLE payer_outbox (
    id bigint GENERATED ALWAYS AS IDENTITY,
    user_id uuid NOT NULL,
    type text NOT NULL,
    idempotency_key text NOT NULL,
    data json NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    sent_at timestamptz,
    CONSTRAINT payer_outbox_pkey PRIMARY KEY (id),
    CONSTRAINT payer_outbox_user_id_idempotency_key_key UNIQUE (user_id, idempotency_key),
    CONSTRAINT payer_outbox_key_length CHECK (length(idempotency_key) BETWEEN 1 AND 255)
)

CREATE INDEX payer_outbox_sent ON payer_outbox (sent_at)
    WHERE sent_at IS NOT NULL

CREATE INDEX payer_outbox_unsent ON payer_outbox (id)
    WHERE sent_at IS NULL
"""

_TABLE_NAMES: Final = (
    "change_counters, payouts, payout_versions, reservations, claims, payer_outbox"
)

#: It reads what is to be paid, what became of its commands, and our coins; it may add addresses for
#: change, and neither see nor touch a balance or an entry.
_GRANTS: Final = (
    "GRANT USAGE ON SCHEMA public TO wallet_payer",
    "GRANT SELECT ON withdrawals, commands, rules, rules_head, alembic_version, chain_state,"
    " blocks, watched_scripts, coins, spenders, spends, receipts TO wallet_payer",
    "GRANT INSERT ON watched_scripts TO wallet_payer",
    f"GRANT SELECT, INSERT ON {_TABLE_NAMES} TO wallet_payer",
    "GRANT UPDATE ON change_counters, payouts, payout_versions, claims TO wallet_payer",
    "GRANT UPDATE (sent_at) ON payer_outbox TO wallet_payer",
    "GRANT DELETE ON reservations TO wallet_payer",
    f"GRANT SELECT ON {_TABLE_NAMES} TO wallet_worker, wallet_api",
)


def upgrade() -> None:
    """Create the tables; refuses, with the way out, where the role is missing."""
    require_role("wallet_payer")
    for statement in (_TYPES + _TABLES).strip().split("\n\n"):
        op.execute(statement)
    for statement in _GRANTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop the tables; the ledger stays as it is."""
    op.execute(f"DROP TABLE {_TABLE_NAMES}")
    op.execute("DROP TYPE payout_kind, payout_status")
    op.execute("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM wallet_payer")
    op.execute("REVOKE USAGE ON SCHEMA public FROM wallet_payer")
