"""When a payment to a user counts: how many confirmations, and whether it is enough at all.

What a reorganisation of some depth can take is everything its user received within that depth. So
the confirmations that are asked go by all of that together, and sixty small payments need as many
as a single one of their sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from schemas.records import Rules, Tier


class Asked(NamedTuple):
    """What a receipt is held to."""

    #: Confirmations, counting its own block as the first.
    confirmations: int
    #: Less than the least deposit is recorded and never credited.
    sufficient: bool


def confirmations_asked(exposure: int, tiers: Sequence[Tier]) -> int:
    """Confirmations for an exposure in koinu; the highest tier that it reaches counts."""
    return max(tier.confirmations for tier in tiers if tier.exposure <= exposure)


def exposed_blocks(tiers: Sequence[Tier]) -> int:
    """How many blocks back a user's receipts are counted together: as deep as any tier asks."""
    return max(tier.confirmations for tier in tiers)


def asked_of(
    amount: int, exposure: int, rules: Rules, *, coinbase: bool, maturity: int, credited_once: bool
) -> Asked:
    """What is asked of a receipt.

    ``exposure`` is what its user received lately, this one included, in koinu. A coinbase output
    cannot be spent before it is ``maturity`` blocks deep, and is not credited earlier. What was
    credited once counts as enough for ever, as the ledger has it.
    """
    confirmations = confirmations_asked(exposure, rules.confirmations)
    return Asked(
        max(confirmations, maturity) if coinbase else confirmations,
        credited_once or amount >= rules.deposit_minimum,
    )
