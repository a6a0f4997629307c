"""A record's place in the log is its id: a UUID of version 8, laid out in bit fields.

topic 8 | generation 16 | partition 16 | offset 8 | version 4 | offset 12 | variant 2
| offset 36 | leg 26
"""

from __future__ import annotations

from typing import Final, NamedTuple
from uuid import UUID

_VERSION: Final = 8
_VARIANT: Final = 0b10


class Place(NamedTuple):
    """Where a command stands: code of its topic, the topic's generation, partition and offset."""

    topic: int
    generation: int
    partition: int
    offset: int


def command_id(place: Place) -> str:
    """The id of the command at a place."""
    number = 0
    for value, bits in (
        (place.topic, 8),
        (place.generation, 16),
        (place.partition, 16),
        (place.offset >> 48, 8),
        (_VERSION, 4),
        (place.offset >> 36 & 0xFFF, 12),
        (_VARIANT, 2),
        (place.offset & 0xF_FFFF_FFFF, 36),
        (0, 26),
    ):
        if not 0 <= value < 1 << bits:
            raise ValueError(f"{place} is no place in the log")
        number = number << bits | value
    return str(UUID(int=number))


def place_of(text: str) -> Place:
    """The place that an id names, of a command or of what it caused; raises ``ValueError``."""
    number = UUID(text)
    if number.version != _VERSION:
        raise ValueError(f"{text} is not an id of the wallet")
    bits = number.int
    offset = (bits >> 80 & 0xFF) << 48 | (bits >> 64 & 0xFFF) << 36 | bits >> 26 & 0xF_FFFF_FFFF
    return Place(bits >> 120, bits >> 104 & 0xFFFF, bits >> 88 & 0xFFFF, offset)
