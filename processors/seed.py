"""The first version of the rules, from the settings; later ones come by ``set_rules`` alone."""

from __future__ import annotations

import msgspec

from processors.dogecoin.derivation import Keychain
from processors.dogecoin.fees import DUST_HARD, unpayable
from processors.ledger.rules import fault_of, tiers_of
from schemas.commands import CommandType, SetRules
from schemas.envelope import decode_data
from schemas.records import Rules, Tier
from schemas.rejections import Malformed
from schemas.settings import Settings, SettingsError


class RulesOfAnotherAccount(Exception):
    """The settings' account or network is not the one that the database's rules name."""


def keychain_of(settings: Settings) -> Keychain:
    """The deposit addresses' keychain; raises ``SettingsError`` where no account is set."""
    settings.require("account_xpub")
    return Keychain(settings.account_xpub, settings.network)


def first_rules(settings: Settings, keychain: Keychain) -> Rules:
    """Version 1; raises ``SettingsError`` for what ``set_rules`` would refuse, and for what no
    node would relay."""
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
        account_key=keychain.fingerprint,
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


def require_same_account(rules: Rules, keychain: Keychain, network: str) -> None:
    """Raise ``RulesOfAnotherAccount`` unless addresses would be derived as they were before."""
    if (rules.account_key, rules.network) != (keychain.fingerprint, network):
        raise RulesOfAnotherAccount(
            f"The database's addresses are of account {rules.account_key} on {rules.network}, "
            f"WALLET_ACCOUNT_XPUB is account {keychain.fingerprint} on {network}: "
            "set the one that the database was made with."
        )
