"""The genesis blocks are those that their published headers hash to."""

from __future__ import annotations

from hashlib import sha256
from struct import pack
from typing import Final

import pytest

from processors.dogecoin.networks import CHAINS, expected_genesis
from schemas.addresses import NETWORKS

#: The one transaction of all three blocks; its text is a headline of December 2013.
MERKLE_ROOT: Final = "5b2a3f53f605d62c53e62932dac6925e3d74afa5a4b459745c36d42d0ed26a69"


@pytest.mark.parametrize(
    ("network", "time", "bits", "nonce"),
    [
        ("mainnet", 1386325540, 0x1E0FFFF0, 99943),
        ("testnet", 1391503289, 0x1E0FFFF0, 997879),
        ("regtest", 1296688602, 0x207FFFFF, 2),
    ],
)
def test_a_genesis_hash_is_that_of_its_header(
    network: str, time: int, bits: int, nonce: int
) -> None:
    root = bytes.fromhex(MERKLE_ROOT)[::-1]
    header = pack("<i32s32sIII", 1, bytes(32), root, time, bits, nonce)
    assert expected_genesis(network) == sha256(sha256(header).digest()).digest()[::-1].hex()


def test_every_network_that_has_addresses_has_a_chain() -> None:
    assert CHAINS.keys() == NETWORKS.keys()
    assert [chain.core_name for chain in CHAINS.values()] == ["main", "test", "regtest"]
    assert [chain.coinbase_maturity for chain in CHAINS.values()] == [240, 240, 60]
