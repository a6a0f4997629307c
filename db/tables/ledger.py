"""The ledger's tables: what the worker writes.

No foreign key stands on the hot path: each would cost a look-up a row, and what they would refuse
cannot arise, since a batch writes its rows from locked wallets in one transaction; `wallet doctor`
proves it afterwards. Amounts are koinu in ``bigint``; times are ``timestamptz``.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Computed,
    ForeignKey,
    Index,
    Sequence,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)

from db.tables import triggers
from db.tables.columns import (
    APPEND_ONLY_STORAGE,
    EPOCH,
    IN_PLACE_STORAGE,
    big,
    boolean,
    check,
    integer,
    json,
    koinu,
    metadata,
    moment,
    native_enum,
    not_negative,
    octets,
    quoted,
    small,
    uuid,
    words,
    zero,
)
from schemas.ledger import (
    HOUSE,
    USER_ACCOUNTS,
    Account,
    CommandOutcome,
    DepositStatus,
    EntryType,
    EscrowStatus,
    WithdrawalStatus,
)

ACCOUNT: Final = native_enum(Account, "account")
ENTRY_TYPE: Final = native_enum(EntryType, "entry_type")
COMMAND_OUTCOME: Final = native_enum(CommandOutcome, "command_outcome")
WITHDRAWAL_STATUS: Final = native_enum(WithdrawalStatus, "withdrawal_status")
ESCROW_STATUS: Final = native_enum(EscrowStatus, "escrow_status")
DEPOSIT_STATUS: Final = native_enum(DepositStatus, "deposit_status")

wallets = Table(
    "wallets",
    metadata,
    uuid("user_id", primary_key=True),
    zero("available"),
    zero("bids"),
    zero("escrow"),
    zero("pending"),
    zero("shortfall"),
    # Stored, so that a sum over 63 bits is refused when it is written, not when it is read.
    Column("locked", BigInteger, Computed("bids + escrow", persisted=True), nullable=False),
    boolean("frozen_by_operator", server_default=text("false")),
    zero("version"),
    zero("sequence"),
    moment("time", server_default=EPOCH),
    moment("opened_at", server_default=EPOCH),
    *not_negative("available", "bids", "escrow", "pending", "shortfall", "version", "sequence"),
    check("nothing_available_while_owing", "shortfall = 0 OR available = 0"),
    # No index but the primary key's: every update then stays on its page.
    postgresql_with={"fillfactor": 60, **IN_PLACE_STORAGE},
)

# The entries of one command have ids from its own up to 2^25 above: no index on command_id.
entries = Table(
    "entries",
    metadata,
    uuid("id", primary_key=True),
    uuid("command_id"),
    uuid("user_id"),
    Column("account", ACCOUNT, nullable=False),
    Column("entry_type", ENTRY_TYPE, nullable=False),
    koinu("debit"),
    koinu("credit"),
    koinu("balance_after", nullable=True),
    words("reference_type", nullable=True),
    words("reference_id", nullable=True),
    big("wallet_version", nullable=True),
    moment("created_at"),
    # The primary key told as text, so unique without an index of its own; PostgreSQL before 18
    # knows no virtual columns and stores it.
    Column("idempotency_key", Text, Computed("id::text", persisted=False)),
    check("one_side", "debit >= 0 AND credit >= 0 AND (debit = 0) <> (credit = 0)"),
    check(
        "owner_has_account",
        f"(user_id <> '{HOUSE}') = (account IN ({quoted(*USER_ACCOUNTS)}))",
    ),
    check("balance_of_users_alone", f"(balance_after IS NULL) = (user_id = '{HOUSE}')"),
    check("balance_after_not_negative", "balance_after >= 0"),
    check("version_of_users", f"wallet_version IS NOT NULL OR user_id = '{HOUSE}'"),
    postgresql_with=APPEND_ONLY_STORAGE,
)
# Entries of one time are sorted as they are read: wider, the index would cost 10 % more of a write.
Index(
    "entries_of_user",
    entries.c.user_id,
    entries.c.created_at,
    postgresql_where=text(f"user_id <> '{HOUSE}'"),
)

commands = Table(
    "commands",
    metadata,
    uuid("id", primary_key=True),
    uuid("user_id"),
    small("topic"),
    words("type"),
    words("idempotency_key"),
    octets("request_hash"),
    Column("outcome", COMMAND_OUTCOME, nullable=False),
    words("code", nullable=True),
    uuid("first_id", nullable=True),
    # json, not jsonb: the bytes that were published are the bytes that are kept.
    json("document"),
    big("batch_id"),
    moment("decided_at"),
    check("topic_known", "topic BETWEEN 0 AND 2"),
    check("key_length", "length(idempotency_key) BETWEEN 1 AND 255"),
    check("request_hash_length", "octet_length(request_hash) = 16"),
    check("accepted_without_code", "outcome <> 'accepted' OR code IS NULL"),
    check("refused_with_code", "outcome NOT IN ('rejected', 'key_reused') OR code IS NOT NULL"),
    check("later_names_first", "(outcome IN ('replayed', 'key_reused')) = (first_id IS NOT NULL)"),
    postgresql_with=APPEND_ONLY_STORAGE,
)
Index(
    "commands_first_of_key",
    commands.c.user_id,
    commands.c.topic,
    commands.c.idempotency_key,
    unique=True,
    postgresql_where=text("outcome IN ('accepted', 'rejected')"),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    uuid("id", primary_key=True),
    small("topic"),
    integer("generation"),
    integer("partition"),
    big("offset"),
    words("code"),
    words("detail"),
    octets("key", nullable=True),
    octets("value", nullable=True),
    moment("record_time"),
    big("batch_id"),
    moment("replayed_at", nullable=True),
    check("topic_known", "topic BETWEEN 0 AND 2"),
)

Index(
    "dead_letters_unprocessable",
    dead_letters.c.batch_id,
    postgresql_where=text("code = 'unprocessable'"),
)

deposit_addresses = Table(
    "deposit_addresses",
    metadata,
    words("address", primary_key=True),
    uuid("user_id"),
    words("account_key"),
    small("chain"),
    big("derivation_index"),
    boolean("active"),
    moment("assigned_at"),
    UniqueConstraint("account_key", "chain", "derivation_index"),
    *not_negative("chain", "derivation_index"),
)
Index(
    "deposit_addresses_one_active",
    deposit_addresses.c.user_id,
    unique=True,
    postgresql_where=text("active"),
)

address_counters = Table(
    "address_counters",
    metadata,
    words("account_key", primary_key=True),
    zero("next_index"),
    *not_negative("next_index"),
)

deposits = Table(
    "deposits",
    metadata,
    words("txid", primary_key=True),
    integer("vout", primary_key=True),
    uuid("user_id"),
    words("address"),
    koinu("amount"),
    Column("status", DEPOSIT_STATUS, nullable=False),
    integer("creditings", server_default=text("0")),
    words("block_hash", nullable=True),
    big("height", nullable=True),
    moment("detected_at"),
    moment("updated_at"),
    check("amount_positive", "amount > 0"),
    *not_negative("vout", "creditings", "height"),
    check("detected_is_uncredited", "(status = 'detected') = (creditings = 0)"),
    postgresql_with={"fillfactor": 80},
)
Index("deposits_of_user", deposits.c.user_id)

withdrawals = Table(
    "withdrawals",
    metadata,
    uuid("id", primary_key=True),
    uuid("user_id"),
    koinu("amount"),
    koinu("fee"),
    words("destination_address"),
    Column("status", WITHDRAWAL_STATUS, nullable=False),
    words("reason", nullable=True),
    words("txid", nullable=True),
    moment("requested_at"),
    moment("updated_at"),
    check("amount_positive", "amount > 0"),
    *not_negative("fee"),
    check("reason_of_failed", "(status = 'FAILED') = (reason IS NOT NULL)"),
    check("broadcast_has_txid", "status NOT IN ('BROADCAST', 'CONFIRMED') OR txid IS NOT NULL"),
    postgresql_with={"fillfactor": 80},
)
Index(
    "withdrawals_open_of_user",
    withdrawals.c.user_id,
    postgresql_where=text("status IN ('PENDING', 'PROCESSING', 'BROADCAST')"),
)
Index(
    "withdrawals_to_pay",
    withdrawals.c.requested_at,
    withdrawals.c.id,
    postgresql_where=text("status = 'PENDING'"),
)

escrows = Table(
    "escrows",
    metadata,
    uuid("id", primary_key=True),
    words("order_id"),
    uuid("buyer_id"),
    uuid("seller_id"),
    koinu("amount"),
    koinu("fee_amount"),
    koinu("released"),
    koinu("refunded"),
    koinu("fees"),
    koinu("remaining"),
    Column("status", ESCROW_STATUS, nullable=False),
    words("dispute_reason", nullable=True),
    moment("created_at"),
    moment("updated_at"),
    UniqueConstraint("buyer_id", "order_id"),
    check("amount_positive", "amount > 0"),
    *not_negative("released", "refunded", "fees", "remaining"),
    check("fee_within_amount", "fee_amount BETWEEN 0 AND amount"),
    check("parts_add_up", "released + refunded + fees + remaining = amount"),
    check("fees_within_fee", "fees <= fee_amount"),
    check("parties_differ", "buyer_id <> seller_id"),
    check("closed_when_empty", "(status IN ('RELEASED', 'REFUNDED')) = (remaining = 0)"),
    check("refunded_when_all", "(status = 'REFUNDED') = (refunded = amount)"),
    check("dispute_has_reason", "status <> 'DISPUTED' OR dispute_reason IS NOT NULL"),
    postgresql_with={"fillfactor": 80, **IN_PLACE_STORAGE},
)

locks = Table(
    "locks",
    metadata,
    uuid("user_id", primary_key=True),
    words("reference_type", primary_key=True),
    words("reference_id", primary_key=True),
    koinu("amount"),
    *not_negative("amount"),
    postgresql_with={"fillfactor": 80, **IN_PLACE_STORAGE},
)

network_fees = Table(
    "network_fees",
    metadata,
    words("txid", primary_key=True),
    koinu("amount"),
    integer("postings"),
    boolean("posted"),
    check("amount_positive", "amount > 0"),
    check("postings_positive", "postings >= 1"),
)

rules = Table(
    "rules",
    metadata,
    integer("version", primary_key=True, autoincrement=False),
    json("data"),
    uuid("command_id", nullable=True),
    moment("created_at", server_default=func.now()),
    check("version_positive", "version >= 1"),
)

# The one row that every batch locks shared, and that set_rules alone changes.
rules_head = Table(
    "rules_head",
    metadata,
    boolean("singleton", primary_key=True, server_default=text("true")),
    # Deferred, as the other references are: a batch need not care in which order it writes.
    Column(
        "version",
        ForeignKey("rules.version", deferrable=True, initially="DEFERRED"),
        nullable=False,
    ),
    check("one_row", "singleton"),
)

partitions = Table(
    "partitions",
    metadata,
    small("topic", primary_key=True, autoincrement=False),
    integer("partition", primary_key=True, autoincrement=False),
    words("topic_id", nullable=True),
    integer("generation", server_default=text("1")),
    zero("epoch"),
    zero("next_offset"),
    big("last_offset", nullable=True),
    octets("last_digest", nullable=True),
    octets("chain", server_default=text("decode(repeat('00', 32), 'hex')")),
    words("owner", nullable=True),
    integer("backend_pid", nullable=True),
    moment("backend_start", nullable=True),
    words("halted", nullable=True),
    moment("updated_at", server_default=func.now()),
    check("topic_known", "topic BETWEEN 0 AND 2"),
    # What an id has room for: schemas.ids.
    check("partition_fits", "partition BETWEEN 0 AND 65535"),
    check("generation_fits", "generation BETWEEN 0 AND 65535"),
    *not_negative("epoch", "next_offset"),
    check("last_before_next", "last_offset < next_offset"),
    check("last_has_digest", "(last_offset IS NULL) = (last_digest IS NULL)"),
    check("chain_length", "octet_length(chain) = 32"),
    # A few rows, each changed by every batch.
    postgresql_with={"fillfactor": 20},
)

#: Drawn after a batch has its locks, one at a time (no cache): of two batches that touched the
#: same wallet, the smaller number committed first.
batch_numbers = Sequence("batch_numbers", metadata=metadata, data_type=BigInteger, cache=1)

batches = Table(
    "batches",
    metadata,
    big("id", primary_key=True, autoincrement=False),
    Column(
        "rules_version",
        ForeignKey("rules.version", deferrable=True, initially="DEFERRED"),
        nullable=False,
    ),
    integer("logic_version"),
    integer("commands"),
    integer("entries"),
    words("owner"),
    moment("created_at", server_default=func.now()),
    *not_negative("commands", "entries"),
)

batch_slices = Table(
    "batch_slices",
    metadata,
    Column(
        "batch_id",
        ForeignKey("batches.id", deferrable=True, initially="DEFERRED"),
        primary_key=True,
    ),
    small("topic", primary_key=True, autoincrement=False),
    integer("partition", primary_key=True, autoincrement=False),
    integer("generation"),
    big("first_offset"),
    big("last_offset"),
    integer("commands"),
    integer("entries"),
    octets("digest"),
    octets("chain"),
    check("offsets_in_order", "first_offset BETWEEN 0 AND last_offset"),
    *not_negative("commands", "entries"),
    check("chain_length", "octet_length(chain) = 32"),
)

outbox = Table(
    "outbox",
    metadata,
    big("batch_id"),
    small("topic", primary_key=True, autoincrement=False),
    integer("partition", primary_key=True, autoincrement=False),
    big("first_offset", primary_key=True, autoincrement=False),
    big("last_offset"),
    # Kept as they are (STORAGE EXTERNAL): compressing them would cost the batch time.
    octets("frames"),
    moment("created_at", server_default=func.now()),
    check("offsets_in_order", "first_offset BETWEEN 0 AND last_offset"),
    postgresql_with={
        "autovacuum_vacuum_scale_factor": 0.05,
        "toast.autovacuum_vacuum_scale_factor": 0.05,
    },
)

#: Never changed once written, by the triggers below and by what the roles may do.
APPEND_ONLY: Final = (entries, commands, rules, batches, batch_slices)


triggers.attach(metadata, entries, APPEND_ONLY)
triggers.after_create(outbox, "ALTER TABLE outbox ALTER COLUMN frames SET STORAGE EXTERNAL")
