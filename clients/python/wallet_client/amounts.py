"""Amounts of Dogecoin: exact decimals, never a float."""

from __future__ import annotations

import re
from decimal import Context, Decimal
from typing import Final

KOINU_PER_DOGE: Final = 100_000_000
#: One amount fits a signed 64-bit integer of koinu.
KOINU_MAX: Final = 2**63 - 1

_DECIMALS: Final = 8
_PLAIN: Final = re.compile(r"(0|[1-9][0-9]{0,11})(\.[0-9]{1,8})?", re.ASCII)


class Amount(Decimal):
    """DOGE, zero or more, with at most eight decimals; ``str`` gives the text of the wire.

    It is made of text, a whole number of DOGE, or a ``Decimal``, and reckons as a ``Decimal`` does.
    A float is refused (``TypeError``), and so is what the wallet would refuse (``ValueError``).
    """

    __slots__ = ()

    def __new__(cls, value: str | int | Decimal) -> Amount:
        """Check and make one."""
        if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
            raise TypeError(f'an amount is text such as "12.5", not {type(value).__name__}')
        text = f"{value:f}" if isinstance(value, Decimal) else str(value)
        if not _PLAIN.fullmatch(text):
            raise ValueError(f"{text[:40]!r} is not an amount of DOGE with at most 8 decimals")
        made = super().__new__(cls, text)
        if made.koinu > KOINU_MAX:
            raise ValueError(f"{text} DOGE are more than the wallet holds")
        return made

    @classmethod
    def of_koinu(cls, koinu: int) -> Amount:
        """An amount of the smallest unit: 1 DOGE is 10^8 koinu."""
        whole, rest = divmod(koinu, KOINU_PER_DOGE)
        return cls(f"{whole}.{rest:0{_DECIMALS}d}")

    @property
    def koinu(self) -> int:
        """The same as a whole number of koinu."""
        whole, _, fraction = f"{self:f}".partition(".")
        return int(whole + fraction.ljust(_DECIMALS, "0"))

    def __str__(self) -> str:
        """DOGE with eight decimals, as the wallet writes it."""
        whole, rest = divmod(self.koinu, KOINU_PER_DOGE)
        return f"{whole}.{rest:0{_DECIMALS}d}"

    def __format__(self, form: str, context: Context | None = None, /) -> str:
        """Without a form as ``str`` has it."""
        return super().__format__(form) if form else str(self)

    def __repr__(self) -> str:
        """As it is made."""
        return f"Amount('{self}')"
