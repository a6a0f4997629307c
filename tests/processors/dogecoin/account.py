"""The account of the mnemonic "abandon" ×11 "about", and coins of it to spend in tests."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from typing import Final

from processors.dogecoin.building import Change
from processors.dogecoin.derivation import Keychain, account_keys
from processors.dogecoin.hidden import Hidden
from processors.dogecoin.selection import Coin
from processors.dogecoin.signing import AccountSigner

MNEMONIC: Final = "abandon " * 11 + "about"
SEED: Final = bytes.fromhex(
    "5eb00bbddcf069084889a8ab9155568165f5c453ccb85e70811aaed6f6da5fc1"
    "9a5ac40b389cd370d086206dec8aa6c43daea6690f20ad3d8d48b2d2ce9e38e4"
)
DOGE: Final = 100_000_000
FEE_MAX: Final = 10 * DOGE


@cache
def keys(network: str) -> tuple[str, str]:
    """The account's private and public key."""
    return account_keys(SEED, network)


@cache
def keychain(network: str = "mainnet") -> Keychain:
    """Its addresses."""
    return Keychain(keys(network)[1], network)


@cache
def address(chain: int, index: int, network: str = "mainnet") -> str:
    """One of its addresses."""
    return keychain(network).address(chain, index)


@cache
def signer(network: str = "mainnet", *, fee_max: int = FEE_MAX) -> AccountSigner:
    """Its signer."""
    return AccountSigner(Hidden(keys(network)[0]), network, fee_max=fee_max)


def coin(number: int, amount: int, *, chain: int = 0, network: str = "mainnet") -> Coin:
    """A coin of its own txid, at one of the first ten addresses."""
    index = number % 10
    return Coin(
        txid=sha256(f"coin {number}".encode()).hexdigest(),
        vout=number % 3,
        amount=amount,
        chain=chain,
        derivation_index=index,
        address=address(chain, index, network),
    )


def change(index: int = 0, network: str = "mainnet") -> Change:
    """The change address of an index."""
    return Change(address(1, index, network), index)
