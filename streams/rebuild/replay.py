"""Replays the log into a database, batch by batch, by the code that the workers run.

Every batch is checked against its manifests before it is committed: what does not come out byte
for byte is not written, and the rebuild stops before it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import msgspec

from db.engine import Connection
from db.ledger import rebuilding
from db.ledger.batches import REBUILDER
from processors.apply import Applier, Claim
from processors.dogecoin.keyring import AccountUnknown
from processors.incoming import Record, Undecidable
from processors.ledger.decide import LOGIC_VERSION
from processors.seed import keyring_of, require_known_account
from schemas.publications import Manifest
from schemas.records import Rules
from schemas.settings import Settings
from schemas.topics import CommandTopic, topic_name
from streams.kafka.admin import Admin
from streams.kafka.config import KafkaUnavailable
from streams.kafka.replay import RecordsMissing
from streams.kafka.slices import Slices
from streams.rebuild.manifests import Manifests, ManifestsMissing
from streams.records import Reader

#: Told how far it is: what is done, and of how much.
Progress = Callable[[str, int, int], None]

#: The release that decides by each version of the logic.
RELEASE_OF: Final = {1: "0.1.0"}
#: Slices of one batch may be published apart, by two workers.
_PATIENCE_SECONDS: Final = 10.0
_CLEAN_EVERY: Final = 100


class TargetNotEmpty(Exception):
    """The database has batches already: give an empty one (with --local, another NAME), or
    --resume to go on after them."""


class AnotherLogic(Exception):
    """A stretch of the log was decided by another version of the logic."""


class Diverged(Exception):
    """A batch does not come out as it was decided."""


class RulesDiffer(Exception):
    """The target's first rules are not those that the log begins with."""


class Rebuilt(NamedTuple):
    """What a rebuild has done: batches and records applied, and batches that were there already."""

    batches: int
    records: int
    skipped: int


class Rebuild:
    """One rebuild of one target; ``run`` it, perhaps again for what came meanwhile."""

    def __init__(
        self,
        settings: Settings,
        connection: Connection,
        *,
        resume: bool = False,
        progress: Progress = lambda stage, done, total: None,
    ) -> None:
        """``connection`` is of ``db.ledger.rebuilding.target``. Raises ``TargetNotEmpty``."""
        if not resume and rebuilding.batch_count(connection):
            raise TargetNotEmpty(" ".join((TargetNotEmpty.__doc__ or "").split()))
        self._settings = settings
        self._connection = connection
        self._progress = progress
        self._names = {int(code): topic_name(settings, code) for code in CommandTopic}
        self._keyring = keyring_of(settings)
        self._reader = Reader(settings)
        self._manifests = Manifests(settings)
        self._slices = Slices(settings)
        self._claims: dict[tuple[int, int], Claim] = {}
        self._batch: list[Manifest] = []
        #: Records between the batches that were replayed, which nobody decided; a line for each
        #: place.
        self.passed_over: list[str] = []
        self._applier = Applier(
            connection,
            owner=REBUILDER,
            derive=self._keyring.deposit_address,
            step=self._step,
        )

    def close(self) -> None:
        """Let go of the broker."""
        self._manifests.close()
        self._slices.close()

    def run(self, only: Iterable[int] | None = None) -> Rebuilt:
        """Replay what the log holds and the target lacks; ``only`` names batches to wait for.

        Raises ``ManifestsMissing``, ``ManifestsContradict``, ``RecordsMissing``, ``AnotherLogic``,
        ``RulesDiffer``, ``RulesOfAnotherAccount``, ``AccountUnknown`` or ``Diverged``, and what
        stands for an outage.
        The target then holds every batch before the one that is named, and ``resume`` goes on.
        """
        wanted = None if only is None else set(only)
        self._progress("manifests", 0, 0)
        end = self._gather(wanted)
        _, offsets = self._manifests.count()
        done = applied = records = skipped = 0
        for batch in self._manifests.batches(below=end):
            done += sum(part.last_offset - part.first_offset + 1 for part in batch)
            number = batch[0].batch_id
            if (wanted is not None and number not in wanted) or rebuilding.has_batch(
                self._connection, number
            ):
                self._leave_out(batch)
                skipped += 1
                continue
            if not applied:
                # Not before: a database that lacks nothing keeps its workers.
                self._take_over()
            records += self._apply(batch)
            applied += 1
            self._progress("batches", done, offsets)
            if applied % _CLEAN_EVERY == 0:
                rebuilding.drop_outbox(self._connection)
        if applied:
            rebuilding.drop_outbox(self._connection)
            rebuilding.go_on_numbering(self._connection)
        return Rebuilt(applied, records, skipped)

    # ------------------------------------------------------------------ manifests

    def _gather(self, wanted: set[int] | None) -> int | None:
        """Read manifests until none that matters lacks a slice; the first batch to stop before."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        pause = threading.Event()
        self._manifests.gather()
        first = self._manifests.incomplete()
        while True:
            lacking = [b for b in wanted or () if not self._manifests.has(b)]
            incomplete = self._manifests.incomplete()
            if wanted is None:
                settled = incomplete is None or first is None or incomplete > first
            else:
                settled, incomplete = not lacking, None
            if settled:
                return incomplete
            if time.monotonic() > deadline:
                raise ManifestsMissing(self._why(lacking, incomplete))
            pause.wait(0.2)
            self._manifests.gather()

    def _why(self, lacking: list[int], incomplete: int | None) -> str:
        if lacking:
            return (
                f"{len(lacking)} batches, the first {min(lacking)}, are committed, but their "
                "manifests are not published: a worker must run, or `wallet events repair` "
                "publish what a broker lost."
            )
        assert incomplete is not None
        return (
            f"Batch {incomplete} lacks the manifest of {self._manifests.lacks(incomplete)}: "
            "`wallet events repair` tells whether the outbox still has it."
        )

    # ------------------------------------------------------------------ the target

    def _take_over(self) -> None:
        """Seed the rules that the log begins with, and take every partition over."""
        told = self._first_rules()
        if told is not None and not self._claims:
            rules = rebuilding.first_rules_of(self._connection, told)
            if rules != told:
                raise RulesDiffer(
                    "The target's version 1 of the rules is not the log's, and rules are never "
                    "changed: give a database that `wallet rebuild --migrate` makes itself."
                )
            require_known_account(rules, self._keyring, self._settings.network)
        facts = Admin(self._settings).topics(list(self._names.values()))
        for place in self._manifests.places():
            if place in self._claims:
                continue  # By an earlier run.
            name = self._names[place[0]]
            if name not in facts:
                raise KafkaUnavailable(f"there is no topic {name}")
            row = rebuilding.take_over(self._connection, *place, topic_id=facts[name].topic_id)
            self._claims[place] = Claim(row.epoch, row.generation)

    def _first_rules(self) -> Rules | None:
        """The rules in the first manifest; later ones are made by the commands themselves."""
        for batch in self._manifests.batches():
            for manifest in batch:
                if manifest.rules_version == 1 and manifest.rules is not msgspec.UNSET:
                    return msgspec.json.decode(manifest.rules, type=Rules)
            if batch[0].rules_version > 1:
                return None
        return None

    # ------------------------------------------------------------------ one batch

    def _apply(self, batch: list[Manifest]) -> int:
        self._require_logic(batch[0])
        records: list[Record] = []
        for part in batch:
            self._begin_generation(part)
            records += self._records_of(part)
        unprocessable = {
            (part.topic, part.partition, offset) for part in batch for offset in part.unprocessable
        }
        self._batch = batch
        try:
            self._applier.apply(
                records, self._claims, unprocessable=unprocessable, batch_id=batch[0].batch_id
            )
        except Undecidable as fault:
            if isinstance(fault.__cause__, AccountUnknown):
                raise fault.__cause__ from None
            raise Diverged(
                f"Batch {batch[0].batch_id}: the command at {fault} makes this release fail, "
                "which it did not when it was decided."
            ) from fault
        return len(records)

    def _leave_out(self, batch: list[Manifest]) -> None:
        for part in batch:
            self._slices.leave_out(part)

    def _records_of(self, part: Manifest) -> list[Record]:
        name = self._names[part.topic]
        later = self._manifests.used_again(part)
        if later is not None:
            raise RecordsMissing(
                f"Batch {part.batch_id} took offsets {part.first_offset} to {part.last_offset} of "
                f"{name}/{part.partition} in generation {part.generation}, which generation "
                f"{later} has taken again: the records are gone. Restore a backup of the database "
                "that has this batch, and go on with --resume."
            )
        try:
            messages = self._slices.take(part)
        except RecordsMissing as missing:
            raise RecordsMissing(
                f"Batch {part.batch_id}: {missing} Restore a backup of the topic; or one of the "
                "database that has this batch, and go on with --resume."
            ) from missing
        if self._slices.passed_over:
            self.passed_over.append(f"{name}/{part.partition}: {self._slices.passed_over}")
        return self._reader.records(messages)

    def _require_logic(self, manifest: Manifest) -> None:
        version = manifest.logic_version
        if version == LOGIC_VERSION:
            return
        stretch = self._manifests.stretch(manifest.batch_id, version)
        release = RELEASE_OF.get(version)
        raise AnotherLogic(
            f"Batches {stretch.first_batch} to {stretch.last_batch} were decided by version "
            f"{version} of the logic, this release decides by {LOGIC_VERSION}. Rebuild them by "
            + (f"release {release}" if release else "the later release that has it")
            + ", then go on here with --resume."
        )

    def _begin_generation(self, part: Manifest) -> None:
        place = (part.topic, part.partition)
        claim = self._claims[place]
        if part.generation == claim.generation:
            return
        rebuilding.begin_generation(self._connection, *place, part.generation, part.first_offset)
        self._claims[place] = Claim(claim.epoch, part.generation)

    def _step(self, name: str) -> None:
        """Before a batch is committed, hold what was written against what was once told."""
        if name != "written":
            return
        number = self._batch[0].batch_id
        for part, written in zip(
            self._batch, rebuilding.slices_of(self._connection, number), strict=True
        ):
            told = (
                part.topic,
                part.partition,
                part.generation,
                part.first_offset,
                part.last_offset,
                part.commands,
                part.entries,
                bytes.fromhex(part.digest),
                bytes.fromhex(part.chain),
            )
            if written != told:
                raise Diverged(
                    f"Batch {number}, topic {part.topic}, partition {part.partition}, offsets "
                    f"{part.first_offset}–{part.last_offset} comes out differently: "
                    f"{written.commands} outcomes and {written.entries} entries with digest "
                    f"{written.digest.hex()[:16]}…, not {part.commands} and {part.entries} with "
                    f"{part.digest[:16]}…. Nothing of it was written."
                )
