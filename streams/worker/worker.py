"""The worker: commands from Kafka into the ledger, their events out, exactly once.

``run`` is a loop around ``run_once``, which applies one batch. Whatever goes wrong, the way back is
the same: give up what is in hand and take the partitions over again
(``streams.worker.takeover``), since the database alone knows what was applied, and the group's
committed offset what was published.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import islice
from typing import Final

from db.engine import Connection, connect, look_up_by_index, require_schema
from db.failures import LOCKED, REFUSED, RIVALRY
from db.ledger.batches import PRUNED_MAX, prune_outbox, set_apart_since
from db.ledger.partitions import Fenced
from db.plain import use_plain_values
from processors.apply import Applied, Applier, Claim, Prepare, StagedSlice
from processors.books import Derive
from processors.incoming import Record, Undecidable
from schemas.settings import Settings
from schemas.topics import CommandTopic
from streams import metrics
from streams.alarms import Alarms
from streams.garbage import collected_seldom
from streams.heart import Heart
from streams.kafka.config import KafkaUnavailable
from streams.kafka.consume import Assignment, CommandConsumer, Unfit
from streams.kafka.produce import PublishRefused
from streams.outages import BROKER, OUTAGES, Backoff, in_words, server_of
from streams.records import Reader
from streams.worker.continuity import RecordMissed, holes
from streams.worker.publish import Publisher
from streams.worker.takeover import Place, TakeOver

log = logging.getLogger(__name__)

#: What one command of the batch must be guilty of.
_POISON: Final = (*REFUSED, Undecidable)
_TRIES: Final = 3
#: Where so many commands were set apart within an hour, whoever it was, the workers are the fault
#: and stop.
UNPROCESSABLE_MAX: Final = 20
_UNPROCESSABLE_SECONDS: Final = 3600.0
#: Slices published together at a take-over.
_REPUBLISH_MAX: Final = 24
#: Seconds between two prunings of the outbox.
_PRUNE_SECONDS: Final = 60.0
#: The same where one has left something.
_PRUNE_AGAIN_SECONDS: Final = 1.0
#: How long to wait for records while a publication is under way and the next one waits for it.
_GLANCE_SECONDS: Final = 0.002

#: The trigger that adds up what a statement inserted keeps all of its entries: a full batch's would
#: go to disk under the server's own limit of 4 MB.
_WORK_KB: Final = 32 * 1024
#: No batch holds its locks for so long; who waits longer looks after the group meanwhile.
_LOCK_MS: Final = 5_000

Step = Callable[[str], None]


class TooManyUnprocessable(Exception):
    """Command after command is refused by the database; this release or its schema is wrong."""


class Worker:
    """One member of the group: applies the partitions that it is given."""

    def __init__(
        self,
        settings: Settings,
        *,
        derive: Derive | None = None,
        step: Step = lambda name: None,
    ) -> None:
        self._settings = settings
        self._derive = derive
        self._step = step
        self._owner = f"{socket.gethostname()}/{os.getpid()}"
        self.heart = Heart()
        metrics.PARTITIONS_ALL.set(settings.partitions * len(CommandTopic))
        self._stopping = threading.Event()
        self._backoff = Backoff()
        self._alarms = Alarms(settings, source=f"worker {self._owner}")
        self._publisher = Publisher(settings, step=step)
        self._reader = Reader(settings)
        #: The last record of a partition that was not fit to be applied.
        self._unfit: dict[Place, Unfit] = {}
        self._claims: dict[tuple[int, int], Claim] = {}
        #: What the group has assigned to this worker, taken over or not.
        self._held: list[Place] = []
        #: Where the last take-over said to read on, and the next offset of each partition since.
        self._assignments: list[Assignment] = []
        self._expected: dict[tuple[int, int], int] = {}
        self._pruned = time.monotonic()
        #: Whether ``_held`` has to be taken over before anything else.
        self._due = False
        self._halted: dict[Place, str] = {}
        self._rebalances = 0
        #: Whether the group has told this worker what is its own, if only nothing.
        self._joined = False
        self._outage: str | None = "starting"
        self._connection: Connection | None = None
        self._applier: Applier
        self._take_over: TakeOver
        self._connect()
        self._consumer = self._join()

    # ------------------------------------------------------------------ the loop

    def run(self) -> None:
        """Apply batches until ``stop``; then publish what is applied and leave the group."""
        try:
            # Batches leave no cycles behind; walking millions of young objects costs a tenth.
            with collected_seldom() as collect:
                while not self._stopping.is_set():
                    self._run_guarded()
                    collect()
        finally:
            self.close()

    def stop(self) -> None:
        """Finish the batch in hand and end; called from any thread."""
        self._stopping.set()

    def _run_guarded(self) -> None:
        self.heart.beat()
        try:
            if self._connection is None or self._connection.closed:
                self._connect()
            if self._due or self._take_over.log_is_another():
                self._recover()
            self.run_once()
            self._recovered()
            self._prune()
        except Fenced as fenced:
            self._rejoin(f"fenced: {fenced}")
        except PublishRefused as refused:
            self._rejoin(f"publication refused: {refused}")
        except RecordMissed as missed:
            log.error("a record was passed over, reading again", extra={"hole": str(missed)})
            self._due = True
        except Unfit as unfit:
            # Nothing of its partition is applied from here on: the take-over halts it.
            topic, partition = unfit.place
            place = f"{topic.name.lower()}/{partition}/{unfit.offset}"
            log.error("not fit to be applied", extra={"place": place, "cause": str(unfit)})
            # A batch that cannot be unpacked is named by its first record, which may be behind us.
            unfit.offset = max(unfit.offset, self._expected.get(unfit.place, 0))
            if claim := self._claims.get(unfit.place):
                unfit.generation = claim.generation
            self._unfit[unfit.place] = unfit
            self._due = True
        except LOCKED as locked:
            # Polling serves the rebalance by which a frozen neighbour's partitions become ours,
            # and their take-over ends its session.
            log.warning("a neighbour holds what this batch needs", extra={"cause": str(locked)})
            self._due = True
        except OUTAGES as error:
            self._sit_out(error)

    def run_once(self, wait_seconds: float = 0.2) -> int:
        """Apply and stage one batch of what is there; answers the number of its records.

        Raises ``Fenced``, ``PublishRefused``, ``RecordMissed``, ``Unfit`` or one of ``OUTAGES``;
        each leaves database and topics as they were, or as the next take-over finds them.
        """
        # Before the first poll: metadata taken later could vouch for records of an older
        # generation.
        group_metadata = self._consumer.group_metadata()
        rebalances = self._rebalances
        wait_seconds = _GLANCE_SECONDS if self._publisher.waits else wait_seconds
        messages = self._consumer.batch(self._settings.batch_max, wait_seconds)
        records, unfit = self._reader.up_to_unfit(messages)
        self._publisher.advance()
        if rebalances != self._rebalances or self._due:
            # Some came for a generation that is gone, some perhaps for the new one, whose metadata
            # is not ours yet: all are read again.
            self._consumer.seek(self._assignments)
            return 0
        if records:
            if group_metadata is None:
                raise Fenced("no member of the group any more")
            self._refuse_holes(records)
            if self._count_is_doubtful(records):
                return 0
            self._apply_and_publish(records, group_metadata)
        if unfit is not None:
            raise unfit
        return len(records)

    def _apply_and_publish(self, records: Sequence[Record], group_metadata: object) -> None:
        started = time.monotonic()
        prepare = partial(self._publisher.prepare, group_metadata=group_metadata)
        applied = self._apply(records, prepare)
        self._expected.update(((r.topic, r.partition), r.offset + 1) for r in records)
        self._count(applied, records, started)
        self._publisher.submit([s for a in applied for s in a.slices], group_metadata)

    def _prune(self) -> None:
        """Drop what was published so long ago that the broker has it on disk for certain."""
        now = time.monotonic()
        if now - self._pruned < _PRUNE_SECONDS or self._connection is None:
            return
        self._pruned = now
        published = self._publisher.published
        ends = [(*place, end) for place, end in published.items() if place in self._claims]
        with self._connection.cursor() as cursor:
            dropped = prune_outbox(cursor, ends, self._settings.outbox_keep_seconds)
        if dropped >= PRUNED_MAX:
            self._pruned = now - _PRUNE_SECONDS + _PRUNE_AGAIN_SECONDS

    def _refuse_holes(self, records: Sequence[Record]) -> None:
        """Raise ``RecordMissed`` if a record was passed over; gaps without one are noted."""
        for hole in holes(records, self._expected):
            if self._take_over.holds_record(hole):
                raise RecordMissed(str(hole))
            log.info("gap without records", extra=hole._asdict())

    def _count_is_doubtful(self, records: Sequence[Record]) -> bool:
        """Whether records look misplaced since their topic has other partitions than it had.

        Producers may know of that before this group does. The take-over will halt the topic; none
        of its commands may become a dead letter for it.
        """
        if all(record.placed for record in records):
            return False
        self._due = self._take_over.log_is_another_now()
        return self._due

    # ------------------------------------------------------------------ applying

    def _apply(
        self, records: Sequence[Record], prepare: Prepare = lambda slices: None
    ) -> list[Applied]:
        try:
            return [self._attempt(records, prepare)]
        except _POISON as poison:
            log.error("batch refused, looking for the command", exc_info=poison)
        return self._bisect(sorted(records))

    def _attempt(self, records: Sequence[Record], prepare: Prepare) -> Applied:
        # To find one guilty command, a batch takes as many transactions as it has commands.
        self.heart.beat()
        for _ in range(_TRIES - 1):
            try:
                return self._apply_or_retract(records, prepare)
            except RIVALRY as rivalry:
                log.warning("batch rolled back, trying again", extra={"cause": str(rivalry)})
        return self._apply_or_retract(records, prepare)

    def _apply_or_retract(self, records: Sequence[Record], prepare: Prepare) -> Applied:
        try:
            return self._applier.apply(records, self._claims, prepare=prepare)
        except BaseException:
            # Also where nobody knows what became of the COMMIT: the outbox has it then.
            self._publisher.retract()
            raise

    def _bisect(self, records: Sequence[Record]) -> list[Applied]:
        """Apply in ever smaller parts, in order, until the guilty command stands alone."""
        if len(records) == 1:
            return [self._set_apart_one(records[0])]
        middle = len(records) // 2
        return [
            applied
            for part in (records[:middle], records[middle:])
            for applied in self._apply(part)
        ]

    def _set_apart_one(self, record: Record) -> Applied:
        place = (record.topic, record.partition, record.offset)
        assert self._connection is not None
        # Asked of the database, for a worker that has stopped may be started again and again.
        with self._connection.cursor() as cursor:
            if set_apart_since(cursor, _UNPROCESSABLE_SECONDS) >= UNPROCESSABLE_MAX:
                raise TooManyUnprocessable(f"next: topic, partition, offset {place}")
        self._alarms.sound(
            "unprocessable",
            "/".join(map(str, place)),
            f"The command at topic {place[0]}, partition {place[1]}, offset {place[2]} cannot be "
            "applied and becomes a dead letter; the log has the cause.",
        )
        return self._applier.apply([record], self._claims, unprocessable={place})

    def _count(
        self, applied: Collection[Applied], records: Sequence[Record], started: float
    ) -> None:
        for batch in applied:
            for outcome in batch.counts.__struct_fields__:
                count = getattr(batch.counts, outcome)
                if count:
                    metrics.COMMANDS.labels(outcome).inc(count)
            metrics.ENTRIES.inc(batch.entries)
        metrics.BATCH_COMMANDS.observe(len(records))
        metrics.BATCH_SECONDS.observe(time.monotonic() - started)
        metrics.RECORD_AGE_SECONDS.observe(
            max(time.time() - min(record.time for record in records) / 1000, 0)
        )

    # ------------------------------------------------------------------ partitions come and go

    def _assigned(self, places: list[Place]) -> list[Assignment]:
        self._rebalances += 1
        self._held = list(places)
        self._joined = True
        self._due = True
        if self._connection is None or self._connection.closed:
            # We are sitting an outage out; the loop connects again, and takes over then.
            return []
        try:
            return self._take()
        except OUTAGES as error:
            # Nothing is read until the server is back; the loop sees to it.
            log.warning("take-over waits", extra={"server": server_of(error), "cause": str(error)})
            return []

    def _revoked(self) -> None:
        self._rebalances += 1
        self._joined = False
        self._let_go()
        self._held = []
        self._assignments = []
        self._due = False

    def _let_go(self) -> None:
        """End what is under way; what was not published is in the outbox."""
        self._claims = {}
        metrics.PARTITIONS.set(0)
        try:
            self._publisher.settle()
        except (PublishRefused, KafkaUnavailable) as refused:
            log.warning("not published, the outbox has it", extra={"cause": str(refused)})

    def _take(self) -> list[Assignment]:
        """Take over all that is held, and publish what is not; where to read on."""
        self._let_go()
        # Before it is looked up what was published: after this nothing of old can be.
        self._publisher.fence()
        taken = self._take_over.take(self._held, self._consumer)
        metrics.TAKE_OVERS.inc()
        slices = (s for place in taken.unpublished for s in self._take_over.staged(place))
        while part := list(islice(slices, _REPUBLISH_MAX)):
            self._republish(part)
        self._claims = taken.claims
        self._assignments = taken.assignments
        self._expected = {(a.topic, a.partition): a.offset for a in taken.assignments}
        # The outbox up to there was published just now, or before.
        self._publisher.published = dict(self._expected)
        self._due = False
        halted = {(halt.topic, halt.partition): halt.reason for halt in taken.halts}
        for place, reason in halted.items():
            if self._halted.get(place) != reason:
                name = f"{place[0].name.lower()}/{place[1]}"
                self._alarms.sound("partition-halted", name, f"{name} is not applied: {reason}")
        self._halted = halted
        metrics.PARTITIONS.set(len(taken.claims))
        metrics.HALTED.set(len(halted))
        log.info("took over", extra={"partitions": len(taken.claims), "halted": len(halted)})
        return taken.assignments

    def _republish(self, slices: Sequence[StagedSlice]) -> None:
        self.heart.beat()
        group_metadata = self._consumer.group_metadata()
        if group_metadata is None:
            raise KafkaUnavailable("the group has not taken this worker in")
        self._publisher.submit(slices, group_metadata)
        try:
            self._publisher.settle()
        except PublishRefused as refused:
            raise KafkaUnavailable(f"the outbox could not be published: {refused}") from refused
        metrics.REPUBLISHED.inc(len(slices))

    # ------------------------------------------------------------------ outages

    def _recover(self) -> None:
        """Take over again, in place, all that the group still leaves to this worker."""
        rebalances = self._rebalances
        # Serves a rebalance that is waiting.
        self._consumer.poll(0)
        # Read again from where the take-over says, this one or the rebalance's own: the poll may
        # have brought a record along, and the last of its partition would be missed by nobody.
        taken = self._take() if rebalances == self._rebalances else self._assignments
        self._consumer.seek(taken)

    def _recovered(self) -> None:
        if not self._joined:
            return
        if self._outage is not None:
            log.info("applying")
        self._outage = None
        self._backoff.reset()

    def _sit_out(self, error: Exception) -> None:
        """Give up what is in hand, stay in the group, try again in a while."""
        server = server_of(error)
        self._outage = in_words(error)
        metrics.OUTAGES.labels(server).inc()
        seconds = self._backoff.next()
        log.warning("outage", extra={"server": server, "cause": str(error), "wait": seconds})
        self._due = bool(self._held)
        # What is committed can go out while the database is away.
        self._let_go()
        if server == BROKER:
            self._publisher.renew()
        if self._connection is not None:
            self._connection.close()
        self._wait_polling(seconds)

    def _wait_polling(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        try:
            self._consumer.pause()
            while time.monotonic() < until and not self._stopping.is_set():
                self._consumer.poll(0.05)
        except (KafkaUnavailable, Unfit):
            self._stopping.wait(max(until - time.monotonic(), 0))

    def _rejoin(self, reason: str) -> None:
        """Leave the group and join again: whoever fenced us may have our partitions."""
        log.warning("joining again", extra={"cause": reason})
        metrics.REJOINS.inc()
        self._let_go()
        self._joined = False
        self._held = []
        self._assignments = []
        self._due = False
        self._consumer.close()
        self._consumer = self._join()

    # ------------------------------------------------------------------ connections, end

    def _connect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._take_over.close()
        connection = connect(
            self._settings.worker_database_url, application_name="wallet-worker", autocommit=True
        )
        require_schema(connection)
        use_plain_values(connection)
        look_up_by_index(connection)
        connection.execute(f"SET lock_timeout = {_LOCK_MS}")
        connection.execute(f"SET work_mem = {_WORK_KB}")
        self._connection = connection
        self._applier = Applier(connection, owner=self._owner, derive=self._derive, step=self._step)
        self._take_over = TakeOver(
            self._settings,
            connection,
            owner=self._owner,
            to_record=self._reader.record,
            unfit=self._unfit,
        )

    def _join(self) -> CommandConsumer:
        return CommandConsumer(self._settings, on_assigned=self._assigned, on_revoked=self._revoked)

    def close(self) -> None:
        """Publish what is applied, leave the group, let go of the servers."""
        self._let_go()
        self._consumer.close()
        self._publisher.close()
        self._take_over.close()
        self._alarms.close()
        if self._connection is not None:
            self._connection.close()

    # ------------------------------------------------------------------ health

    def fault(self) -> str | None:
        """What keeps this worker from applying commands, or None."""
        if self._outage is not None:
            return self._outage
        if self._publisher.stalled():
            return "broker is away: it does not answer to what is being published"
        if not self._joined:
            return "joining the group"
        if self._due:
            return "taking over"
        if self._halted:
            place, reason = next(iter(self._halted.items()))
            return f"{len(self._halted)} partitions halted, first {place}: {reason}"
        return None
