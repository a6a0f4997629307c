"""The rules as operators read and change them."""

from __future__ import annotations

import msgspec

from processors.dogecoin.fees import DUST_HARD, unpayable
from processors.ledger.rules import applied, tiers_of
from schemas.amounts import format_amount
from schemas.commands import CommandType, SetRules
from schemas.envelope import decode_data
from schemas.records import Rules
from schemas.rejections import Malformed, Rejection


def fields_of(rules: Rules) -> dict[str, str]:
    """Each rule by its name, as text: amounts in DOGE, tiers as CONFIRMATIONS[@FROM_AMOUNT]."""
    return {
        "escrow_fee_basis_points": str(rules.escrow_fee_basis_points),
        "withdrawal_fee": format_amount(rules.withdrawal_fee),
        "withdrawal_minimum": format_amount(rules.withdrawal_minimum),
        "withdrawal_maximum": format_amount(rules.withdrawal_maximum),
        "deposit_minimum": format_amount(rules.deposit_minimum),
        "confirmations": ",".join(
            f"{tier.confirmations}@{format_amount(tier.exposure)}"
            if tier.exposure
            else str(tier.confirmations)
            for tier in rules.confirmations
        ),
    }


def changed(rules: Rules, changes: dict[str, str]) -> SetRules:
    """The present rules with some fields as told, in the texts of ``fields_of``.

    Raises ``Malformed`` for a text that cannot be read.
    """
    wire = _wire_of({**fields_of(rules), **changes})
    return _read(msgspec.json.encode(wire))


def from_document(document: bytes) -> SetRules:
    """The rules in a JSON document, which is the data of a ``set_rules``; raises ``Malformed``."""
    return _read(document)


def differences(rules: Rules, asked: SetRules) -> list[tuple[str, str, str]]:
    """What would change: name, before, after."""
    after = fields_of(applied(rules, asked))
    return [
        (name, before, after[name])
        for name, before in fields_of(rules).items()
        if before != after[name]
    ]


def require_payable(asked: SetRules) -> None:
    """Raise ``Malformed`` for a least withdrawal that no node would relay.

    Asked at the operators' door and not by the ledger: rules that the log has stay decidable, and
    the same when it is replayed.
    """
    if asked.withdrawal_minimum < DUST_HARD:
        raise Malformed(Rejection.BAD_NUMBER, unpayable(asked.withdrawal_minimum))


def _read(document: bytes) -> SetRules:
    data = decode_data(CommandType.SET_RULES, document)
    assert isinstance(data, SetRules)
    require_payable(data)
    return data


def _wire_of(texts: dict[str, str]) -> dict[str, object]:
    basis_points = texts["escrow_fee_basis_points"]
    if not basis_points.isdecimal():
        raise Malformed(Rejection.BAD_NUMBER, f"{basis_points!r} is not a number of basis points")
    return {
        **texts,
        "escrow_fee_basis_points": int(basis_points),
        "confirmations": tiers_of(texts["confirmations"]),
    }
