"""Which of a user's gap-free sequence numbers were seen, as ranges: doubles and gaps show."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise


def add(ranges: list[list[int]], number: int) -> bool:
    """Put a number into sorted ranges [first, last], in place; False if it was there."""
    place = bisect_right(ranges, number, key=lambda held: held[0])
    before = ranges[place - 1] if place else None
    if before is not None and number <= before[1]:
        return False
    after = ranges[place] if place < len(ranges) else None
    joins_before = before is not None and before[1] + 1 == number
    joins_after = after is not None and after[0] - 1 == number
    if before is not None and after is not None and joins_before and joins_after:
        before[1] = after[1]
        del ranges[place]
    elif before is not None and joins_before:
        before[1] = number
    elif after is not None and joins_after:
        after[0] = number
    else:
        ranges.insert(place, [number, number])
    return True


def missing(ranges: list[list[int]]) -> int:
    """How many numbers between the first and the last were not seen."""
    return sum(after[0] - before[1] - 1 for before, after in pairwise(ranges))
