"""The manifests of all batches, put in order on disk: there may be more than memory holds.

Each partition of the topic has its own in order; between partitions the batch's number says it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import groupby
from typing import Final, NamedTuple

import msgspec

from schemas.publications import Manifest
from schemas.settings import Settings
from schemas.topics import BATCHES, topic_name
from streams.kafka.admin import Admin
from streams.kafka.view import LogView

_decode: Final = msgspec.json.Decoder(Manifest).decode
#: An empty name makes a file of its own that nobody else sees, and that is gone at the end.
_PRIVATE_FILE: Final = ""

_TABLE: Final = """
CREATE TABLE manifests (
    batch_id INTEGER, topic INTEGER, part INTEGER, slices INTEGER, logic INTEGER, records INTEGER,
    value BLOB, PRIMARY KEY (batch_id, topic, part)
) WITHOUT ROWID
"""
#: Where the offsets of a partition begin again.
_GENERATIONS: Final = """
CREATE TABLE generations (
    topic INTEGER, part INTEGER, generation INTEGER, first_offset INTEGER,
    PRIMARY KEY (topic, part, generation)
) WITHOUT ROWID
"""


class ManifestsMissing(Exception):
    """The topic of manifests does not tell all of the batches that it tells of."""


class ManifestsContradict(Exception):
    """Two manifests tell differently of one slice: two databases have numbered their batches."""


class Stretch(NamedTuple):
    """Batches that were decided by one version of the logic."""

    logic_version: int
    first_batch: int
    last_batch: int


class Manifests:
    """What the topic of manifests holds; ``gather`` reads on from where it was left."""

    def __init__(self, settings: Settings) -> None:
        self._topic = topic_name(settings, BATCHES)
        self._admin = Admin(settings)
        self._view = LogView(settings)
        self._next = dict.fromkeys(range(settings.partitions), 0)
        self._file = sqlite3.connect(_PRIVATE_FILE, isolation_level=None)
        self._file.execute("PRAGMA journal_mode = OFF")
        self._file.execute("PRAGMA synchronous = OFF")
        self._file.execute(_TABLE)
        self._file.execute(_GENERATIONS)

    def close(self) -> None:
        """Let go of the broker and of the file."""
        self._view.close()
        self._file.close()

    def gather(self) -> int:
        """Read what came since the last time; how many manifests.

        Raises ``ManifestsMissing`` if the topic has lost its beginning, ``ManifestsContradict``,
        and ``KafkaUnavailable``.
        """
        starts = self._admin.starts(self._topic, self._next)
        ends = self._admin.ends(self._topic, self._next)
        count = 0
        for number, start in starts.items():
            if start > self._next[number]:
                raise ManifestsMissing(
                    f"{self._topic}/{number} begins at offset {start}: older manifests were "
                    "deleted. The topic must keep them for ever (retention.ms=-1)."
                )
            if ends[number] <= self._next[number]:
                continue
            for message in self._view.records(
                self._topic, number, self._next[number], ends[number] - 1
            ):
                self._keep(message.value() or b"")
                count += 1
            self._next[number] = ends[number]
        return count

    def _keep(self, value: bytes) -> None:
        manifest = _decode(value)
        key = (manifest.batch_id, manifest.topic, manifest.partition)
        added = self._file.execute(
            "INSERT OR IGNORE INTO manifests VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                *key,
                len(manifest.slices),
                manifest.logic_version,
                manifest.last_offset - manifest.first_offset + 1,
                value,
            ),
        )
        if added.rowcount:
            self._file.execute(
                "INSERT INTO generations VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
                " SET first_offset = min(first_offset, excluded.first_offset)",
                (
                    manifest.topic,
                    manifest.partition,
                    manifest.generation,
                    manifest.first_offset,
                ),
            )
            return
        ((known,),) = self._file.execute(
            "SELECT value FROM manifests WHERE (batch_id, topic, part) = (?, ?, ?)", key
        )
        bare = msgspec.structs.replace
        if bare(_decode(known), rules=msgspec.UNSET) != bare(manifest, rules=msgspec.UNSET):
            raise ManifestsContradict(
                f"Batch {key[0]} of topic {key[1]}, partition {key[2]} is told twice, and "
                "differently: two databases have drawn this number. The log alone cannot say "
                "which of them to rebuild."
            )

    # ------------------------------------------------------------------ what is there

    def incomplete(self) -> int | None:
        """The first batch that lacks a slice, if any does."""
        row = self._file.execute(
            "SELECT batch_id FROM manifests GROUP BY batch_id HAVING count(*) < max(slices)"
            " ORDER BY batch_id LIMIT 1"
        ).fetchone()
        return None if row is None else int(row[0])

    def lacks(self, batch_id: int) -> str:
        """Which slices of a batch are missing, in words."""
        known = self._of(batch_id)
        told = {(manifest.topic, manifest.partition) for manifest in known}
        missing = [part for part in known[0].slices if part[:2] not in told]
        return "; ".join(
            f"topic {topic}, partition {partition}, offsets {first}–{last}"
            for topic, partition, first, last in missing
        )

    def has(self, batch_id: int) -> bool:
        """Whether all slices of a batch are told of."""
        known = self._of(batch_id)
        return bool(known) and len(known) == len(known[0].slices)

    def count(self) -> tuple[int, int]:
        """Batches, and the offsets that they take: an upper bound of their records."""
        row = self._file.execute(
            "SELECT count(DISTINCT batch_id), coalesce(sum(records), 0) FROM manifests"
        ).fetchone()
        return int(row[0]), int(row[1])

    def batches(self, below: int | None = None) -> Iterator[list[Manifest]]:
        """The slices of each batch, batch by batch in the order of their numbers."""
        rows = self._file.execute(
            "SELECT batch_id, value FROM manifests WHERE batch_id < ?"
            " ORDER BY batch_id, topic, part",
            (2**62 if below is None else below,),
        )
        for _, group in groupby(rows, key=lambda row: row[0]):
            yield [_decode(value) for _, value in group]

    def places(self) -> list[tuple[int, int]]:
        """Every (topic, partition) that is told of."""
        return self._file.execute(
            "SELECT DISTINCT topic, part FROM manifests ORDER BY topic, part"
        ).fetchall()

    def stretch(self, batch_id: int, logic_version: int) -> Stretch:
        """From a batch on, those that the same version of the logic decided."""
        ((last,),) = self._file.execute(
            "SELECT max(batch_id) FROM manifests WHERE logic = ? AND batch_id < coalesce((SELECT"
            " min(batch_id) FROM manifests WHERE batch_id > ? AND logic <> ?), 1 << 62)",
            (logic_version, batch_id, logic_version),
        )
        return Stretch(logic_version, batch_id, int(last))

    def used_again(self, part: Manifest) -> int | None:
        """The generation that took offsets of a slice again, so that its records are gone."""
        row = self._file.execute(
            "SELECT min(generation) FROM generations WHERE topic = ? AND part = ?"
            " AND generation > ? AND first_offset <= ?",
            (part.topic, part.partition, part.generation, part.last_offset),
        ).fetchone()
        return None if row[0] is None else int(row[0])

    def _of(self, batch_id: int) -> list[Manifest]:
        rows = self._file.execute("SELECT value FROM manifests WHERE batch_id = ?", (batch_id,))
        return [_decode(value) for (value,) in rows]
