"""Derivation by known vectors, the same in two other implementations: the mnemonic "abandon" ×11
"about" without passphrase."""

from __future__ import annotations

from typing import Final

import pytest
from bip_utils import Base58Encoder

from processors.dogecoin.derivation import (
    AccountKeyUnusable,
    Keychain,
    PrivateAccount,
    PrivateKeyUnusable,
    account_keys,
)
from processors.dogecoin.hidden import Hidden
from schemas.addresses import check_address

SEED: Final = bytes.fromhex(
    "5eb00bbddcf069084889a8ab9155568165f5c453ccb85e70811aaed6f6da5fc1"
    "9a5ac40b389cd370d086206dec8aa6c43daea6690f20ad3d8d48b2d2ce9e38e4"
)

DGUB: Final = (
    "dgub8rUhDtD3YFGZTUphBfpBbzvFxSMKQXYLzg87Me2ta78r2SdVLmypBUkkxrrn9RTnchsyiJSkHZyLWxD13ibBiXtu"
    "FWktBoDaGaZjQUBLNLs"
)
XPUB: Final = (
    "xpub6Bxse8AT19u9HExKtP1EAudLi9CpLxPpxDvanL2fFtM7UFE2Q7TTWRg4bnMnmT4KcyN6GQkSgZmPWDtyUywSii3MD"
    "pMNfXSTuzH7gvZywLU"
)
TGUB: Final = (
    "tgub5QziLPy2KFnZgdWALMfCBZcPpFQxtmu3sMDKvDdt1L7WAiAWXpAqf1S9FzNEEa7ipDM6kEy4o9mrVGshjxMKMoq3"
    "83HELMHguMNGgRryJwt"
)
TPUB: Final = (
    "tpubDC5FSnBiZDMmhiuCmWAYsLwgLYrrT9rAqvTySfuCCrgsWz8wxMXUS9Tb9iVMvcRbvFcAHGkMD5Kx8koh4GquNGNTf"
    "ohfk7pgjhaPCdXpoba"
)

MAIN: Final = (
    "DBus3bamQjgJULBJtYXpEzDWQRwF5iwxgC",
    "DAcDAtJRztxBHyA6D6h8du1HguyTR43Mas",
    "D8K3KyDQ9FXeC3ADCuWW7cnWC7RvjHjV8H",
    "D6RRdXkUbb3pazkYGXAXwbJY5iC8Tyqwzh",
    "DTdrvUHbk5oMyi62tM7LqrjAcXfqB7eaad",
)
MAIN_CHANGE: Final = (
    "D7ReBLrRv12mi9pYh5HtfFLTt1PSoeAa7e",
    "D92vUBQJjMhmczzGf7ReUswoDEZuqaNout",
    "D8NfTfXgmKnvrPejr4utmwxRgapNvcbyA6",
    "DH5hDAaUmwFaD6jsN4U7qt2KGR2dEGqUcT",
    "DH5gYm8k2UmVmwkZpq7kcqeVepvE8rPMkW",
)
TEST: Final = (
    "nZVmfmUtKPmskB9Ds4P9GUJy9eYFqPKHqH",
    "noVoUoC3q7wgmb25McqSdLCHhUAhSREkT9",
    "nb8xvuyL7K3DWS8QgGH2rxcfKyvMQ1wiYe",
    "ndBFgiJbsywgU5bJRWPGzQBCpYB3M1DZCU",
    "nprZmJBRhatuwtUXBSjjd3nCG9R8DDm3y3",
)
REGTEST: Final = (
    "mkpZhYtJu2r87Js3pDiWJDmPte2NRZ8bJV",
    "mzpbWabUQm1w8ijuJnAof5eiSTep27deVH",
    "mnTkxhNkgx7TsZrEdRcPti564yQTzynGJp",
)


@pytest.mark.parametrize(
    ("key", "network", "chain", "expected"),
    [
        (DGUB, "mainnet", 0, MAIN),
        (XPUB, "mainnet", 0, MAIN),
        (DGUB, "mainnet", 1, MAIN_CHANGE),
        (TGUB, "testnet", 0, TEST),
        (TPUB, "testnet", 0, TEST),
        (TGUB, "regtest", 0, REGTEST),
        (TPUB, "regtest", 0, REGTEST),
    ],
    ids=["dgub", "xpub", "change", "tgub", "tpub", "regtest_tgub", "regtest_tpub"],
)
def test_addresses_are_those_of_every_other_wallet(
    key: str, network: str, chain: int, expected: tuple[str, ...]
) -> None:
    keychain = Keychain(key, network)
    addresses = [keychain.address(chain, index) for index in range(len(expected))]
    assert addresses == list(expected)
    assert all(check_address(address, network) is None for address in addresses)


def test_the_account_of_a_seed_has_the_known_public_keys() -> None:
    private, public = account_keys(SEED, "mainnet")
    assert (private[:4], public) == ("dgpv", DGUB)
    for network in ("testnet", "regtest"):
        private, public = account_keys(SEED, network)
        assert (private[:4], public) == ("tgpv", TGUB)


def test_an_accounts_fingerprint_is_the_same_however_its_key_is_written() -> None:
    fingerprints = [
        Keychain(DGUB, "mainnet").fingerprint,
        Keychain(XPUB, "mainnet").fingerprint,
        Keychain(TGUB, "testnet").fingerprint,
        Keychain(TPUB, "regtest").fingerprint,
    ]
    assert fingerprints[0] == fingerprints[1] == "0259fb7b94a6ff73"
    assert fingerprints[2] == fingerprints[3] != fingerprints[0]


def test_a_keychain_shows_its_fingerprint_alone() -> None:
    assert repr(Keychain(DGUB, "mainnet")) == "Keychain(0259fb7b94a6ff73)"


@pytest.mark.parametrize("index", [-1, 2**31])
def test_hardened_indices_cannot_be_derived(index: int) -> None:
    with pytest.raises(ValueError, match="between 0 and"):
        Keychain(DGUB, "mainnet").address(0, index)
    with pytest.raises(ValueError, match="between 0 and"):
        PrivateAccount(Hidden(private()), "mainnet").secret(0, index)


def test_the_last_index_can_be_derived() -> None:
    assert check_address(Keychain(DGUB, "mainnet").address(0, 2**31 - 1), "mainnet") is None


def rewritten(version: str = "02facafd", depth: int = 3, point: bytes | None = None) -> str:
    """An extended key like the account's, but for what is given."""
    chain_code = b"\1" * 32
    key = point or bytes.fromhex(
        "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
    )
    payload = bytes.fromhex(version) + bytes((depth,)) + bytes(8) + chain_code + key
    text: str = Base58Encoder.CheckEncode(payload)
    return text


@pytest.mark.parametrize(
    ("key", "network", "told"),
    [
        ("", "mainnet", "not Base58Check"),
        ("xpub", "mainnet", "not Base58Check"),
        (DGUB[:-1] + "t", "mainnet", "not Base58Check"),
        (DGUB + " ", "mainnet", "not Base58Check"),
        ("dgüb", "mainnet", "not Base58Check"),
        (DGUB, "moonnet", "no network"),
        (DGUB, "regtest", "dgub key is not for regtest"),
        (XPUB, "testnet", "xpub key is not for testnet"),
        (TPUB, "mainnet", "tpub key is not for mainnet"),
        (account_keys(SEED, "mainnet")[0], "mainnet", "PRIVATE key"),
        (account_keys(SEED, "regtest")[0], "regtest", "PRIVATE key"),
        (rewritten("0488ade4", point=bytes(32) + b"\1"), "mainnet", "PRIVATE key"),
        (rewritten("049d7cb2"), "mainnet", "none of dgub, xpub, tgub, tpub"),
        (rewritten(depth=2), "mainnet", "not an account's"),
        (rewritten(depth=4), "mainnet", "not an account's"),
        (rewritten(point=b"\2" + bytes(31) + b"\5"), "mainnet", "not on the curve"),
        (rewritten(point=b"\2"), "mainnet", "not on the curve"),
    ],
)
def test_a_key_that_cannot_be_used_is_told_without_showing_it(
    key: str, network: str, told: str
) -> None:
    with pytest.raises(AccountKeyUnusable, match=told) as raised:
        Keychain(key, network)
    assert len(key) < 10 or key[5:] not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_sound_made_up_key_is_used() -> None:
    assert check_address(Keychain(rewritten(), "mainnet").address(0, 0), "mainnet") is None


def private(version: str = "02fac398", depth: int = 3, number: int = 1) -> str:
    """An extended private key of that number."""
    return rewritten(version, depth, b"\0" + number.to_bytes(32, "big"))


@pytest.mark.parametrize(
    ("key", "network", "told"),
    [
        ("dgpv", "mainnet", "not Base58Check"),
        (private()[:-1] + "x", "mainnet", "not Base58Check"),
        (private(), "moonnet", "no network"),
        (private(), "regtest", "dgpv key is not for regtest"),
        (private("04358394"), "mainnet", "tprv key is not for mainnet"),
        (private("049d7878"), "mainnet", "none of dgpv, xprv, tgpv, tprv"),
        (DGUB, "mainnet", "public key \\(dgub\\)"),
        (private(number=0), "mainnet", "no private key"),
        (private(number=2**256 - 1), "mainnet", "no private key"),
        (private(depth=2), "mainnet", "not an account's; export m/44'/3'/0'"),
        (private("04358394", depth=4), "testnet", "not an account's; export m/44'/1'/0'"),
    ],
)
def test_a_key_that_cannot_sign_is_told_by_what_is_wrong(key: str, network: str, told: str) -> None:
    with pytest.raises(PrivateKeyUnusable, match=told) as raised:
        PrivateAccount(Hidden(key), network)
    assert raised.value.__cause__ is None


def test_a_sound_made_up_private_key_is_used() -> None:
    account = PrivateAccount(Hidden(private()), "mainnet")
    assert account.account_xpub == rewritten()
