"""Changes a transaction's name and nothing else, as anyone on its way to a miner can."""

from __future__ import annotations

from dataclasses import replace

from streams.local.node.blocks import Carried
from streams.local.node.opcodes import ScriptUnreadable, operations, push
from streams.local.node.signatures import parse_der, twin


class NotMalleable(ValueError):
    """None of its inputs has a signature that could be written otherwise."""


def malleated(carried: Carried) -> Carried:
    """The same payment under another txid: the first signature's S becomes the other one.

    A block may carry it; as nodes pass on low S alone, it never waits in a mempool.
    """
    body = carried.body
    for index, spent in enumerate(body.inputs):
        script_sig = _with_twin(spent.script_sig)
        if script_sig is not None:
            inputs = list(body.inputs)
            inputs[index] = spent._replace(script_sig=script_sig)
            return Carried.of(replace(body, inputs=tuple(inputs)))
    raise NotMalleable(f"no signature in {carried.txid} can be written otherwise")


def _with_twin(script_sig: bytes) -> bytes | None:
    try:
        steps = list(operations(script_sig))
    except ScriptUnreadable:
        return None
    for place, step in enumerate(steps):
        if step.data and parse_der(step.data[:-1]) is not None:
            other = twin(step.data[:-1]) + step.data[-1:]
            pushes = [bytes((each.code,)) if not each.data else push(each.data) for each in steps]
            pushes[place] = push(other)
            return b"".join(pushes)
    return None
