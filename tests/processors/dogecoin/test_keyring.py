"""The keyring: which accounts' addresses are ours."""

from __future__ import annotations

import pytest

from processors.dogecoin.derivation import AccountKeyUnusable, Keychain, account_keys
from processors.dogecoin.keyring import AccountUnknown, Keyring

_, ONE = account_keys(bytes(range(64)), "regtest")
_, TWO = account_keys(bytes(range(64, 128)), "regtest")


def test_each_account_derives_its_own_addresses() -> None:
    keyring = Keyring(f"{ONE}, {TWO}", "regtest")
    for xpub in (ONE, TWO):
        keychain = Keychain(xpub, "regtest")
        address = keyring.deposit_address(keychain.fingerprint, 7)
        assert address == keychain.address(0, 7)
        assert keyring.of(keychain.fingerprint).address(1, 7) == keychain.address(1, 7)


def test_the_first_is_that_of_a_new_database() -> None:
    assert Keyring(f"{TWO},{ONE}", "regtest").first.fingerprint == (
        Keychain(TWO, "regtest").fingerprint
    )


def test_an_account_that_is_not_there_is_told_with_those_that_are() -> None:
    keyring = Keyring(ONE, "regtest")
    other = Keychain(TWO, "regtest").fingerprint
    assert other not in keyring
    with pytest.raises(AccountUnknown, match=f"{other}.*{keyring.first.fingerprint}"):
        keyring.deposit_address(other, 0)


@pytest.mark.parametrize("text", ["{0},{0}", "{0},", ",{0}", "{0};{0}"])
def test_a_list_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(AccountKeyUnusable, match="WALLET_ACCOUNT_XPUB"):
        Keyring(text.format(ONE), "regtest")


def test_it_knows_its_own_addresses_within_a_range() -> None:
    keyring, other = Keyring(ONE, "regtest"), Keychain(TWO, "regtest")
    for chain in (0, 1):
        assert keyring.derives(keyring.first.address(chain, 7), range(8))
        assert not keyring.derives(keyring.first.address(chain, 8), range(8))
        assert not keyring.derives(other.address(chain, 7), range(8))


def test_its_repr_shows_no_key() -> None:
    assert ONE[4:] not in repr(Keyring(ONE, "regtest"))
