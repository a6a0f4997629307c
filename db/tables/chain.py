"""The watcher's tables: the chain as it was followed, our coins on it, and what was told of them.

A row of the active chain carries its block; one whose block was undone carries none, and stays, so
that what happened to it can be told. Spends alone go with their block.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger, Column, Identity, Index, Table, UniqueConstraint, func, text

from db.tables.columns import (
    big,
    boolean,
    check,
    integer,
    json,
    koinu,
    metadata,
    moment,
    not_negative,
    octets,
    small,
    uuid,
    words,
    zero,
)

# The one row of what the watcher follows.
chain_state = Table(
    "chain_state",
    metadata,
    boolean("singleton", primary_key=True, server_default=text("true")),
    words("genesis_hash"),
    # Nothing below it is looked at: no address of ours is older.
    big("birthday_height"),
    # The node's own height when it was last asked.
    zero("node_height"),
    # Why nothing is followed until an operator has looked.
    words("halted", nullable=True),
    # When the watcher last looked at its node, to within seconds.
    moment("updated_at", server_default=func.now()),
    # Where blocks are to be read again from, for scripts that were not watched when they were
    # read, and the last one that was; none while nothing is.
    big("rescan_from", nullable=True),
    big("rescan_height", nullable=True),
    check("one_row", "singleton"),
    check("rescan_height_of_rescan", "rescan_height IS NULL OR rescan_from IS NOT NULL"),
    *not_negative("birthday_height", "node_height", "rescan_from"),
)

blocks = Table(
    "blocks",
    metadata,
    words("hash", primary_key=True),
    big("height"),
    words("previous_hash"),
    # The miner's, which may be hours off.
    moment("time"),
    boolean("active"),
    moment("followed_at", server_default=func.now()),
    *not_negative("height"),
)
Index("blocks_active_height", blocks.c.height, unique=True, postgresql_where=text("active"))

# Every script that pays us: users' deposit addresses by the watcher, change by the payer.
watched_scripts = Table(
    "watched_scripts",
    metadata,
    # Of the pay-to-public-key-hash script, all of which look alike but for it.
    octets("public_key_hash", primary_key=True),
    words("address"),
    uuid("user_id", nullable=True),
    words("account_key"),
    small("chain"),
    big("derivation_index"),
    UniqueConstraint("account_key", "chain", "derivation_index"),
    check("public_key_hash_length", "octet_length(public_key_hash) = 20"),
    check("deposits_have_user", "(user_id IS NOT NULL) = (chain = 0)"),
    check("chain_known", "chain BETWEEN 0 AND 1"),
    *not_negative("derivation_index"),
)


def _place() -> tuple[Column[Any], ...]:
    """The block on the active chain, or nothing."""
    return words("block_hash", nullable=True), big("height", nullable=True)


def _placed_wholly() -> Any:
    return check("placed_wholly", "(block_hash IS NULL) = (height IS NULL)")


coins = Table(
    "coins",
    metadata,
    words("txid", primary_key=True),
    integer("vout", primary_key=True),
    octets("public_key_hash"),
    koinu("amount"),
    boolean("coinbase"),
    *_place(),
    # The height of its spend, said twice so that an index holds what is unspent alone.
    big("spent_height", nullable=True),
    check("amount_positive", "amount > 0"),
    _placed_wholly(),
    *not_negative("vout", "height", "spent_height"),
)
Index("coins_of_block", coins.c.height)
Index("coins_of_script", coins.c.public_key_hash)
Index(
    "coins_unspent",
    coins.c.amount.desc(),
    postgresql_where=text("height IS NOT NULL AND spent_height IS NULL"),
)

# Transactions that spend coins of ours.
spenders = Table(
    "spenders",
    metadata,
    words("txid", primary_key=True),
    # SHA-256 of the outputs as they are serialized: the same for a malleated twin.
    octets("outputs_hash"),
    # May be more than one amount can be, where others pay in the same transaction.
    koinu("paid"),
    integer("inputs"),
    *_place(),
    check("outputs_hash_length", "octet_length(outputs_hash) = 32"),
    check("inputs_positive", "inputs > 0"),
    _placed_wholly(),
    *not_negative("paid", "height"),
)
Index("spenders_of_block", spenders.c.height)

# Which outpoint is spent by whom on the active chain.
spends = Table(
    "spends",
    metadata,
    words("txid", primary_key=True),
    integer("vout", primary_key=True),
    words("spender_txid"),
    big("height"),
    *not_negative("vout", "height"),
)
Index("spends_of_block", spends.c.height)
Index("spends_of_spender", spends.c.spender_txid)

# What users received, and how often it was credited and taken back: what this watcher has asked
# for, which the ledger's own deposits follow.
receipts = Table(
    "receipts",
    metadata,
    words("txid", primary_key=True),
    integer("vout", primary_key=True),
    uuid("user_id"),
    words("address"),
    koinu("amount"),
    boolean("coinbase"),
    *_place(),
    # Whether it reaches the least deposit of the rules that stood when it was first seen.
    boolean("sufficient"),
    # Confirmations that it needs, by its amount and what else its user received lately.
    integer("required"),
    # How often process_deposit was issued; the last of these stands, or was reversed.
    integer("creditings", server_default=text("0")),
    boolean("credited", server_default=text("false")),
    moment("seen_at", server_default=func.now()),
    check("amount_positive", "amount > 0"),
    check("required_positive", "required > 0"),
    check("credited_once_at_least", "NOT credited OR creditings > 0"),
    check("credited_is_sufficient", "NOT credited OR sufficient"),
    _placed_wholly(),
    *not_negative("vout", "height", "creditings"),
)
Index(
    "receipts_waiting",
    receipts.c.height,
    postgresql_where=text("sufficient AND NOT credited AND height IS NOT NULL"),
)
Index("receipts_of_block", receipts.c.height)
Index("receipts_of_user", receipts.c.user_id, receipts.c.height)


def outbox_of(process: str) -> Table:
    """Commands that a process has decided on, in order, until the topic has them."""
    name = f"{process}_outbox"
    table = Table(
        name,
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        uuid("user_id"),
        words("type"),
        words("idempotency_key"),
        json("data"),
        moment("created_at", server_default=func.now()),
        # Delivered; sent again after a crash, which the key makes harmless.
        moment("sent_at", nullable=True),
        # The ledger's, taken over once it is committed; a replay is none.
        words("outcome", nullable=True),
        UniqueConstraint("user_id", "idempotency_key"),
        check("key_length", "length(idempotency_key) BETWEEN 1 AND 255"),
        check("outcome_known", "outcome IN ('accepted', 'rejected')"),
    )
    Index(f"{name}_unsent", table.c.id, postgresql_where=text("sent_at IS NULL"))
    Index(f"{name}_undecided", table.c.id, postgresql_where=text("outcome IS NULL"))
    Index(f"{name}_refused", table.c.id, postgresql_where=text("outcome = 'rejected'"))
    # For what was sent lately, among all that ever was.
    Index(f"{name}_sent", table.c.sent_at, postgresql_where=text("sent_at IS NOT NULL"))
    return table


watcher_outbox = outbox_of("watcher")

#: All of them, in the order in which they are made.
CHAIN: Final = (
    chain_state,
    blocks,
    watched_scripts,
    coins,
    spenders,
    spends,
    receipts,
    watcher_outbox,
)
