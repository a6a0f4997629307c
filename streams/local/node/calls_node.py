"""Calls about the node itself, and mining."""

from __future__ import annotations

from streams.local.node.arguments import Arguments
from streams.local.node.chain import BadBlock
from streams.local.node.errors import RpcCode, RpcError
from streams.local.node.node import Node
from streams.local.node.shapes import Shape, amount

_VERSION = 1_140_900
_PROTOCOL = 70_015
_BLOCKS_AT_ONCE_MAX = 10_000


def getnetworkinfo(node: Node, arguments: Arguments) -> Shape:
    """Who it says it is: it has no peers."""
    return {
        "version": _VERSION,
        "subversion": "/Shibetoshi:1.14.9/",
        "protocolversion": _PROTOCOL,
        "localservices": "0000000000000005",
        "localrelay": True,
        "timeoffset": 0,
        "networkactive": True,
        "connections": 0,
        "networks": [],
        "relayfee": amount(node.rules.relay_fee),
        "incrementalfee": amount(node.rules.increment_fee),
        "softdustlimit": amount(node.rules.soft_dust),
        "harddustlimit": amount(node.rules.hard_dust),
        "localaddresses": [],
        "warnings": "",
    }


def generate(node: Node, arguments: Arguments) -> list[str]:
    """Mine blocks for the node's own purse."""
    return _mine(node, arguments.integer(0), None)


def generatetoaddress(node: Node, arguments: Arguments) -> list[str]:
    """Mine blocks whose rewards go to an address."""
    return _mine(node, arguments.integer(0), arguments.script(1, node.rules.network))


def setmocktime(node: Node, arguments: Arguments) -> None:
    """Stop the node's clock at a second since 1970; 0 lets it go on with the real time."""
    with node.lock:
        node.mock_time = arguments.integer(0)


def _mine(node: Node, count: int, script: bytes | None) -> list[str]:
    if not 0 <= count <= _BLOCKS_AT_ONCE_MAX:
        raise RpcError(RpcCode.PARAMETER, f"0 to {_BLOCKS_AT_ONCE_MAX} blocks at once")
    try:
        return [node.mine(script) for _ in range(count)]
    except BadBlock as error:
        raise RpcError(RpcCode.MISC, f"CreateNewBlock: {error}") from None
