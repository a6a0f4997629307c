"""A call's arguments, by place or by name, checked as Core checks them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from processors.dogecoin.scripts import NotPayable, script_of_address
from processors.dogecoin.transactions import TransactionUnreadable
from schemas.amounts import parse_amount
from schemas.rejections import Malformed
from streams.local.node.blocks import Carried
from streams.local.node.errors import RpcCode, RpcError

_T = TypeVar("_T")


class Arguments:
    """Values by their place; those that were not given are None."""

    def __init__(self, values: Sequence[object]) -> None:
        self._values = values

    def has(self, place: int) -> bool:
        """Whether one was given there."""
        return place < len(self._values) and self._values[place] is not None

    def any(self, place: int) -> object:
        """Whatever stands there."""
        return self._values[place] if self.has(place) else None

    def text(self, place: int) -> str:
        """A string."""
        value = self.any(place)
        if not isinstance(value, str):
            raise RpcError(RpcCode.MISC, "JSON value is not a string as expected")
        return value

    def integer(self, place: int, default: int | None = None) -> int:
        """A whole number."""
        if not self.has(place) and default is not None:
            return default
        value = self.any(place)
        if not isinstance(value, int) or isinstance(value, bool):
            raise RpcError(RpcCode.MISC, "JSON value is not an integer as expected")
        return value

    def flag(self, place: int, default: bool) -> bool:
        """True or false."""
        if not self.has(place):
            return default
        value = self.any(place)
        if not isinstance(value, bool):
            raise RpcError(RpcCode.MISC, "JSON value is not a boolean as expected")
        return value

    def verbosity(self, place: int, default: int) -> int:
        """A number, or a flag that stands for 0 or 1."""
        value = self.any(place)
        return int(value) if isinstance(value, bool) else self.integer(place, default)

    def txid(self, place: int, name: str) -> str:
        """64 digits (ParseHashV)."""
        text = self.text(place)
        try:
            whole = len(bytes.fromhex(text)) == 32
        except ValueError:
            raise RpcError(
                RpcCode.PARAMETER, f"{name} must be hexadecimal string (not '{text}')"
            ) from None
        if not whole:
            raise RpcError(RpcCode.PARAMETER, f"{name} must be of length 64 (not {len(text)})")
        return text.lower()

    def transaction(self, place: int) -> Carried:
        """A whole transaction in hex."""
        if not isinstance(self.any(place), str):
            raise RpcError(RpcCode.TYPE, "Expected type string, got another")
        return transaction_of(self.text(place))

    def script(self, place: int, network: str) -> bytes:
        """The script that pays an address."""
        try:
            return script_of_address(self.text(place), network)
        except NotPayable:
            raise RpcError(RpcCode.ADDRESS_OR_KEY, "Error: Invalid address") from None

    def amount(self, place: int) -> int:
        """Koinu of a decimal text."""
        try:
            return parse_amount(self.text(place))
        except Malformed as error:
            raise RpcError(RpcCode.TYPE, f"Invalid amount: {error}") from None

    def record(self, place: int, kind: type[_T]) -> _T:
        """An object of named options."""
        try:
            return msgspec.convert(self.any(place) if self.has(place) else {}, kind)
        except msgspec.ValidationError as error:
            raise RpcError(RpcCode.PARAMETER, str(error)) from None


def transaction_of(text: str) -> Carried:
    """A transaction in hex; anything else is told as Core does."""
    try:
        carried = Carried(bytes.fromhex(text))
        _ = carried.body
    except (ValueError, TransactionUnreadable):
        raise RpcError(RpcCode.DESERIALIZATION, "TX decode failed") from None
    return carried
