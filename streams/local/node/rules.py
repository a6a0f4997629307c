"""The numbers that a node goes by: Core 1.14.9's, by network, some of them settable for tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from processors.dogecoin.networks import CHAINS
from schemas.amounts import KOINU_PER_DOGE

#: A transaction of this size or more is not standard (MAX_STANDARD_TX_WEIGHT / 4).
STANDARD_SIZE_MAX: Final = 100_000
#: What a miner puts into a block by default (DEFAULT_BLOCK_MAX_SIZE).
BLOCK_SIZE_MAX: Final = 750_000
#: Largest block there can be.
BLOCK_SIZE_LIMIT: Final = 1_000_000
#: Most unconfirmed transactions in a line, the last one counted.
ANCESTORS_MAX: Final = 25
DESCENDANTS_MAX: Final = 25
#: Bytes of such a line.
ANCESTORS_SIZE_MAX: Final = 101_000
#: Most transactions that one may replace.
REPLACED_MAX: Final = 100
#: Above this a fee is taken for a mistake (maxtxfee), unless the caller insists.
FEE_ABSURD: Final = 100 * KOINU_PER_DOGE
#: Longest data that an OP_RETURN output may carry, the script's own bytes included.
DATA_CARRIER_MAX: Final = 83
SCRIPT_SIG_MAX: Final = 1_650
STANDARD_VERSION_MAX: Final = 2

_HALVINGS: Final = 6
_SUBSIDY_FIRST: Final = 500_000 * KOINU_PER_DOGE
_SUBSIDY_LAST: Final = 10_000 * KOINU_PER_DOGE


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What one node holds its chain and its mempool to; amounts in koinu."""

    network: str
    core_name: str
    genesis_time: int
    genesis_bits: int
    genesis_nonce: int
    #: Blocks between two halvings of the subsidy.
    halving: int
    #: Confirmations that a coinbase output needs before it can be spent.
    maturity: int
    #: Least fee for 1,000 bytes that is relayed.
    relay_fee: int = 100_000
    #: Least fee for 1,000 bytes that a replacement adds.
    increment_fee: int = 10_000
    #: Least fee for 1,000 bytes that a miner takes.
    mining_fee: int = 1_000_000
    #: An output below this is refused.
    hard_dust: int = 100_000
    #: Each output below this costs as much on top, or peers do not relay it.
    soft_dust: int = 1_000_000
    #: How long a transaction waits in the mempool.
    expiry_seconds: int = 24 * 3600

    def subsidy(self, height: int) -> int:
        """What the coinbase at ``height`` may create, in koinu, as GetDogecoinBlockSubsidy.

        The random rewards of mainnet's first 145,000 blocks are left out.
        """
        halvings = height // self.halving
        return _SUBSIDY_FIRST >> halvings if halvings < _HALVINGS else _SUBSIDY_LAST


#: Time, bits and nonce.
_GENESIS: Final = {
    "testnet": (1_391_503_289, 0x1E0FFFF0, 997_879),
    "regtest": (1_296_688_602, 0x207FFFFF, 2),
}
_HALVING: Final = {"testnet": 100_000, "regtest": 150}


def rules_of(network: str, *, maturity: int | None = None) -> Rules:
    """The rules of a test network; mainnet is not for play, and raises ``KeyError``."""
    chain = CHAINS[network]
    time, bits, nonce = _GENESIS[network]
    return Rules(
        network=network,
        core_name=chain.core_name,
        genesis_time=time,
        genesis_bits=bits,
        genesis_nonce=nonce,
        halving=_HALVING[network],
        maturity=chain.coinbase_maturity if maturity is None else maturity,
    )


def fee_at(rate: int, size: int) -> int:
    """The fee of ``size`` bytes at ``rate`` koinu for 1,000, rounded down as CFeeRate does."""
    return rate * size // 1000 or (1 if rate and size else 0)
