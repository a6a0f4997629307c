"""Blocks and transactions as JSON, in the shapes of Core 1.14.9."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from processors.dogecoin.transactions import compact_size
from schemas.amounts import format_amount
from streams.local.node.blocks import HEADER_BYTES, Block, Carried
from streams.local.node.node import Node
from streams.local.node.opcodes import in_words, kind_of
from streams.local.node.pool import Waiting
from streams.local.node.store import Place

Shape = dict[str, Any]

_MANTISSA_ONE: Final = 0x0000FFFF
#: Hashes that finding a block takes on average, where every second hash does.
_WORK: Final = 2


def amount(koinu: int) -> msgspec.Raw:
    """A JSON number with eight decimals, as Core writes amounts; it never was a float."""
    return msgspec.Raw(format_amount(koinu).encode())


def difficulty(bits: int) -> float:
    """A multiple of the least difficulty of the main chain (GetDifficulty)."""
    return _MANTISSA_ONE / (bits & 0x00FFFFFF) * 256.0 ** (29 - (bits >> 24))


def chain_work(height: int) -> str:
    """The work in the chain up to a height, in hex."""
    return f"{_WORK * (height + 1):064x}"


def header_shape(node: Node, place: Place) -> Shape:
    """getblockheader, verbose."""
    shape = {
        "hash": place.hash,
        "confirmations": node.chain.confirmations(place),
        "height": place.height,
        **_versions(place),
        "merkleroot": place.header.merkle_root,
        **_times(node, place),
    }
    return shape | _neighbours(node, place)


def block_shape(node: Node, place: Place, block: Block, *, details: bool) -> Shape:
    """getblock, with txids, or with transactions in full."""
    size = HEADER_BYTES + len(compact_size(len(block.transactions)))
    size += sum(len(each.raw) for each in block.transactions)
    network = node.rules.network
    shape = {
        "hash": place.hash,
        "confirmations": node.chain.confirmations(place),
        "strippedsize": size,
        "size": size,
        "weight": size * 4,
        "height": place.height,
        **_versions(place),
        "merkleroot": place.header.merkle_root,
        "tx": [
            transaction_shape(each, network) if details else each.txid
            for each in block.transactions
        ],
        **_times(node, place),
    }
    return shape | _neighbours(node, place)


def transaction_shape(carried: Carried, network: str) -> Shape:
    """A transaction as decoderawtransaction and getblock 2 show it: no hex, no fee."""
    body = carried.body
    return {
        "txid": carried.txid,
        "hash": carried.txid,
        "size": len(carried.raw),
        "vsize": len(carried.raw),
        "version": body.version,
        "locktime": body.locktime,
        "vin": _inputs(carried),
        "vout": [
            {"value": amount(out.amount), "n": n, "scriptPubKey": script_shape(out.script, network)}
            for n, out in enumerate(body.outputs)
        ],
    }


def script_shape(script: bytes, network: str) -> Shape:
    """An output's script; addresses only where Core names some."""
    kind = kind_of(script, network)
    shape: Shape = {"asm": in_words(script), "hex": script.hex()}
    if kind.addresses:
        shape["reqSigs"] = kind.required
    shape["type"] = kind.name
    if kind.addresses:
        shape["addresses"] = list(kind.addresses)
    return shape


def waiting_shape(node: Node, waiting: Waiting) -> Shape:
    """getmempoolentry; the priorities that Core itself calls deprecated are 0."""
    pool = node.pool
    above = [pool.entries[txid] for txid in pool.ancestors(waiting.carried)] + [waiting]
    below = [pool.entries[txid] for txid in pool.descendants(waiting.txid)] + [waiting]
    return {
        "size": waiting.size,
        "fee": amount(waiting.fee),
        "modifiedfee": amount(waiting.fee),
        "time": waiting.time,
        "height": waiting.height,
        "startingpriority": 0,
        "currentpriority": 0,
        "descendantcount": len(below),
        "descendantsize": sum(each.size for each in below),
        "descendantfees": sum(each.fee for each in below),
        "ancestorcount": len(above),
        "ancestorsize": sum(each.size for each in above),
        "ancestorfees": sum(each.fee for each in above),
        "depends": pool.parents(waiting.carried),
    }


def _inputs(carried: Carried) -> list[Shape]:
    inputs = carried.body.inputs
    if carried.is_coinbase:
        return [{"coinbase": inputs[0].script_sig.hex(), "sequence": inputs[0].sequence}]
    return [
        {
            "txid": each.txid,
            "vout": each.vout,
            "scriptSig": {
                "asm": in_words(each.script_sig, signatures=True),
                "hex": each.script_sig.hex(),
            },
            "sequence": each.sequence,
        }
        for each in inputs
    ]


def _versions(place: Place) -> Shape:
    version = place.header.version
    return {"version": version, "versionHex": f"{version & 0xFFFFFFFF:08x}"}


def _times(node: Node, place: Place) -> Shape:
    header = place.header
    return {
        "time": header.time,
        "mediantime": node.chain.median_time_of(place),
        "nonce": header.nonce,
        "bits": f"{header.bits:08x}",
        "difficulty": difficulty(header.bits),
        "chainwork": chain_work(place.height),
    }


def _neighbours(node: Node, place: Place) -> Shape:
    shape: Shape = {}
    if place.height:
        shape["previousblockhash"] = place.previous
    follower = node.store.hash_at(place.height + 1)
    if follower is not None and node.chain.contains(place):
        shape["nextblockhash"] = follower
    return shape
