"""What the watcher's tables refuse, constraint by constraint."""

from __future__ import annotations

from typing import Final

from tests.db.cases import case
from tests.db.rows import SELLER

_NOWHERE: Final = {"block_hash": None, "height": None}

CHECKS: Final = (
    case(
        "there is one state of the chain",
        "chain_state_one_row",
        "chain_state",
        {"singleton": False},
    ),
    *(
        case(f"{name} is not negative", f"{table}_{name}_not_negative", table, {name: -1})
        for table, name in (
            ("chain_state", "birthday_height"),
            ("chain_state", "node_height"),
            ("chain_state", "rescan_from"),
            ("blocks", "height"),
            ("watched_scripts", "derivation_index"),
            ("coins", "vout"),
            ("coins", "height"),
            ("coins", "spent_height"),
            ("spenders", "paid"),
            ("spenders", "height"),
            ("spends", "vout"),
            ("spends", "height"),
            ("receipts", "vout"),
            ("receipts", "height"),
            ("receipts", "creditings"),
        )
    ),
    case(
        "a hash of a public key is 20 bytes",
        "watched_scripts_public_key_hash_length",
        "watched_scripts",
        {"public_key_hash": bytes(21)},
    ),
    case(
        "a deposit address is a user's",
        "watched_scripts_deposits_have_user",
        "watched_scripts",
        {"user_id": None},
    ),
    case(
        "change is no user's", "watched_scripts_deposits_have_user", "watched_scripts", {"chain": 1}
    ),
    case(
        "there are two chains of addresses",
        "watched_scripts_chain_known",
        "watched_scripts",
        {"chain": 2, "user_id": None},
    ),
    *(
        case(f"a row of {table} is in a block or not", f"{table}_placed_wholly", table, row)
        for table in ("coins", "spenders", "receipts")
        for row in ({"block_hash": None},)
    ),
    case("a coin is more than nothing", "coins_amount_positive", "coins", {"amount": 0}),
    case(
        "a hash of outputs is 32 bytes",
        "spenders_outputs_hash_length",
        "spenders",
        {"outputs_hash": bytes(31)},
    ),
    case("who spends has an input", "spenders_inputs_positive", "spenders", {"inputs": 0}),
    case("a receipt is more than nothing", "receipts_amount_positive", "receipts", {"amount": 0}),
    case("a receipt needs a block", "receipts_required_positive", "receipts", {"required": 0}),
    case(
        "what is credited was credited",
        "receipts_credited_once_at_least",
        "receipts",
        {"credited": True},
    ),
    case(
        "too little is not credited",
        "receipts_credited_is_sufficient",
        "receipts",
        {"credited": True, "creditings": 1, "sufficient": False},
    ),
    case(
        "what was read again belongs to a reading",
        "chain_state_rescan_height_of_rescan",
        "chain_state",
        {"rescan_height": 3},
    ),
    case(
        "an order of the watcher's has one of two outcomes",
        "watcher_outbox_outcome_known",
        "watcher_outbox",
        {"outcome": "maybe"},
    ),
    case(
        "a key of the watcher's is not empty",
        "watcher_outbox_key_length",
        "watcher_outbox",
        {"idempotency_key": ""},
    ),
)

UNIQUE: Final = (
    case("the chain's state is one row", "chain_state_pkey", "chain_state", {}, {}),
    case("a block is one row", "blocks_pkey", "blocks", {}, {"height": 101}),
    case("one block stands at a height", "blocks_active_height", "blocks", {}, {"hash": "0c" * 32}),
    case(
        "a script is watched once",
        "watched_scripts_pkey",
        "watched_scripts",
        {},
        {"derivation_index": 1},
    ),
    case(
        "an index is watched once for its account and chain",
        "watched_scripts_account_key_chain_derivation_index_key",
        "watched_scripts",
        {},
        {"public_key_hash": b"1" * 20, "user_id": SELLER},
    ),
    case("a coin is one row", "coins_pkey", "coins", {}, _NOWHERE),
    case("a spender is one row", "spenders_pkey", "spenders", {}, _NOWHERE),
    case("a coin is spent once", "spends_pkey", "spends", {}, {"spender_txid": "ef" * 32}),
    case("a receipt is one row", "receipts_pkey", "receipts", {}, _NOWHERE),
    case(
        "a line of the watcher's outbox is one row",
        "watcher_outbox_pkey",
        "watcher_outbox",
        {"id": 1},
        {"id": 1, "idempotency_key": "other"},
    ),
    case(
        "the watcher asks once",
        "watcher_outbox_user_id_idempotency_key_key",
        "watcher_outbox",
        {},
        {"type": "process_deposit"},
    ),
)
