"""Holds the books against the log: what is published, which topics, which manifests, which records.

What the broker says is read before the snapshot where it must not be ahead of it, and after it
where it must not be behind.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from typing import Final

import msgspec

from db.audit.snapshot import FIRST_MAX, Snapshot, Standing, StoredSlice
from db.ledger.rules import decode_rules
from schemas.publications import Manifest
from schemas.settings import Settings
from schemas.topics import BATCHES, CommandTopic, topic_name
from streams.doctor.chain import name_of
from streams.doctor.report import Progress, Tally
from streams.kafka.admin import Admin
from streams.kafka.config import KafkaUnavailable
from streams.kafka.groups import Group, Place
from streams.kafka.replay import RecordsMissing
from streams.kafka.slices import PassedOver, Slices
from streams.kafka.view import LogView

PUBLISHED_SAYS: Final = "what is applied is published, or in the outbox and young"
TOPICS_SAYS: Final = "the topics are those that were applied, and hold what is to come"
MANIFESTS_SAYS: Final = "the manifests on the log tell of the same slices"
RECORDS_SAYS: Final = "every record has one outcome, and none was passed over"
_TELL_EVERY: Final = 200

_manifest: Final = msgspec.json.Decoder(Manifest)


class Log:
    """What the broker said before the snapshot was taken; raises ``KafkaUnavailable``."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._names = {code: topic_name(settings, code) for code in CommandTopic}
        self._group = Group(settings)
        self._admin = Admin(settings)
        self._places: list[Place] = [
            (code, number) for code in CommandTopic for number in range(settings.partitions)
        ]
        self._batches = topic_name(settings, BATCHES)
        self._topics = self._admin.topics([*self._names.values(), self._batches])
        missing = [
            name for name in (*self._names.values(), self._batches) if name not in self._topics
        ]
        if missing:
            raise KafkaUnavailable(f"there is no topic {', '.join(missing)}")
        self._committed = self._group.committed(self._places)
        self._manifests_end = self._admin.ends(self._batches, range(settings.partitions))

    def check_published(self, snapshot: Snapshot, old_seconds: float) -> Tally:
        """Every partition's outbox against the group's committed offset."""
        tally = Tally("published", FIRST_MAX)
        later = self._group.committed(self._places)
        for standing in snapshot.standings():
            place = (CommandTopic(standing.topic), standing.partition)
            before = self._committed.get(place)
            if standing.next_offset > 0 and before is None and later.get(place) is None:
                tally.find(_name(standing), "the group's committed offset is gone")
            elif before is not None and before > standing.next_offset:
                tally.find(
                    _name(standing),
                    f"offset {before} is published, but only {standing.next_offset} are applied: "
                    "the database is older than the topic",
                )
            tally.subjects += 1
            committed = later.get(place)
            if committed is not None:
                self._check_waiting(snapshot, standing, committed, old_seconds, tally)
        return tally

    def _check_waiting(
        self,
        snapshot: Snapshot,
        standing: Standing,
        committed: int,
        old_seconds: float,
        tally: Tally,
    ) -> None:
        waiting = snapshot.waiting(
            standing.topic, standing.partition, standing.generation, committed
        )
        lost = [part for part in waiting if not part.packed]
        old = [part for part in waiting if part.packed and part.age_seconds > old_seconds]
        if lost:
            tally.find(
                _name(standing),
                f"{len(lost)} batches, the first {lost[0].batch_id}, are neither published nor in "
                "the outbox",
            )
        if old:
            tally.find(
                _name(standing),
                f"{len(old)} batches from offset {old[0].first_offset} on wait to be published, "
                f"the oldest for {old[0].age_seconds:.0f} s",
            )

    def check_topics(self, snapshot: Snapshot) -> Tally:
        """The same that a take-over asks of a partition, of all of them."""
        tally = Tally("topics", FIRST_MAX)
        places = range(self._settings.partitions)
        starts = {code: self._admin.starts(name, places) for code, name in self._names.items()}
        ends = {code: self._admin.ends(name, places) for code, name in self._names.items()}
        for standing in snapshot.standings():
            tally.subjects += 1
            code = CommandTopic(standing.topic)
            topic_id = self._topics[self._names[code]].topic_id
            start = starts[code].get(standing.partition)
            end = ends[code].get(standing.partition)
            if standing.topic_id is not None and standing.topic_id != topic_id:
                fault = f"the topic was made anew: its id is {topic_id}, not {standing.topic_id}"
            elif start is None or end is None:
                fault = f"there is no such partition; WALLET_PARTITIONS is {len(places)}"
            elif end < standing.next_offset:
                fault = f"the log ends at {end}, but {standing.next_offset} were applied"
            elif start > standing.next_offset:
                fault = (
                    f"the log begins at {start}, after {standing.next_offset}: commands are lost"
                )
            else:
                continue
            tally.find(_name(standing), fault)
        return tally

    # ------------------------------------------------------------------ the whole log

    def check_manifests(self, snapshot: Snapshot, progress: Progress) -> Tally:
        """Every manifest against its slice; a witness that no one with the database can change."""
        tally = Tally("manifests", FIRST_MAX)
        seen: Counter[tuple[int, int]] = Counter()
        total = sum(self._manifests_end.values())
        view = LogView(self._settings)
        try:
            for number, end in self._manifests_end.items():
                if end == 0:
                    continue
                for message in view.records(self._batches, number, 0, end - 1):
                    tally.subjects += 1
                    try:
                        manifest = _manifest.decode(message.value() or b"")
                    except msgspec.DecodeError as error:
                        # Whoever wrote it had a right that is the workers' alone.
                        where = f"{self._batches}/{number}, offset {message.offset()}"
                        tally.find(where, f"what stands there is no manifest: {error}")
                        continue
                    seen[manifest.topic, manifest.partition] += 1
                    _compare(manifest, snapshot, tally)
                    if tally.subjects % _TELL_EVERY == 0:
                        progress("manifests", tally.subjects, total)
        finally:
            view.close()
        for standing in snapshot.standings():
            place = (CommandTopic(standing.topic), standing.partition)
            told = snapshot.slices_below(standing, self._committed.get(place) or 0)
            if seen[standing.topic, standing.partition] < told:
                tally.find(
                    _name(standing),
                    f"{told} slices are published, but there are only "
                    f"{seen[standing.topic, standing.partition]} manifests",
                )
        return tally

    def check_records(self, snapshot: Snapshot, progress: Progress) -> Tally:
        """Every record that the topics hold of the slices, counted against outcomes."""
        tally = Tally("records", FIRST_MAX)
        standings = {(s.topic, s.partition): s for s in snapshot.standings()}
        total = snapshot.slice_count()
        with closing(Slices(self._settings)) as slices:
            for part in snapshot.slices():
                place = (part.topic, part.partition)
                if place not in standings or standings[place].generation != part.generation:
                    # Its records went with the topic that an operator gave up.
                    continue
                tally.subjects += 1
                self._check_slice(part, snapshot, slices, tally)
                if tally.subjects % _TELL_EVERY == 0:
                    progress("records", tally.subjects, total)
            for standing in standings.values():
                self._check_end(standing, slices, tally)
        return tally

    def _check_slice(
        self, part: StoredSlice, snapshot: Snapshot, slices: Slices, tally: Tally
    ) -> None:
        try:
            records = slices.take(part)
        except RecordsMissing as missing:
            tally.find(name_of(part), str(missing))
            return
        if slices.passed_over:
            tally.find(f"before {name_of(part)}", str(slices.passed_over))
        found = {message.offset() or 0: message for message in records}
        letters = snapshot.letters_in(part)
        decided = snapshot.outcomes_in(part) | letters.keys()
        if decided != found.keys():
            first = min(decided ^ found.keys())
            tally.find(
                name_of(part),
                f"{len(found)} records, but {len(decided)} outcomes and dead letters; they differ "
                f"from offset {first} on",
            )
        for offset, letter in letters.items():
            if offset in found and letter != (found[offset].key(), found[offset].value()):
                tally.find(
                    name_of(part), f"the dead letter of offset {offset} is not as its record is"
                )

    def _check_end(self, standing: Standing, slices: Slices, tally: Tally) -> None:
        """What lies between a partition's last slice and where it goes on."""
        after = slices.after(standing.topic, standing.partition, standing.generation)
        if after is None:
            return
        name = self._names[CommandTopic(standing.topic)]
        start = self._admin.starts(name, [standing.partition])[standing.partition]
        first = max(after, start)
        if first >= standing.next_offset:
            return
        view = LogView(self._settings)
        try:
            records = view.records(name, standing.partition, first, standing.next_offset - 1)
            undecided = PassedOver.at([message.offset() or 0 for message in records])
        finally:
            view.close()
        if undecided:
            tally.find(f"{_name(standing)}, at its end", str(undecided))


def _compare(manifest: Manifest, snapshot: Snapshot, tally: Tally) -> None:
    subject = f"topic {manifest.topic}, partition {manifest.partition}, batch {manifest.batch_id}"
    part = snapshot.slice_of(manifest.batch_id, manifest.topic, manifest.partition)
    if part is None:
        tally.find(subject, "the manifest tells of a slice that is not in the database")
        return
    told = (
        manifest.generation,
        manifest.first_offset,
        manifest.last_offset,
        manifest.commands,
        manifest.entries,
        manifest.digest,
        manifest.chain,
    )
    stored = (*part[3:8], part.digest.hex(), part.chain.hex())
    if told != stored:
        tally.find(subject, f"the manifest says {told}, the database {stored}")
    by = (manifest.rules_version, manifest.logic_version)
    batch = snapshot.batch_of(manifest.batch_id)
    if batch is not None and by != batch:
        tally.find(
            subject, f"it was decided by versions {by} of rules and logic, not {tuple(batch)}"
        )
    if manifest.rules is not msgspec.UNSET:
        known = {one.version: one.rules for one in snapshot.rules()}
        if known.get(manifest.rules_version) != decode_rules(bytes(manifest.rules)):
            tally.find(subject, f"the rules of version {manifest.rules_version} were others")


def _name(standing: Standing) -> str:
    return f"topic {standing.topic}, partition {standing.partition}"
