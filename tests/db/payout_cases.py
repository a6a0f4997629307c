"""What the payer's tables refuse, constraint by constraint."""

from __future__ import annotations

from typing import Any, Final

from tests.db.cases import Case, case
from tests.db.rows import BUYER, NOW, OTHER_TXID, TXID, place

_SIGNED: Final[dict[str, Any]] = {
    "raw": b"\x01",
    "txid": OTHER_TXID,
    "outputs_hash": bytes(32),
    "signed_at": NOW,
}
_ACCEPTED: Final[dict[str, Any]] = {"outcome": "accepted", "settled_at": NOW}


CHECKS: Final[tuple[Case, ...]] = (
    case(
        "a change counter is not negative",
        "change_counters_next_index_not_negative",
        "change_counters",
        {"next_index": -1},
    ),
    case("a sweep has a target", "payouts_sweep_has_target", "payouts", {"kind": "sweep"}),
    case(
        "a payment of withdrawals has no target",
        "payouts_sweep_has_target",
        "payouts",
        {"target_address": "nAddress3"},
    ),
    case(
        "a confirmed payout has a transaction",
        "payouts_confirmed_has_txid",
        "payouts",
        {"status": "confirmed"},
    ),
    case(
        "an open payout is confirmed by nothing",
        "payouts_confirmed_has_txid",
        "payouts",
        {"confirmed_txid": TXID},
    ),
    case("a failed payout says why", "payouts_failure_of_failed", "payouts", {"status": "failed"}),
    case(
        "an open payout has no failure",
        "payouts_failure_of_failed",
        "payouts",
        {"failure": "conflict"},
    ),
    case(
        "confirmations are counted up",
        "payouts_confirmations_told_not_negative",
        "payouts",
        {"confirmations_told": -1},
    ),
    *(
        case(
            f"a signed version is stored with its {lost}",
            "payout_versions_signed_wholly",
            "payout_versions",
            _SIGNED | {lost: None},
        )
        for lost in _SIGNED
    ),
    case(
        "a hash of outputs is 32 bytes",
        "payout_versions_outputs_hash_length",
        "payout_versions",
        _SIGNED | {"outputs_hash": bytes(31)},
    ),
    case(
        "nothing is sent before it is stored",
        "payout_versions_sent_after_signed",
        "payout_versions",
        {"first_sent_at": NOW},
    ),
    case(
        "versions are counted from one",
        "payout_versions_version_positive",
        "payout_versions",
        {"version": 0},
    ),
    case(
        "a version's fee is not negative",
        "payout_versions_fee_not_negative",
        "payout_versions",
        {"fee": -1},
    ),
    case(
        "sends are counted up",
        "payout_versions_sends_not_negative",
        "payout_versions",
        {"sends": -1},
    ),
    case(
        "a reserved output's index is not negative",
        "reservations_vout_not_negative",
        "reservations",
        {"vout": -1},
    ),
    case("a claim is of more than nothing", "claims_amount_positive", "claims", {"amount": 0}),
    case(
        "a claim's outcome is one of two",
        "claims_outcome_known",
        "claims",
        {"outcome": "maybe", "settled_at": NOW},
    ),
    case("attempts are counted from one", "claims_attempts_positive", "claims", {"attempts": 0}),
    case(
        "a refused claim says why",
        "claims_code_of_rejected",
        "claims",
        {"outcome": "rejected", "settled_at": NOW},
    ),
    case(
        "an awaited claim has no code",
        "claims_code_of_rejected",
        "claims",
        {"code": "wallet_frozen"},
    ),
    case("an outcome has its time", "claims_settled_wholly", "claims", {"outcome": "accepted"}),
    case(
        "a claim is paid once it is accepted", "claims_paid_if_accepted", "claims", {"payout_id": 1}
    ),
    case("a tip is a height, or none", "stranded_height_known", "stranded", {"height": -2}),
    case(
        "an order of the payer's has one of two outcomes",
        "payer_outbox_outcome_known",
        "payer_outbox",
        {"outcome": "maybe"},
    ),
    case(
        "the payer's key is not empty",
        "payer_outbox_key_length",
        "payer_outbox",
        {"idempotency_key": ""},
    ),
)
UNIQUE: Final[tuple[Case, ...]] = (
    case("an account has one change counter", "change_counters_pkey", "change_counters", {}, {}),
    case("a payout is one row", "payouts_pkey", "payouts", {}, {}),
    case("a version is one row", "payout_versions_pkey", "payout_versions", {}, {}),
    case(
        "a transaction is one version",
        "payout_versions_txid_key",
        "payout_versions",
        _SIGNED,
        _SIGNED | {"version": 2},
    ),
    case("a coin is in one payout", "reservations_pkey", "reservations", {}, {"payout_id": 2}),
    case("a withdrawal has one claim", "claims_pkey", "claims", {}, {"user_id": place(9)}),
    case("a withdrawal is stranded once", "stranded_pkey", "stranded", {}, {"height": 7}),
    case(
        "a command of the payer is one row",
        "payer_outbox_pkey",
        "payer_outbox",
        {"id": 1},
        {"id": 1, "idempotency_key": "claim:2"},
    ),
    case(
        "a key of the payer's is used once for a user",
        "payer_outbox_user_id_idempotency_key_key",
        "payer_outbox",
        {},
        {"user_id": BUYER},
    ),
)
FOREIGN: Final[tuple[Case, ...]] = (
    case(
        "a version's payout is there",
        "payout_versions_payout_id_fkey",
        "payout_versions",
        {"payout_id": 99},
    ),
    case(
        "a reservation's payout is there",
        "reservations_payout_id_fkey",
        "reservations",
        {"payout_id": 99},
    ),
    case(
        "a claim's payout is there",
        "claims_payout_id_fkey",
        "claims",
        _ACCEPTED | {"payout_id": 99},
    ),
)
