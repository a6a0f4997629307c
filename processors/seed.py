"""The first version of the rules, from the settings; later ones come by ``set_rules`` alone."""

from __future__ import annotations

from processors.dogecoin.derivation import Keychain
from processors.dogecoin.fees import DUST_HARD, unpayable
from schemas.amounts import parse_amount, parse_share
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
    """Version 1; raises ``SettingsError`` for an amount or a tier that cannot be read."""
    try:
        minimum = parse_amount(settings.rules_withdrawal_minimum)
        if minimum < DUST_HARD:
            raise SettingsError(f"WALLET_RULES_WITHDRAWAL_MINIMUM: {unpayable(minimum)}")
        return Rules(
            version=1,
            network=settings.network,
            account_key=keychain.fingerprint,
            escrow_fee_basis_points=settings.rules_escrow_fee_basis_points,
            withdrawal_fee=parse_share(settings.rules_withdrawal_fee),
            withdrawal_minimum=minimum,
            withdrawal_maximum=parse_amount(settings.rules_withdrawal_maximum),
            deposit_minimum=parse_share(settings.rules_deposit_minimum),
            confirmations=_tiers(settings.rules_confirmations),
        )
    except Malformed as fault:
        raise SettingsError(f"WALLET_RULES_*: {fault.detail}") from None


def _tiers(text: str) -> tuple[Tier, ...]:
    tiers = []
    for part in text.split(","):
        confirmations, _, exposure = part.strip().partition("@")
        if not confirmations.isdigit():
            raise SettingsError(
                f"WALLET_RULES_CONFIRMATIONS: {part!r} is not CONFIRMATIONS[@FROM_AMOUNT]"
            )
        tiers.append(Tier(parse_share(exposure or "0"), int(confirmations)))
    return tuple(tiers)


def require_same_account(rules: Rules, keychain: Keychain, network: str) -> None:
    """Raise ``RulesOfAnotherAccount`` unless addresses would be derived as they were before."""
    if (rules.account_key, rules.network) != (keychain.fingerprint, network):
        raise RulesOfAnotherAccount(
            f"The database's addresses are of account {rules.account_key} on {rules.network}, "
            f"WALLET_ACCOUNT_XPUB is account {keychain.fingerprint} on {network}: "
            "set the one that the database was made with."
        )
