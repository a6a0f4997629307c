"""The first version of the rules, from the settings; later ones come by commands alone."""

from __future__ import annotations

import msgspec

from processors.dogecoin.fees import DUST_HARD, unpayable
from processors.dogecoin.keyring import AccountUnknown, Keyring
from processors.ledger.rules import fault_of, tiers_of
from schemas.commands import CommandType, SetRules
from schemas.envelope import decode_data
from schemas.records import Rules, Tier
from schemas.rejections import Malformed
from schemas.settings import Settings, SettingsError


class RulesOfAnotherAccount(Exception):
    """None of the settings' accounts, or not their network, is what the database's rules name."""


def keyring_of(settings: Settings) -> Keyring:
    """The accounts of our addresses; raises ``SettingsError`` where none is set."""
    settings.require("account_xpub")
    return Keyring(settings.account_xpub, settings.network)


def first_rules(settings: Settings, keyring: Keyring) -> Rules:
    """Version 1, of the first account.

    Raises ``SettingsError`` for what ``set_rules`` would refuse, and for what no node would relay.
    """
    try:
        asked = _asked(settings)
    except Malformed as fault:
        raise SettingsError(f"WALLET_RULES_*: {fault.detail}") from None
    if asked.withdrawal_minimum < DUST_HARD:
        unpaid = unpayable(asked.withdrawal_minimum)
        raise SettingsError(f"WALLET_RULES_WITHDRAWAL_MINIMUM: {unpaid}")
    contradiction = fault_of(asked)
    if contradiction is not None:
        raise SettingsError(f"WALLET_RULES_*: {contradiction}")
    return Rules(
        version=1,
        network=settings.network,
        account_key=keyring.first.fingerprint,
        escrow_fee_basis_points=asked.escrow_fee_basis_points,
        withdrawal_fee=int(asked.withdrawal_fee),
        withdrawal_minimum=int(asked.withdrawal_minimum),
        withdrawal_maximum=int(asked.withdrawal_maximum),
        deposit_minimum=int(asked.deposit_minimum),
        confirmations=tuple(
            Tier(int(tier.exposure), tier.confirmations) for tier in asked.confirmations
        ),
    )


def _asked(settings: Settings) -> SetRules:
    """The settings as the command that would set them, read as strictly; raises ``Malformed``."""
    wire = {
        "escrow_fee_basis_points": settings.rules_escrow_fee_basis_points,
        "withdrawal_fee": settings.rules_withdrawal_fee,
        "withdrawal_minimum": settings.rules_withdrawal_minimum,
        "withdrawal_maximum": settings.rules_withdrawal_maximum,
        "deposit_minimum": settings.rules_deposit_minimum,
        "confirmations": tiers_of(settings.rules_confirmations),
    }
    data = decode_data(CommandType.SET_RULES, msgspec.json.encode(wire))
    assert isinstance(data, SetRules)
    return data


def require_known_account(rules: Rules, keyring: Keyring, network: str) -> None:
    """Raise ``RulesOfAnotherAccount`` unless addresses would be derived as they were before."""
    if rules.network != network:
        raise RulesOfAnotherAccount(
            f"The database's addresses are of {rules.network}, and WALLET_NETWORK is {network}: "
            "set the one that the database was made with."
        )
    try:
        keyring.of(rules.account_key)
    except AccountUnknown as unknown:
        raise RulesOfAnotherAccount(f"The database's {unknown}.") from None
