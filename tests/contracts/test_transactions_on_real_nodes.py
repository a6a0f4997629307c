"""A node that others wrote takes what we build and sign: random inputs, payees, change and fees."""

from __future__ import annotations

import random
from typing import Final

import pytest

from processors.dogecoin.building import Change, Template, build, withdrawal
from processors.dogecoin.derivation import CHANGE_CHAIN, EXTERNAL_CHAIN
from processors.dogecoin.fees import CHANGE_MIN, FeePolicy
from processors.dogecoin.selection import Coin
from schemas.addresses import NETWORKS, encode_address
from tests.processors.dogecoin.account import address, signer
from tests.support.nodes import NETWORK, RunningNode, real_node

__all__ = ["real_node"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DOGE: Final = 100_000_000
RATE: Final = DOGE // 100
POLICY: Final = FeePolicy(rate=RATE, rate_max=DOGE, fee_max=10 * DOGE)
#: Mined to us before anything is paid.
BLOCKS: Final = 20
INDICES: Final = 50
PAYMENTS: Final = 1000


class Payers:
    """Our coins on a node, and random payments from them."""

    def __init__(self, node: RunningNode, seed: int) -> None:
        self._node = node
        self._random = random.Random(seed)
        self.coins: list[Coin] = []
        self._unconfirmed: list[Coin] = []
        self._ours = {
            address(chain, index, NETWORK): (chain, index)
            for chain in (EXTERNAL_CHAIN, CHANGE_CHAIN)
            for index in range(INDICES)
        }
        for index in range(BLOCKS):
            (block,) = node.call("generatetoaddress", 1, address(EXTERNAL_CHAIN, index, NETWORK))
            coinbase = node.call("getblock", block, 2)["tx"][0]
            amount = round(coinbase["vout"][0]["value"] * DOGE)
            self.coins.append(_coin(coinbase["txid"], 0, amount, EXTERNAL_CHAIN, index))
        node.mine(node.maturity)

    def pay(self) -> None:
        """One payment, which the node must take."""
        template = self._template()
        transaction = signer(NETWORK).sign(template)
        assert self._node.call("sendrawtransaction", transaction.serialize().hex()) == (
            transaction.txid
        )
        spent = template.outpoints
        self.coins = [coin for coin in self.coins if (coin.txid, coin.vout) not in spent]
        for vout, output in enumerate(template.outputs):
            chain, index = self._ours.get(output.address, (-1, -1))
            if chain >= 0:
                coin = _coin(transaction.txid, vout, output.amount, chain, index)
                self._unconfirmed.append(coin)

    def mine(self) -> None:
        """Mine what was paid; what came back can be spent again."""
        self._node.mine()
        assert self._node.call("getrawmempool") == []
        self.coins += self._unconfirmed
        self._unconfirmed = []

    def _template(self) -> Template:
        chance = self._random
        rich = [coin for coin in self.coins if coin.amount >= 12 * CHANGE_MIN]
        coins = chance.sample(rich, min(len(rich), chance.randint(1, 6)))
        total = sum(coin.amount for coin in coins)
        payees = [
            withdrawal(f"w-{number}", self._somebody(), chance.randint(CHANGE_MIN, total // 12))
            for number in range(chance.randint(1, 8))
        ]
        index = chance.randrange(INDICES)
        change = Change(address(CHANGE_CHAIN, index, NETWORK), index)
        return build(coins, payees, change, network=NETWORK, rate=RATE, policy=POLICY)

    def _somebody(self) -> str:
        """A stranger's address, of a key or of a script, or one of our own, so that coins stay."""
        kind = self._random.randrange(10)
        if kind > 1:
            return address(EXTERNAL_CHAIN, self._random.randrange(INDICES), NETWORK)
        version = (NETWORKS[NETWORK].p2pkh, NETWORKS[NETWORK].p2sh)[kind]
        return encode_address(version, self._random.randbytes(20))


def _coin(txid: str, vout: int, amount: int, chain: int, index: int) -> Coin:
    return Coin(txid, vout, amount, chain, index, address(chain, index, NETWORK))


def test_a_thousand_random_payments_are_taken_and_mined(real_node: RunningNode) -> None:
    payers = Payers(real_node, seed=1)
    paid = 0
    while paid < PAYMENTS:
        for _ in range(min(len(payers.coins) // 6 + 1, PAYMENTS - paid)):
            payers.pay()
            paid += 1
        payers.mine()
