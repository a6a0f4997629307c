"""The accounts whose addresses are ours: one, until its key was replaced by another account's.

The ledger's rules name the present one, from which new addresses and change are derived. Addresses
of the others stay ours, and are watched for as long as anybody may pay to them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from processors.dogecoin.derivation import (
    CHANGE_CHAIN,
    EXTERNAL_CHAIN,
    AccountKeyUnusable,
    Keychain,
)


class AccountUnknown(Exception):
    """Addresses are to be derived from an account whose public key is not set here."""

    def __init__(self, account_key: str, known: str) -> None:
        super().__init__(
            f"addresses are of account {account_key}, and WALLET_ACCOUNT_XPUB names {known}: put "
            "that account's public key there too, with a comma between them, and start again"
        )


class Keyring:
    """Keychains by their fingerprint, in the order in which the settings give their keys."""

    def __init__(self, account_xpubs: str, network: str) -> None:
        """``account_xpubs`` are public keys of accounts with commas between them.

        Raises ``AccountKeyUnusable`` if one cannot be used, or stands there twice.
        """
        keychains = [Keychain(each.strip(), network) for each in account_xpubs.split(",")]
        self._keychains: Final = {keychain.fingerprint: keychain for keychain in keychains}
        if len(self._keychains) < len(keychains):
            raise AccountKeyUnusable("it names the same account twice.")
        #: That of a new database.
        self.first: Final = keychains[0]
        self.fingerprints: Final = tuple(self._keychains)

    def of(self, account_key: str) -> Keychain:
        """The keychain of an account; raises ``AccountUnknown``."""
        keychain = self._keychains.get(account_key)
        if keychain is None:
            raise AccountUnknown(account_key, self.names)
        return keychain

    def deposit_address(self, account_key: str, index: int) -> str:
        """The deposit address of an account at ``index``; raises ``AccountUnknown``."""
        return self.of(account_key).address(EXTERNAL_CHAIN, index)

    def derives(self, address: str, indices: range) -> bool:
        """Whether it is an address of any account, for deposits or change, at these indices."""
        return any(
            keychain.address(chain, index) == address
            for keychain in self
            for chain in (EXTERNAL_CHAIN, CHANGE_CHAIN)
            for index in indices
        )

    @property
    def names(self) -> str:
        """The fingerprints, to be read."""
        return " and ".join(self.fingerprints)

    def __contains__(self, account_key: object) -> bool:
        return account_key in self._keychains

    def __iter__(self) -> Iterator[Keychain]:
        return iter(self._keychains.values())

    def __repr__(self) -> str:
        return f"Keyring({self.names})"
