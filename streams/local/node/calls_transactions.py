"""Calls about transactions and the mempool."""

from __future__ import annotations

from schemas.addresses import NETWORKS, check_address, decode_address
from streams.local.node.admission import MissingInputs, Refused
from streams.local.node.arguments import Arguments
from streams.local.node.blocks import Carried
from streams.local.node.errors import RpcCode, RpcError
from streams.local.node.node import AlreadyInChain, Node
from streams.local.node.pool import Waiting
from streams.local.node.shapes import Shape, amount, transaction_shape, waiting_shape

_POOL_BYTES_MAX = 300_000_000


def getrawtransaction(node: Node, arguments: Arguments) -> Shape | str:
    """A transaction that waits, or one of a block, as with ``-txindex``.

    One that stood in a stale block alone comes back with that block and 0 confirmations: Core
    never takes an entry out of that index.
    """
    txid = arguments.txid(0, "parameter 1")
    carried, block_hash = _find(node, txid)
    verbose = bool(arguments.verbosity(1, 0))
    if not verbose:
        return carried.raw.hex()
    shape = {"hex": carried.raw.hex(), **transaction_shape(carried, node.rules.network)}
    place = None if block_hash is None else node.store.place(block_hash)
    if place is None:
        return shape
    shape["blockhash"] = place.hash
    shape["confirmations"] = max(node.chain.confirmations(place), 0)
    if node.chain.contains(place):
        shape["time"] = shape["blocktime"] = place.header.time
    return shape


def decoderawtransaction(node: Node, arguments: Arguments) -> Shape:
    """What a transaction in hex says."""
    return transaction_shape(arguments.transaction(0), node.rules.network)


def sendrawtransaction(node: Node, arguments: Arguments) -> str:
    """Take a transaction; the errors are those of Core's table."""
    carried = arguments.transaction(0)
    if arguments.has(1) and not isinstance(arguments.any(1), bool):
        raise RpcError(RpcCode.TYPE, "Expected type bool, got another")
    try:
        return node.send(carried, allow_high_fees=arguments.flag(1, False))
    except AlreadyInChain:
        said = "transaction already in block chain"
        raise RpcError(RpcCode.ALREADY_IN_CHAIN, said) from None
    except MissingInputs:
        raise RpcError(RpcCode.TRANSACTION, "Missing inputs") from None
    except Refused as error:
        raise RpcError(RpcCode.REJECTED, str(error)) from None


def getrawmempool(node: Node, arguments: Arguments) -> list[str] | dict[str, Shape]:
    """All that waits."""
    return _listed(node, list(node.pool.entries), arguments.flag(0, False))


def getmempoolentry(node: Node, arguments: Arguments) -> Shape:
    """One that waits."""
    return waiting_shape(node, _waiting(node, arguments))


def getmempoolancestors(node: Node, arguments: Arguments) -> list[str] | dict[str, Shape]:
    """What must be mined before it."""
    found = node.pool.ancestors(_waiting(node, arguments).carried)
    return _listed(node, found, arguments.flag(1, False))


def getmempooldescendants(node: Node, arguments: Arguments) -> list[str] | dict[str, Shape]:
    """What cannot be mined without it."""
    found = node.pool.descendants(_waiting(node, arguments).txid)
    return _listed(node, found, arguments.flag(1, False))


def getmempoolinfo(node: Node, arguments: Arguments) -> Shape:
    """How much waits."""
    size = sum(each.size for each in node.pool.entries.values())
    return {
        "size": len(node.pool.entries),
        "bytes": size,
        "usage": size,
        "maxmempool": _POOL_BYTES_MAX,
        "mempoolminfee": amount(0),
    }


def estimatefee(node: Node, arguments: Arguments) -> int:
    """Nothing is known of fees on a test chain: -1, as Core says then."""
    arguments.integer(0)
    return -1


def estimatesmartfee(node: Node, arguments: Arguments) -> Shape:
    """The same, with the number of blocks that was asked for."""
    return {"feerate": -1, "blocks": arguments.integer(0)}


def validateaddress(node: Node, arguments: Arguments) -> Shape:
    """Whether coins can be sent to it on this network."""
    address = arguments.text(0)
    network = node.rules.network
    payload = decode_address(address)
    if payload is None or check_address(address, network) is not None:
        return {"isvalid": False}
    return {
        "isvalid": True,
        "address": address,
        "scriptPubKey": arguments.script(0, network).hex(),
        "ismine": False,
        "iswatchonly": False,
        "isscript": payload[0] == NETWORKS[network].p2sh,
    }


def _find(node: Node, txid: str) -> tuple[Carried, str | None]:
    if txid in node.pool.entries:
        return node.pool.entries[txid].carried, None
    places = [node.store.place(each) for each in node.store.blocks_with(txid)]
    known = [place for place in places if place is not None]
    for place in sorted(known, key=node.chain.contains, reverse=True):
        for carried in node.store.block(place.hash).transactions:
            if carried.txid == txid:
                return carried, place.hash
    raise RpcError(
        RpcCode.ADDRESS_OR_KEY,
        "No such mempool or blockchain transaction. Use gettransaction for wallet transactions.",
    )


def _waiting(node: Node, arguments: Arguments) -> Waiting:
    waiting = node.pool.entries.get(arguments.txid(0, "parameter 1"))
    if waiting is None:
        raise RpcError(RpcCode.ADDRESS_OR_KEY, "Transaction not in mempool")
    return waiting


def _listed(node: Node, txids: list[str], verbose: bool) -> list[str] | dict[str, Shape]:
    if not verbose:
        return txids
    return {txid: waiting_shape(node, node.pool.entries[txid]) for txid in txids}
