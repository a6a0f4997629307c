"""The node's own purse: what it mines, and what `wallet faucet` gives away.

Its key is the same wherever a chain is played with, and worth nothing.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Final

from processors.dogecoin.hashes import hash160
from processors.dogecoin.scripts import p2pkh_script
from processors.dogecoin.transactions import SIGHASH_ALL, Input, Output, Transaction
from schemas.addresses import NETWORKS, encode_address
from streams.local.node.blocks import Carried
from streams.local.node.opcodes import push
from streams.local.node.rules import Rules, fee_at
from streams.local.node.signatures import SigningKey
from streams.local.node.store import Coin, Outpoint

KEY_FILE: Final = "miner.key"
#: Sizes with the largest signature.
_INPUT_BYTES: Final = 149
_REST_BYTES: Final = 100
_INPUTS_MAX: Final = 200


class Miner:
    """A key, and how to spend what pays to it."""

    def __init__(self, secret: bytes, network: str) -> None:
        self._key = SigningKey(secret)
        self.public_key = self._key.public_key
        digest = hash160(self.public_key)
        self.script = p2pkh_script(digest)
        self.address = encode_address(NETWORKS[network].p2pkh, digest)

    @classmethod
    def of(cls, home: Path | None, network: str) -> Miner:
        """The miner of a node; its key lies in the node's home, to be looked at or replaced."""
        secret = sha256(f"the local node's miner on {network}".encode()).digest()
        if home is not None:
            path = home / KEY_FILE
            if not path.exists():
                path.write_text(secret.hex() + "\n")
            secret = bytes.fromhex(path.read_text().strip())
        return cls(secret, network)

    def signature(self, digest: bytes) -> bytes:
        """Of a digest, with the mark that it is for the whole transaction."""
        return self._key.sign(digest) + bytes((SIGHASH_ALL,))

    def sign(self, transaction: Transaction) -> Carried:
        """Every input signed; all of them must spend outputs to the miner's key."""
        signed = []
        for index, spent in enumerate(transaction.inputs):
            signature = self.signature(transaction.sighash(index, self.script))
            signed.append(spent._replace(script_sig=push(signature) + push(self.public_key)))
        outputs, locktime = transaction.outputs, transaction.locktime
        return Carried.of(Transaction(tuple(signed), outputs, transaction.version, locktime))

    def pay(
        self, coins: list[tuple[Outpoint, Coin]], script: bytes, amount: int, rules: Rules
    ) -> Carried | None:
        """A signed payment from the given coins, change back to the miner; None if they fall short.

        ``amount`` is in koinu, the fee comes on top.
        """
        chosen: list[Input] = []
        gathered = 0
        for (txid, vout), coin in sorted(coins, key=lambda each: -each[1].amount)[:_INPUTS_MAX]:
            chosen.append(Input(txid, vout))
            gathered += coin.amount
            fee = fee_at(rules.mining_fee, _REST_BYTES + _INPUT_BYTES * len(chosen))
            if amount < rules.soft_dust:
                fee += rules.soft_dust
            change = gathered - amount - fee
            if change >= 0:
                outputs = [Output(amount, script)]
                if change >= rules.soft_dust:
                    outputs.append(Output(change, self.script))
                return self.sign(Transaction(tuple(chosen), tuple(outputs)))
        return None
