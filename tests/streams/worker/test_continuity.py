"""Offsets that were not delivered are found, wherever in a batch they are missing."""

from __future__ import annotations

from processors.incoming import Record
from streams.worker.continuity import Hole, holes


def at(partition: int, *offsets: int, topic: int = 0) -> list[Record]:
    return [Record(topic, partition, offset, 0, None, None) for offset in offsets]


def test_records_that_follow_each_other_leave_no_hole() -> None:
    records = [*at(0, 5, 6, 7), *at(1, 0), *at(0, 8)]
    assert holes(records, {(0, 0): 5, (0, 1): 0}) == []


def test_a_hole_is_told_from_its_first_offset_to_its_last() -> None:
    assert holes(at(0, 7, 8, 11), {(0, 0): 5}) == [Hole(0, 0, 5, 6), Hole(0, 0, 9, 10)]


def test_a_single_offset_that_is_missing_is_a_hole() -> None:
    assert holes(at(0, 5, 7), {(0, 0): 5}) == [Hole(0, 0, 6, 6)]


def test_partitions_are_counted_apart_and_so_are_topics() -> None:
    records = [*at(0, 5), *at(1, 3), *at(0, 1, topic=1)]
    expected = {(0, 0): 5, (0, 1): 2, (1, 0): 0}
    assert holes(records, expected) == [Hole(0, 1, 2, 2), Hole(1, 0, 0, 0)]
