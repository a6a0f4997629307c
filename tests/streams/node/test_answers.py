"""What a node's answer to a broadcast means, text by text, of Core 1.14.9 and of its kin."""

from __future__ import annotations

import pytest

from streams.node.answers import Reason, Verdict, answer_of

REFUSALS = [
    (-25, "Missing inputs", Reason.INPUTS_GONE),
    (-25, "bad-txns-inputs-missingorspent", Reason.INPUTS_GONE),
    (-26, "18: bad-txns-inputs-spent", Reason.INPUTS_GONE),
    (-26, "258: txn-mempool-conflict", Reason.CONFLICT),
    (-26, "txn-mempool-conflict", Reason.CONFLICT),
    (-26, "66: insufficient priority", Reason.FEE_TOO_LOW),
    (-26, "66: mempool min fee not met", Reason.FEE_TOO_LOW),
    (-26, "min relay fee not met, 10 < 192", Reason.FEE_TOO_LOW),
    (-26, "66: insufficient fee", Reason.FEE_TOO_LOW),
    (-26, "256: absurdly-high-fee", Reason.FEE_TOO_HIGH),
    (-25, "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)", Reason.RULE),
    (-26, "64: dust", Reason.DUST),
    (-26, "64: scriptpubkey", Reason.RULE),
    (-26, "64: tx-size", Reason.RULE),
    (-26, "64: too-long-mempool-chain", Reason.CHAIN_TOO_LONG),
    (
        -26,
        "16: mandatory-script-verify-flag-failed (Signature must be zero for failed CHECK)",
        Reason.SIGNATURE,
    ),
    (-26, "64: non-mandatory-script-verify-flag (Non-canonical DER signature)", Reason.SIGNATURE),
    (-22, "TX decode failed", Reason.UNREADABLE),
]


@pytest.mark.parametrize(("code", "message", "reason"), REFUSALS)
def test_a_refusal_has_its_reason_and_keeps_the_nodes_text(
    code: int, message: str, reason: Reason
) -> None:
    assert answer_of(code, message) == (Verdict.REFUSED, reason, message)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (-27, "transaction already in block chain"),
        (-27, "Transaction already in block chain"),
        (-26, "txn-already-in-mempool"),
        (-26, "257: txn-already-known"),
    ],
)
def test_what_is_there_already_is_no_failure(code: int, message: str) -> None:
    assert answer_of(code, message) == (Verdict.ALREADY_THERE, None, message)


@pytest.mark.parametrize(
    ("code", "message"),
    [(-1, "anything"), (-28, "Loading block index..."), (-32603, "internal"), (7, "")],
)
def test_an_error_that_is_not_known_is_unknown_and_never_a_failure(code: int, message: str) -> None:
    answer = answer_of(code, message)
    assert answer.verdict is Verdict.UNKNOWN
    assert answer.reason is None
