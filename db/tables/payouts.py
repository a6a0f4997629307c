"""The payer's tables: which coins pay which withdrawals, in which versions of which transaction.

The payer decides nothing about balances: what these say is issued as commands, and the ledger's
withdrawals follow.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Identity,
    Index,
    Table,
    UniqueConstraint,
    func,
    text,
)

from db.tables.chain import outbox_of
from db.tables.columns import (
    big,
    check,
    integer,
    json,
    koinu,
    metadata,
    moment,
    native_enum,
    not_negative,
    octets,
    uuid,
    words,
    zero,
)
from schemas.payouts import PayoutKind, PayoutStatus

PAYOUT_KIND: Final = native_enum(PayoutKind, "payout_kind")
PAYOUT_STATUS: Final = native_enum(PayoutStatus, "payout_status")

change_counters = Table(
    "change_counters",
    metadata,
    words("account_key", primary_key=True),
    zero("next_index"),
    *not_negative("next_index"),
)

payouts = Table(
    "payouts",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("kind", PAYOUT_KIND, nullable=False),
    Column("status", PAYOUT_STATUS, nullable=False),
    # Where a sweep goes to.
    words("target_address", nullable=True),
    # The transaction that spent the coins: a version, or a malleated twin of one.
    words("confirmed_txid", nullable=True),
    # How often it was told as confirmed; one less was taken back.
    integer("confirmations_told", server_default=text("0")),
    words("failure", nullable=True),
    moment("created_at", server_default=func.now()),
    moment("updated_at", server_default=func.now()),
    check("sweep_has_target", "(kind = 'sweep') = (target_address IS NOT NULL)"),
    check("confirmed_has_txid", "(status = 'confirmed') = (confirmed_txid IS NOT NULL)"),
    check("failure_of_failed", "(status = 'failed') = (failure IS NOT NULL)"),
    *not_negative("confirmations_told"),
)
Index(
    "payouts_open",
    payouts.c.id,
    postgresql_where=text("status IN ('reserved', 'signed', 'broadcast')"),
)


def _payout_id(*, primary_key: bool = False) -> Column[int]:
    return Column("payout_id", ForeignKey("payouts.id"), nullable=False, primary_key=primary_key)


payout_versions = Table(
    "payout_versions",
    metadata,
    _payout_id(primary_key=True),
    integer("version", primary_key=True, autoincrement=False),
    # Inputs with amounts and paths, outputs in order: all that is signed, and nothing else is.
    json("template"),
    koinu("fee"),
    # The signed bytes; stored, with the txid, before they are sent for the first time.
    octets("raw", nullable=True),
    words("txid", nullable=True),
    # By which a malleated twin is known: it has another txid and the same outputs.
    octets("outputs_hash", nullable=True),
    moment("created_at", server_default=func.now()),
    moment("signed_at", nullable=True),
    moment("first_sent_at", nullable=True),
    moment("last_sent_at", nullable=True),
    # The tip when it was sent last: a new block is a reason to send it again.
    words("last_sent_tip", nullable=True),
    integer("sends", server_default=text("0")),
    words("last_answer", nullable=True),
    UniqueConstraint("txid"),
    check(
        "signed_wholly",
        "(raw IS NULL) = (txid IS NULL) AND (raw IS NULL) = (signed_at IS NULL)"
        " AND (raw IS NULL) = (outputs_hash IS NULL)",
    ),
    check("outputs_hash_length", "octet_length(outputs_hash) = 32"),
    check("sent_after_signed", "first_sent_at IS NULL OR raw IS NOT NULL"),
    check("version_positive", "version >= 1"),
    *not_negative("fee", "sends"),
)

# A coin is in one living payout at most: the primary key is the guard.
reservations = Table(
    "reservations",
    metadata,
    words("txid", primary_key=True),
    integer("vout", primary_key=True),
    _payout_id(),
    moment("reserved_at", server_default=func.now()),
    *not_negative("vout"),
)
Index("reservations_of_payout", reservations.c.payout_id)

# What was asked of the ledger, withdrawal by withdrawal: reserved and signed only once accepted.
claims = Table(
    "claims",
    metadata,
    uuid("withdrawal_id", primary_key=True),
    uuid("user_id"),
    koinu("amount"),
    words("destination_address"),
    # A frozen wallet's is refused, and claimed again later under another key.
    integer("attempts", server_default=text("1")),
    # The committed outcome of the last attempt; none while it is awaited.
    words("outcome", nullable=True),
    words("code", nullable=True),
    Column("payout_id", ForeignKey("payouts.id"), nullable=True),
    moment("claimed_at", server_default=func.now()),
    moment("settled_at", nullable=True),
    check("amount_positive", "amount > 0"),
    check("outcome_known", "outcome IN ('accepted', 'rejected')"),
    check("attempts_positive", "attempts >= 1"),
    check("code_of_rejected", "(outcome IS NOT DISTINCT FROM 'rejected') = (code IS NOT NULL)"),
    check("settled_wholly", "(outcome IS NULL) = (settled_at IS NULL)"),
    check("paid_if_accepted", "payout_id IS NULL OR outcome IS NOT DISTINCT FROM 'accepted'"),
)
Index("claims_awaited", claims.c.claimed_at, postgresql_where=text("outcome IS NULL"))
Index(
    "claims_to_pay",
    claims.c.claimed_at,
    postgresql_where=text("outcome = 'accepted' AND payout_id IS NULL"),
)
Index("claims_of_payout", claims.c.payout_id)

# Withdrawals that the ledger has as claimed or sent, and no payout pays: what became of them is
# known to tables that were lost. None is paid by the payer itself.
stranded = Table(
    "stranded",
    metadata,
    uuid("withdrawal_id", primary_key=True),
    # The node's when it was found, -1 while none is followed: what was lost can spend no coin that
    # came later.
    big("height"),
    moment("found_at", server_default=func.now()),
    check("height_known", "height >= -1"),
)

payer_outbox = outbox_of("payer")

#: All of them, in the order in which they are made.
PAYOUTS: Final = (
    change_counters,
    payouts,
    payout_versions,
    reservations,
    claims,
    stranded,
    payer_outbox,
)
