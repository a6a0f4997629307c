"""Plain values on a hot connection: UUIDs as text, times as milliseconds, arrays in binary.

psycopg's own adapters make an object of each UUID and time, and write arrays as text; for five
thousand rows that costs as much as deciding them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct, pack
from typing import Any, ClassVar, Final

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format

from schemas.ids import bytes_of

_length = Struct(">i")
#: Milliseconds from 1970 to PostgreSQL's own epoch, 2000.
EPOCH_2000_MS: Final = 946_684_800_000


class UuidLoader(Loader):
    """16 bytes to a canonical UUID."""

    format = Format.BINARY

    def load(self, data: Buffer) -> str:
        digits = bytes(data).hex()
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class MillisecondsLoader(Loader):
    """A timestamptz to milliseconds since 1970."""

    format = Format.BINARY

    def load(self, data: Buffer) -> int:
        return milliseconds_of(bytes(data))


def milliseconds_of(data: bytes) -> int:
    """Milliseconds since 1970 of a timestamptz as it is sent: microseconds since 2000."""
    return int.from_bytes(data, "big", signed=True) // 1000 + EPOCH_2000_MS


class Array:
    """A one-dimensional array in PostgreSQL's binary format; made by the functions below."""

    oid: ClassVar[int]
    __slots__ = ("data",)

    def __init__(self, element_oid: int, count: int, elements: bytes) -> None:
        # Dimensions, whether there are nulls, type, length, first index; no dimension if empty.
        head = (
            pack(">iiIii", 1, 0, element_oid, count, 1)
            if count
            else pack(">iiI", 0, 0, element_oid)
        )
        self.data = head + elements


class _Longs(Array):
    oid = 1016


class _Times(Array):
    oid = 1185


class _Uuids(Array):
    oid = 2951


class _Booleans(Array):
    oid = 1000


class _Texts(Array):
    oid = 1009


class _Bytes(Array):
    oid = 1001


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Array) -> bytes:
        return obj.data


_DUMPERS: Final = {
    kind: type(f"{kind.__name__}Dumper", (_ArrayDumper,), {"oid": kind.oid})
    for kind in (_Longs, _Times, _Uuids, _Booleans, _Texts, _Bytes)
}


# On every connection: they dump nothing but the arrays of this module.
for _kind, _dumper in _DUMPERS.items():
    psycopg.adapters.register_dumper(_kind, _dumper)


def use_plain_values(connection: psycopg.Connection) -> None:
    """Register loaders, which apply to cursors opened with ``binary=True``."""
    connection.adapters.register_loader("uuid", UuidLoader)
    connection.adapters.register_loader("timestamptz", MillisecondsLoader)


def longs(values: Sequence[int]) -> Array:
    """A ``bigint[]``."""
    count = len(values)
    return _Longs(20, count, pack(f">{'iq' * count}", *_with_length(8, values)))


def times(milliseconds: Sequence[int]) -> Array:
    """A ``timestamptz[]`` of milliseconds since 1970."""
    count = len(milliseconds)
    micros = [(value - EPOCH_2000_MS) * 1000 for value in milliseconds]
    return _Times(1184, count, pack(f">{'iq' * count}", *_with_length(8, micros)))


def uuids(values: Iterable[str]) -> Array:
    """A ``uuid[]`` of canonical UUIDs."""
    return packed_uuids([bytes_of(value) for value in values])


def packed_uuids(values: Sequence[bytes]) -> Array:
    """A ``uuid[]`` of UUIDs that are bytes already."""
    return _Uuids(2950, len(values), b"".join([b"\0\0\0\x10" + value for value in values]))


def booleans(values: Sequence[bool]) -> Array:
    """A ``bool[]``."""
    count = len(values)
    return _Booleans(16, count, pack(f">{'i?' * count}", *_with_length(1, values)))


def texts(values: Iterable[str]) -> Array:
    """A ``text[]``."""
    encoded = [value.encode() for value in values]
    elements = b"".join([_length.pack(len(data)) + data for data in encoded])
    return _Texts(25, len(encoded), elements)


def octets(values: Iterable[bytes]) -> Array:
    """A ``bytea[]``."""
    counted = list(values)
    elements = b"".join([_length.pack(len(data)) + data for data in counted])
    return _Bytes(17, len(counted), elements)


def columns(rows: Sequence[Sequence[object]]) -> tuple[Array, ...]:
    """The columns of rows, each as an array of what its values are: text, bytes, flags or longs."""
    return tuple(_column(list(values)) for values in zip(*rows, strict=True))


def _column(values: list[Any]) -> Array:
    match values[0]:
        case str():
            return texts(values)
        case bytes():
            return octets(values)
        case bool():
            return booleans(values)
        case _:
            return longs(values)


def _with_length(length: int, values: Sequence[int]) -> list[int]:
    return [item for value in values for item in (length, value)]


def array(values: Iterable[object]) -> str:
    """An array literal of numbers, UUIDs or labels, for short ones: nothing in it needs a quote."""
    return "{" + ",".join(map(str, values)) + "}"
