"""What a template must be before a key is used: reckoned from its own amounts, trusting no builder.

Nothing here needs a key; the signer derives every address again besides.
"""

from __future__ import annotations

from typing import Final

from processors.dogecoin.building import Purpose, Template, TemplateInput
from processors.dogecoin.derivation import CHANGE_CHAIN, EXTERNAL_CHAIN, INDEX_END
from processors.dogecoin.fees import DUST_HARD, RATE_RELAYED, SIZE_END, fee_for
from processors.dogecoin.scripts import NotPayable, script_of_address
from processors.dogecoin.transactions import MONEY_MAX
from schemas.amounts import format_amount

_TXID_DIGITS: Final = 64
_UINT32_END: Final = 2**32


class TemplateUnsound(Exception):
    """A template that must not be signed."""

    def __init__(self, fault: str) -> None:
        super().__init__(f"the template must not be signed: {fault}")


def check(template: Template, *, network: str, fee_max: int) -> None:
    """Raise ``TemplateUnsound`` unless it may be signed, as far as it can be told without keys."""
    fault = (
        _fault_of_inputs(template.inputs)
        or _fault_of_outputs(template, network)
        or _fault_of_sums(template, fee_max)
    )
    if fault is not None:
        raise TemplateUnsound(fault)


def _fault_of_inputs(inputs: tuple[TemplateInput, ...]) -> str | None:
    if not inputs:
        return "it spends nothing."
    if len({each.outpoint for each in inputs}) != len(inputs):
        return "it spends a coin twice."
    for each in inputs:
        if len(each.txid) != _TXID_DIGITS or set(each.txid) - set("0123456789abcdef"):
            return f"{each.txid!r:.80} is no txid."
        if not 0 <= each.vout < _UINT32_END:
            return f"output {each.vout} cannot be."
        if not 0 < each.amount <= MONEY_MAX:
            return f"a coin of {each.amount} koinu cannot be."
        if each.chain not in (EXTERNAL_CHAIN, CHANGE_CHAIN):
            return f"there is no chain {each.chain}."
        if not 0 <= each.derivation_index < INDEX_END:
            return f"there is no index {each.derivation_index}."
    return None


def _fault_of_outputs(template: Template, network: str) -> str | None:
    if template.network != network:
        return f"it is for {template.network}, not for {network}."
    if not template.outputs:
        return "it pays nothing."
    for each in template.outputs:
        if not DUST_HARD <= each.amount <= MONEY_MAX:
            return f"an output of {each.amount} koinu is not relayed."
        try:
            script_of_address(each.address, network)
        except NotPayable as error:
            return f"{error}."
        ours = each.purpose is Purpose.CHANGE
        if ours != (each.derivation_index is not None):
            return "change has an index, and nothing else has one."
        if ours and not 0 <= (each.derivation_index or 0) < INDEX_END:
            return f"there is no index {each.derivation_index}."
    return None


def _fault_of_sums(template: Template, fee_max: int) -> str | None:
    paid_in = sum(each.amount for each in template.inputs)
    paid_out = sum(each.amount for each in template.outputs)
    if paid_in - paid_out != template.fee:
        return (
            f"its inputs less its outputs are {format_amount(paid_in - paid_out)} DOGE, and its "
            f"fee says {format_amount(template.fee)}."
        )
    if template.fee > fee_max:
        return (
            f"its fee of {format_amount(template.fee)} DOGE passes the "
            f"{format_amount(fee_max)} allowed."
        )
    size = template.size_max
    if size >= SIZE_END:
        return f"{size} bytes are not relayed."
    least = fee_for(size, RATE_RELAYED, (each.amount for each in template.outputs))
    if template.fee < least:
        return (
            f"its fee of {format_amount(template.fee)} DOGE is under the "
            f"{format_amount(least)} that nodes relay."
        )
    return None
