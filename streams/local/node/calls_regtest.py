"""Calls that no real node has: upheavals and faults on request, and the faucet."""

from __future__ import annotations

from typing import Annotated

import msgspec

from streams.local.node.arguments import Arguments, transaction_of
from streams.local.node.chain import BadBlock
from streams.local.node.errors import RpcCode, RpcError
from streams.local.node.faults import Fault
from streams.local.node.malleation import NotMalleable
from streams.local.node.mining import Plan
from streams.local.node.node import NoCoins, Node

#: Of blocks.
Count = Annotated[int, msgspec.Meta(ge=0, le=10_000)]


class BlockWish(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a block shall hold: see ``mining.Plan``."""

    #: Exactly these that wait, in this order; absent for what pays best.
    txids: list[str] | None = None
    #: Not these.
    leave_out: list[str] = []
    #: These under another txid.
    malleate: list[str] = []
    #: Transactions in hex that reached this miner alone: a double spend, say.
    raw: list[str] = []

    def plan(self) -> Plan:
        """As the miner takes it."""
        return Plan(
            txids=self.txids,
            leave_out=self.leave_out,
            malleate=self.malleate,
            strangers=[transaction_of(each) for each in self.raw],
        )


class ReorganisationWish(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Another branch: how deep it begins, and what its blocks hold."""

    depth: Count
    #: One a block; absent for ``depth`` + 1 blocks, of which the first takes what waits.
    blocks: list[BlockWish] | None = None
    #: So many empty blocks come before those.
    empty: Count = 0
    #: Not in the mempool afterwards, as if this node had never seen them.
    drop: list[str] = []

    def plans(self) -> list[Plan]:
        """One a block."""
        empty = [Plan(txids=()) for _ in range(self.empty)]
        if self.blocks is not None:
            return empty + [each.plan() for each in self.blocks]
        return empty + [Plan() for _ in range(max(self.depth + 1 - self.empty, 0))]


def wallet_mine(node: Node, arguments: Arguments) -> str:
    """Mine one block as wished: ``BlockWish``; its hash."""
    wish = arguments.record(0, BlockWish)
    try:
        return node.mine(plan=wish.plan())
    except (BadBlock, NotMalleable) as error:
        raise RpcError(RpcCode.MISC, str(error)) from None


def wallet_reorganise(node: Node, arguments: Arguments) -> list[str]:
    """Go over to another branch: ``ReorganisationWish``; its hashes."""
    wish = arguments.record(0, ReorganisationWish)
    try:
        return node.reorganise(wish.depth, wish.plans(), drop=wish.drop)
    except (BadBlock, NotMalleable) as error:
        raise RpcError(RpcCode.MISC, str(error)) from None


def wallet_drop(node: Node, arguments: Arguments) -> list[str]:
    """Forget a transaction that waits, and what hangs on it; their txids."""
    txid = arguments.txid(0, "txid")
    if txid not in node.pool.entries:
        raise RpcError(RpcCode.ADDRESS_OR_KEY, "Transaction not in mempool")
    return node.drop(txid)


def wallet_hold(node: Node, arguments: Arguments) -> list[str]:
    """Leave a transaction out of every block (true), or let it in again (false); all held."""
    txid = arguments.txid(0, "txid")
    with node.lock:
        if arguments.flag(1, True):
            node.held.add(txid)
        else:
            node.held.discard(txid)
        return sorted(node.held)


def wallet_fault(node: Node, arguments: Arguments) -> list[Fault]:
    """Add a ``Fault``; without one, those in force."""
    if arguments.has(0):
        node.faults.add(arguments.record(0, Fault))
    return node.faults.listed()


def wallet_behave(node: Node, arguments: Arguments) -> None:
    """No fault any longer, nothing held, the miner at work, the clock real."""
    with node.lock:
        node.faults.clear()
        node.held.clear()
        node.stuck = node.downloading = False
        node.mock_time = 0


def wallet_stuck(node: Node, arguments: Arguments) -> bool:
    """Whether no block comes by itself any longer."""
    node.stuck = arguments.flag(0, True)
    return node.stuck


def wallet_downloading(node: Node, arguments: Arguments) -> bool:
    """Whether it says that it is still in its initial download."""
    node.downloading = arguments.flag(0, True)
    return node.downloading


def wallet_faucet(node: Node, arguments: Arguments) -> str:
    """Pay an amount (decimal text, DOGE) to an address from the node's own purse; the txid."""
    script = arguments.script(0, node.rules.network)
    try:
        return node.pay(script, arguments.amount(1))
    except NoCoins:
        raise RpcError(RpcCode.INSUFFICIENT_FUNDS, "Insufficient funds") from None
