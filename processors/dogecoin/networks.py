"""What tells one Dogecoin chain from another, and how each behaves: Core 1.14's chainparams.cpp.

Address versions stand in ``schemas.addresses``, since whoever writes a command needs them too.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Chain(NamedTuple):
    """One network's chain."""

    network: str
    #: What the node's ``getblockchaininfo`` calls it.
    core_name: str
    genesis_hash: str
    #: Confirmations that a coinbase output needs before it can be spent.
    coinbase_maturity: int


CHAINS: Final = {
    chain.network: chain
    for chain in (
        Chain(
            network="mainnet",
            core_name="main",
            genesis_hash="1a91e3dace36e2be3bf030a65679fe821aa1d6ef92e7c9902eb318182c355691",
            coinbase_maturity=240,
        ),
        Chain(
            network="testnet",
            core_name="test",
            genesis_hash="bb0a78264637406b6360aad926284d544d7049f45189db5664f3c4d07350559e",
            coinbase_maturity=240,
        ),
        Chain(
            network="regtest",
            core_name="regtest",
            genesis_hash="3d2160a3b5dc4a9d62e7e66a295f70313ac808440ef7400d6c0772171ce973a5",
            coinbase_maturity=60,
        ),
    )
}


def expected_genesis(network: str) -> str:
    """The hash of the first block on ``network``; a node with another one follows another chain."""
    return CHAINS[network].genesis_hash
