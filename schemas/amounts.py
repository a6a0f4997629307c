"""Amounts of Dogecoin: integer koinu inside, decimal text on the wire, never a float."""

from __future__ import annotations

import re
from typing import Final

from schemas.rejections import Malformed, Rejection

KOINU_PER_DOGE: Final = 100_000_000
DECIMALS: Final = 8
#: One amount fits a signed 64-bit integer; sums over all users need not.
KOINU_MAX: Final = 2**63 - 1

#: What an amount looks like on the wire, for the generated JSON Schemas.
AMOUNT_PATTERN: Final = r"^(0|[1-9][0-9]{0,11})(\.[0-9]{1,8})?$"

_PLAIN = re.compile(AMOUNT_PATTERN, re.ASCII)
_NUMBER = re.compile(r"(-?)[0-9]+(\.[0-9]+)?", re.ASCII)


class Koinu(int):
    """A positive amount in koinu, decoded from decimal text."""

    __slots__ = ()


class Share(int):
    """An amount in koinu that may be zero, decoded from decimal text."""

    __slots__ = ()


def parse_share(text: str) -> int:
    """Decimal DOGE text to koinu, zero allowed; raises ``Malformed`` with the exact fault."""
    if _PLAIN.search(text) is None or text[-1] == "\n":
        raise Malformed(_fault_of(text), f"{text[:40]!r} is not an amount of DOGE")
    whole, _, fraction = text.partition(".")
    koinu = int(whole + fraction.ljust(DECIMALS, "0"))
    if koinu > KOINU_MAX:
        raise Malformed(Rejection.AMOUNT_TOO_LARGE, f"{text} DOGE is more than int64 koinu hold")
    return koinu


def parse_amount(text: str) -> int:
    """Decimal DOGE text to a positive number of koinu; raises ``Malformed``."""
    koinu = parse_share(text)
    if koinu == 0:
        raise Malformed(Rejection.AMOUNT_ZERO, "an amount must be more than zero")
    return koinu


def _fault_of(text: str) -> Rejection:
    number = _NUMBER.fullmatch(text)
    if number is None:
        return Rejection.AMOUNT_MALFORMED
    if number.group(1):
        return Rejection.AMOUNT_NEGATIVE
    if number.group(2) and len(number.group(2)) > DECIMALS + 1:
        return Rejection.AMOUNT_TOO_PRECISE
    if text[0] == "0" and text[1:2].isdigit():
        return Rejection.AMOUNT_MALFORMED
    return Rejection.AMOUNT_TOO_LARGE


def format_amount(koinu: int) -> str:
    """Koinu to DOGE text with eight decimals: 1_250_000_000 -> "12.50000000"."""
    if koinu >= KOINU_PER_DOGE:
        # Cutting text takes half the time of reckoning, and every event shows a dozen amounts.
        text = str(int(koinu))
        return f"{text[:-8]}.{text[-8:]}"
    if koinu < 0:
        return f"-{format_amount(-koinu)}"
    return f"0.{koinu:08d}"
