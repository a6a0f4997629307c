"""Decisions on the rules: fees, limits, confirmations and the account that hold from here on."""

from __future__ import annotations

from itertools import pairwise

import msgspec

from processors.ledger.model import Acceptance, Books, Decision, Notice, Refusal, Request
from schemas.amounts import KOINU_MAX, Koinu, Share
from schemas.commands import ConfirmationTier, RotateAccount, SetRules
from schemas.events import AccountResult, EventType, RulesResult
from schemas.records import Rules, Tier
from schemas.rejections import Malformed, Rejection


def set_rules(request: Request, data: SetRules, books: Books) -> Decision:
    """The next version of the rules; network and account stay as they are."""
    fault = fault_of(data)
    if fault is not None:
        return Refusal(Rejection.RULES_INVALID, fault)
    rules = msgspec.structs.replace(applied(books.rules, data), version=books.rules.version + 1)
    result = RulesResult(version=rules.version)
    notice = Notice(request.user_id, EventType.RULES_CHANGED, result)
    return Acceptance((notice,), records=(rules,))


def applied(rules: Rules, data: SetRules) -> Rules:
    """The rules as they would be, of the same version still."""
    return msgspec.structs.replace(
        rules,
        escrow_fee_basis_points=data.escrow_fee_basis_points,
        withdrawal_fee=int(data.withdrawal_fee),
        withdrawal_minimum=int(data.withdrawal_minimum),
        withdrawal_maximum=int(data.withdrawal_maximum),
        deposit_minimum=int(data.deposit_minimum),
        confirmations=tuple(
            Tier(int(tier.exposure), tier.confirmations) for tier in data.confirmations
        ),
    )


def asked_for(rules: Rules) -> SetRules:
    """The command that would set the rules as they are."""
    return SetRules(
        escrow_fee_basis_points=rules.escrow_fee_basis_points,
        withdrawal_fee=Share(rules.withdrawal_fee),
        withdrawal_minimum=Koinu(rules.withdrawal_minimum),
        withdrawal_maximum=Koinu(rules.withdrawal_maximum),
        deposit_minimum=Share(rules.deposit_minimum),
        confirmations=tuple(
            ConfirmationTier(exposure=Share(tier.exposure), confirmations=tier.confirmations)
            for tier in rules.confirmations
        ),
    )


def tiers_of(text: str) -> list[dict[str, object]]:
    """CONFIRMATIONS[@FROM_AMOUNT] by commas, as the wire has the tiers; raises ``Malformed``."""
    return [_tier(part) for part in text.split(",")]


def _tier(text: str) -> dict[str, object]:
    confirmations, _, exposure = text.strip().partition("@")
    if not confirmations.isdecimal():
        raise Malformed(Rejection.BAD_NUMBER, f"{text!r} is not CONFIRMATIONS[@FROM_AMOUNT]")
    return {"exposure": exposure or "0", "confirmations": int(confirmations)}


def rotate_account(request: Request, data: RotateAccount, books: Books) -> Decision:
    """Rules of the next version, whose new addresses are another account's.

    Going back to a former account is no other rotation: its indices go on where they were.
    """
    if data.account_key == books.rules.account_key:
        return Refusal(Rejection.ACCOUNT_IN_FORCE)
    first_address = books.first_address(data.account_key)
    rules = msgspec.structs.replace(
        books.rules, version=books.rules.version + 1, account_key=data.account_key
    )
    result = AccountResult(
        version=rules.version, account_key=rules.account_key, first_address=first_address
    )
    notice = Notice(request.user_id, EventType.ACCOUNT_ROTATED, result)
    return Acceptance((notice,), records=(rules,))


def fault_of(data: SetRules) -> str | None:
    """The first contradiction, as a sentence that says what to change."""
    if data.withdrawal_minimum > data.withdrawal_maximum:
        return "The minimum of a withdrawal is over its maximum."
    if data.withdrawal_maximum + data.withdrawal_fee > KOINU_MAX:
        return "The maximum of a withdrawal and its fee together are over 63 bits of koinu."
    tiers = data.confirmations
    if not tiers or tiers[0].exposure != 0:
        return "The first tier of confirmations must start at an exposure of 0."
    for lower, higher in pairwise(tiers):
        if higher.exposure <= lower.exposure:
            return "The tiers' exposures must rise from one tier to the next."
        if higher.confirmations < lower.confirmations:
            return "The tiers' confirmations must not fall as the exposure rises."
    return None
