"""What the ledger refuses, constraint by constraint, each with the sentence it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from schemas.ledger import HOUSE
from tests.db.rows import BUYER, OTHER_SIDE, SELLER, place


class Case(NamedTuple):
    """A sentence, the constraint that says no, and the rows that it says no to."""

    sentence: str
    constraint: str
    table: str
    rows: tuple[Mapping[str, Any], ...]


def case(sentence: str, constraint: str, table: str, *rows: Mapping[str, Any]) -> Case:
    """One case; the rows are changes to the table's valid row."""
    return Case(sentence, constraint, table, rows)


CHECKS: Final = (
    *(
        case(
            f"{name} of a wallet is never negative", f"wallets_{name}_not_negative", "wallets", row
        )
        for name in ("available", "bids", "escrow", "pending", "shortfall", "version", "sequence")
        for row in ({"available": 0, name: -1},)
    ),
    case(
        "who owes has nothing available",
        "wallets_nothing_available_while_owing",
        "wallets",
        {"available": 1, "shortfall": 1},
    ),
    case("an entry moves something", "entries_one_side", "entries", {"debit": 0}),
    case("an entry has one side", "entries_one_side", "entries", {"credit": 5}),
    case("a debit is not negative", "entries_one_side", "entries", {"debit": -5}),
    case(
        "a user has no account of the house",
        "entries_owner_has_account",
        "entries",
        {"account": "fees"},
    ),
    case(
        "the house has no account of a user",
        "entries_owner_has_account",
        "entries",
        {"user_id": HOUSE, "balance_after": None},
    ),
    case(
        "a user's entry tells the balance after it",
        "entries_balance_of_users_alone",
        "entries",
        {"balance_after": None},
    ),
    case(
        "the house's entry tells no balance",
        "entries_balance_of_users_alone",
        "entries",
        {"user_id": HOUSE, "account": "fees"},
    ),
    case(
        "no entry leaves a negative balance",
        "entries_balance_after_not_negative",
        "entries",
        {"balance_after": -1},
    ),
    case(
        "a user's entry tells the wallet's version",
        "entries_version_of_users",
        "entries",
        {"wallet_version": None},
    ),
    case("a command comes by a known topic", "commands_topic_known", "commands", {"topic": 3}),
    case("a key is not empty", "commands_key_length", "commands", {"idempotency_key": ""}),
    case("a key is not endless", "commands_key_length", "commands", {"idempotency_key": "k" * 256}),
    case(
        "a request's hash is 16 bytes",
        "commands_request_hash_length",
        "commands",
        {"request_hash": bytes(15)},
    ),
    case(
        "an acceptance has no code",
        "commands_accepted_without_code",
        "commands",
        {"code": "not_frozen"},
    ),
    case(
        "a rejection has a code", "commands_refused_with_code", "commands", {"outcome": "rejected"}
    ),
    case(
        "a reused key has a code",
        "commands_refused_with_code",
        "commands",
        {"outcome": "key_reused", "first_id": place(0)},
    ),
    case(
        "a replay names the first command",
        "commands_later_names_first",
        "commands",
        {"outcome": "replayed"},
    ),
    case(
        "a first command names no other",
        "commands_later_names_first",
        "commands",
        {"first_id": place(0)},
    ),
    case(
        "a dead letter comes by a known topic",
        "dead_letters_topic_known",
        "dead_letters",
        {"topic": -1},
    ),
    case(
        "a chain of addresses is not negative",
        "deposit_addresses_chain_not_negative",
        "deposit_addresses",
        {"chain": -1},
    ),
    case(
        "an address's index is not negative",
        "deposit_addresses_derivation_index_not_negative",
        "deposit_addresses",
        {"derivation_index": -1},
    ),
    case(
        "an address counter is not negative",
        "address_counters_next_index_not_negative",
        "address_counters",
        {"next_index": -1},
    ),
    case("a deposit is more than nothing", "deposits_amount_positive", "deposits", {"amount": 0}),
    case(
        "an output's index is not negative", "deposits_vout_not_negative", "deposits", {"vout": -1}
    ),
    case(
        "creditings are not negative",
        "deposits_creditings_not_negative",
        "deposits",
        {"creditings": -1},
    ),
    case("a height is not negative", "deposits_height_not_negative", "deposits", {"height": -1}),
    case(
        "a detected deposit is not credited",
        "deposits_detected_is_uncredited",
        "deposits",
        {"status": "detected"},
    ),
    case(
        "a credited deposit was credited",
        "deposits_detected_is_uncredited",
        "deposits",
        {"creditings": 0},
    ),
    case(
        "a withdrawal is more than nothing",
        "withdrawals_amount_positive",
        "withdrawals",
        {"amount": 0},
    ),
    case("a fee is not negative", "withdrawals_fee_not_negative", "withdrawals", {"fee": -1}),
    case(
        "a failed withdrawal has a reason",
        "withdrawals_reason_of_failed",
        "withdrawals",
        {"status": "FAILED"},
    ),
    case(
        "a pending withdrawal has no reason",
        "withdrawals_reason_of_failed",
        "withdrawals",
        {"reason": "cancelled"},
    ),
    *(
        case(
            f"a {status} withdrawal has a transaction",
            "withdrawals_broadcast_has_txid",
            "withdrawals",
            {"status": status},
        )
        for status in ("BROADCAST", "CONFIRMED")
    ),
    case(
        "an escrow is more than nothing",
        "escrows_amount_positive",
        "escrows",
        {"amount": 0, "fee_amount": 0, "released": 0, "refunded": 0, "fees": 0}
        | {"remaining": 0, "status": "REFUNDED"},
    ),
    case(
        "what was released is not negative",
        "escrows_released_not_negative",
        "escrows",
        {"released": -2, "remaining": 70},
    ),
    case(
        "what was refunded is not negative",
        "escrows_refunded_not_negative",
        "escrows",
        {"refunded": -10, "remaining": 90},
    ),
    case(
        "what was taken is not negative",
        "escrows_fees_not_negative",
        "escrows",
        {"fees": -8, "remaining": 60},
    ),
    case(
        "what remains is not negative",
        "escrows_remaining_not_negative",
        "escrows",
        {"released": 88, "remaining": -20},
    ),
    case(
        "an escrow's fee is within its amount",
        "escrows_fee_within_amount",
        "escrows",
        {"fee_amount": 101},
    ),
    case("an escrow's parts add up", "escrows_parts_add_up", "escrows", {"remaining": 51}),
    case("no more than the fee is taken", "escrows_fees_within_fee", "escrows", {"fee_amount": 1}),
    case("buyer and seller are two", "escrows_parties_differ", "escrows", {"seller_id": BUYER}),
    case(
        "a closed escrow is empty",
        "escrows_closed_when_empty",
        "escrows",
        {"status": "RELEASED"},
    ),
    case(
        "an empty escrow is closed",
        "escrows_closed_when_empty",
        "escrows",
        {"released": 68, "remaining": 0},
    ),
    case(
        "an escrow of which the seller got a part is not REFUNDED",
        "escrows_refunded_when_all",
        "escrows",
        {"released": 68, "remaining": 0, "status": "REFUNDED"},
    ),
    case(
        "an escrow of which the seller got nothing is not RELEASED",
        "escrows_refunded_when_all",
        "escrows",
        {"released": 0, "refunded": 100, "fees": 0, "remaining": 0, "status": "RELEASED"},
    ),
    case("a dispute has a reason", "escrows_dispute_has_reason", "escrows", {"status": "DISPUTED"}),
    case("a lock is not negative", "locks_amount_not_negative", "locks", {"amount": -1}),
    case(
        "a network fee is more than nothing",
        "network_fees_amount_positive",
        "network_fees",
        {"amount": 0},
    ),
    case(
        "a network fee was posted",
        "network_fees_postings_positive",
        "network_fees",
        {"postings": 0},
    ),
    case("rules are counted from one", "rules_version_positive", "rules", {"version": 0}),
    case(
        "there is one head of the rules", "rules_head_one_row", "rules_head", {"singleton": False}
    ),
    case("a partition is of a known topic", "partitions_topic_known", "partitions", {"topic": 3}),
    case(
        "a partition's number fits an id",
        "partitions_partition_fits",
        "partitions",
        {"partition": 65536},
    ),
    case(
        "a generation fits an id",
        "partitions_generation_fits",
        "partitions",
        {"generation": 65536},
    ),
    case("an epoch is not negative", "partitions_epoch_not_negative", "partitions", {"epoch": -1}),
    case(
        "an offset is not negative",
        "partitions_next_offset_not_negative",
        "partitions",
        {"next_offset": -1},
    ),
    case(
        "the last record is before the next",
        "partitions_last_before_next",
        "partitions",
        {"last_offset": 7, "last_digest": b"", "next_offset": 7},
    ),
    case(
        "the last record has its digest",
        "partitions_last_has_digest",
        "partitions",
        {"last_offset": 6, "next_offset": 7},
    ),
    case("a chain is 32 bytes", "partitions_chain_length", "partitions", {"chain": bytes(31)}),
    case(
        "a batch's commands are counted",
        "batches_commands_not_negative",
        "batches",
        {"commands": -1},
    ),
    case(
        "a batch's entries are counted", "batches_entries_not_negative", "batches", {"entries": -1}
    ),
    case(
        "a slice's offsets are in order",
        "batch_slices_offsets_in_order",
        "batch_slices",
        {"first_offset": 2},
    ),
    case(
        "a slice's commands are counted",
        "batch_slices_commands_not_negative",
        "batch_slices",
        {"commands": -1},
    ),
    case(
        "a slice's entries are counted",
        "batch_slices_entries_not_negative",
        "batch_slices",
        {"entries": -1},
    ),
    case(
        "a slice's chain is 32 bytes",
        "batch_slices_chain_length",
        "batch_slices",
        {"chain": bytes(31)},
    ),
    case(
        "an outbox row's offsets are in order",
        "outbox_offsets_in_order",
        "outbox",
        {"first_offset": -1},
    ),
)

UNIQUE: Final = (
    case(
        "an entry's key is used once",
        "entries_pkey",
        "entries",
        {},
        OTHER_SIDE | {"id": place(1, 1)},
    ),
    case("a wallet is one row", "wallets_pkey", "wallets", {}, {}),
    case("the house has its wallet already", "wallets_pkey", "wallets", {"user_id": HOUSE}),
    case("a record has one outcome", "commands_pkey", "commands", {}, {"idempotency_key": "2"}),
    case(
        "a key has one first command",
        "commands_first_of_key",
        "commands",
        {},
        {"id": place(2), "outcome": "rejected", "code": "wallet_frozen"},
    ),
    case("a record is dead once", "dead_letters_pkey", "dead_letters", {}, {}),
    case(
        "an address is given once",
        "deposit_addresses_pkey",
        "deposit_addresses",
        {},
        {"user_id": SELLER, "derivation_index": 1},
    ),
    case(
        "an index is given once for its account and chain",
        "deposit_addresses_account_key_chain_derivation_index_key",
        "deposit_addresses",
        {},
        {"user_id": SELLER, "address": "nAddress2"},
    ),
    case(
        "a user has one active address",
        "deposit_addresses_one_active",
        "deposit_addresses",
        {},
        {"derivation_index": 1, "address": "nAddress2"},
    ),
    case("an account has one counter", "address_counters_pkey", "address_counters", {}, {}),
    case("an outpoint is one deposit", "deposits_pkey", "deposits", {}, {}),
    case("a withdrawal is one row", "withdrawals_pkey", "withdrawals", {}, {}),
    case("an escrow is one row", "escrows_pkey", "escrows", {}, {"order_id": "order-2"}),
    case(
        "a buyer's order has one escrow",
        "escrows_buyer_id_order_id_key",
        "escrows",
        {},
        {"id": place(5)},
    ),
    case("locks of one reference add up in one row", "locks_pkey", "locks", {}, {}),
    case("a transaction has one network fee", "network_fees_pkey", "network_fees", {}, {}),
    case("a version of the rules is one row", "rules_pkey", "rules", {}, {}),
    case("the head of the rules is one row", "rules_head_pkey", "rules_head", {}, {}),
    case("a partition is one row", "partitions_pkey", "partitions", {}, {}),
    case("a batch's number is used once", "batches_pkey", "batches", {}, {}),
    case("a partition has one slice a batch", "batch_slices_pkey", "batch_slices", {}, {}),
    case("an offset is published from one row", "outbox_pkey", "outbox", {}, {}),
)

FOREIGN: Final = (
    case("the head of the rules is there", "rules_head_version_fkey", "rules_head", {}),
    case("a batch's rules are there", "batches_rules_version_fkey", "batches", {}),
    case("a slice's batch is there", "batch_slices_batch_id_fkey", "batch_slices", {}),
)
