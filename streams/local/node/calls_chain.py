"""Calls about blocks and coins."""

from __future__ import annotations

from streams.local.node.arguments import Arguments
from streams.local.node.blocks import Block, BlockUnreadable
from streams.local.node.chain import BadBlock
from streams.local.node.errors import RpcCode, RpcError
from streams.local.node.node import Node, UnknownBlock
from streams.local.node.shapes import (
    Shape,
    amount,
    block_shape,
    chain_work,
    difficulty,
    header_shape,
    script_shape,
)
from streams.local.node.store import Coin, Place


def getblockchaininfo(node: Node, arguments: Arguments) -> Shape:
    """The state of the chain; softforks all in force."""
    tip = _place(node, node.chain.tip)
    return {
        "chain": node.rules.core_name,
        "blocks": tip.height,
        "headers": tip.height,
        "bestblockhash": tip.hash,
        "difficulty": difficulty(tip.header.bits),
        "mediantime": node.chain.median_time_of(tip),
        "verificationprogress": 1,
        "initialblockdownload": node.downloading,
        "chainwork": chain_work(tip.height),
        "size_on_disk": 0,
        "pruned": False,
        "softforks": [
            {"id": name, "version": version, "reject": {"status": True}}
            for name, version in (("bip34", 2), ("bip66", 3), ("bip65", 4))
        ],
        "bip9_softforks": {},
        "warnings": "",
    }


def getbestblockhash(node: Node, arguments: Arguments) -> str:
    """The tip."""
    return node.chain.tip


def getblockcount(node: Node, arguments: Arguments) -> int:
    """Its height."""
    return node.chain.height


def getblockhash(node: Node, arguments: Arguments) -> str:
    """The chain's block at a height."""
    found = node.store.hash_at(arguments.integer(0))
    if found is None:
        raise RpcError(RpcCode.PARAMETER, "Block height out of range")
    return found


def getblock(node: Node, arguments: Arguments) -> Shape | str:
    """A block as hex, with txids, or in full."""
    place = _place(node, arguments.text(0))
    block = node.store.block(place.hash)
    verbosity = arguments.verbosity(1, 1)
    if verbosity <= 0:
        return block.serialize().hex()
    return block_shape(node, place, block, details=verbosity >= 2)


def getblockheader(node: Node, arguments: Arguments) -> Shape | str:
    """A block's header, whether it is in force or not."""
    place = _place(node, arguments.text(0))
    if not arguments.flag(1, True):
        return place.header.serialize().hex()
    return header_shape(node, place)


def getchaintips(node: Node, arguments: Arguments) -> list[Shape]:
    """The ends of all branches that were ever seen."""
    tips = []
    for leaf in (_place(node, each) for each in node.store.leaves()):
        tips.append(
            {
                "height": leaf.height,
                "hash": leaf.hash,
                "branchlen": _branch_length(node, leaf),
                "status": _status(node, leaf),
            }
        )
    return tips


def gettxout(node: Node, arguments: Arguments) -> Shape | None:
    """An unspent output, or null."""
    outpoint = (arguments.txid(0, "txid"), arguments.integer(1))
    coin: Coin | None = None
    confirmations = 0
    if arguments.flag(2, True):
        if outpoint in node.pool.spenders:
            return None
        coin = node.pool.coin(outpoint, node.chain.height + 1)
    if coin is None:
        coin = node.store.coin(outpoint)
        if coin is None:
            return None
        confirmations = node.chain.height - coin.height + 1
    return {
        "bestblock": node.chain.tip,
        "confirmations": confirmations,
        "value": amount(coin.amount),
        "scriptPubKey": script_shape(coin.script, node.rules.network),
        "version": 1,
        "coinbase": coin.coinbase,
    }


def invalidateblock(node: Node, arguments: Arguments) -> None:
    """Leave a block, and all after it, for the best other one."""
    try:
        node.invalidate(arguments.text(0))
    except UnknownBlock:
        raise _not_found() from None


def reconsiderblock(node: Node, arguments: Arguments) -> None:
    """Take that back."""
    try:
        node.reconsider(arguments.text(0))
    except UnknownBlock:
        raise _not_found() from None


def submitblock(node: Node, arguments: Arguments) -> str | None:
    """Take a block from elsewhere; what is wrong with it, or null."""
    try:
        block = Block.parse(bytes.fromhex(arguments.text(0)))
    except (BlockUnreadable, ValueError):
        raise RpcError(RpcCode.DESERIALIZATION, "Block decode failed") from None
    try:
        node.submit(block)
    except BadBlock as error:
        return str(error)
    return None


def _place(node: Node, block_hash: str) -> Place:
    place = node.store.place(block_hash)
    if place is None:
        raise _not_found()
    return place


def _not_found() -> RpcError:
    return RpcError(RpcCode.ADDRESS_OR_KEY, "Block not found")


def _branch_length(node: Node, leaf: Place) -> int:
    length, place = 0, leaf
    while not node.chain.contains(place):
        length += 1
        place = _place(node, place.previous)
    return length


def _status(node: Node, leaf: Place) -> str:
    if node.chain.contains(leaf):
        return "active"
    return "invalid" if leaf.invalid else "valid-fork"
