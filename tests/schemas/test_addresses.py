"""Addresses: every letter counts, and so does the network."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.addresses import NETWORKS, check_address, decode_address, encode_address
from schemas.rejections import Rejection

#: Known ones: those of the mnemonic "abandon" ×11 "about"; a real node has paid the regtest ones.
KNOWN = {
    "mainnet": ("DBus3bamQjgJULBJtYXpEzDWQRwF5iwxgC", "D7ReBLrRv12mi9pYh5HtfFLTt1PSoeAa7e"),
    "testnet": ("nZVmfmUtKPmskB9Ds4P9GUJy9eYFqPKHqH", "noVoUoC3q7wgmb25McqSdLCHhUAhSREkT9"),
    "regtest": ("mkpZhYtJu2r87Js3pDiWJDmPte2NRZ8bJV", "mzpbWabUQm1w8ijuJnAof5eiSTep27deVH"),
}
CASES = [(network, text) for network, texts in KNOWN.items() for text in texts]
ADDRESS = KNOWN["mainnet"][0]

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


@pytest.mark.parametrize(("network", "text"), CASES)
def test_a_known_address_is_payable_on_its_network(network: str, text: str) -> None:
    assert check_address(text, network) is None


@pytest.mark.parametrize(("network", "text"), CASES)
@pytest.mark.parametrize("other", NETWORKS)
def test_a_known_address_is_of_no_other_network(network: str, text: str, other: str) -> None:
    expected = None if other == network else Rejection.ADDRESS_WRONG_NETWORK
    assert check_address(text, other) is expected


def test_script_addresses_are_payable() -> None:
    for network in NETWORKS.values():
        assert check_address(encode_address(network.p2sh, bytes(range(20))), network.name) is None


def test_test_networks_share_their_script_addresses_and_no_others() -> None:
    testnet, regtest = NETWORKS["testnet"], NETWORKS["regtest"]
    assert testnet.p2sh == regtest.p2sh
    versions = [n.p2pkh for n in NETWORKS.values()] + [NETWORKS["mainnet"].p2sh, testnet.p2sh]
    assert len(set(versions)) == len(versions)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "D",
        " " + ADDRESS,
        ADDRESS + " ",
        ADDRESS + "\n",
        ADDRESS[:-1],
        ADDRESS + "1",
        "1" + ADDRESS,
        ADDRESS.replace("B", "0", 1),
        ADDRESS.replace("B", "O", 1),
        ADDRESS.replace("B", "l", 1),
        ADDRESS.lower(),
        "D" + "\u0663" * 33,
        "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
        "doge1qw508d6qejxtdg4y5r3zarvary0c5xw7k4pfn0m",
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "1" * 25,
        "1" * 34,
        "z" * 34,
        "z" * 100,
    ],
)
def test_what_is_not_base58check_is_malformed(text: str) -> None:
    assert check_address(text, "mainnet") is Rejection.ADDRESS_MALFORMED


def test_an_address_of_bitcoin_is_of_another_network() -> None:
    bitcoin = encode_address(0, bytes(range(1, 21)))
    assert bitcoin[0] == "1"
    assert check_address(bitcoin, "mainnet") is Rejection.ADDRESS_WRONG_NETWORK


@given(place=st.integers(0, len(ADDRESS) - 1), letter=st.sampled_from(ALPHABET))
def test_any_one_wrong_letter_is_noticed(place: int, letter: str) -> None:
    text = ADDRESS[:place] + letter + ADDRESS[place + 1 :]
    expected = None if text == ADDRESS else Rejection.ADDRESS_MALFORMED
    assert check_address(text, "mainnet") is expected


@given(version=st.integers(0, 255), hash160=st.binary(min_size=20, max_size=20))
def test_what_is_encoded_is_decoded(version: int, hash160: bytes) -> None:
    text = encode_address(version, hash160)
    assert decode_address(text) == bytes((version,)) + hash160


@given(text=st.text(max_size=60))
def test_any_text_has_an_answer(text: str) -> None:
    assert check_address(text, "regtest") is Rejection.ADDRESS_MALFORMED
