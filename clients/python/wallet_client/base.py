"""What every model has in common, and how JSON becomes one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from wallet_client.amounts import Amount

T = TypeVar("T")


class Model(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of the contract. A field that a reader does not know is passed over."""


def _write(value: object) -> str:
    if isinstance(value, Amount):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot stand in a message")


def _read(kind: type, value: object) -> Any:
    if kind is Amount and isinstance(value, str):
        return Amount(value)
    raise TypeError(f"an amount is text, not {type(value).__name__}")


_encoder = msgspec.json.Encoder(enc_hook=_write)


def encode(value: object) -> bytes:
    """A model, or plain values, as JSON."""
    if isinstance(value, Decimal):
        raise TypeError("wrap the amount into a model")
    return _encoder.encode(value)


def decode(data: bytes, kind: type[T]) -> T:
    """JSON as a model; raises ``msgspec.MsgspecError`` where it is none."""
    return msgspec.json.decode(data, type=kind, dec_hook=_read)


def convert(value: object, kind: type[T]) -> T:
    """Plain values as a model; raises ``msgspec.ValidationError``."""
    return msgspec.convert(value, type=kind, dec_hook=_read)


def checked(model: T) -> T:
    """The model, once each of its fields is what its schema says.

    A struct takes what it is given, and the worker would refuse to read it much later. Raises
    ``msgspec.ValidationError``.
    """
    return decode(encode(model), type(model))
