"""How many confirmations a payment needs, by what its user got lately, and whether it counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.dogecoin.crediting import (
    Asked,
    asked_of,
    confirmations_asked,
    exposed_blocks,
)
from schemas.records import Rules, Tier

TIERS = (Tier(0, 20), Tier(100_000, 40), Tier(1_000_000, 60))
RULES = Rules(
    version=1,
    network="regtest",
    account_key="key",
    escrow_fee_basis_points=0,
    withdrawal_fee=0,
    withdrawal_minimum=1,
    withdrawal_maximum=1,
    deposit_minimum=100,
    confirmations=TIERS,
)


@pytest.mark.parametrize(
    ("exposure", "confirmations"),
    [
        (0, 20),
        (99_999, 20),
        (100_000, 40),
        (999_999, 40),
        (1_000_000, 60),
        (10**18, 60),
    ],
)
def test_confirmations_rise_with_what_is_exposed(exposure: int, confirmations: int) -> None:
    assert confirmations_asked(exposure, TIERS) == confirmations


@given(st.integers(0, 10**20), st.integers(0, 10**20))
def test_more_is_never_asked_less_of(one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert confirmations_asked(low, TIERS) <= confirmations_asked(high, TIERS)


def test_receipts_count_together_as_far_back_as_any_tier_asks() -> None:
    assert exposed_blocks(TIERS) == 60


@pytest.mark.parametrize(
    ("amount", "exposure", "coinbase", "credited_once", "asked"),
    [
        (100, 100, False, False, Asked(20, True)),
        (99, 99, False, False, Asked(20, False)),
        # The ledger credits again what it credited once, whatever the rules say now.
        (99, 99, False, True, Asked(20, True)),
        (100, 100_000, False, False, Asked(40, True)),
        (100, 100, True, False, Asked(240, True)),
        (99, 99, True, False, Asked(240, False)),
    ],
)
def test_what_is_asked_of_a_payment(
    amount: int, exposure: int, coinbase: bool, credited_once: bool, asked: Asked
) -> None:
    assert (
        asked_of(
            amount,
            exposure,
            RULES,
            coinbase=coinbase,
            maturity=240,
            credited_once=credited_once,
        )
        == asked
    )


def test_a_tier_above_the_maturity_is_asked_of_a_coinbase_too() -> None:
    asked = asked_of(100, 10**6, RULES, coinbase=True, maturity=30, credited_once=False)
    assert asked.confirmations == 60
