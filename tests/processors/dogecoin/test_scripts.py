"""Scripts are made from addresses and recognised whole, never by the address a node lists."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.dogecoin.scripts import (
    NotPayable,
    address_of_script,
    p2pkh_script,
    p2sh_script,
    public_key_hash_of,
    script_of_address,
)
from schemas.addresses import NETWORKS, encode_address

HASH = bytes.fromhex("3bf96544e911ca728f5fabf5a4f3b65deab684c4")
P2PKH = "76a9143bf96544e911ca728f5fabf5a4f3b65deab684c488ac"
P2SH = "a9143bf96544e911ca728f5fabf5a4f3b65deab684c487"


def test_an_address_is_paid_by_the_script_of_its_kind() -> None:
    assert script_of_address("DAcDAtJRztxBHyA6D6h8du1HguyTR43Mas", "mainnet").hex() == P2PKH
    assert script_of_address(encode_address(0x16, HASH), "mainnet").hex() == P2SH
    assert script_of_address(encode_address(0x6F, HASH), "regtest").hex() == P2PKH
    assert script_of_address(encode_address(0xC4, HASH), "testnet").hex() == P2SH


@pytest.mark.parametrize(
    ("address", "network", "told"),
    [
        ("DAcDAtJRztxBHyA6D6h8du1HguyTR43Mat", "mainnet", "is no Dogecoin address"),
        ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "mainnet", "is no Dogecoin address"),
        ("DAcDAtJRztxBHyA6D6h8du1HguyTR43Mas", "regtest", "is not an address of regtest"),
        ("noVoUoC3q7wgmb25McqSdLCHhUAhSREkT9", "mainnet", "is not an address of mainnet"),
    ],
)
def test_an_address_that_cannot_be_paid_is_told(address: str, network: str, told: str) -> None:
    with pytest.raises(NotPayable, match=told):
        script_of_address(address, network)


@given(digest=st.binary(min_size=20, max_size=20), network=st.sampled_from(sorted(NETWORKS)))
def test_scripts_and_addresses_lead_back_to_each_other(digest: bytes, network: str) -> None:
    versions = NETWORKS[network]
    for script, version in (
        (p2pkh_script(digest), versions.p2pkh),
        (p2sh_script(digest), versions.p2sh),
    ):
        address = encode_address(version, digest)
        assert script_of_address(address, network) == script
        assert address_of_script(script, network) == address
    assert public_key_hash_of(p2pkh_script(digest).hex()) == digest
    assert public_key_hash_of(p2sh_script(digest).hex()) is None


@pytest.mark.parametrize(
    "script",
    [
        "",
        P2PKH[:-2],
        P2PKH + "61",
        "61" + P2PKH,
        P2PKH.replace("88ac", "87ac"),
        P2PKH.replace("76a914", "76a913"),
        "zz" + P2PKH[2:],
        # Pay to public key, and two-of-two: nodes list addresses for both.
        "2102cc6b0dc33aabcf3a23643e5e2919a80c50fb3dd2129ce409bbc5f0d4643d05e0ac",
        "52" + ("21" + "02" + "11" * 32) * 2 + "52ae",
        "6a" + "18" + "00" * 23,
    ],
)
def test_nothing_but_the_exact_script_is_ours(script: str) -> None:
    assert public_key_hash_of(script) is None


def test_a_script_in_upper_case_is_the_same_script() -> None:
    assert public_key_hash_of(P2PKH.upper()) == HASH


@pytest.mark.parametrize("length", [0, 19, 21, 32])
def test_a_hash_of_another_length_makes_no_script(length: int) -> None:
    with pytest.raises(ValueError, match="is not one of 20"):
        p2pkh_script(bytes(length))
