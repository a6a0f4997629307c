"""Templates as they are stored, and what is read out of them."""

from __future__ import annotations

from typing import Final

import msgspec

from processors.dogecoin.building import Purpose, Template

_decoder: Final = msgspec.json.Decoder(Template)


def write(template: Template) -> bytes:
    """A template as JSON."""
    return msgspec.json.encode(template)


def read(stored: bytes) -> Template:
    """A template from its JSON."""
    return _decoder.decode(stored)


def swept(stored: bytes) -> int:
    """Koinu that go to cold storage."""
    return sum(each.amount for each in read(stored).outputs if each.purpose is Purpose.COLD)


def change_of(stored: bytes) -> int:
    """Koinu that come back."""
    return read(stored).returned
