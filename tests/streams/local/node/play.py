"""What the tests of the node play with: keys, a chain with coins, transactions of any shape."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from processors.dogecoin.transactions import SEQUENCE_FINAL, Input, Output, Transaction
from streams.local.node.blocks import Carried
from streams.local.node.miner import Miner
from streams.local.node.node import Node
from streams.local.node.opcodes import push
from streams.local.node.rules import Rules, rules_of
from streams.local.node.store import Coin, Outpoint

DOGE: Final = 100_000_000
NETWORK: Final = "regtest"
RULES: Final = rules_of(NETWORK)
#: Enough for any small transaction to be mined.
FEE: Final = DOGE // 100
REPLACEABLE: Final = 0xFFFFFFFD


def key(name: str) -> Miner:
    """Somebody's key."""
    return Miner(sha256(name.encode()).digest(), NETWORK)


ALICE: Final = key("alice")
BOB: Final = key("bob")


def rich_node(rules: Rules = RULES, coins: int = 5) -> Node:
    """A node in memory whose miner can spend some coins."""
    node = Node(None, rules)
    for _ in range(rules.maturity + coins):
        node.mine()
    return node


def purse(node: Node) -> list[tuple[Outpoint, Coin]]:
    """What the miner can spend in the next block, oldest first."""
    ripe = node.chain.height + 1 - node.rules.maturity
    return [
        each
        for each in node.store.coins_of(node.miner.script)
        if (not each[1].coinbase or each[1].height <= ripe) and each[0] not in node.pool.spenders
    ]


def spend(
    owner: Miner,
    spent: Sequence[Outpoint],
    outputs: Sequence[tuple[bytes, int]],
    *,
    sequence: int = SEQUENCE_FINAL,
    locktime: int = 0,
    version: int = 1,
) -> Carried:
    """A transaction signed by the owner of all that it spends."""
    inputs = tuple(Input(txid, vout, b"", sequence) for txid, vout in spent)
    paid = tuple(Output(amount, script) for script, amount in outputs)
    return owner.sign(Transaction(inputs, paid, version, locktime))


def payment(
    node: Node, amount: int, *, to: Miner = ALICE, fee: int = FEE, sequence: int = SEQUENCE_FINAL
) -> Carried:
    """From the miner's oldest coin to somebody, the change as the second output; not sent."""
    outpoint, coin = purse(node)[0]
    outputs = [(to.script, amount), (node.miner.script, coin.amount - amount - fee)]
    return spend(node.miner, [outpoint], outputs, sequence=sequence)


def paid(node: Node, amount: int, *, to: Miner = ALICE) -> Outpoint:
    """A mined payment to somebody."""
    carried = payment(node, amount, to=to)
    node.send(carried)
    node.mine()
    return carried.txid, 0


#: Spends something of anybody's: what scripts are tried on.
UNSIGNED: Final = Transaction((Input("ab" * 32, 0),), (Output(DOGE, BOB.script),))


def signature(owner: Miner, script: bytes, body: Transaction = UNSIGNED) -> bytes:
    """The owner's signature of the only input, which spends ``script``."""
    return owner.signature(body.sighash(0, script))


def multisig(required: int, *owners: Miner) -> bytes:
    """A bare multi-signature script."""
    keys = b"".join(push(owner.public_key) for owner in owners)
    return bytes((0x50 + required,)) + keys + bytes((0x50 + len(owners), 0xAE))
