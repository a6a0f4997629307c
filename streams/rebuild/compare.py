"""Compares two databases table by table, by hash, and finds the first row that differs."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import zip_longest
from typing import NamedTuple

from db.audit.snapshot import Snapshot, snapshot
from db.ledger.statehash import QUERIES, Place, TableHash
from streams.rebuild.replay import Rebuild

#: Told the table under way, how many are done, and of how many.
Progress = Callable[[str, int, int], None]


class SourceBehind(Exception):
    """The target has batches that the source lacks."""


class Comparison(NamedTuple):
    """One table in both databases; ``difference`` tells the first row that is not the same."""

    table: str
    source: TableHash
    target: TableHash
    difference: str | None

    @property
    def same(self) -> bool:
        """Whether both have the same rows."""
        return self.source == self.target


def compare(
    source: Snapshot,
    target: Snapshot,
    *,
    progress: Progress = lambda stage, done, total: None,
) -> list[Comparison]:
    """Every table of both, but for partitions that an operator adopted in the source and that had
    no batch since: that is not in the log."""
    compared = []
    left_out = source.adopted()
    for place, table in enumerate(QUERIES):
        progress(table, place, len(QUERIES))
        ours, theirs = source.hash_of(table, left_out), target.hash_of(table, left_out)
        difference = None if ours == theirs else _first_difference(source, target, table, left_out)
        compared.append(Comparison(table, ours, theirs, difference))
    progress("", len(QUERIES), len(QUERIES))
    return compared


def catch_up_and_compare(
    rebuild: Rebuild,
    source_url: str,
    target_url: str,
    *,
    progress: Progress = lambda stage, done, total: None,
) -> list[Comparison]:
    """Replay what the source has in one snapshot and the target lacks, then compare with it.

    So it can be done while the source's service goes on. Raises ``SourceBehind``, and what
    ``Rebuild.run`` does.
    """
    with snapshot(source_url) as source:
        with snapshot(target_url) as target:
            missing = missing_batches(source, target)
        if missing:
            rebuild.run(only=missing)
        with snapshot(target_url) as target:
            return compare(source, target, progress=progress)


def missing_batches(source: Snapshot, target: Snapshot) -> list[int]:
    """Batches that the source has and the target lacks; raises ``SourceBehind``."""
    missing = []
    theirs = iter(target.batch_ids())
    other = next(theirs, None)
    for number in source.batch_ids():
        if other is not None and other < number:
            break
        if other == number:
            other = next(theirs, None)
        else:
            missing.append(number)
    if other is not None:
        raise SourceBehind(
            f"Batch {other} is in the target, but not in the source: the source was restored from "
            "before it, or is another wallet's."
        )
    return missing


def _first_difference(
    source: Snapshot, target: Snapshot, table: str, left_out: Collection[Place]
) -> str:
    for ours, theirs in zip_longest(
        source.rows_of(table, left_out), target.rows_of(table, left_out)
    ):
        if ours != theirs:
            return f"{_shown(ours)} in the source, {_shown(theirs)} in the target"
    return "the same rows, but other bytes"


def _shown(row: tuple[object, ...] | None) -> str:
    if row is None:
        return "nothing"
    return "(" + ", ".join(_text(value) for value in row) + ")"


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
