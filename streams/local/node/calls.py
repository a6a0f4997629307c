"""The table of calls: what each is named, what it takes, and where it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from streams.local.node import calls_chain, calls_node, calls_regtest, calls_transactions
from streams.local.node.arguments import Arguments
from streams.local.node.errors import RpcCode, RpcError
from streams.local.node.node import Node

Run = Callable[[Node, Arguments], object]


class Call(NamedTuple):
    """One call; ``names`` are those of its arguments, of which the first must be given."""

    run: Run
    names: tuple[str, ...] = ()
    required: int = 0

    def usage(self, method: str) -> str:
        """How to call it."""
        needed, optional = self.names[: self.required], self.names[self.required :]
        words = [method, *needed, *(f"( {name} )" for name in optional)]
        return " ".join(words)


_CHAIN: Final = calls_chain
_TRANSACTIONS: Final = calls_transactions
_NODE: Final = calls_node
_TEST: Final = calls_regtest

CALLS: Final[dict[str, Call]] = {
    "getblockchaininfo": Call(_CHAIN.getblockchaininfo),
    "getbestblockhash": Call(_CHAIN.getbestblockhash),
    "getblockcount": Call(_CHAIN.getblockcount),
    "getblockhash": Call(_CHAIN.getblockhash, ("height",), 1),
    "getblock": Call(_CHAIN.getblock, ("blockhash", "verbosity"), 1),
    "getblockheader": Call(_CHAIN.getblockheader, ("blockhash", "verbose"), 1),
    "getchaintips": Call(_CHAIN.getchaintips),
    "gettxout": Call(_CHAIN.gettxout, ("txid", "n", "include_mempool"), 2),
    "invalidateblock": Call(_CHAIN.invalidateblock, ("blockhash",), 1),
    "reconsiderblock": Call(_CHAIN.reconsiderblock, ("blockhash",), 1),
    "submitblock": Call(_CHAIN.submitblock, ("hexdata", "parameters"), 1),
    "getrawtransaction": Call(_TRANSACTIONS.getrawtransaction, ("txid", "verbose"), 1),
    "decoderawtransaction": Call(_TRANSACTIONS.decoderawtransaction, ("hexstring",), 1),
    "sendrawtransaction": Call(_TRANSACTIONS.sendrawtransaction, ("hexstring", "allowhighfees"), 1),
    "getrawmempool": Call(_TRANSACTIONS.getrawmempool, ("verbose",)),
    "getmempoolentry": Call(_TRANSACTIONS.getmempoolentry, ("txid",), 1),
    "getmempoolancestors": Call(_TRANSACTIONS.getmempoolancestors, ("txid", "verbose"), 1),
    "getmempooldescendants": Call(_TRANSACTIONS.getmempooldescendants, ("txid", "verbose"), 1),
    "getmempoolinfo": Call(_TRANSACTIONS.getmempoolinfo),
    "estimatefee": Call(_TRANSACTIONS.estimatefee, ("nblocks",), 1),
    "estimatesmartfee": Call(_TRANSACTIONS.estimatesmartfee, ("nblocks",), 1),
    "validateaddress": Call(_TRANSACTIONS.validateaddress, ("address",), 1),
    "getnetworkinfo": Call(_NODE.getnetworkinfo),
    "generate": Call(_NODE.generate, ("nblocks", "maxtries", "auxpow"), 1),
    "generatetoaddress": Call(
        _NODE.generatetoaddress, ("nblocks", "address", "maxtries", "auxpow"), 2
    ),
    "setmocktime": Call(_NODE.setmocktime, ("timestamp",), 1),
    "wallet_mine": Call(_TEST.wallet_mine, ("block",)),
    "wallet_reorganise": Call(_TEST.wallet_reorganise, ("reorganisation",), 1),
    "wallet_drop": Call(_TEST.wallet_drop, ("txid",), 1),
    "wallet_hold": Call(_TEST.wallet_hold, ("txid", "hold"), 1),
    "wallet_fault": Call(_TEST.wallet_fault, ("fault",)),
    "wallet_behave": Call(_TEST.wallet_behave),
    "wallet_stuck": Call(_TEST.wallet_stuck, ("stuck",)),
    "wallet_downloading": Call(_TEST.wallet_downloading, ("downloading",)),
    "wallet_faucet": Call(_TEST.wallet_faucet, ("address", "amount"), 2),
}


def perform(node: Node, method: str, parameters: Sequence[object] | Mapping[str, object]) -> object:
    """Do one call, as one step; raises ``RpcError``."""
    call = CALLS.get(method)
    if call is None:
        raise RpcError(RpcCode.METHOD_NOT_FOUND, "Method not found")
    values = _placed(call, parameters)
    if not call.required <= len(values) <= len(call.names):
        raise RpcError(RpcCode.MISC, call.usage(method))
    with node.lock:
        return call.run(node, Arguments(values))


def _placed(call: Call, parameters: Sequence[object] | Mapping[str, object]) -> Sequence[object]:
    """Named arguments in their places, those left out in between as null."""
    if not isinstance(parameters, Mapping):
        return parameters
    for name in parameters:
        if name not in call.names:
            raise RpcError(RpcCode.PARAMETER, f"Unknown named parameter {name}")
    values = [parameters.get(name) for name in call.names]
    while values and values[-1] is None:
        values.pop()
    return values
