"""The first rules, from the settings: what ``set_rules`` would refuse is refused here too."""

from __future__ import annotations

from typing import Any

import pytest

from processors.dogecoin.derivation import account_keys
from processors.dogecoin.keyring import Keyring
from processors.seed import first_rules
from schemas.records import Tier
from schemas.settings import Settings, SettingsError

KEYRING = Keyring(account_keys(bytes(64), "regtest")[1], "regtest")


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"rules_confirmations": "0"}, r"confirmations"),
        ({"rules_confirmations": "40@100000"}, r"must start at an exposure of 0"),
        ({"rules_confirmations": "40@100000,20"}, r"must start at an exposure of 0"),
        ({"rules_confirmations": "20,40@5,60@5"}, r"exposures must rise"),
        ({"rules_confirmations": "40,20@100000"}, r"confirmations must not fall"),
        ({"rules_confirmations": "many"}, r"CONFIRMATIONS\[@FROM_AMOUNT\]"),
        ({"rules_confirmations": "20,40@much"}, r"WALLET_RULES_"),
        (
            {"rules_withdrawal_minimum": "10", "rules_withdrawal_maximum": "5"},
            r"minimum of a withdrawal is over its maximum",
        ),
        ({"rules_withdrawal_maximum": "92233720368.54775807"}, r"over 63 bits"),
        ({"rules_withdrawal_minimum": "0.0009"}, r"WALLET_RULES_WITHDRAWAL_MINIMUM"),
        ({"rules_escrow_fee_basis_points": 10_001}, r"escrow_fee_basis_points"),
    ],
)
def test_settings_that_contradict_themselves_are_refused_before_they_are_rules(
    settings: dict[str, Any], why: str
) -> None:
    with pytest.raises(SettingsError, match=why):
        first_rules(Settings(**settings), KEYRING)


def test_settings_that_hold_together_are_version_1() -> None:
    rules = first_rules(Settings(rules_confirmations="20,40@100000"), KEYRING)
    assert rules.version == 1
    assert rules.confirmations == (Tier(0, 20), Tier(100_000 * 10**8, 40))
