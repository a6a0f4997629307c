"""Sees to it that no record is passed over between two batches, or inside one.

Offsets of a partition follow each other, but for the markers and aborted records of producers'
transactions. So a hole is looked into: if the log holds a record there, it was missed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from processors.incoming import Record


class Hole(NamedTuple):
    """Offsets ``first`` to ``last`` of a partition that were not delivered."""

    topic: int
    partition: int
    first: int
    last: int


class RecordMissed(Exception):
    """The log holds a record that was not delivered; the partition is read again from there."""


def holes(records: Iterable[Record], expected: Mapping[tuple[int, int], int]) -> list[Hole]:
    """The holes before and between records, which stand in the order of their partitions.

    ``expected`` is the next offset of each partition, by (topic, partition).
    """
    found = []
    following = dict(expected)
    for record in records:
        place = (record.topic, record.partition)
        if record.offset > following[place]:
            found.append(Hole(*place, following[place], record.offset - 1))
        following[place] = record.offset + 1
    return found
