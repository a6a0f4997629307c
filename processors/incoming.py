"""Records as they come from the log, read into commands before any lock is taken."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from hashlib import blake2b
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import msgspec

from schemas.envelope import Command, read_command
from schemas.rejections import Malformed, Rejection
from schemas.topics import CommandTopic


class Record(NamedTuple):
    """A record of a command topic; ``time`` is its LogAppendTime in milliseconds.

    ``placed`` is false where the partition is not the one of the record's key.
    """

    topic: int
    partition: int
    offset: int
    time: int
    key: bytes | None
    value: bytes | None
    placed: bool = True

    def digest(self) -> bytes:
        """What take-over compares, to know the log again."""
        return blake2b(
            b"%d\0%b\0%b" % (self.time, self.key or b"", self.value or b""), digest_size=16
        ).digest()


class Item(msgspec.Struct, frozen=True):
    """A record and what it was read as."""

    record: Record
    command: Command | Malformed


class Undecidable(Exception):
    """A command made the program fail; it is set apart so that the others go on."""

    def __init__(self, record: Record) -> None:
        super().__init__(f"topic {record.topic}, {record.partition}/{record.offset}")
        self.record = record


class Slice(NamedTuple):
    """A batch's part of one partition, by offset."""

    topic: int
    partition: int
    items: list[Item]

    @property
    def first_offset(self) -> int:
        return self.items[0].record.offset

    @property
    def last_offset(self) -> int:
        return self.items[-1].record.offset

    @property
    def place(self) -> tuple[int, int]:
        return (self.topic, self.partition)


def read_batch(
    records: Iterable[Record], unprocessable: Collection[tuple[int, int, int]] = ()
) -> list[Slice]:
    """The batch's slices in the order in which they are decided: by topic, partition, offset.

    ``unprocessable`` names (topic, partition, offset) of records that could not be applied; they
    become dead letters. Raises ``Undecidable`` for a record that nobody foresaw.
    """
    return [
        Slice(topic, partition, _read_all(CommandTopic(topic), group, unprocessable))
        for (topic, partition), group in groupby(sorted(records, key=_place), key=_slice)
    ]


_place = itemgetter(0, 1, 2)
_slice = itemgetter(0, 1)


def _read_all(
    topic: CommandTopic,
    records: Iterable[Record],
    unprocessable: Collection[tuple[int, int, int]],
) -> list[Item]:
    items = []
    for record in records:
        command: Command | Malformed
        if unprocessable and record[:3] in unprocessable:
            command = Malformed(Rejection.UNPROCESSABLE)
        else:
            try:
                command = read_command(topic, record.key, record.value, placed=record.placed)
            except Malformed as fault:
                # Made anew: the one that was raised holds this frame, and with it the batch.
                command = Malformed(fault.code, fault.detail)
            except Exception as error:
                raise Undecidable(record) from error
        items.append(Item(record, command))
    return items
