"""What a node's answer to a broadcast means: little of it is final.

Only a block decides. A refusal may be of a payment that is long since mined, whose outputs are
spent; a time-out may hide an acceptance. So whoever reads an answer looks at who spent the inputs
before a withdrawal counts as failed.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from schemas.words import Word


class Verdict(Word):
    """What became of the bytes that were sent, as far as one answer tells."""

    #: In the node's mempool, now or before.
    ACCEPTED = "accepted"
    #: In a block, or known to the mempool in a way the node calls an error.
    ALREADY_THERE = "already_there"
    #: Not taken; ``reason`` says why.
    REFUSED = "refused"
    #: The node may have taken it or not.
    UNKNOWN = "unknown"


class Reason(Word):
    """Why a node did not take a transaction."""

    #: Inputs that it does not know, or that are spent: by whom, the chain's follower tells. Also
    #: the answer for a payment that was mined and whose outputs are spent.
    INPUTS_GONE = "inputs_gone"
    #: Another transaction in the mempool spends an input and is not to be replaced.
    CONFLICT = "conflict"
    #: The fee is less than it relays, or than a replacement must add.
    FEE_TOO_LOW = "fee_too_low"
    #: The fee is above its own guard (100 DOGE by default).
    FEE_TOO_HIGH = "fee_too_high"
    #: Too many unconfirmed ancestors or descendants.
    CHAIN_TOO_LONG = "chain_too_long"
    #: An output is under the hard limit of dust.
    DUST = "dust"
    #: A signature or script does not hold.
    SIGNATURE = "signature"
    #: Not a transaction.
    UNREADABLE = "unreadable"
    #: Another rule of policy or consensus.
    RULE = "rule"


class Answer(NamedTuple):
    """One answer to one broadcast; ``detail`` is the node's own text."""

    verdict: Verdict
    reason: Reason | None = None
    detail: str = ""


#: Part of a text of Core 1.14's (its validation.cpp) or of its kin's, and what it stands for. The
#: first that is found counts.
_TEXTS: Final = (
    ("txn-already-in-mempool", None),
    ("txn-already-known", None),
    ("txn-mempool-conflict", Reason.CONFLICT),
    ("missing inputs", Reason.INPUTS_GONE),
    ("bad-txns-inputs-spent", Reason.INPUTS_GONE),
    ("bad-txns-inputs-missingorspent", Reason.INPUTS_GONE),
    ("absurdly-high-fee", Reason.FEE_TOO_HIGH),
    ("max-fee-exceeded", Reason.FEE_TOO_HIGH),
    ("insufficient priority", Reason.FEE_TOO_LOW),
    ("insufficient fee", Reason.FEE_TOO_LOW),
    ("min fee not met", Reason.FEE_TOO_LOW),
    ("min relay fee not met", Reason.FEE_TOO_LOW),
    ("too-long-mempool-chain", Reason.CHAIN_TOO_LONG),
    ("dust", Reason.DUST),
    ("script-verify-flag", Reason.SIGNATURE),
)


def answer_of(code: int, message: str) -> Answer:
    """What an error of ``sendrawtransaction`` means; an unknown code means unknown."""
    match code:
        case -27:  # RPC_VERIFY_ALREADY_IN_CHAIN
            return Answer(Verdict.ALREADY_THERE, None, message)
        case -25 | -26:  # RPC_VERIFY_ERROR, RPC_VERIFY_REJECTED
            return _refusal(message)
        case -22:  # RPC_DESERIALIZATION_ERROR
            return Answer(Verdict.REFUSED, Reason.UNREADABLE, message)
        case _:
            return Answer(Verdict.UNKNOWN, None, f"{code}: {message}")


def _refusal(message: str) -> Answer:
    lower = message.lower()
    for text, reason in _TEXTS:
        if text in lower:
            verdict = Verdict.ALREADY_THERE if reason is None else Verdict.REFUSED
            return Answer(verdict, reason, message)
    return Answer(Verdict.REFUSED, Reason.RULE, message)
