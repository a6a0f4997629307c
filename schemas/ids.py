"""Ids laid out from a record's place in the log, so that nothing is drawn at random.

A UUID of version 8 (RFC 9562, 5.8) in big-endian bit fields::

    topic 8 | generation 16 | partition 16 | offset 55..48 | ver 4 | offset 47..36 | var 2
    | offset 35..0 | leg 26

Leg 0 is the command itself, legs 1.. are its entries, legs from 2^25 its events. Ids of one
partition rise with the offset, so an index over them grows at its right edge.
"""

from __future__ import annotations

from typing import Final, NamedTuple

LEG_MAX: Final = 2**26 - 1
EVENT_LEG: Final = 2**25

_VERSION_VARIANT: Final = (8 << 76) | (0b10 << 62)
_VERSION_VARIANT_BITS: Final = (0xF << 76) | (0b11 << 62)


class Place(NamedTuple):
    """A record's place in the log: topic code, topic generation, partition and offset."""

    topic: int
    generation: int
    partition: int
    offset: int


def slice_base(topic: int, generation: int, partition: int) -> int:
    """The part of an id that all records of one partition share."""
    return (topic << 120) | (generation << 104) | (partition << 88) | _VERSION_VARIANT


def command_number(base: int, offset: int) -> int:
    """The 128-bit id of the command at ``offset``; add a leg to get an entry's or an event's."""
    return (
        base
        | (offset >> 48) << 80
        | ((offset >> 36) & 0xFFF) << 64
        | (offset & 0xF_FFFF_FFFF) << 26
    )


def number_of(place: Place, leg: int = 0) -> int:
    """The 128-bit id of a place and leg."""
    return (
        command_number(slice_base(place.topic, place.generation, place.partition), place.offset)
        + leg
    )


def text_of(number: int) -> str:
    """A 128-bit number as a canonical UUID."""
    digits = number.to_bytes(16, "big").hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def text_of_leg(command_id: str, number: int, leg: int) -> str:
    """The id of a command's leg, given the command's own as text and as number.

    Only the last seven digits differ: they hold the leg, and two bits of the offset.
    """
    return f"{command_id[:29]}{(number + leg) & 0xFFF_FFFF:07x}"


def place_of(uuid_text: str) -> tuple[Place, int]:
    """Place and leg of an id; raises ``ValueError`` if it is not one of ours."""
    number = int(uuid_text.replace("-", ""), 16) if len(uuid_text) == 36 else 0
    ours = number & _VERSION_VARIANT_BITS == _VERSION_VARIANT
    # What a number is read from may have its hyphens elsewhere, or underscores, or blanks.
    if not ours or number >> 128 or text_of(number) != uuid_text.lower():
        raise ValueError(f"{uuid_text} is not an id of this wallet")
    offset = (
        ((number >> 80) & 0xFF) << 48
        | ((number >> 64) & 0xFFF) << 36
        | (number >> 26) & 0xF_FFFF_FFFF
    )
    place = Place(number >> 120, (number >> 104) & 0xFFFF, (number >> 88) & 0xFFFF, offset)
    return place, number & LEG_MAX


def bytes_of(uuid_text: str) -> bytes:
    """The 16 bytes of a canonical UUID."""
    return bytes.fromhex(uuid_text.replace("-", ""))


class PackedIds(dict[str, bytes]):
    """The bytes of canonical UUIDs that come again and again."""

    def __missing__(self, uuid_text: str) -> bytes:
        packed = self[uuid_text] = bytes_of(uuid_text)
        return packed
